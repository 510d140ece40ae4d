"""The grammar of HTTP/1 heads: one strict pattern says whether a head is valid, another cuts out what must not be passed on.

Invariant: whatever leaves here was matched whole by `_REQUEST` or `_RESPONSE`, so no CR, LF or control byte can reach anything that the
gateway writes (edge.md 24), and framing is known from at most one Content-Length or exactly one `Transfer-Encoding: chunked`.

Why patterns and not a parser's callbacks: a Python callback for each field costs about 1 µs; here the fields that the gateway does not care
about are never looked at singly, and are forwarded as the bytes that came. Every repeat is possessive over disjoint classes, so matching is
linear in the head's length (tests/gateway/net fuzz this against h11).
"""

from __future__ import annotations

import re
from typing import NoReturn

from gateway.policy.problems import Problem

MAX_TARGET = 8 * 1024
"""Bytes. RFC 9112, section 3 recommends at least 8000."""
MAX_REQUEST_ID = 128
"""Bytes of a trusted proxy's X-Request-ID."""

_TOKEN = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_FIELDS = rb"((?:\r\n[" + _TOKEN + rb"]++:[\t\x20-\x7e\x80-\xff]*+)*+)\r\n\r\n"
# The target: visible ASCII without # (never sent, RFC 9112, 3.2) and \ (which some servers read as /).
_REQUEST = re.compile(rb"([" + _TOKEN + rb"]{1,32}+) ([\x21\x22\x24-\x5b\x5d-\x7e]++) HTTP/1\.([01])" + _FIELDS)
_REQUEST_LINE = re.compile(rb"([" + _TOKEN + rb"]{1,32}+) ([\x21\x22\x24-\x5b\x5d-\x7e]++) HTTP/1\.1")
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*+)?" + _FIELDS)

# Searched in the lower-cased fields. A line that matches is cut; what it says is kept where it matters. `[^:\r_]*+_` takes every name with
# an underscore: WSGI cannot tell X_Forwarded_For from X-Forwarded-For (edge.md 27). They begin with the CRLF before the line because a
# literal beginning lets the search skip from line to line: 1.6 µs for 12 fields, where a look-behind tried at every byte took 6.9.
_REQUEST_CUT = re.compile(
    rb"\r\n(connection|content-length|expect|forwarded|host|http2-settings|keep-alive|proxy-[^:\r]*+|te|trailer|transfer-encoding"
    rb"|upgrade|via|x-forwarded-[^:\r]*+|x-real-ip|x-request-id|banyan-[^:\r]*+|[^:\r_]*+_[^:\r]*+):[\t ]*+([^\r]*+)"
)
_RESPONSE_CUT = re.compile(
    rb"\r\n(connection|content-length|keep-alive|proxy-[^:\r]*+|te|trailer|transfer-encoding|upgrade|banyan-[^:\r]*+):[\t ]*+([^\r]*+)"
)
_KEPT = frozenset((b"content-length", b"host", b"via"))
"""Looked at by the request's pattern, but passed on where they stand."""
_FORWARDED = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"))
"""Believed, and so kept, from a trusted proxy only."""

_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
# RFC 9110, 7.2: host [ ":" port ]. Registered names and IPv6 literals; no userinfo, comma, path or percent signs.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*+)(.*)", re.DOTALL)


class HeadError(Exception):
    """The head is refused. `detail` says what is wrong in a sentence that may be shown to the client."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


class RequestHead:
    """A request's head, checked whole."""

    __slots__ = (
        "chunked",
        "expect",
        "fields",
        "host",
        "http11",
        "keep_alive",
        "length",
        "method",
        "raw",
        "request_id",
        "target",
        "underscored",
    )

    method: str
    target: bytes
    """In origin-form, or `*`."""
    http11: bool
    host: bytes
    fields: bytes
    """The field lines to pass on, each with its CRLF *before* it: no hop-by-hop, forged or framing ones but Content-Length."""
    length: int
    """Content-Length; 0 without one, -1 when chunked."""
    chunked: bool
    keep_alive: bool
    expect: bool
    """The client waits for 100 Continue."""
    request_id: bytes
    """From a trusted proxy, else b''."""
    underscored: int
    """How many fields were dropped for the underscore in their names."""
    raw: bytes
    """All fields as they came, for `parse_next`."""


