"""The access log: one JSON line a request, with everything in it, written by a thread so that the loop never waits for a disk or a pipe.

Lines wait in a bounded buffer. When the target is slow, full or gone, lines are what is lost, and the loss is counted: requests go on, and
the target is tried again. Only the thread opens, looks at and writes to it: a disk that hangs or a pipe that nobody reads holds up no start
of a worker either. A start of the gateway refuses what cannot be written, before anything runs (`check`).

A line is written where it arises. Handing dictionaries to the thread looked cheaper and was not: 12 µs a request against 1.5, because they
lived long enough to cost a page fault each, and because the thread then fought for the interpreter's lock. And `line` puts the JSON
together itself: of its twelve values only three can hold anything that JSON would have to escape.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from typing import Final

import orjson

from gateway.log_target import Target, open_target
from gateway.secret_fields import NAMES, masked
from gateway.secret_patterns import KINDS, MARKS, Patterns

FLUSH_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the target is still what its path names, and one that could not be opened is tried again."""
MAX_BYTES: Final = 2**24
"""Of lines that wait, those that the thread has in hand included: some 60,000 usual ones, or 2,000 of the longest targets."""
BATCH: Final = 1000
"""Lines that the thread takes at a time: what it has in hand stays counted, and in memory, until all of it is written."""


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
    upstream: str,
    reason: str,
    shadow: bool,
) -> bytes:
    """One request as a line of JSON. `at`: Unix time in seconds of its end. `size`: body bytes sent. `upstream`: who answered by name, of a
    split route its provider; '' for the gateway itself. A request that was refused has '' for what could not be read."""
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
        f'"seconds":{_decimal(seconds)},"route":"{route}","served_by":"{served_by}","upstream":"{upstream}","reason":"{reason}","shadow":{shadowed}}}\n'
    ).encode()


def _decimal(seconds: float) -> str:
    """With six digits behind the point: whole numbers are put together, because printing a float costs ten times as much."""
    whole = int(seconds)
    return str(whole) + "." + str(1_000_000 + int((seconds - whole) * 1_000_000))[1:]


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]


def check(target: str) -> None:
    """
    Raises:
        OSError: a log cannot be written to `target`.
    """
    if target not in ("", "-"):
        os.close(open_target(target))


def secret_names(redact: Iterable[str]) -> frozenset[str]:
    """The query fields that must not be read in a target: those named as in `redact` ($..password), and those that are secrets anyway."""
    return NAMES | ({rule.rpartition(".")[2].strip('"[]').casefold() for rule in redact if rule.startswith("$")} - {"", "*"})


def suspicion(names: frozenset[str]) -> re.Pattern[bytes]:
    """Finds a query field of such a name, or one whose name has to be decoded first: few targets have either, and only these cost more."""
    words = "|".join(re.escape(name) for name in sorted(names))
    # Only the words without regard to case: so the search can skip to the next ? or &.
    return re.compile(rb"[?&](?:(?i:" + words.encode() + rb")=|[^=&]*[%+])")


# Few targets have 13 digits, a word of 16 letters, or an ASCII character that is escaped; and no card number and no token is without.
# Asking for that takes 1 µs of a usual target (timeit, compiled: 0.1 to 0.6 before, 1.0 to 1.7 with it), and the search behind it 14 of one
# with a UUID in it.
_NO_DIGITS: Final = bytes(code for code in range(256) if not 48 <= code <= 57)
_SHORT_WORDS: Final = re.compile(rb"(?:[A-Za-z0-9_-]{0,15}+[^A-Za-z0-9_-]++)*+[A-Za-z0-9_-]{0,15}+")
_MARK: Final = re.compile(b"|".join(re.escape(mark).encode() for mark in MARKS))
_ESCAPE: Final = re.compile(rb"%[2-7Cc]")


