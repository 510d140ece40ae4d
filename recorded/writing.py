"""A recording that is being made: bounded, for its owner alone, and in its place only once it is whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from recorded import har, json_lines
from recorded.entry import Entry
from recorded.reading import SUFFIXES, Format

FORMATS: Final = (Format.MITM, Format.HAR, Format.JSONL)
"""What is written. An access log says too little."""


class Writer:
    """One file, of mode 0600: it shows what people's requests held. It is written under another name beside `path`, and has that once it is
    closed; what was there is replaced then."""

    def __init__(self, path: Path, form: Format) -> None:
        """
        Raises:
            OSError: it cannot be made.
            ValueError: nothing writes this format.
        """
        self.path = path
        self._element, self._begin, self._between, self._end = _style(form)
        if path.is_dir():  # no file ever replaces it: better said now than once all is written
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._file = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._file.write(self._begin)
        self.entries = 0
        self.bytes = len(self._begin) + len(self._end)
        """As many as the file will have."""

    def add(self, entry: Entry, most: int | None = None) -> bool:
        """Writes it down; False: the file would be longer than `most` bytes, and it is not.

        Raises:
            OSError: the disk is full, for example.
        """
        data = (self._between if self.entries else b"") + self._element(entry)
        if most is not None and self.bytes + len(data) > most:
            return False
        self._file.write(data)
        self._file.flush()  # whatever ends this process, what it had is there
        self.entries += 1
        self.bytes += len(data)
        return True

    def close(self) -> None:
        """It is whole.

        Raises:
            OSError: it cannot be written to its end, or put in its place.
        """
        try:
            self._file.write(self._end)
            self._file.close()
            self._partial.replace(self.path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Nothing of it is left."""
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written is not wanted any more
        self._partial.unlink(missing_ok=True)


def form_of(path: Path) -> Format | None:
    """What is written to a file of such a name; None: it says nothing."""
    found = SUFFIXES.get(path.suffix.lower())
    return found if found in FORMATS else None


def _style(form: Format) -> tuple[Callable[[Entry], bytes], bytes, bytes, bytes]:
    if form is Format.HAR:
        return har.element, har.BEGIN, b",\n", har.END
    if form is Format.JSONL:
        return json_lines.line, b"", b"", b""
    if form is Format.MITM:
        from recorded import flows  # mitmproxy takes a second to import

        return flows.element, b"", b"", b""
    raise ValueError(f"{form} is not written")