class ResponseHead:
    """A response's head, checked whole."""

    __slots__ = ("chunked", "fields", "http11", "keep_alive", "length", "line", "status")

    status: int
    line: bytes
    """The status line without its CRLF, as HTTP/1.1."""
    http11: bool
    fields: bytes
    """The field lines to pass on, each with its CRLF *before* it; Content-Length among them."""
    length: int
    """Content-Length; -1 without one."""
    chunked: bool
    keep_alive: bool


def parse_request(data: bytes, *, trusted: bool = False, max_fields: int = 100) -> RequestHead:
    """The head in `data`, which ends with its empty line. `trusted`: the peer's forwarding fields are believed.

    Raises:
        HeadError: it breaks RFC 9112, or one of the stricter rules of docs/reference/edge.md.
    """
    found = _REQUEST.fullmatch(data)
    if found is None:
        _refuse(data)
    method, target, minor, fields = found.groups()
    if fields.count(b"\n") > max_fields:
        raise HeadError(Problem.HEAD_TOO_LARGE, f"More than {max_fields} header fields.")
    head = RequestHead()
    head.raw = fields
    head.method = method.decode("ascii")
    head.http11 = minor == b"1"
    head.length = 0
    head.chunked = head.expect = False
    head.request_id = b""
    head.underscored = 0
    host: bytes | None = None
    length: bytes | None = None
    coding: bytes | None = None
    connection: bytes | None = None
    kept: list[bytes] = []
    start = 0
    for line in _REQUEST_CUT.finditer(fields.lower()):
        name, value = line.groups()
        if name == b"host":
            if host is not None:
                raise HeadError(Problem.FRAMING, "More than one Host field.")
            # The value as it was written: only its case was folded for the search.
            host = fields[line.start(2) : line.end(2)].rstrip(b" \t")
            continue
        if name == b"content-length":
            if length is not None:
                raise HeadError(Problem.FRAMING, "More than one Content-Length field.")
            length = value.rstrip(b" \t")
            continue
        if name == b"via":
            if b"banyan" in value:
                raise HeadError(Problem.LOOP, "The request's Via field names this gateway.")
            continue
        if trusted and name in _FORWARDED:
            continue
        if trusted and name == b"x-request-id":
            head.request_id = fields[line.start(2) : line.end(2)].rstrip(b" \t")[:MAX_REQUEST_ID]
        kept.append(fields[start : line.start()])
        start = line.end()
        if name == b"connection":
            value = value.rstrip(b" \t")
            connection = value if connection is None else connection + b"," + value
        elif name == b"transfer-encoding":
            if coding is not None:
                raise HeadError(Problem.FRAMING, "More than one Transfer-Encoding field.")
            coding = value.rstrip(b" \t")
        elif name == b"expect":
            if value.rstrip(b" \t") != b"100-continue":
                raise HeadError(Problem.EXPECTATION, "The Expect field asks for something other than 100-continue.")
            head.expect = head.http11
        elif b"_" in name:
            head.underscored += 1
    kept.append(fields[start:])
    head.fields = b"".join(kept)
    if connection is None:
        head.keep_alive = head.http11
    else:
        options = {option.strip(b" \t") for option in connection.split(b",")}
        head.keep_alive = b"close" not in options and (head.http11 or b"keep-alive" in options)
        # RFC 9110, 7.6.1: fields named by Connection end here. The framing fields and Host are ours to keep, whoever names them.
        options -= {b"close", b"keep-alive", b"upgrade", b"te", b"content-length", b"host", b""}
        if options:
            head.fields = without(head.fields, frozenset(options))
    if coding is not None:
        _check_coding(coding, length, head.http11)
        head.chunked = True
        head.length = -1
    elif length is not None:
        if not _LENGTH.fullmatch(length):
            raise HeadError(Problem.FRAMING, "The Content-Length field is not a plain decimal number.")
        head.length = int(length)
    if host is None:
        raise HeadError(Problem.FRAMING, "No Host field.")
    if not _HOST.fullmatch(host):
        raise HeadError(Problem.FRAMING, "The Host field is not a host with an optional port.")
    head.target, head.host = _target(head.method, target, host)
    return head


