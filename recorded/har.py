"""HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/), as browsers and proxies write it: read entry by entry, so that a file may be
larger than memory, and one that breaks off tells what it has.

A HAR's bodies are what the browser made of them, without Content-Encoding: so that field, and the framing ones, are left out of an
answer that has its body. Where a body is missing, as Chromium leaves out those of redirects, that is said by None.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from recorded import checked
from recorded.checked import MAX_ENTRY, EntryError
from recorded.entry import Entry, Fields, Trouble

_PIECE: Final = 256 * 1024
_MARKS: Final = re.compile(rb'\\.|["{}\[\]]', re.DOTALL)
_BEGINS: Final = re.compile(rb'\{\s{0,20}"(?:startedDateTime|pageref|_connectionId|_initiator)"')
"""Entries, as those who write them begin them: where one of them is broken, the next is known by that."""
_LONGEST_BEGIN: Final = 48
"""Bytes."""
_CLOSES: Final = {b"}": b"{", b"]": b"["}
_UNDONE: Final = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))
_SKIPPED: Final = b" \t\r\n,"
_ENTRIES: Final = b"{{["
"""What is open between two entries."""
_GAP: Final = 100
"""Bytes of what stands between two entries that are looked at."""


def read(file: BinaryIO) -> Iterator[Entry | Trouble]:
    """What is in it."""
    number = 0
    for found in _elements(file):
        number += 1
        if isinstance(found, str):
            yield Trouble(number, found)
            continue
        try:
            yield _entry(checked.mapping(_decoded(found), "JSON object"), number)
        except EntryError as error:
            yield Trouble(number, str(error))


def _decoded(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise EntryError("the entry is no JSON") from None


class _Scan:
    """Finds the elements of log.entries by brackets and quotes alone. A backslash in front of a piece's end waits for the next one."""

    def __init__(self) -> None:
        self.found = False
        """The list of entries was."""
        self.ended = False
        self.lost = False
        """Brackets said nothing any more: the next beginning of an entry is looked for."""
        self._stack = b""
        self._in_string = False
        self._string = bytearray()
        """The text that was read last, as far as it can be a name that matters."""
        self._element: bytearray | None = None
        self._over = False
        self._gap = bytearray()

    @property
    def within(self) -> bool:
        """Something has begun, and not ended."""
        return bool(self._stack) or self._in_string

    def feed(self, data: bytes) -> Iterator[bytes | str]:
        """Elements, or what is wrong where one should be."""
        at = 0  # up to which `data` is taken into the element, the gap or the text
        for mark in _MARKS.finditer(data):
            what = mark[0]
            if what[:1] == b"\\":
                continue
            if what == b'"':
                if self._in_string:
                    self._take(data, at, mark.start())
                    self._in_string = False
                    self._take(data, mark.start(), mark.end())
                else:
                    self._take(data, at, mark.start())
                    self._in_string = True
                    self._string.clear()
                    self._take(data, mark.start(), mark.end())
                at = mark.end()
                continue
            if what == b"{" and self.found and not self.ended and _BEGINS.match(data, mark.start()) is not None:
                self._take(data, at, mark.start())
                at = mark.start()
                if not self.lost and self._misplaced():
                    yield "the entry is no JSON"
                    self.lost = True
                if self.lost:
                    self.lost = self._in_string = False
                    self._stack = _ENTRIES
                    self._gap.clear()
            if self._in_string or self.lost:
                continue
            if what in (b"{", b"["):
                self._take(data, at, mark.start())
                at = mark.start()
                if self.found and not self.ended and len(self._stack) == 3:
                    yield from self._end_gap()
                    self._element, self._over = bytearray(), False
                elif self._stack == b"{{" and what == b"[" and self._root == b"log" and self._name() == b"entries":
                    self.found = True
                    at = mark.end()
                if len(self._stack) == 1:
                    self._root = self._name()
                self._stack += what
            else:
                self._take(data, at, mark.end())
                at = mark.end()
                if self._stack[-1:] != _CLOSES[what]:
                    yield "what stands here is no JSON"
                    if not self.found:
                        self.ended, self._stack = True, b""
                        return
                    self.lost, self._element = True, None
                    continue
                self._stack = self._stack[:-1]
                if len(self._stack) == 3 and self._element is not None:
                    yield f"the entry is longer than {MAX_ENTRY} bytes" if self._over else bytes(self._element)
                    self._element = None
                elif self.found and not self.ended and len(self._stack) == 2:
                    del self._gap[-1:]  # the list's own end
                    yield from self._end_gap()
                    self.ended = True
        self._take(data, at, len(data))

    def _misplaced(self) -> bool:
        """Whether an entry that begins here does so within another, where no JSON has an object: in a text, or in an object without a name.
        So the end is seen of one that lacks a brace or a quote, and of what is whole nothing is taken for an entry."""
        if self._element is None:
            return self._in_string
        return self._in_string or (self._stack[-1:] == b"{" and (self._over or self._element[-_GAP:].rstrip()[-1:] == b","))

    _root = b""

    def _name(self) -> bytes:
        return bytes(self._string).strip(b'"')

    def _take(self, data: bytes, begin: int, end: int) -> None:
        if begin >= end:
            return
        if self._element is not None:
            if len(self._element) + end - begin > MAX_ENTRY:
                self._over = True
                self._element.clear()
            if not self._over:
                self._element += data[begin:end]
        elif self.found and not self.ended:
            self._gap += data[begin : min(end, begin + _GAP)]
            del self._gap[4 * _GAP :]
        elif self._in_string and len(self._string) < _GAP:
            self._string += data[begin : min(end, begin + _GAP)]

    def _end_gap(self) -> Iterator[str]:
        other = bytes(self._gap).strip(_SKIPPED)
        self._gap.clear()
        if other:
            yield "what stands here is no entry"


