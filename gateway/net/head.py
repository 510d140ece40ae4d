"""The grammar of HTTP/1 heads: what is valid, what is cut out, and where a message ends.

Invariant: whatever leaves here was matched whole, line by line, by `REQUEST_LINE` or `_STATUS_LINE` and gateway/net/lines.py, so no CR, LF
or control byte can reach anything that the gateway writes (edge.md 24), and framing is known from at most one Content-Length or exactly one
`Transfer-Encoding: chunked`. Every pattern is possessive over disjoint classes, so matching is linear in the head's length
(tests/gateway/net hold it against h11).
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from mypy_extensions import mypyc_attr

from gateway.net.fields import without
from gateway.net.lines import (
    CODING,
    CONNECTION,
    EXPECT,
    FORWARDED,
    HOST,
    LENGTH,
    PLAIN,
    REQUEST,
    REQUEST_ID,
    RESPONSE,
    STAMP,
    TARGET,
    TIMEOUT,
    TOKEN,
    TRACE,
    UNDERSCORED,
    UPGRADE,
    VALUE,
    VIA,
)
from gateway.policy.problems import Problem
from gateway.policy.via import names_us
from gateway.trace import valid

MAX_TARGET: Final = 8 * 1024
"""Bytes. RFC 9112, section 3 recommends at least 8000."""
MAX_REQUEST_ID: Final = 128
"""Bytes of a trusted proxy's X-Request-ID."""

# The target: visible ASCII without # (never sent, RFC 9112, 3.2) and \ (which some servers read as /).
REQUEST_LINE: Final = re.compile(rb"([" + TOKEN + rb"]{1,32}+) ([" + TARGET + rb"]++) HTTP/1\.([01])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [" + VALUE + rb"]*+)?")
LENGTH_VALUE: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
# RFC 9110, 7.2: host [ ":" port ]. Registered names and IPv6 literals; no userinfo, comma, path or percent signs.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5})?")
_TIMEOUT: Final = re.compile(rb"[0-9]{1,8}")  # a day at most; what is longer is no limit to anything
_ABSOLUTE: Final = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*+)(.*)", re.DOTALL)

PROTOCOL: Final = re.compile(rb"([" + TOKEN + rb"]++)(?:/[" + TOKEN + rb"]++)?")

_OURS: Final = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"content-length", b"host", b""))
"""Options of a request's Connection field that name no field to cut. The framing fields and Host are ours to keep, whoever names them."""


class HeadError(Exception):
    """The head is refused. `detail` says what is wrong in a sentence that may be shown to the client."""

    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail


# Compiled, what refers to nothing that could refer back to it is none of the garbage collector's business, and the memory of the last that
# was freed is the next one's. So it is with the other objects that a request makes.
@mypyc_attr(acyclic=True, free_list_len=1)
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
        "named",
        "patience",
        "request_id",
        "secrets",
        "size",
        "stamp",
        "target",
        "traceparent",
        "underscored",
        "upgrade",
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
    patience: int
    """Milliseconds that it may still take, by a trusted proxy; -1: nothing is said."""
    named: bool
    """Connection names fields that end here."""
    request_id: bytes
    """From a trusted proxy, else b''."""
    underscored: int
    """How many fields were dropped for the underscore in their names."""
    secrets: list[bytes] | None
    """The lines among `fields` that must not be captured."""
    size: int
    """Bytes, with the empty line."""
    stamp: bytes
    """The Banyan-Identity that it came with, of whoever it is, not checked; b'' of none, and of two."""
    traceparent: bytes
    """From a trusted proxy, and valid, else b''."""
    upgrade: bytes
    """The protocol that the client asks to go on in, else b''."""

    def credentials(self) -> bytes:
        """Of `fields` the lines that must not be captured, each with its CRLF before it: all that say who calls are among them, and few
        others: to look among these spares 0.5 µs a request."""
        secrets = self.secrets
        if self.named:
            return self.fields  # some of the lines may be gone from there
        if secrets is None:
            return b""
        return b"\r\n" + (secrets[0] if len(secrets) == 1 else b"\r\n".join(secrets))


