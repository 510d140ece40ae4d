"""The header rules, over mitmproxy's (name, value) pairs: what is passed on, what is cut, what is refused.

They are the edge engine's rules (gateway/net/head.py) written a second time on purpose, field by field instead of by pattern over the whole
head: two readings of the same rules that the conformance suite holds together. Nothing here is shared with gateway/net.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.policy.problems import Problem
from gateway.policy.via import names_us
from gateway.settings import Limits
from gateway.trace import valid

Fields = tuple[tuple[bytes, bytes], ...]

MAX_TARGET = 8 * 1024
MAX_REQUEST_ID = 128

_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
_FORGEABLE = frozenset((b"forwarded", b"x-real-ip", b"x-request-id", b"http2-settings", b"expect", b"traceparent", b"tracestate"))
_BELIEVED = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"tracestate"))
"""Kept from a trusted proxy."""
_NOT_NAMEABLE = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"content-length", b"host", b""))
"""Options of Connection that name no field, or one that is the gateway's own to keep."""
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5})?")
_TARGET = re.compile(rb"[\x21\x22\x24-\x5b\x5d-\x7e]++")
# RFC 9110, 5.6.2 and 5.5: mitmproxy asks neither of a head that it has read.
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
# RFC 9110, 7.8.
_PROTOCOL = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++)(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]++)?")
BODY_EXPECTED = ("POST", "PUT", "PATCH")
"""Methods that say Content-Length: 0 where they have no body (RFC 9110, 8.6)."""


class RefusedError(Exception):
    """The gateway answers this request itself. The detail may be shown to the client."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head, checked and cleaned."""

    method: str
    target: bytes
    host: bytes
    fields: Fields
    """To pass on: no hop-by-hop or forged ones. Content-Length is among them; a chunked body's coding is not."""
    chunked: bool
    length: int
    """Content-Length; 0 without one."""
    expects: bool
    """The client waits for 100 Continue."""
    keep_alive: bool
    request_id: bytes
    """A trusted proxy's, else b''."""
    traceparent: bytes
    """The same, where it is valid."""
    underscored: int
    upgrade: bytes = b""
    """The protocols that the client would rather speak."""
    multiplexed: bool = False
    """The client's own connection is HTTP/2 or 3."""


def as_http1(authority: bytes, fields: Fields, *, ended: bool) -> Fields:
    """What fields of HTTP/2 and 3 say, as HTTP/1.1 says it (RFC 9113, 8.3.1 and 8.2.3; RFC 9114, 4.3.1 and 4.2.1). `ended`: no body
    follows.

    Raises:
        RefusedError: Host and :authority differ.
    """
    hosts = [value for name, value in fields if name == b"host"]
    if authority and any(host.lower() != authority.lower() for host in hosts):
        raise RefusedError(Problem.FRAMING, "Host differs from :authority.")
    host = authority or (hosts[0] if hosts else b"")
    cookies = [value for name, value in fields if name == b"cookie"]
    out = [field for field in fields if field[0] not in (b"host", b"cookie")]
    if cookies:
        out.append((b"cookie", b"; ".join(cookies)))
    if not ended and find(fields, b"content-length") is None:
        out.append((b"transfer-encoding", b"chunked"))
    return ((b"host", host), *out) if host else tuple(out)


def clean_request(
    method: bytes,
    target: bytes,
    authority: bytes,
    version: bytes,
    fields: Fields,
    *,
    trusted: bool,
    limits: Limits,
    multiplexed: bool = False,
) -> Head:
    """Checks a head and takes out what must not be passed on. `trusted`: the peer's forwarding fields are believed. `multiplexed`: these
    fields are as_http1's.

    Raises:
        RefusedError: it breaks one of the rules that both engines hold. (What mitmproxy refuses by itself never comes here.)
    """
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RefusedError(Problem.VERSION, "The request's version is not HTTP/1.0 or HTTP/1.1.")
    if len(fields) > limits.headers:
        raise RefusedError(Problem.HEAD_TOO_LARGE, f"More than {limits.headers} header fields.")
    if sum(len(name) + len(value) + 4 for name, value in fields) > limits.header_bytes:
        raise RefusedError(Problem.HEAD_TOO_LARGE, f"The request's head is longer than {limits.header_bytes} bytes.")
    if not _METHOD.fullmatch(method):
        raise RefusedError(Problem.FRAMING, "The request line is not `METHOD target HTTP/1.1`.")
    if not _plain(fields):
        raise RefusedError(Problem.FRAMING, "A header field is not `Name: value`, or holds a control character.")
    if method in (b"CONNECT", b"TRACE"):
        raise RefusedError(Problem.METHOD, f"{method.decode()} is not relayed.")
    host = _the_host(fields)
    _check_target(method, target, authority, host)
    options = _options(fields)
    named = options - _NOT_NAMEABLE
    kept = []
    underscored = length = 0
    chunked = expects = False
    asked: list[bytes] = []
    request_id = traceparent = b""
    one_trace = sum(name.lower() == b"traceparent" for name, _ in fields) == 1
    for name, value in fields:
        key = name.lower()
        if key == b"traceparent" and trusted and one_trace and valid(value.strip(b" \t")) and key not in named:
            traceparent = value.strip(b" \t")
            kept.append((name, value))
            continue
        if key == b"content-length":
            if not _LENGTH.fullmatch(value):
                raise RefusedError(Problem.FRAMING, "The Content-Length field is not a plain decimal number.")
            length = int(value)
        elif key == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise RefusedError(Problem.FRAMING, "Transfer-Encoding is not exactly `chunked`.")
            chunked = True
        elif key == b"expect":
            if value.strip().lower() != b"100-continue":
                raise RefusedError(Problem.EXPECTATION, "The Expect field asks for something other than 100-continue.")
            expects = version == b"HTTP/1.1"
        elif key == b"via" and names_us(value):
            raise RefusedError(Problem.LOOP, "The request's Via field names this gateway.")
        elif key == b"upgrade":
            asked += _protocols(value)
        elif trusted and key == b"x-request-id":
            request_id = value[:MAX_REQUEST_ID]
        elif b"_" in name:
            underscored += 1
        if key not in named and ((trusted and key in _BELIEVED) or not _cut(key)):
            kept.append((name, value))
    if asked and (length or chunked):
        raise RefusedError(Problem.FRAMING, "An Upgrade with a body.")
    if length > limits.body_bytes:
        raise RefusedError(Problem.BODY_TOO_LARGE, f"The body is longer than {limits.body_bytes} bytes.")
    http11 = version == b"HTTP/1.1"
    keep_alive = b"close" not in options and (http11 or b"keep-alive" in options)
    verb = method.decode("latin-1")
    upgrade = b", ".join(asked) if http11 and not multiplexed and b"upgrade" in options else b""
    return Head(
        verb, target, host, tuple(kept), chunked, length, expects, keep_alive, request_id, traceparent, underscored, upgrade, multiplexed
    )