def parse_next(data: bytes, previous: RequestHead, *, trusted: bool = False, max_fields: int = 100) -> RequestHead:
    """`parse_request`, for a connection's second request and those after it.

    Programs, and browsers within a page, repeat their header fields to the byte from request to request; then only the request line is
    new, and what was found out about the fields still stands (1.3 µs instead of 5.2; where they differ, the comparison costs 0.1).

    Raises:
        HeadError: as parse_request.
    """
    end = data.find(b"\r\n")
    if data[end:-4] != previous.raw or not previous.http11:
        return parse_request(data, trusted=trusted, max_fields=max_fields)
    found = _REQUEST_LINE.fullmatch(data, 0, end)
    if found is None:
        return parse_request(data, trusted=trusted, max_fields=max_fields)
    method, target = found.groups()
    head = RequestHead()
    head.method = method.decode("ascii")
    head.http11 = True
    head.raw = previous.raw
    head.fields = previous.fields
    head.length = previous.length
    head.chunked = previous.chunked
    head.keep_alive = previous.keep_alive
    head.expect = previous.expect
    head.request_id = previous.request_id
    head.underscored = previous.underscored
    head.target, head.host = _target(head.method, target, previous.host)
    return head


def parse_response(data: bytes) -> ResponseHead:
    """The head in `data`, which ends with its empty line.

    Raises:
        HeadError: with Problem.BAD_ANSWER: it is not valid HTTP/1.
    """
    found = _RESPONSE.fullmatch(data)
    if found is None:
        raise HeadError(Problem.BAD_ANSWER, "The upstream's head is not valid HTTP/1.")
    minor, status, fields = found.groups()
    head = ResponseHead()
    head.status = int(status)
    head.http11 = minor == b"1"
    head.line = data[: found.start(3)] if head.http11 else b"HTTP/1.1" + data[8 : found.start(3)]
    head.length = -1
    head.chunked = False
    head.keep_alive = head.http11
    length: bytes | None = None
    kept: list[bytes] = []
    start = 0
    for line in _RESPONSE_CUT.finditer(fields.lower()):
        name, value = line.groups()
        if name == b"content-length":
            if length is not None or not _LENGTH.fullmatch(value.rstrip(b" \t")):
                raise HeadError(Problem.BAD_ANSWER, "The upstream's Content-Length is doubled or not a plain decimal number.")
            length = value
            continue
        kept.append(fields[start : line.start()])
        start = line.end()
        if name == b"connection":
            if value == b"keep-alive":
                head.keep_alive = True
                continue
            options = {option.strip(b" \t") for option in value.split(b",")}
            head.keep_alive = b"close" not in options and (head.http11 or b"keep-alive" in options)
            options -= {b"close", b"keep-alive", b"upgrade", b"content-length", b""}
            if options:
                # Rare, so plain: cut the named fields and read what is left again.
                rest = without(fields[: line.start()] + fields[line.end() :], frozenset(options))
                again = parse_response(data[: found.start(3)] + rest + b"\r\n\r\n")
                again.keep_alive = again.keep_alive and head.keep_alive
                return again
        elif name == b"transfer-encoding":
            if value.rstrip(b" \t") != b"chunked" or head.chunked or not head.http11:
                raise HeadError(Problem.BAD_ANSWER, "The upstream's Transfer-Encoding is not exactly one `chunked`.")
            head.chunked = True
    if length is not None:
        # RFC 9112, 6.1: both at once is an attempt at smuggling, or a fault.
        if head.chunked:
            raise HeadError(Problem.BAD_ANSWER, "The upstream sent Content-Length with Transfer-Encoding.")
        head.length = int(length)
    if start:
        kept.append(fields[start:])
        head.fields = b"".join(kept)
    else:
        head.fields = fields
    return head