class Mask:
    """Keeps secrets out of logged targets, as `[shadow] redact` and `redact_patterns` say."""

    def __init__(self, redact: Iterable[str], patterns: Iterable[str] = KINDS) -> None:
        self._names = secret_names(redact)
        self._suspicion = suspicion(self._names)
        self._patterns = Patterns(list(patterns), self._names)

    def presentable(self, target: bytes) -> bytes:
        """`target` without secrets in its query, and with * in place of what looks like one anywhere in it."""
        query = target.find(b"?")
        if query >= 0 and self._suspicion.search(target, query) is not None:
            target = masked(target.decode("latin-1"), self._names).encode("latin-1")
        if (
            len(target.translate(None, _NO_DIGITS)) < 13
            and (b"%" not in target or _ESCAPE.search(target) is None)
            and (_SHORT_WORDS.fullmatch(target) is not None or _MARK.search(target) is None)
        ):
            return target
        text = target.decode("latin-1")
        shown = self._patterns.replace(text, _star)
        return target if shown is text else shown.encode("latin-1")


def _star(_kind: str, _secret: str) -> str:
    return "*"


class AccessLog:
    """`target`: "-" is standard output, "" is nowhere, anything else a path to append to. `what` it is, for the gateway's own log.

    Every count is added to by one thread only, so none is lost: the loop's are `_taken` and `_refused`, the writer's `_done` and its
    target's `lost`.
    """

    def __init__(self, target: str, what: str = "the access log") -> None:
        self.enabled = target != ""
        self._lines: list[bytes] = []
        self._taken = 0
        """Bytes of all lines that were ever taken …"""
        self._done = 0
        """… and of those that are written or lost."""
        self._refused = 0
        self._in_hand = 0
        """Lines that the thread has taken."""
        self._closing = threading.Event()
        self._until = 0.0
        """Once it is closing: monotonic time at which a pipe that takes nothing is left."""
        self._next: str | None = None
        """The target to go over to, as soon as the thread comes to it."""
        self._target = Target(what)
        self._look_at = 0.0
        self._writer: threading.Thread | None = None
        if self.enabled:
            self.reopen(target)

    @property
    def dropped(self) -> int:
        """Lines lost so far. It only grows."""
        return self._refused + self._target.lost

    def reopen(self, target: str) -> None:
        """Goes over to `target`, which may be the same path and another file by now (a log that was rotated). Opening may take long, so the
        thread does it; what waits is written to the new one. One that cannot be opened costs lines, as one that cannot be written does, and
        is tried again."""
        self._next = target
        self.enabled = target != ""
        if self.enabled and self._writer is None:
            self._writer = threading.Thread(target=self._run, name=self._target.what, daemon=True)
            self._writer.start()

    def write(self, line: bytes) -> None:
        """Takes one request's line."""
        taken = self._taken + len(line)
        if taken - self._done <= MAX_BYTES:
            self._taken = taken
            self._lines.append(line)
        else:
            self._refused += 1

    def close(self, seconds: float = 2.0) -> None:
        """Writes what is left, for at most `seconds`; what cannot be written by then is counted as lost."""
        if self._writer is None:
            return
        self._until = time.monotonic() + seconds * 0.75
        self._closing.set()
        self._writer.join(seconds)
        if self._writer.is_alive():  # standard output that nobody reads, or a disk that hangs
            self._refused += len(self._lines) + self._in_hand

    def _run(self) -> None:
        closing = False
        while not closing:
            self._keep_up()
            closing = self._closing.wait(FLUSH_SECONDS)
            while self._lines:
                self._keep_up()
                self._flush()
            if self._next is not None:
                self._go_over()  # to nowhere, after the last lines

    def _keep_up(self) -> None:
        if self._next:
            self._go_over()
        elif time.monotonic() >= self._look_at:
            self._target.look()
            self._look_at = time.monotonic() + LOOK_SECONDS

    def _go_over(self) -> None:
        target, self._next = self._next, None
        if target is not None:
            self._target.go_to(target)
            self._look_at = time.monotonic() + LOOK_SECONDS

    def _flush(self) -> None:
        # Two steps, each whole under the interpreter's lock; what is appended between them stays for the next time.
        lines = self._lines[:BATCH]
        self._in_hand = len(lines)
        del self._lines[: len(lines)]
        size = 0
        for line in lines:
            size += len(line)
        while lines:
            del lines[: self._target.put(lines, self._leave)]
            self._in_hand = len(lines)
            if self._next:
                self._go_over()
        self._done += size

    def _leave(self) -> bool:
        return self._next is not None or (self._closing.is_set() and time.monotonic() > self._until)