@mypyc_attr(acyclic=True, free_list_len=1)
class ResponseHead:
    """A response's head, checked whole."""

    __slots__ = ("chunked", "fields", "http11", "keep_alive", "length", "line", "secrets", "size", "status", "upgrade")

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
    secrets: list[bytes] | None
    """The lines among `fields` that must not be captured."""
    size: int
    """Bytes, with the empty line."""
    upgrade: bytes
    """The protocol that the connection goes on in after a 101, else b''."""


def parse_request(data: bytes, lines: list[bytes] | None = None, *, trusted: bool = False, max_fields: int = 100) -> RequestHead:
    """The head in `data`, which ends with its empty line. `lines`: the same without that, if it was cut already. `trusted`: the peer's
    forwarding fields are believed.

    Raises:
        HeadError: it breaks RFC 9112, or is one of the things that are refused beyond it (edge.md).
    """
    if lines is None:
        lines = data[:-4].split(b"\r\n")
    head = RequestHead()
    _request_line(head, lines[0], data)
    if len(lines) > max_fields + 1:
        raise HeadError(Problem.HEAD_TOO_LARGE, f"More than {max_fields} header fields.")
    head.size = len(data)
    head.length = 0
    head.chunked = head.expect = head.named = False
    head.request_id = b""
    head.patience = -1
    head.stamp = b""
    head.underscored = 0
    head.secrets = None
    host: bytes | None = None
    length: bytes | None = None
    coding: bytes | None = None
    connection: bytes | None = None
    upgrade: bytes | None = None
    traced: list[bytes] | None = None
    head.upgrade = b""
    head.traceparent = b""
    stamped = 0
    cut: set[bytes] | None = None
    strange = REQUEST.strange(lines)
    strange.pop(0)  # the request line, which is not a field
    for text in strange:
        line = REQUEST.read(text)
        if line is None:
            _refuse(data)
        if line.secret:
            head.secrets = [text] if head.secrets is None else [*head.secrets, text]
        kind = line.kind
        if kind == PLAIN:
            continue
        if kind == HOST:
            if host is not None:
                raise HeadError(Problem.FRAMING, "More than one Host field.")
            host = line.value
            continue
        if kind == LENGTH:
            if length is not None:
                raise HeadError(Problem.FRAMING, "More than one Content-Length field.")
            length = line.value
            continue
        if kind == VIA:
            if names_us(line.value):
                raise HeadError(Problem.LOOP, "The request's Via field names this gateway.")
            continue
        if kind == FORWARDED and trusted:
            continue
        if kind == TRACE and trusted:
            if line.name == b"traceparent":
                traced = [text] if traced is None else [*traced, text]
                head.traceparent = line.value
            continue
        if cut is None:
            cut = set()
        cut.add(text)
        if kind == CONNECTION:
            connection = line.value if connection is None else connection + b"," + line.value
        elif kind == CODING:
            if coding is not None:
                raise HeadError(Problem.FRAMING, "More than one Transfer-Encoding field.")
            coding = line.value.lower()
        elif kind == EXPECT:
            if line.value.lower() != b"100-continue":
                raise HeadError(Problem.EXPECTATION, "The Expect field asks for something other than 100-continue.")
            head.expect = head.http11
        elif kind == REQUEST_ID:
            if trusted:
                head.request_id = line.value[:MAX_REQUEST_ID]
        elif kind == TIMEOUT:
            if trusted and _TIMEOUT.fullmatch(line.value):
                said = int(line.value)  # of two, the shorter
                head.patience = said if head.patience < 0 else min(head.patience, said)
        elif kind == STAMP:
            stamped += 1
            head.stamp = line.value if stamped == 1 else b""
        elif kind == UNDERSCORED:
            head.underscored += 1
        elif kind == UPGRADE:
            asked = _protocols(line.value)
            if asked:
                upgrade = asked if upgrade is None else upgrade + b", " + asked
    if traced is not None and (len(traced) > 1 or not valid(head.traceparent)):
        # W3C Trace Context, 3.2.2.5: one that is not valid is as none; of two, neither is believed.
        head.traceparent = b""
        cut = cut.union(traced) if cut is not None else set(traced)
    head.fields = data[len(lines[0]) : -4] if cut is None else _kept(lines, cut)
    if connection is None:
        head.keep_alive = head.http11
    else:
        options = {option.strip(b" \t") for option in connection.lower().split(b",")}
        head.keep_alive = b"close" not in options and (head.http11 or b"keep-alive" in options)
        if upgrade is not None and b"upgrade" in options and head.http11:
            head.upgrade = upgrade
        options -= _OURS
        if options:
            # RFC 9110, 7.6.1: fields named by Connection end here.
            if b"traceparent" in options:
                head.traceparent = b""
            head.fields = without(head.fields, frozenset(options))
            head.named = True
    if coding is not None:
        _check_coding(coding, length, head.http11)
        head.chunked = True
        head.length = -1
    elif length is not None:
        if not LENGTH_VALUE.fullmatch(length):
            raise HeadError(Problem.FRAMING, "The Content-Length field is not a plain decimal number.")
        head.length = int(length)
    if upgrade is not None and head.length:
        # Whether the body belongs to the old protocol or to the new one, upstreams do not agree (edge.md 18). h2c asks only on the side.
        raise HeadError(Problem.FRAMING, "An Upgrade with a body.")
    if host is None:
        raise HeadError(Problem.FRAMING, "No Host field.")
    if not _HOST.fullmatch(host):
        raise HeadError(Problem.FRAMING, "The Host field is not a host with an optional port.")
    head.host = host
    check_target(head)
    return head


