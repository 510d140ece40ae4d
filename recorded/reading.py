"""A recording, whatever its format, read from beginning to end with bounded memory. What cannot be read is told and counted."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from recorded import access_log, har, json_lines
from recorded.checked import BOM, lines
from recorded.compressed import Gunzip
from recorded.entry import Entry, Trouble

type Read = Callable[[BinaryIO], Iterator[Entry | Trouble]]


class Format(StrEnum):
    """What is read."""

    MITM = "mitm"
    HAR = "har"
    JSONL = "jsonl"
    ACCESS_LOG = "log"


_LOOK: Final = 64 * 1024
"""Bytes by which a format is told."""
_GZIP: Final = b"\x1f\x8b\x08"
_FLOW: Final = re.compile(rb"[1-9][0-9]{0,11}:[0-9]")
_HAR: Final = re.compile(rb'\s*\{\s*"log"\s*:')
_JSON: Final = re.compile(rb"\s*\{")
_OWN_LOG: Final = re.compile(rb'\s*\{"time":')
"""The gateway's own access log, which is JSON too."""
_LOG: Final = re.compile(rb'"[!#$%&\'*+.^_`|~0-9A-Za-z-]{1,32} \S+ HTTP/|\[[0-9]{1,2}/[A-Z][a-z]{2}/[0-9]{4}:')
SUFFIXES: Final = {
    ".mitm": Format.MITM,
    ".flow": Format.MITM,
    ".flows": Format.MITM,
    ".dump": Format.MITM,
    ".har": Format.HAR,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".log": Format.ACCESS_LOG,
}


class RecordingError(Exception):
    """It cannot be read at all. The message says why and what to do."""


def detect(beginning: bytes) -> Format | None:
    """The format of what begins like this; None: it is none that is read."""
    beginning = beginning.removeprefix(BOM)
    if _FLOW.match(beginning):
        return Format.MITM
    if _HAR.match(beginning):
        return Format.HAR
    if _OWN_LOG.match(beginning):
        return Format.ACCESS_LOG
    if _JSON.match(beginning):
        # A HAR may say other things before its log; a line of ours says what was asked.
        first = beginning.strip().partition(b"\n")[0]
        return Format.JSONL if b'"method"' in first or b'"target"' in first else Format.HAR if b'"entries"' in beginning else Format.JSONL
    return Format.ACCESS_LOG if _LOG.search(beginning) else None


class Recording:
    """One file. `position` of `size` bytes are read, of the file as it lies on the disk."""

    def __init__(self, path: Path, form: Format | None = None) -> None:
        """
        Raises:
            RecordingError: it is not there, or is in no format that is read.
        """
        self.path = path
        self._gunzip: Gunzip | None = None
        try:
            self._raw = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from error
        try:
            self._file = self._opened()
            self.format = form or self._detected()
            self._read = _reader(self.format)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._raw.close()

    @property
    def position(self) -> int:
        """Bytes."""
        return min(self.size, self._raw.tell())

    def __iter__(self) -> Iterator[Entry | Trouble]:
        """What is in it. It can be read once. What the disk, or its compression, says against it is told too, and ends it."""
        last = 0
        try:
            for found in self._read(self._file):
                last = found.where
                yield found
        except OSError:
            yield Trouble(last + 1, "from here on the file cannot be read")
        if self._gunzip is not None and self._gunzip.trouble:
            yield Trouble(last + 1, self._gunzip.trouble)

    def _opened(self) -> BinaryIO:
        try:
            compressed = self._raw.peek(3)[:3] == _GZIP
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error
        if not compressed:
            return self._raw
        self._gunzip = Gunzip(self._raw)
        return io.BufferedReader(self._gunzip, _LOOK)

    def _detected(self) -> Format:
        try:
            beginning = cast("io.BufferedReader", self._file).peek(_LOOK)[:_LOOK]
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from error
        found = detect(beginning)
        if found is None:
            what = "it is empty" if not beginning else "it is in no format that is known"
            raise RecordingError(
                f"{self.path}: {what}: expected a mitmproxy flow file, a HAR, JSON lines or an access log. If it is one, say which"
            )
        return found


def _reader(form: Format) -> Read:
    if form is Format.HAR:
        return har.read
    if form is Format.JSONL:
        return json_lines.read
    if form is Format.MITM:
        from recorded import flows  # mitmproxy takes a second to import

        return flows.read
    return lambda file: access_log.read(_lines(file))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Without their ends. In the place of one that is too long stands what no reader takes for a line."""
    for line in lines(file):
        yield b"\0" if line is None else line.rstrip(b"\r\n")
