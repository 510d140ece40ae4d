"""Heads that come again. A program that talks over one connection repeats its header fields from request to request to the byte, but for a
value here and there (a Referer, a Content-Length), and so does a server in its answers. What was found out about the last head then still
stands, and only the few values that vary have to be looked at.

Invariant: a head is taken for known only if it is the last one of its connection to the byte, but for the values of lines whose value means
nothing to the gateway, each of which was matched whole; so it comes out exactly as `parse_request` or `parse_response` would read it
(tests/gateway/net/test_recurring.py holds them together). Everything else is parsed in full, and learnt from.

Measured, compiled, over the requests of bench/load.py: a head of twelve fields of which one varies takes 5,200 instructions, parsed
in full 33,000 (callgrind).
"""

from __future__ import annotations

import re
from typing import Final

from mypy_extensions import i64

from gateway.net.head import (
    MAX_REQUEST_ID,
    REQUEST_LINE,
    RequestHead,
    ResponseHead,
    check_target,
    parse_request,
    parse_response,
)
from gateway.net.lines import (
    CUT,
    FORWARDED,
    LENGTH,
    PLAIN,
    REQUEST,
    REQUEST_ID,
    RESPONSE,
    TARGET,
    TRACE,
    UNDERSCORED,
    UPGRADE,
    VALUE,
    Lines,
)
from gateway.trace import valid

MAX_VARYING: Final = 4
"""Lines of one head whose values may vary."""
PATIENCE: Final = 8
"""Heads in a row that were not as expected. After that only two of PATIENCE are learnt from, for learning costs half of what it saves: two,
because one shows what a head is like, and the next what varies in it."""
SHORT: Final = 64
"""Bytes of a value, or a target, up to which compiled code looks at each of them.

What else is to be known of them it finds out on the way: to ask for it apart is a call of a method of bytes, which takes 500 instructions.
Places are counted in machine integers (i64): with Python's a byte took 45 instructions, and takes 15."""

_VALUE: Final = re.compile(rb"[" + VALUE + rb"]*+")
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_LONGEST_METHOD: Final = 7
_SPACE: Final = 0x20
_TAB: Final = 0x09
_ZERO: Final = 0x30
_ESCAPE: Final = 1
_END: Final = 2
_NEVER: Final = 3
_ALLOWED: Final = re.compile(rb"[" + TARGET + rb"]")
_SORTS: Final = bytes(
    _END if code == _SPACE else _ESCAPE if code == 0x25 else 0 if _ALLOWED.fullmatch(bytes((code,))) else _NEVER for code in range(256)
)
"""What each byte is in a target: 0 for most."""
_MAY_VARY: Final = frozenset((PLAIN, LENGTH, CUT, FORWARDED, REQUEST_ID, TRACE, UNDERSCORED))


