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
from mypy_extensions import i64

from gateway.log_target import Target, open_target
from gateway.secret_fields import NAMES, masked
from gateway.secret_patterns import KINDS, Patterns

FLUSH_SECONDS: Final = 0.2
LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the target is still what its path names, and one that could not be opened is tried again."""
MAX_BYTES: Final = 2**24
"""Of lines that wait, those that the thread has in hand included: some 60,000 usual ones, or 2,000 of the longest targets."""
BATCH: Final = 1000
"""Lines that the thread takes at a time: what it has in hand stays counted, and in memory, until all of it is written."""


_DIGITS_3: Final = [f"{number:03}" for number in range(1000)]
_NUMBERS: Final = [str(number) for number in range(1000)]
_USUAL: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class _Second:
    """The last whole second in digits: most lines are of the same as the one before."""

    __slots__ = ("number", "text")

    def __init__(self) -> None:
        self.number = 0
        self.text = "0"


_SECOND: Final = _Second()


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
    visible: bool = False,
) -> bytes:
    """One request as a line of JSON. `at`: Unix time in seconds of its end. `size`: body bytes sent. `upstream`: who answered by name, of a
    split route its provider; '' for the gateway itself. A request that was refused has '' for what could not be read. `visible`: the target
    has nothing but visible ASCII, as is known of one that was read."""
    text = request_id.decode("latin-1")
    if not text.isalnum():
        text = _escaped(text)  # from a trusted proxy: ours are digits and letters
    path = target.decode("latin-1")
    if '"' in path or "\\" in path or not (visible or path.isprintable()):
        path = _escaped(path)
    if method not in _USUAL and not method.isalpha():
        method = _escaped(method)
    shadowed = "true" if shadow else "false"
    # Six digits behind the point: printing a float costs ten times as much.
    digits, whole, some = _DIGITS_3, int(at), int(seconds)
    if whole != _SECOND.number:
        _SECOND.number, _SECOND.text = whole, str(whole)
    spent = _NUMBERS[some] if some < 1000 else str(some)
    # mitmproxy reads a status of any length.
    code = _NUMBERS[status] if 0 <= status < 1000 else str(status)
    part, piece = int((at - whole) * 1_000_000), int((seconds - some) * 1_000_000)
    return (
        f'{{"time":{_SECOND.text}.{digits[part // 1000]}{digits[part % 1000]},"id":"{text}","client":"{client}","method":"{method}",'
        f'"target":"{path}","status":{code},"bytes":{size},"seconds":{spent}.{digits[piece // 1000]}{digits[piece % 1000]},'
        f'"route":"{route}","served_by":"{served_by}","upstream":"{upstream}","reason":"{reason}","shadow":{shadowed}}}\n'
    ).encode()


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


# Nearly no target holds a secret, and the search for one costs 14 µs and more. So first it is asked for what every secret has, in bytes
# and without decoding: 13 digits with no more than blanks between them, the end of a token's prefix, or an escape under which either
# could hide.
_PIVOTS: Final = b"._-J+ \t:%AzV\\#;?&"
_DIGITS: Final = b"0123456789"
_UNHINTED: Final = _DIGITS + b"?&"
"""With which nothing begins that _HINT finds."""
_ELSE: Final = bytes(code for code in range(256) if code not in _PIVOTS + _DIGITS)
_HINT: Final = re.compile(
    rb"(?s)[._\-J+ \t:%AzV\\#;](?:"
    rb"(?<=\\|\#|;)"  # escapes of JavaScript, character references; and ; begins a field too
    rb"|(?<=%)(?:2[356DdEe]|3[0-9BDFbdf]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9Aa])"  # what a token, an escape, a field is made of
    rb"|(?<=ve_|st_|ec_|h[pousr]_|at_|pm_|hf_|v1_|at-|x[abprs]-|pp-|PX-|pi-|sk-|SG\.|29\.|eyJ|AIz)"
    rb"|(?<=AKIA|ASIA|PRIV)"
    rb"|(?<=earer[ \t:+%]|EARER[ \t:+%]|basic[ \t+%]|Basic[ \t+%]))"
)
"""Something of every token but its body. Begins with one character of few, for which the search looks at no cost worth mentioning."""


def _hinted(text: bytes, rest: bytes) -> bool:
    """`rest`: of it, digits and _PIVOTS."""
    return bool(rest.strip(_UNHINTED)) and _HINT.search(text) is not None


_CARD_DIGITS: Final = 13
"""A card's number has as many, or more."""
_ROW: Final = bytes(48 if code in _DIGITS else 10 for code in range(256))
_BETWEEN: Final = bytes((9, 32, 43, 45, *range(128, 256)))
_THIRTEEN: Final = b"0" * 13
_CARD: Final = re.compile(
    rb"(?<![0-9])(?:[456](?:[ \t\xa0+-]{0,2}+[0-9]){12}|3(?:[ \t\xa0+-]{0,2}+[0-9]){13}"
    rb"|1(?:[ \t\xa0+-]{0,2}+[0-9]){14}|[2789](?:[ \t\xa0+-]{0,2}+[0-9]){15})"
)
"""Cards' numbers are as long as that by their first digit (gateway/secret_patterns.py)."""