def switches(answered: Fields, asked: bytes) -> bytes:
    """The protocol that an upstream's 101 switches to; b"" where it is none that was asked for (RFC 9110, 7.8)."""
    chosen = b", ".join(value for name, value in answered if name.lower() == b"upgrade")
    members = {member.strip(b" \t") for member in asked.lower().split(b",")}
    wanted = bool(asked) and all(member.strip(b" \t") in members for member in chosen.lower().split(b","))
    return chosen if wanted else b""


def sound(version: bytes, status: int, reason: bytes, fields: Fields) -> bool:
    """Whether an upstream's head is one that may go to a client: nothing of it ends a line before its end, and nothing is coded in a way
    that would be lost here. (What mitmproxy and h11 refuse by themselves never comes here.)"""
    return (
        version in (b"HTTP/1.1", b"HTTP/1.0")
        and 100 <= status <= 999
        and _VALUE.fullmatch(reason) is not None
        and _plain(fields)
        and (find(fields, b"transfer-encoding") or b"chunked").lower() == b"chunked"
    )


def clean_response(fields: Fields) -> Fields:
    """An answer's fields without those that end at this hop, and without any that only the gateway may set."""
    named = _options(fields) - _NOT_NAMEABLE
    return tuple(
        (name, value)
        for name, value in fields
        if (key := name.lower()) not in _HOP and key not in named and not key.startswith((b"proxy-", b"banyan-"))
    )


def find(fields: Fields, name: bytes) -> bytes | None:
    """The first value of the field with this lower-case name."""
    for key, value in fields:
        if key.lower() == name:
            return value
    return None


def without(fields: Fields, *names: bytes) -> Fields:
    """`fields` without those of these lower-case names."""
    return tuple((name, value) for name, value in fields if name.lower() not in names)


def lines(fields: Fields) -> bytes:
    """Field lines, each ended by CRLF."""
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def declared_length(fields: Fields) -> int:
    """Content-Length, -1 without one."""
    value = find(fields, b"content-length")
    return int(value) if value is not None and value.isdigit() else -1


def _protocols(value: bytes) -> list[bytes]:
    """An Upgrade field's protocols without h2c, which nobody may speak past the gateway, and without what is none."""
    found = [_PROTOCOL.fullmatch(member.strip(b" \t")) for member in value.split(b",")]
    return [match[0] for match in found if match is not None and match[1].lower() != b"h2c"]


def _plain(fields: Fields) -> bool:
    """Is there no control character in any value? A folded line has become one: mitmproxy leaves its line end within the value."""
    return all(_VALUE.fullmatch(value) for _, value in fields)


def _cut(key: bytes) -> bool:
    return key in _HOP or key in _FORGEABLE or b"_" in key or key.startswith((b"proxy-", b"x-forwarded-", b"banyan-"))


def _options(fields: Fields) -> set[bytes]:
    """RFC 9110, 7.6.1: the options of all Connection fields, in lower case."""
    return {option.strip(b" \t").lower() for name, value in fields if name.lower() == b"connection" for option in value.split(b",")}


def _the_host(fields: Fields) -> bytes:
    # RFC 9112, 3.2: exactly one, and valid.
    hosts = [value for name, value in fields if name.lower() == b"host"]
    if len(hosts) != 1:
        raise RefusedError(Problem.FRAMING, "More than one Host field." if hosts else "No Host field.")
    if not _HOST.fullmatch(hosts[0]):
        raise RefusedError(Problem.FRAMING, "The Host field is not a host with an optional port.")
    return hosts[0]


def _check_target(method: bytes, target: bytes, authority: bytes, host: bytes) -> None:
    if len(target) > MAX_TARGET:
        raise RefusedError(Problem.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET} bytes.")
    if not _TARGET.fullmatch(target):
        raise RefusedError(Problem.FRAMING, "The request line is not `METHOD target HTTP/1.1`.")
    if target == b"*" and method != b"OPTIONS":
        raise RefusedError(Problem.FRAMING, "The target is neither a path nor an absolute http URL.")
    # RFC 9112, 3.2.2 lets the target win over Host; a client that says two things is refused here.
    if authority and authority.lower() != host.lower():
        raise RefusedError(Problem.FRAMING, "The target's authority differs from Host.")
    if b"%00" in target:
        raise RefusedError(Problem.FRAMING, "The target holds an encoded NUL.")


def field_lines(fields: Fields) -> bytes:
    """As a head's lines, each with its CRLF before it."""
    return b"".join(b"\r\n%b: %b" % field for field in fields)