def parse_response(data: bytes, lines: list[bytes] | None = None) -> ResponseHead:
    """The head in `data`, which ends with its empty line. `lines`: the same without that, if it was cut already.

    Raises:
        HeadError: with Problem.BAD_ANSWER: it is not valid HTTP/1.
    """
    if lines is None:
        lines = data[:-4].split(b"\r\n")
    head = ResponseHead()
    head.size = len(data)
    _status_line(head, lines[0])
    head.length = -1
    head.chunked = False
    head.keep_alive = head.http11
    head.secrets = None
    head.upgrade = b""
    cut: set[bytes] | None = None
    named: set[bytes] | None = None
    kept_alive = False
    strange = RESPONSE.strange(lines)
    strange.pop(0)  # the status line, which is not a field
    for text in strange:
        line = RESPONSE.read(text)
        if line is None:
            raise HeadError(Problem.BAD_ANSWER, "The upstream's head is not valid HTTP/1.")
        if line.secret:
            head.secrets = [text] if head.secrets is None else [*head.secrets, text]
        kind = line.kind
        if kind == PLAIN:
            continue
        if kind == LENGTH:
            if head.length >= 0 or not LENGTH_VALUE.fullmatch(line.value):
                raise HeadError(Problem.BAD_ANSWER, "The upstream's Content-Length is doubled or not a plain decimal number.")
            head.length = int(line.value)
            continue
        if cut is None:
            cut = set()
        cut.add(text)
        if kind == CONNECTION:
            if line.value == b"keep-alive":
                kept_alive = True
                continue
            options = {option.strip(b" \t") for option in line.value.lower().split(b",")}
            named = options if named is None else named | options
        elif kind == CODING:
            if line.value.lower() != b"chunked" or head.chunked or not head.http11:
                raise HeadError(Problem.BAD_ANSWER, "The upstream's Transfer-Encoding is not exactly one `chunked`.")
            head.chunked = True
        elif kind == UPGRADE:
            head.upgrade = line.value
    # RFC 9112, 6.1: both at once is an attempt at smuggling, or a fault.
    if head.chunked and head.length >= 0:
        raise HeadError(Problem.BAD_ANSWER, "The upstream sent Content-Length with Transfer-Encoding.")
    head.fields = data[len(lines[0]) : -4] if cut is None else _kept(lines, cut)
    if kept_alive:
        head.keep_alive = True
    if named is not None:
        head.keep_alive = b"close" not in named and (head.keep_alive or b"keep-alive" in named)
        named -= _OURS
        if named:
            head.fields = without(head.fields, frozenset(named))
    return head