_ESCAPED: Final = re.compile(rb"%(?:[2-7][0-9]|2[BbDd]|[Cc]2)")
"""What stands for a digit or a blank, or ends in a digit beside which the number's first would not be seen."""


def _numbered(target: bytes) -> bool:
    """Whether a card's number may be in a target with 13 digits and more."""
    if target.find(b"%") >= 0 and _ESCAPED.search(target) is not None:
        return True
    return target.translate(_ROW, _BETWEEN).find(_THIRTEEN) >= 0 and _CARD.search(target) is not None


_SHORT_QUERY: Final = 100
_QUERIES: Final = 1000
"""Harmless queries of up to _SHORT_QUERY bytes that are remembered: some 200 KB at most. An API's are few, and come again."""
_IN_PATH: Final = bytes(3 if code == 0x3F else 2 if code in _PIVOTS else 1 if code in _DIGITS else 0 for code in range(256))
"""What each byte is before a query: 1 for digits, 3 for the mark with which that begins, 2 for the rest of _PIVOTS."""


class Mask:
    """Keeps secrets out of logged targets, as `[shadow] redact` and `redact_patterns` say."""

    def __init__(self, redact: Iterable[str], patterns: Iterable[str] = KINDS) -> None:
        self._names = secret_names(redact)
        self._suspicion = suspicion(self._names)
        self._words = frozenset(name.encode() for name in self._names)
        self._plain = not any(mark in name for name in self._names for mark in "?&=")
        self._patterns = Patterns(list(patterns), self._names)
        self._harmless: dict[bytes, int] = {}
        """Queries without a word or a hint of a secret, each with its mark: how many digits and _PIVOTS are in it."""

    def presentable(self, target: bytes) -> bytes:
        """`target` without secrets in its query, and with * in place of what looks like one anywhere in it.

        Mostly it has a plain path and a query that came before: then 1,100 instructions, and 10,300 without this.
        """
        # Within a path of letters, slashes and a few digits nothing can be, and nothing in it can have to do with what is in the query.
        digits: i64 = 0
        query: i64 = 0
        size: i64 = len(target)
        while query < size:
            byte: i64 = target[query]
            kind: i64 = _IN_PATH[byte]
            if kind == 1:
                digits += 1
            elif kind == 2:
                return self._shown(target)
            elif kind == 3:
                break
            query += 1
        if query == size:
            return target if digits < _CARD_DIGITS else self._shown(target)
        if size - query > _SHORT_QUERY:
            return self._shown(target)
        asked = target[query:]
        more = self._harmless.get(asked)
        if more is None:
            rest = asked.translate(None, _ELSE)
            if self._suspicious(asked) or _hinted(asked, rest):
                return self._shown(target)
            if len(self._harmless) >= _QUERIES:
                self._harmless.clear()
            more = self._harmless[asked] = len(rest)
        return target if digits + more < _CARD_DIGITS else self._shown(target)

    def _shown(self, target: bytes) -> bytes:
        rest = target.translate(None, _ELSE)
        if len(rest) < _CARD_DIGITS and (not rest or rest.isdigit()):
            return target
        search = False
        if rest.find(b"?") >= 0 or rest.find(b"&") >= 0:  # bytes in bytes costs an exception inside
            query, following = target.find(b"?"), target.find(b"&")
            astray = query < 0 or 0 <= following < query
            if self._suspicious(target[0 if astray else query :]):
                # Fields elsewhere than between & in the one query are found by the search alone.
                search = astray or target.count(b"?") > 1
                target = masked(target.decode("latin-1"), self._names).encode("latin-1")
        if not (search or _hinted(target, rest) or (len(rest) >= _CARD_DIGITS and _numbered(target))):
            return target
        text = target.decode("latin-1")
        shown = self._patterns.replace(text, _star)
        return target if shown is text else shown.encode("latin-1")

    def _suspicious(self, query: bytes) -> bool:
        """As `suspicion` finds it. Of short queries each name is looked up: 0.44 µs where the pattern takes 0.51."""
        if not self._plain or len(query) > _SHORT_QUERY:
            return self._suspicion.search(query) is not None
        first = True
        for part in query.replace(b"?", b"&").split(b"&"):
            if first:
                first = False  # what is before the first mark is no field
                continue
            equals = part.find(b"=")
            name = part if equals < 0 else part[:equals]
            if equals >= 0 and name.lower() in self._words:
                return True
            if name.find(b"%") >= 0 or name.find(b"+") >= 0:
                return True
        return False


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
