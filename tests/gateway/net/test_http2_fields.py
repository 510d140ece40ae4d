"""HTTP/2 fields as HTTP/1.1 heads: what is refused, and that what passes says the same and nothing more."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hpack.struct import NeverIndexedHeaderTuple
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.net.head import HeadError, parse_request
from gateway.net.http2_fields import MalformedError, answer, request

Fields = list[tuple[bytes, bytes]]
BEGIN: Fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/x")]


def changed(name: bytes, value: bytes | None) -> Fields:
    """BEGIN with another value, or without that field."""
    return [(key, value if key == name else old) for key, old in BEGIN if key != name or value is not None]  # type: ignore[misc] # not None


def lines(fields: Fields, *, ended: bool = True) -> list[bytes]:
    head = request(fields, ended=ended).head
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_a_request() -> None:
    assert lines([*BEGIN, (b"x-a", b"1"), (b"x-a", b""), (b"te", b"Trailers")]) == [
        b"GET /x HTTP/1.1",
        b"host: a",
        b"x-a: 1",
        b"x-a: ",
        b"te: Trailers",
        b"connection: close",
    ]


def test_cookies_are_one_again() -> None:
    crumbs = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3; d=4")]
    assert lines([*BEGIN, *crumbs])[2:4] == [b"x: y", b"cookie: a=1; b=2; c=3; d=4"]


@pytest.mark.parametrize(
    ("fields", "ended", "expected", "length"),
    [
        ([], True, [], 0),
        ([(b"content-length", b"0")], True, [b"content-length: 0"], 0),
        ([], False, [b"transfer-encoding: chunked"], -1),
        ([(b"content-length", b"5")], False, [b"content-length: 5"], 5),
        # It may only end, and that is not known yet.
        ([(b"content-length", b"0")], False, [b"transfer-encoding: chunked"], 0),
    ],
)
def test_a_body(fields: Fields, ended: bool, expected: list[bytes], length: int) -> None:
    asked = request([*BEGIN, *fields], ended=ended)
    assert asked.head.split(b"\r\n")[2:-3] == expected
    assert asked.length == length


def test_a_method_that_has_a_body_says_that_it_is_empty() -> None:
    assert lines(changed(b":method", b"POST"))[2] == b"content-length: 0"


def test_a_host_in_place_of_an_authority() -> None:
    assert lines([*changed(b":authority", None), (b"host", b"b")])[1] == b"host: b"
    assert lines([*BEGIN, (b"host", b"A")])[1] == b"host: a"
    with pytest.raises(HeadError):
        parse_request(request(changed(b":authority", None), ended=True).head)  # judged there


def test_connect_is_judged_where_methods_are() -> None:
    with pytest.raises(HeadError) as refused:
        parse_request(request([(b":method", b"CONNECT"), (b":authority", b"a:443")], ended=True).head)
    assert refused.value.problem.status == 405


MALFORMED: list[Fields] = [
    [],
    *[changed(name, None) for name in (b":method", b":scheme", b":path")],
    *[[*BEGIN, (name, value)] for name, value in BEGIN],  # twice
    [(b"x", b"y"), *BEGIN],
    *[[(name, b"a"), *BEGIN] for name in (b"cookie", b"host")],
    [(b"content-length", b"0"), *BEGIN],
    *[[*BEGIN, (name, b"x")] for name in (b":status", b":protocol", b":x", b":", b":Method")],
    *[changed(b":method", value) for value in (b"", b"G T", b"GET\r\n", b"G:", b"x" * 33, b"\xc3\x84")],
    *[changed(b":scheme", value) for value in (b"", b"ftp", b"https ", b"https\0")],
    *[changed(b":path", value) for value in (b"", b"x", b"http://a/x", b"//a b", b"/ HTTP/1.1", b"/\r\nX: y", b"/\n")],
    *[changed(b":path", value) for value in (b"/\0", b"/#", b"/\\", b"/\xff", b"/\t", b"**", b"*/", b" /", b"/ ", b"?a")],
    *[changed(b":authority", value) for value in (b"a\r\nX: y", b"a\n", b" a", b"a\0", b"a\x7f")],
    [*BEGIN, (b"host", b"b")],
    [*BEGIN, (b"host", b"a"), (b"host", b"a")],
    *[[*BEGIN, (name, b"x")] for name in (b"X", b"x y", b"", b"x:", b"x\r", b"x\n", b"x\0", b"x\xff", b"x\x7f")],
    *[[*BEGIN, (name, b"x")] for name in (b" x", b"x ", b"(", b"x\t")],
    *[[*BEGIN, (b"x", value)] for value in (b" y", b"y ", b"\ty", b"y\t", b"\r", b"a\nb", b"a\r\nb", b"\0", b"\x7f")],
    *[[*BEGIN, (b"x", value)] for value in (b"\x0b", b" ", b"a\x1bb")],
    *[[*BEGIN, (name, b"close")] for name in (b"connection", b"keep-alive", b"proxy-connection", b"upgrade")],
    [*BEGIN, (b"transfer-encoding", b"chunked")],
    *[[*BEGIN, (b"te", value)] for value in (b"gzip", b"trailers, gzip", b"")],
    *[[*BEGIN, (b"content-length", value)] for value in (b"5", b"+0", b"-0", b"00", b"0x0", b"1_0", b"", b"0,0", b"9" * 19)],
    [*BEGIN, (b"content-length", b"0"), (b"content-length", b"0")],
    *[[(b":method", b"CONNECT"), *fields] for fields in ([], [(b":authority", b"")], BEGIN[1:], BEGIN[2:], BEGIN[1:3])],
    [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *BEGIN[1:]],
]


@pytest.mark.parametrize("fields", MALFORMED)
def test_malformed(fields: Fields) -> None:
    with pytest.raises(MalformedError):
        request(fields, ended=True)


NAMES = st.sampled_from(b":method :scheme :authority :path :status host cookie content-length te connection x-a via".split()) | st.binary(
    max_size=4
)
VALUES = st.sampled_from([*b"GET CONNECT https a /x * / 0 5 trailers".split(), b"a b", b"x\r\ny", b""]) | st.binary(max_size=6)
REQUEST = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


def h2_refuses(fields: Fields) -> str:
    """Why h2 would."""
    try:
        list(validate_headers(fields, REQUEST))
    except ProtocolError as error:
        return str(error)
    return ""


@settings(max_examples=600, deadline=None)
@given(st.permutations(BEGIN), LISTS, st.integers(0, 4), st.booleans())
@example(BEGIN, [(b"x", b"y"), (b"cookie", b"a"), (b"cookie", b"b")], 4, False)
def test_what_passes_is_what_h2_lets_pass_and_one_head(begin: Fields, more: Fields, kept: int, ended: bool) -> None:
    fields = [*begin[:kept], *more]
    try:
        asked = request(fields, ended=ended)
    except MalformedError:
        return
    # A missing host is a 400 here: of all the gateway's answers it is the one that says it. And hosts are compared whatever their case.
    assert "host" in (h2_refuses(fields) or "host").lower()
    # Whatever is in them, there are as many lines as fields, and each says what its field said.
    head = asked.head
    assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
    assert head.index(b"\r\n\r\n") == len(head) - 4
    read = [tuple(line.split(b": ", 1)) for line in head[:-4].split(b"\r\n")[1:]]
    crumbs = [value for name, value in fields if name == b"cookie"]
    said = [(name, value) for name, value in fields if not name.startswith(b":") and name not in (b"cookie", b"content-length", b"host")]
    ours = (b"host", b"cookie", b"content-length", b"transfer-encoding", b"connection")
    assert [pair for pair in read if pair[0] not in ours] == said
    assert [value for name, value in read if name == b"cookie"] == ([b"; ".join(crumbs)] if crumbs else [])
    assert [value for name, value in read if name == b"connection"] == [b"close"]
    framing = [name for name, _ in read if name in (b"content-length", b"transfer-encoding")]
    assert len(framing) <= 1
    if not ended:
        assert len(framing) == 1


def test_an_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A:\t1 \r\nSet-Cookie: a=b\r\nConnection: close\r\nTransfer-Encoding: chunked"
    read = answer(head + b"\r\nBanyan-Route: r; served-by=legacy")
    assert (read.status, read.length, read.chunked) == (200, -1, True)
    assert [tuple(field) for field in read.fields] == [
        (b":status", b"200"),
        (b"content-type", b"text/plain"),
        (b"x-a", b"1"),
        (b"set-cookie", b"a=b"),
        (b"banyan-route", b"r; served-by=legacy"),
    ]
    assert [type(field) for field in read.fields if field[0] == b"set-cookie"] == [NeverIndexedHeaderTuple]


def test_an_answer_of_known_length() -> None:
    read = answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 12")
    assert (read.status, read.length, read.chunked) == (404, 12, False)
    assert read.fields[1:] == [(b"content-length", b"12")]