def without(fields: bytes, names: frozenset[bytes]) -> bytes:
    """`fields` without the lines of these lower-case names."""
    return b"".join(b"\r\n" + line for line in fields.split(b"\r\n")[1:] if line.partition(b":")[0].lower() not in names)


def field(fields: bytes, name: bytes) -> bytes | None:
    """The first value of the field with this lower-case name. For cold paths: it walks the lines."""
    for line in fields.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip(b" \t")
    return None


def _check_coding(coding: bytes, length: bytes | None, http11: bool) -> None:
    # RFC 9112, 6.1: with Content-Length, or in HTTP/1.0, it is refused (stricter than the RFC, which lets Transfer-Encoding win).
    if length is not None:
        raise HeadError(Problem.FRAMING, "Content-Length and Transfer-Encoding together.")
    if not http11:
        raise HeadError(Problem.FRAMING, "Transfer-Encoding in HTTP/1.0.")
    if coding != b"chunked":
        if re.fullmatch(rb"[a-z0-9-]+", coding) and coding not in (b"gzip", b"deflate", b"compress", b"identity"):
            raise HeadError(Problem.CODING, "The transfer coding is not known here.")
        raise HeadError(Problem.FRAMING, "Transfer-Encoding is not exactly `chunked`.")


def _target(method: str, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """(target in origin-form, host)."""
    if len(target) > MAX_TARGET:
        raise HeadError(Problem.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET} bytes.")
    if method in ("CONNECT", "TRACE"):
        raise HeadError(Problem.METHOD, f"{method} is not relayed.")
    if not target.startswith(b"/"):
        if target == b"*" and method == "OPTIONS":
            return target, host
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise HeadError(Problem.FRAMING, "The target is neither a path nor an absolute http URL.")
        # RFC 9112, 3.2.2 lets the target win over Host; a client that says two things is refused here.
        if absolute[1].lower() != host.lower():
            raise HeadError(Problem.FRAMING, "The target's authority differs from Host.")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if b"%00" in target:
        raise HeadError(Problem.FRAMING, "The target holds an encoded NUL.")
    return target, host


def _refuse(data: bytes) -> NoReturn:
    """Says why `_REQUEST` did not match."""
    line, _, rest = data.partition(b"\r\n")
    if re.fullmatch(rb"[" + _TOKEN + rb"]+ [^ ]+ HTTP/\d+\.\d+", line) and not re.search(rb" HTTP/1\.[01]\Z", line):
        raise HeadError(Problem.VERSION, "The request's version is not HTTP/1.0 or HTTP/1.1.")
    if not re.fullmatch(rb"[" + _TOKEN + rb"]{1,32} [\x21\x22\x24-\x5b\x5d-\x7e]+ HTTP/1\.[01]", line):
        raise HeadError(Problem.FRAMING, "The request line is not `METHOD target HTTP/1.1`.")
    for field_line in rest.split(b"\r\n"):
        if field_line and not re.fullmatch(rb"[" + _TOKEN + rb"]+:[\t\x20-\x7e\x80-\xff]*", field_line):
            raise HeadError(Problem.FRAMING, "A header field is not `Name: value`, or holds a control character.")
    raise HeadError(Problem.FRAMING, "The head's lines do not all end in CRLF.")