def _elements(file: BinaryIO) -> Iterator[bytes | str]:
    scan = _Scan()
    left = b""
    while not scan.ended:
        piece = file.read(_PIECE)
        if not piece:
            yield from scan.feed(left)
            break
        data = left + piece
        # What begins an entry is not to be cut, and an escape neither, which is two bytes: an odd number of backslashes at the end waits.
        end = data.find(b"{", max(0, len(data) - _LONGEST_BEGIN))
        end = len(data) if end < 0 else end
        end -= (end - len(data[:end].rstrip(b"\\"))) % 2
        left = data[end:]
        yield from scan.feed(data[:end])
    if not scan.found and not scan.ended:
        yield "there is no log.entries in it: it is no HAR"
    elif not scan.ended and not scan.lost:
        yield "the file ends before its entries do"


def _entry(told: dict[str, Any], number: int) -> Entry:
    request = checked.mapping(told.get("request"), "request")
    answer = told.get("response")
    answer = answer if isinstance(answer, dict) else {}
    content = answer.get("content")
    content = content if isinstance(content, dict) else {}
    status = checked.status(answer.get("status"))
    answer_fields = _fields(answer.get("headers"))
    answer_body = _content(content, answer_fields)
    if answer_body is not None:
        answer_fields = tuple(field for field in answer_fields if field[0].lower() not in _UNDONE)
    duration = checked.number(told.get("time"))
    return Entry(
        number,
        checked.method(request.get("method")),
        checked.target(request.get("url")),
        checked.moment(told.get("startedDateTime")),
        _with_host(_fields(request.get("headers")), request.get("url")),
        _posted(request),
        status,
        None if duration is None else duration / 1000,
        checked.size(content.get("size")),
        answer_fields if status is not None else (),
        answer_body if status is not None else None,
        checked.text_or_none(told.get("_clientAddress")),
    )


def _fields(told: object) -> Fields:
    if told is None:
        return ()
    if not isinstance(told, list) or not all(isinstance(pair, dict) for pair in told):
        raise EntryError("its header fields are no list")
    return checked.fields((pair.get("name"), pair.get("value")) for pair in told)


def _with_host(fields: Fields, url: object) -> Fields:
    """HTTP/2 has no Host field, but the URL says the same."""
    try:
        host = urlsplit(str(url)).netloc.rpartition("@")[2]
    except ValueError:  # where it begins with "//", it was a target so far
        raise EntryError("its URL is none") from None
    if not host or any(name.lower() == b"host" for name, _ in fields):
        return fields
    return (*checked.fields([("Host", host)]), *fields)


