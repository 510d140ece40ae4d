"""The access log: one JSON line a request, with everything in it, written by a thread so that the loop never waits for a disk or a pipe.

Lines wait in a bounded buffer. When the target is slow, full or gone, lines are what is lost, and the loss is counted: requests go on.

A line is written where it arises. Handing dictionaries to the thread looked cheaper and was not: 12 µs a request against 1.5, because they
lived long enough to cost a page fault each, and because the thread then fought for the interpreter's lock. And `line` puts the JSON
together itself: of its twelve values only three can hold anything that JSON would have to escape.
"""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import sys
import threading
from collections.abc import Iterable
from typing import Final

import orjson

from gateway.secret_fields import NAMES, masked

_log = logging.getLogger("banyan.worker")

FLUSH_SECONDS: Final = 0.2
MAX_LINES: Final = 50_000
"""About 15 MB of waiting lines."""


def line(
    at: float,
    request_id: bytes,
    client: str,
    method: str,
    target: bytes,
    status: int,
    size: int,
    seconds: float,
    route: str,
    served_by: str,
    reason: str,
    shadow: bool,
) -> bytes:
    """One request as a line of JSON. `at`: Unix time in seconds of its end. `size`: body bytes sent. A request that was refused has '' for
    what could not be read."""
    text = request_id.decode("latin-1")
    if not text.isalnum():
        text = _escaped(text)  # from a trusted proxy: ours are digits and letters
    path = target.decode("latin-1")
    if '"' in path or "\\" in path or not path.isprintable():
        path = _escaped(path)
    if not method.isalpha():
        method = _escaped(method)
    shadowed = "true" if shadow else "false"
    return (
        f'{{"time":{_decimal(at)},"id":"{text}","client":"{client}","method":"{method}","target":"{path}","status":{status},"bytes":{size},'
        f'"seconds":{_decimal(seconds)},"route":"{route}","served_by":"{served_by}","reason":"{reason}","shadow":{shadowed}}}\n'
    ).encode()


def _decimal(seconds: float) -> str:
    """With six digits behind the point: whole numbers are put together, because printing a float costs ten times as much."""
    whole = int(seconds)
    return str(whole) + "." + str(1_000_000 + int((seconds - whole) * 1_000_000))[1:]


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def _open(target: str, flags: int = 0) -> int:
    # 0600: paths and client addresses are personal data.
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | flags, 0o600)


def check(target: str) -> None:
    """
    Raises:
        OSError: a log cannot be written to `target`.
    """
    if target not in ("", "-"):
        # Not blocking: a named pipe that nobody reads is an error here, not a wait without end.
        os.close(_open(target, os.O_NONBLOCK))


def secret_names(redact: Iterable[str]) -> frozenset[str]:
    """The query fields that must not be read in a target: those named as in `redact` ($..password), and those that are secrets anyway."""
    return NAMES | ({rule.rpartition(".")[2].strip('"[]').casefold() for rule in redact if rule.startswith("$")} - {"", "*"})


def suspicion(names: frozenset[str]) -> re.Pattern[bytes]:
    """Finds a query field of such a name, or one whose name has to be decoded first: few targets have either, and only these cost more."""
    words = "|".join(re.escape(name) for name in sorted(names))
    # Only the words without regard to case: so the search can skip to the next ? or &.
    return re.compile(rb"[?&](?:(?i:" + words.encode() + rb")=|[^=&]*[%+])")


class Mask:
    """Keeps secrets out of logged targets, as `[shadow] redact` says."""

    def __init__(self, redact: Iterable[str]) -> None:
        self._names = secret_names(redact)
        self._suspicion = suspicion(self._names)

    def presentable(self, target: bytes) -> bytes:
        """`target` without secrets in its query."""
        query = target.find(b"?")
        if query < 0 or self._suspicion.search(target, query) is None:
            return target
        return masked(target.decode("latin-1"), self._names).encode("latin-1")


class AccessLog:
    """`target`: "-" is standard output, "" is nowhere, anything else a path to append to."""

    def __init__(self, target: str) -> None:
        self.enabled = target != ""
        self.dropped = 0
        """Lines lost so far."""
        self._lines: list[bytes] = []
        self._closing = threading.Event()
        self._next: str | None = None
        """The target to go over to, as soon as the thread comes to it."""
        self._fd = -1
        self._piece = sys.maxsize
        self._writer: threading.Thread | None = None
        if self.enabled:
            self._take(1 if target == "-" else _open(target))
            self._start()

    def reopen(self, target: str) -> None:
        """Goes over to `target`, which may be the same path and another file by now (a log that was rotated). Opening may take long, so the
        thread does it; what waits is written to the new one. One that cannot be opened costs lines, as one that cannot be written does."""
        self._next = target
        self.enabled = target != ""
        if self.enabled and self._writer is None:
            self._start()

    def write(self, line: bytes) -> None:
        """Takes one request's line."""
        if len(self._lines) < MAX_LINES:
            self._lines.append(line)
        else:
            self.dropped += 1

    def close(self, seconds: float = 2.0) -> None:
        """Writes what is left, for at most `seconds`."""
        if self._writer is not None:
            self._closing.set()
            self._writer.join(seconds)

    def _start(self) -> None:
        self._writer = threading.Thread(target=self._run, name="access log", daemon=True)
        self._writer.start()

    def _take(self, fd: int) -> None:
        if self._fd > 2:
            os.close(self._fd)
        self._fd = fd
        # Several workers write to one pipe: up to PIPE_BUF bytes arrive in one piece, more may be torn by another's (POSIX, write).
        self._piece = sys.maxsize if fd < 0 or stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF

    def _go_over(self) -> None:
        target, self._next = self._next, None
        if target is None:
            return
        fd = -1
        try:
            fd = 1 if target == "-" else _open(target) if target else -1
        except OSError as error:
            _log.error("the access log %s cannot be opened (%s): its lines are lost", target, error.strerror)
        self._take(fd)

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(FLUSH_SECONDS)
            if self._next:
                self._go_over()
            # Two steps, each whole under the interpreter's lock; what is appended between them stays for the next time.
            lines = self._lines[:]
            del self._lines[: len(lines)]
            if lines:
                self._flush(lines)
            if self._next is not None:
                self._go_over()  # to nowhere, after the last lines

    def _flush(self, lines: list[bytes]) -> None:
        piece: list[bytes] = []
        size = 0
        for each in lines:
            if piece and size + len(each) > self._piece:
                self._put(piece)
                piece, size = [], 0
            piece.append(each)
            size += len(each)
        self._put(piece)

    def _put(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        try:
            while data:
                written = os.write(self._fd, data)  # on a line of its own: compiled, a memoryview's slice evaluates its bounds twice
                data = data[written:]
        except OSError:
            self.dropped += len(lines)
