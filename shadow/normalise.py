"""One answer as the comparison sees it: headers parsed, body decoded and, where it has fields, parsed.

Nothing that an upstream sends makes this fail: what can't be decoded or parsed comes back as an opaque body with a note that says why.
Memory is bounded by `limit`, whatever a compressed body claims to hold, and nesting by MAX_DEPTH, so that no later walk can run out of
stack.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import cast
from urllib.parse import parse_qsl

import brotli  # type: ignore[import-untyped]  # it ships no types
import zstandard

from shadow import markup
from shadow.exchange import Answer

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type Headers = tuple[tuple[str, str], ...]

MAX_DECODED = 8 * 1024 * 1024
"""Bytes of a body after decompression. 256 KiB are captured by default, and JSON seldom shrinks to less than a thirtieth."""
MAX_DEPTH = 100
"""Levels of nesting in JSON. Real APIs stay under 20; Python's stack and DeepDiff's frames allow about 150."""
MAX_CODINGS = 3
"""Content-Encoding values on one body. More than one is already rare."""


class Form(StrEnum):
    """What a body turned out to be."""

    EMPTY = "empty"
    JSON = "json"
    FORM = "form"
    HTML = "html"
    TEXT = "text"
    OPAQUE = "opaque"
    """Bytes without a known inner form: compared whole."""


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body. `data` is the bytes without Content-Encoding, or as received where that can't be undone."""

    form: Form
    data: bytes
    value: Json = field(default=None, repr=False)
    """json: the document. form: {name: [values]}. html: shadow.markup's nodes. text: its lines. Else None."""
    text: str | None = None
    note: str = ""
    """Why it is less than its Content-Type promised: too_deep, duplicate_key, not_json, over_limit, bad_encoding, bad_charset …"""
    size: int = 0
    digest: str = ""
    """Redaction's keyed digest of `data` as it was before: equal digests mean equal bytes. "" where nothing is redacted in bodies."""
    veiled: bool = False
    """Its values may be compared and must not be shown: redaction can't tell what in it is secret."""


@dataclass(frozen=True, slots=True)
class Message:
    """One side of a comparison."""

    status: int
    headers: Headers
    body: Body
    elapsed: float = 0.0
    error: str = ""
    skipped: str = ""
    upstream: str = ""
    keyed: str = ""
    """The keyed digest of the body, from whoever had the key, where `body.digest` is ""."""