class Shape:
    """What a head is made of: constant bytes, and between them the values that vary."""

    __slots__ = ("_kept", "_needed", "_shown", "_values", "constants", "hidden", "length", "lines", "request_id", "trace", "varying")

    def __init__(self, lines: list[bytes], fields: bytes, varying: list[int]) -> None:
        self.lines = lines
        """The whole head, line by line, the request or status line first."""
        self.varying = varying
        """Which of them vary."""
        self.length = -1
        """Which of the varying values is the Content-Length's, counted from 0; -1: none."""
        self.request_id = -1
        """The same for a trusted proxy's X-Request-ID."""
        self.trace = -1
        """The same for its traceparent."""
        self.hidden: list[int] = []
        """Which lines must not be captured, where some of these vary."""
        self.constants = _pieces(lines, varying)
        self._needed = [False] * len(varying)
        """Which of the varying values anybody asks for …"""
        self._values = [b""] * len(varying)
        """… as they were in the head that was matched last: to remember where they were would make two integers of each."""
        kept = fields.split(b"\r\n")  # begins with an empty one
        self._shown: list[bool] | None = None
        self._kept: list[bytes] = []
        if len(kept) < len(lines):
            # Lines are cut by their text or their name, so of equal ones all are cut or none, and their order stays.
            places: list[int] = []
            at = 1
            for number in range(1, len(lines)):
                if at < len(kept) and lines[number] == kept[at]:
                    places.append(number)
                    at += 1
            self._shown = [number in places for number in varying]
            self._kept = _pieces(kept, [places.index(number) + 1 for number in varying if number in places])
            self._kept[-1] = self._kept[-1][:-4]  # the empty line is no field

    def match(self, data: bytes, start: i64) -> i64:
        """Where the head that begins in `data` ends, if from `start` on it has this shape, else -1."""
        constants = self.constants
        constant = constants[0]
        at: i64 = start
        begin: i64
        needed = self._needed
        for number in range(len(needed)):
            begin = at
            at += len(constant)
            if data[begin:at] != constant:
                return -1
            begin = at
            at = _value_end(data, at)
            if needed[number]:
                self._values[number] = data[begin:at]
            constant = constants[number + 1]
        end = at + len(constant)
        return end if data[at:end] == constant else -1

    def fields(self, data: bytes, start: int, end: int) -> bytes:
        """The lines to pass on of the head that was matched last, each with its CRLF before it."""
        shown = self._shown
        if shown is None:
            return data[start : end - 4]
        kept = self._kept
        parts = [kept[0]]
        for number in range(len(shown)):
            if shown[number]:
                parts.append(self._values[number])
                parts.append(kept[len(parts) // 2])
        return b"".join(parts)

    def need(self) -> None:
        """It is known now what the varying values are."""
        shown = self._shown
        for number in range(len(self.varying)):
            self._needed[number] = (
                (shown is not None and shown[number])
                or number in (self.length, self.request_id, self.trace)
                or self.varying[number] in self.hidden
            )

    def value(self, which: int) -> bytes:
        """A varying value of the head that was matched last, without white space around it."""
        return self._values[which].strip(b" \t")

    def secrets(self) -> list[bytes]:
        """The lines of the head that was matched last that must not be captured. Only where there are `hidden` ones."""
        found: list[bytes] = []
        for number in self.hidden:
            line = self.lines[number]
            if number in self.varying:
                line = line[: line.find(b":") + 1] + self._values[self.varying.index(number)]
            found.append(line)
        return found

    def content_length(self) -> int:
        """The Content-Length of the head that was matched last; -1: it is not valid. Only where `length` says that it varies."""
        value = self._values[self.length]
        at: i64 = 0
        end: i64 = len(value)
        while at < end and (value[at] == _SPACE or value[at] == _TAB):
            at += 1
        while end > at and (value[end - 1] == _SPACE or value[end - 1] == _TAB):
            end -= 1
        # As LENGTH_VALUE would have it, at a tenth of the time.
        size: i64 = end - at
        if size == 0 or size > 18 or (size > 1 and value[at] == _ZERO):
            return -1
        number: i64 = 0
        while at < end:
            digit: i64 = value[at] - _ZERO
            if digit < 0 or digit > 9:
                return -1
            number = 10 * number + digit
            at += 1
        return number


def learn(last: Shape | None, lines: list[bytes], fields: bytes, known: Lines, *, trusted: bool) -> Shape:
    """The shape of the next head, after one of `lines`, of which `fields` are passed on. `last`: the shape that it did not have."""
    varying: list[int] = []
    if last is not None and len(last.lines) == len(lines):
        before = last.lines
        for number in range(1, len(lines)):
            line = lines[number]
            if line == before[number] and number not in last.varying:
                continue
            name = line[: line.find(b":") + 1]
            if len(varying) == MAX_VARYING or not before[number].startswith(name) or not _may_vary(name[:-1].lower(), known):
                varying = []
                break
            varying.append(number)
    shape = Shape(lines, fields, varying)
    secret = False
    for place, number in enumerate(varying):
        name = lines[number][: lines[number].find(b":")].lower()
        kind = known.kind(name)
        secret = secret or known.secret(name)
        if kind == LENGTH:
            if any(known.kind(line[: line.find(b":")].lower()) == UPGRADE for line in lines[1:]):
                return Shape(lines, fields, [])  # whether a body may stand beside it, parse_request knows (edge.md 18)
            shape.length = place
        elif trusted and kind in (REQUEST_ID, TRACE):
            if len([line for line in lines if line.lower().startswith(name + b":")]) > 1:
                return Shape(lines, fields, [])  # which of them counts, parse_request knows
            if kind == REQUEST_ID:
                shape.request_id = place
            elif name == b"traceparent":
                shape.trace = place
    if secret:
        shape.hidden = [number for number in range(1, len(lines)) if known.secret(lines[number][: lines[number].find(b":")].lower())]
    shape.need()
    return shape


def _worth_learning(misses: int) -> bool:
    """After so many heads in a row that were not as expected."""
    return misses <= PATIENCE or misses % PATIENCE < 2


def _may_vary(name: bytes, known: Lines) -> bool:
    return known.kind(name) in _MAY_VARY


def _value_end(data: bytes, start: i64) -> i64:
    """Where what begins at `start` ceases to be a field's value, as _VALUE has it."""
    at: i64 = start
    most: i64 = len(data)
    if most > start + SHORT:
        most = start + SHORT
    while at < most:
        byte: i64 = data[at]
        if (byte < 0x20 and byte != _TAB) or byte == 0x7F:
            return at
        at += 1
    found = _VALUE.match(data, most)
    assert found is not None  # noqa: S101 - it matches nothing, too
    return found.end()


def _pieces(lines: list[bytes], varying: list[int]) -> list[bytes]:
    """What stands before, between and after the values of the `varying` lines; the first line stands for what is before the fields."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    for number in range(1, len(lines)):
        line = lines[number]
        piece.append(b"\r\n")
        if number in varying:
            piece.append(line[: line.find(b":") + 1])
            pieces.append(b"".join(piece))
            piece = []
        else:
            piece.append(line)
    piece.append(b"\r\n\r\n")
    pieces.append(b"".join(piece))
    return pieces


class Requests:
    """The heads of one client connection. `trusted`, `max_fields`: as for parse_request."""

    __slots__ = ("_last", "_max_fields", "_misses", "_shape", "_trusted")

    def __init__(self, *, trusted: bool, max_fields: int) -> None:
        self._trusted = trusted
        self._max_fields = max_fields
        self._shape: Shape | None = None
        self._last: RequestHead | None = None
        self._misses = 0

    def read(self, data: bytes, limit: int) -> RequestHead | None:
        """The head that `data` begins with. None: it does not end within `data`, or within its first `limit` bytes.

        Raises:
            HeadError: as parse_request.
        """
        shape, last = self._shape, self._last
        if shape is not None and last is not None:
            head = _again(data, shape, last, limit)
            if head is not None:
                self._misses = 0
                return head
        end = data.find(b"\r\n\r\n", 0, limit) + 4
        if end < 4:
            return None
        lines = data[: end - 4].split(b"\r\n")
        head = parse_request(data[:end], lines, trusted=self._trusted, max_fields=self._max_fields)
        self._misses += 1
        if _worth_learning(self._misses):
            self._shape = learn(shape, lines, head.fields, REQUEST, trusted=self._trusted)
            self._last = head
        else:
            self._shape = self._last = None
        return head


def _again(data: bytes, shape: Shape, last: RequestHead, limit: int) -> RequestHead | None:
    """The head that `data` begins with, if it has this shape."""
    method, target, start, escaped = _request_line(data)
    if start == 0:
        return None
    end = shape.match(data, start)
    if end < 0 or end > limit:
        return None
    if (data[start - 1] == 0x31) != last.http11:
        return None
    length = last.length
    if shape.length >= 0:
        length = shape.content_length()
        if length < 0:
            return None
    head = RequestHead()
    head.method = method
    head.target = target
    head.size = end
    head.length = length
    head.fields = shape.fields(data, start, end) if shape.varying else last.fields
    head.http11 = last.http11
    head.chunked = last.chunked
    head.keep_alive = last.keep_alive
    head.expect = last.expect
    head.request_id = last.request_id if shape.request_id < 0 else shape.value(shape.request_id)[:MAX_REQUEST_ID]
    head.patience = last.patience
    head.stamp = last.stamp
    head.traceparent = last.traceparent
    if shape.trace >= 0:
        head.traceparent = shape.value(shape.trace)
        if not last.traceparent or not valid(head.traceparent):
            return None
    head.named = last.named
    head.underscored = last.underscored
    head.secrets = shape.secrets() if shape.hidden else last.secrets
    head.host = last.host
    head.upgrade = last.upgrade
    check_target(head, escaped=escaped)
    return head


def _request_line(data: bytes) -> tuple[str, bytes, i64, bool]:
    """(method, target, where the request line ends, whether there is a % in the target), as REQUEST_LINE has it; the third is 0 where it is
    none."""
    size: i64 = len(data)
    space: i64 = 0
    most: i64 = _LONGEST_METHOD + 1
    if most > size:
        most = size
    while space < most and data[space] != _SPACE:
        space += 1
    method = _METHODS.get(data[:space], "")
    end: i64 = 0
    escaped = False
    if method:
        at: i64 = space + 1
        most = space + SHORT
        if most > size:
            most = size
        while at < most:
            byte: i64 = data[at]
            sort: i64 = _SORTS[byte]
            if sort != 0:
                if sort == _END:
                    end = at
                    break
                if sort == _NEVER:
                    return "", b"", 0, False
                escaped = True
            at += 1
    if end == 0:  # another method, or a longer target, for which a pattern is quicker
        line = REQUEST_LINE.match(data)
        return ("", b"", 0, False) if line is None else (line[1].decode("ascii"), line[2], line.end(), True)
    version = data[end : end + 9]
    if end == space + 1 or (version != b" HTTP/1.1" and version != b" HTTP/1.0"):
        return "", b"", 0, False
    return method, data[space + 1 : end], end + 9, escaped


class Responses:
    """The heads of one upstream connection."""

    __slots__ = ("_last", "_misses", "_shape")

    def __init__(self) -> None:
        self._shape: Shape | None = None
        self._last: ResponseHead | None = None
        self._misses = 0

    def read(self, data: bytes) -> ResponseHead | None:
        """The head that `data` begins with. None: it does not end within `data`.

        Raises:
            HeadError: as parse_response.
        """
        shape, last = self._shape, self._last
        if shape is not None and last is not None and data.startswith(shape.lines[0]):
            start = len(shape.lines[0])
            end = shape.match(data, start)
            length = last.length
            if end >= 0 and shape.length >= 0:
                length = shape.content_length()
                if length < 0:
                    end = -1
            if end >= 0:
                self._misses = 0
                head = ResponseHead()
                head.status = last.status
                head.line = last.line
                head.http11 = last.http11
                head.size = end
                head.length = length
                head.fields = shape.fields(data, start, end) if shape.varying else last.fields
                head.chunked = last.chunked
                head.keep_alive = last.keep_alive
                head.secrets = shape.secrets() if shape.hidden else last.secrets
                head.upgrade = last.upgrade
                return head
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        lines = data[: end - 4].split(b"\r\n")
        head = parse_response(data[:end], lines)
        self._misses += 1
        if _worth_learning(self._misses):
            self._shape = learn(shape, lines, head.fields, RESPONSE, trusted=False)
            self._last = head
        else:
            self._shape = self._last = None
        return head