def _posted(request: dict[str, Any]) -> bytes | None:
    posted = request.get("postData")
    if not isinstance(posted, dict):
        # Nothing was sent, or what was sent is not here: bodySize says which. Where it does not, a GET has none, nobody knows of a POST.
        size = checked.size(request.get("bodySize"))
        return b"" if size == 0 or (size is None and request.get("method") in ("GET", "HEAD")) else None
    text = posted.get("text")
    if isinstance(text, str) and (text or not posted.get("params")):
        return checked.body(None, text) if posted.get("encoding") == "base64" else checked.body(text, None)
    params = posted.get("params")
    if isinstance(params, list) and all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in params):
        try:
            return urlencode([(each["name"], str(each.get("value", ""))) for each in params]).encode()
        except UnicodeEncodeError:
            raise EntryError("a body of it is no text") from None
    return None


def _content(content: dict[str, Any], fields: Fields) -> bytes | None:
    text = content.get("text")
    if text is None:
        return b"" if content.get("size") == 0 else None
    if content.get("encoding") == "base64":
        return checked.body(None, text)
    if not isinstance(text, str):
        raise EntryError("a body of it is no text")
    declared = next((value for name, value in fields if name.lower() == b"content-type"), b"")
    if (charset := _charset(declared)) is not None:
        try:
            return text.encode(charset)
        except (LookupError, ValueError):
            pass  # a charset that nobody knows, or that has not all of it: as UTF-8, then
    return checked.body(text, None)


def _charset(declared: bytes) -> str | None:
    """What a Content-Type names; None: UTF-8, or nothing."""
    found = re.search(rb"(?i)charset=\"?([\w.:-]+)", declared)
    return None if found is None or found[1].lower() in (b"utf-8", b"utf8") else found[1].decode()


BEGIN: Final = b'{"log":{"version":"1.2","creator":{"name":"Banyan","version":"0.1.0"},"pages":[],"entries":[\n'
END: Final = b"\n]}}\n"


def element(told: Entry, origin: str = "http://recorded.invalid") -> bytes:
    """What `read` reads as an entry. `origin`: of URLs, where no Host field says one."""
    host = next((value.decode("latin-1") for name, value in told.fields if name.lower() == b"host"), "")
    url = (f"http://{host}" if host else origin) + (told.target if told.target != "*" else "/")
    duration = 1000 * (told.duration or 0)
    request: dict[str, Any] = {
        "method": told.method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _named(told.fields),
        "queryString": [],
        "headersSize": -1,
        "bodySize": len(told.body) if told.body is not None else -1,
    }
    if told.body:
        media = next((value.decode("latin-1") for name, value in told.fields if name.lower() == b"content-type"), "")
        text, encoding = _text(told.body)
        request["postData"] = {"mimeType": media, "text": text, **encoding}
    content: dict[str, Any] = {"size": told.size if told.size is not None else -1, "mimeType": ""}
    declared = next((value for name, value in told.answer_fields if name.lower() == b"content-type"), b"")
    content["mimeType"] = declared.decode("latin-1")
    if told.answer_body is not None:
        text, encoding = _text(told.answer_body, _charset(declared))
        content |= {"size": len(told.answer_body), "text": text, **encoding}
    found: dict[str, Any] = {
        "startedDateTime": _iso(told.at),
        "time": duration,
        "request": request,
        "response": {
            "status": told.status or 0,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _named(told.answer_fields),
            "content": content,
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
        },
        "cache": {},
        "timings": {"send": 0, "wait": duration, "receive": 0},
    }
    if told.client is not None:
        found["_clientAddress"] = told.client
    return msgspec.json.encode(found)


def _iso(at: float | None) -> str:
    return datetime.fromtimestamp(at or 0.0, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _named(fields: Fields) -> list[dict[str, str]]:
    return [{"name": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in fields]


def _text(data: bytes, charset: str | None = None) -> tuple[str, dict[str, str]]:
    """`charset`: in which readers turn the text into bytes again. What is declared need not be so: base64 is the same bytes in any case."""
    if charset is None:
        try:
            return data.decode(), {}
        except UnicodeDecodeError:
            pass
    return base64.b64encode(data).decode(), {"encoding": "base64"}