UNDECODED = frozenset(("bad_encoding", "unknown_encoding", "over_limit"))
"""Notes of a body whose Content-Encoding is still on."""
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "undefined"})
"""Codecs of Python that no web page is written in; the first two take quadratic time."""
_PIECE = 256
"""Bytes given to zstd at once. Four may stand for a block of 128 KiB (RFC 8878, 3.1.1.2)."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class UnparsedError(ValueError):
    """Not what it says it is. The argument is the note."""


def joined(headers: Headers, name: str) -> str | None:
    """All values of `name` (lower case) joined as RFC 9110 section 5.3 allows; None where it is absent."""
    values = [value for key, value in headers if key == name]
    return ", ".join(values) if values else None


def read(answer: Answer, limit: int = MAX_DECODED) -> Message:
    """`answer` with its head parsed and its body decoded up to `limit` bytes."""
    headers = parse_head(answer.head)
    body = read_body(headers, answer.body, limit)
    return Message(answer.status, headers, body, answer.elapsed, answer.error, answer.skipped, answer.upstream)


def parse_head(head: bytes) -> Headers:
    """Header lines as (lower-case name, value). The edge let only well-formed heads through; a line without a colon is passed over."""
    return tuple(_fields(head.decode("latin-1")))


def _fields(head: str) -> Iterator[tuple[str, str]]:
    for line in head.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip().lower(), value.strip(" \t")


def read_body(headers: Headers, raw: bytes, limit: int = MAX_DECODED) -> Body:
    """`raw` without its Content-Encoding, parsed as its Content-Type says."""
    if not raw:
        return Body(Form.EMPTY, b"")
    fields = dict(headers)
    try:
        data = _undo_codings(joined(headers, "content-encoding") or "", raw, limit)
    except UnparsedError as error:
        return Body(Form.OPAQUE, raw, note=str(error), size=len(raw))
    if not data:
        return Body(Form.EMPTY, b"")
    media, charset = media_type(fields.get("content-type", ""))
    structured = media == "application/json" or media.endswith("+json")
    guessed = media in ("", "text/plain") and data.lstrip()[:1] in (b"{", b"[")
    note = ""
    if structured or guessed:
        try:
            text, value = parse_json(data)
            return Body(Form.JSON, data, value, text, size=len(data))
        except UnparsedError as error:
            note = str(error) if structured else ""
    elif media == "application/x-www-form-urlencoded":
        try:
            return Body(Form.FORM, data, parse_form(data), data.decode("ascii", "replace"), size=len(data))
        except ValueError:
            note = "not_form"
    elif not (media == "" or media.startswith("text/") or media.endswith(("xml", "javascript"))):
        return Body(Form.OPAQUE, data, size=len(data))
    try:
        text = _decode(data, charset)
    except ValueError:
        return Body(Form.OPAQUE, data, note=note or "bad_charset", size=len(data))
    if media in ("text/html", "application/xhtml+xml"):
        try:
            return Body(Form.HTML, data, cast("Json", markup.parse(text)), text, size=len(data))
        except markup.MarkupError as error:
            note = str(error)
    return Body(Form.TEXT, data, cast("Json", text.split("\n")), text, note, len(data))


def media_type(value: str) -> tuple[str, str]:
    """(type/subtype in lower case, charset in lower case or utf-8) of a Content-Type."""
    media, _, parameters = value.partition(";")
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = text.strip().strip('"').lower() or charset
    return media.strip().lower(), charset


def _decode(data: bytes, charset: str) -> str:
    """`data` as text.

    Raises:
        ValueError: it isn't, or the charset is unknown.
    """
    try:
        codec = codecs.lookup(charset)
    except LookupError as error:
        raise ValueError(charset) from error
    # A codec that turns bytes into bytes (zlib, base64 …) is no charset, and could be a bomb.
    if codec.name in _NO_CHARSETS or not codec._is_text_encoding:  # noqa: SLF001 - the standard library's only mark of it
        raise ValueError(charset)
    return data.decode(charset)


def _undo_codings(header: str, raw: bytes, limit: int) -> bytes:
    codings = [part.strip().lower() for part in header.split(",") if part.strip().lower() not in ("", "identity")]
    if len(codings) > MAX_CODINGS:
        raise UnparsedError("bad_encoding")
    data = raw
    for coding in reversed(codings):
        try:
            data = _undo(coding, data, limit)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise UnparsedError("bad_encoding") from error
    if len(data) > limit:
        raise UnparsedError("over_limit")
    return data


def _undo(coding: str, data: bytes, limit: int) -> bytes:
    """One coding off. Gives at most about one buffer more than `limit`, which the caller refuses."""
    if coding in ("gzip", "x-gzip", "deflate"):
        # RFC 9110 section 8.4.1.2: deflate is the zlib format; servers that send it raw exist all the same.
        raw_deflate = coding == "deflate" and (data[:1] or b"\x08")[0] & 0x0F != 8
        return _inflate(data, 31 if coding != "deflate" else (-15 if raw_deflate else 15), limit)
    if coding == "br":
        return _unbrotli(data, limit)
    if coding == "zstd":
        return _unzstd(data, limit)
    raise UnparsedError("unknown_encoding")


def _inflate(data: bytes, window: int, limit: int) -> bytes:
    out = bytearray()
    while data:
        inflater = zlib.decompressobj(window)
        out += inflater.decompress(data, limit + 1 - len(out))
        if len(out) > limit:
            raise UnparsedError("over_limit")
        if not inflater.eof:
            raise UnparsedError("bad_encoding")  # cut short
        data = inflater.unused_data
        if data and window != 31:
            raise UnparsedError("bad_encoding")  # gzip alone may have several members (RFC 1952 section 2.2)
    return bytes(out)


def _unbrotli(data: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    out = bytearray(decoder.process(data, output_buffer_limit=limit + 1))
    while not decoder.is_finished():
        if len(out) > limit:
            raise UnparsedError("over_limit")
        more = decoder.process(b"", output_buffer_limit=limit + 1)
        if not more:
            raise UnparsedError("bad_encoding")  # cut short
        out += more
    return bytes(out)


def _unzstd(data: bytes, limit: int) -> bytes:
    # Frame by frame: a stream reader says nothing of a frame that was cut short. And in pieces, since a few bytes may stand for many.
    decoder = zstandard.ZstdDecompressor(max_window_size=2 * MAX_DECODED)
    given, out, at = memoryview(data), bytearray(), 0
    while at < len(data):
        frame = decoder.decompressobj()
        while not frame.eof:
            piece = given[at : at + _PIECE]
            if not piece:
                raise UnparsedError("bad_encoding")  # cut short
            at += len(piece)
            out += frame.decompress(piece)
            if len(out) > limit:
                raise UnparsedError("over_limit")
        at -= len(frame.unused_data)
    return bytes(out)


def parse_json(data: bytes) -> tuple[str, Json]:
    """The text and the value of a JSON document, more strictly than Python's own parser: NaN, a key twice in an object, a number beyond a
    double's range and a lone surrogate are all read differently by different clients, so such a document is compared as text.

    Raises:
        ValueError: it is not JSON in that sense; the message is a short code.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnparsedError("bad_charset") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except UnparsedError:
        raise
    except RecursionError as error:  # the parser's own bound, some thousands of levels
        raise UnparsedError("too_deep") from error
    except ValueError as error:  # also an integer of more than 4,300 digits
        raise UnparsedError("not_json") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        raise UnparsedError("too_deep")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UnparsedError("bad_charset") from error
    return text, cast("Json", value)


def _too_deep(value: Json) -> bool:
    """Whether lists and objects nest deeper than MAX_DEPTH. Level by level, for which no stack is needed."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        inner: list[Json] = []
        for node in level:
            items = node.values() if isinstance(node, dict) else node
            inner += [item for item in items if type(item) in _CONTAINERS]  # type: ignore[union-attr]  # a list, see above
        level = inner
    return bool(level)


_CONTAINERS = frozenset((dict, list))


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise UnparsedError("duplicate_key")
    return result


def _constant(_: str) -> Json:
    raise UnparsedError("not_json")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise UnparsedError("number_range")
    return value


def parse_form(data: bytes) -> Json:
    """{name: [values]} of a form body.

    Raises:
        ValueError: it is not one, is not UTF-8 (other bytes would all look alike), or has more than 10,000 fields.
    """
    form: dict[str, Json] = {}
    for name, value in parse_qsl(data.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=10_000):
        cast("list[Json]", form.setdefault(name, [])).append(value)
    return form