def _protocols(value: bytes) -> bytes:
    """An Upgrade field's protocols without h2c, which nobody may speak past the gateway, and without what is none (RFC 9110, 7.8)."""
    found = [PROTOCOL.fullmatch(member.strip(b" \t")) for member in value.split(b",")]
    return b", ".join([match[0] for match in found if match is not None and match[1].lower() != b"h2c"])


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


def _request_line(head: RequestHead, line: bytes, data: bytes) -> None:
    found = REQUEST_LINE.fullmatch(line)
    if found is None:
        _refuse(data)
    method, target, minor = found.groups()
    head.method = method.decode("ascii")
    head.target = target
    head.http11 = minor == b"1"


_status_lines: Final[dict[bytes, tuple[int, bool, bytes]]] = {}
"""Status lines seen so far: (status, is it HTTP/1.1, the line as HTTP/1.1). Upstreams have a handful."""


def _status_line(head: ResponseHead, line: bytes) -> None:
    known = _status_lines.get(line)
    if known is None:
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise HeadError(Problem.BAD_ANSWER, "The upstream's head is not valid HTTP/1.")
        known = (int(found[2]), found[1] == b"1", b"HTTP/1.1" + line[8:])
        if len(_status_lines) < 100:
            _status_lines[line] = known
    head.status, head.http11, head.line = known


def _kept(lines: list[bytes], cut: set[bytes]) -> bytes:
    """The field lines but those in `cut`, each with its CRLF before it."""
    kept = [line for line in lines if line not in cut]
    kept[0] = b""  # the request or status line, in whose place the first CRLF needs something to stand behind
    return b"\r\n".join(kept)


def check_target(head: RequestHead, *, escaped: bool = True) -> None:
    """Brings `head.target` into origin-form. `escaped`: there may be a % in it.

    Raises:
        HeadError: it is too long, or not a target; or the method is one that is not relayed.
    """
    target = head.target
    if len(target) > MAX_TARGET:
        raise HeadError(Problem.TARGET_TOO_LONG, f"The target is longer than {MAX_TARGET} bytes.")
    if head.method == "CONNECT" or head.method == "TRACE":
        raise HeadError(Problem.METHOD, f"{head.method} is not relayed.")
    if not target.startswith(b"/"):
        if target == b"*" and head.method == "OPTIONS":
            return
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise HeadError(Problem.FRAMING, "The target is neither a path nor an absolute http URL.")
        # RFC 9112, 3.2.2 lets the target win over Host; a client that says two things is refused here.
        if absolute[1].lower() != head.host.lower():
            raise HeadError(Problem.FRAMING, "The target's authority differs from Host.")
        rest = absolute[2]
        target = head.target = rest if rest.startswith(b"/") else b"/" + rest
    # `in` would cost 0.3 µs more: for bytes it first tries whether the needle is a number, and fails.
    if escaped and target.find(b"%00") >= 0:
        raise HeadError(Problem.FRAMING, "The target holds an encoded NUL.")


def _refuse(data: bytes) -> NoReturn:
    """Says why the head is not valid."""
    line, _, rest = data.partition(b"\r\n")
    if re.fullmatch(rb"[" + TOKEN + rb"]+ [^ ]+ HTTP/\d+\.\d+", line) and not re.search(rb" HTTP/1\.[01]\Z", line):
        raise HeadError(Problem.VERSION, "The request's version is not HTTP/1.0 or HTTP/1.1.")
    if not re.fullmatch(rb"[" + TOKEN + rb"]{1,32} [\x21\x22\x24-\x5b\x5d-\x7e]+ HTTP/1\.[01]", line):
        raise HeadError(Problem.FRAMING, "The request line is not `METHOD target HTTP/1.1`.")
    for field_line in rest.split(b"\r\n"):
        if field_line and not re.fullmatch(rb"[" + TOKEN + rb"]+:[" + VALUE + rb"]*", field_line):
            raise HeadError(Problem.FRAMING, "A header field is not `Name: value`, or holds a control character.")
    raise HeadError(Problem.FRAMING, "The head's lines do not all end in CRLF.")
