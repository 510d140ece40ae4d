"""HTTP/2 requests as HTTP/1.1 heads, and HTTP/1.1 heads of answers as HTTP/2 fields (RFC 9113, section 8).

Invariant: a request that leaves here is one HTTP/1.1 head that says what the fields said and nothing more: every name and value was matched
whole, so no byte of them can end a line, and nothing in them frames a message. Whatever else there is to say about a request (its host, its
target, its size) is said where all requests are judged, in gateway/net/head.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple

from gateway.net.head import LENGTH_VALUE
from gateway.net.lines import TARGET, TOKEN, VALUE

# RFC 9110, 5.6.2, without upper case (RFC 9113, 8.2.1).
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")
# RFC 9110, 5.5; no white space around it (RFC 9113, 8.2.1).
_VALUE: Final = re.compile(rb"(?![\t ])[" + VALUE + rb"]*+(?<![\t ])")
_METHOD: Final = re.compile(rb"[" + TOKEN + rb"]{1,32}+")
# RFC 9113, 8.3.1: a path, or * with OPTIONS. An absolute URL is none.
_PATH: Final = re.compile(rb"/[" + TARGET + rb"]*+|\*")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
# RFC 9113, 8.2.2.
_CONNECTION: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_BODY_EXPECTED: Final = frozenset((b"POST", b"PUT", b"PATCH"))
_FOR_ONE_HOP: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"trailer"))


class MalformedError(Exception):
    """RFC 9113, 8.1.1: the request is malformed."""


class Request:
    """A request's head."""

    __slots__ = ("head", "head_only", "length")

    def __init__(self, head: bytes, length: int, *, head_only: bool) -> None:
        self.head = head
        """In HTTP/1.1, with its empty line."""
        self.length = length
        """Bytes of the body; -1: not known before it ends."""
        self.head_only = head_only
        """It is a HEAD."""


def request(fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> Request:
    """`ended`: no body follows.

    Raises:
        MalformedError: it is malformed.
    """
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    cookies: list[bytes] = []
    host: bytes | None = None
    length = -1
    for name, value in fields:
        if name.startswith(b":"):
            # RFC 9113, 8.3: these and no others, once each, before all other fields.
            if name not in _PSEUDO or name in pseudo or lines or cookies or host is not None or length >= 0:
                raise MalformedError("pseudo-header fields")
            if not _VALUE.fullmatch(value):
                raise MalformedError("a pseudo-header field's value")
            pseudo[name] = value
            continue
        check(name, value)
        if name == b"host":
            if host is not None:
                raise MalformedError("two hosts")
            host = value
        elif name == b"content-length":
            if length >= 0 or not LENGTH_VALUE.fullmatch(value):
                raise MalformedError("content-length")
            length = int(value)
        elif name == b"cookie":
            cookies.append(value)
        else:
            if name == b"te" and value.lower() != b"trailers":
                raise MalformedError("te")
            lines.append(name + b": " + value)
    method, target = _control(pseudo)
    host = _host(pseudo, host)
    if ended and length > 0:
        raise MalformedError("content-length without a body")
    out = [method + b" " + target + b" HTTP/1.1"]
    if host is not None:
        out.append(b"host: " + host)
    out += lines
    if cookies:
        out.append(b"cookie: " + b"; ".join(cookies))  # RFC 9113, 8.2.3
    if ended:
        if length == 0 or method in _BODY_EXPECTED:  # RFC 9110, 8.6
            out.append(b"content-length: 0")
        length = 0
    elif length > 0:
        out.append(b"content-length: %d" % length)
    else:
        # Also where a length of 0 was said, and yet the stream goes on: it may only end, and HTTP/1.1 has to wait for that.
        out.append(b"transfer-encoding: chunked")
    out.append(b"connection: close\r\n\r\n")
    return Request(b"\r\n".join(out), length, head_only=method == b"HEAD")


def check(name: bytes, value: bytes) -> None:
    """For fields of heads and trailers.

    Raises:
        MalformedError: it cannot be one.
    """
    if not _NAME.fullmatch(name) or name in _CONNECTION:
        raise MalformedError("a field's name")
    if not _VALUE.fullmatch(value):
        raise MalformedError("a field's value")


def _control(pseudo: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Method and target (RFC 9113, 8.3.1)."""
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method):
        raise MalformedError("no method")
    if method == b"CONNECT":
        # RFC 9113, 8.5: only an authority. It is refused where the methods are judged.
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise MalformedError("CONNECT with a path")
        return method, b"/"
    if pseudo.get(b":scheme", b"").lower() not in (b"https", b"http"):
        raise MalformedError("no scheme")
    target = pseudo.get(b":path", b"")
    if not _PATH.fullmatch(target):
        raise MalformedError("no path")
    return method, target


def _host(pseudo: dict[bytes, bytes], host: bytes | None) -> bytes | None:
    """What Host says; None: nothing does."""
    authority = pseudo.get(b":authority")
    if authority is None:
        return host
    # RFC 9113, 8.3.1: a Host that says something else is malformed; here as in HTTP/1 (edge.md 13).
    if host is not None and host.lower() != authority.lower():
        raise MalformedError("host and authority differ")
    return authority


class Answer:
    """An answer's head."""

    __slots__ = ("chunked", "fields", "length", "status")

    def __init__(self, status: int, fields: list[tuple[bytes, bytes]], length: int, *, chunked: bool) -> None:
        self.status = status
        self.fields = fields
        """:status among them."""
        self.length = length
        """Content-Length; -1 without one."""
        self.chunked = chunked


def answer(head: bytes) -> Answer:
    """`head`, without its empty line, is one that the gateway has written: valid, and framed one way. So it is only taken apart here.

    (gateway/net/head.py would cut the Banyan-* fields, which no upstream may send.)
    """
    lines = head.split(b"\r\n")
    status = lines[0][9:12]
    fields: list[tuple[bytes, bytes]] = [(b":status", status)]
    length, chunked = -1, False
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in _FOR_ONE_HOP:
            chunked = chunked or name == b"transfer-encoding"
            continue
        if name == b"content-length":
            length = int(value)
        # What identifies somebody is kept out of the compression (RFC 7541, 7.1).
        fields.append(NeverIndexedHeaderTuple(name, value) if name == b"set-cookie" else HeaderTuple(name, value))
    return Answer(int(status), fields, length, chunked=chunked)
