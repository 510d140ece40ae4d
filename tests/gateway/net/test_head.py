"""The grammar of heads: what is refused, what is cut, and that h11 reads the same in what is passed on."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.fields import field, without
from gateway.net.head import HeadError, parse_request, parse_response
from gateway.policy.problems import Problem


def request(*lines: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: shop.test") -> bytes:
    return b"\r\n".join([line, *([host] if host is not None else []), *lines, b"", b""])


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        # edge.md 1-6, 12-15, 18-19 as far as one head can show them
        (request(b"Content-Length: 5", b"Transfer-Encoding: chunked"), Problem.FRAMING),
        (request(b"Transfer-Encoding: chunked", b"Content-Length: 5"), Problem.FRAMING),
        (request(b"Content-Length: 5", b"Content-Length: 5"), Problem.FRAMING),
        (request(b"Content-Length: 5, 5"), Problem.FRAMING),
        *(
            (request(b"Content-Length: " + value), Problem.FRAMING)
            for value in (b"+5", b"-5", b"0x5", b"1_0", b'"5"', b"5 5", b"005", b"", b"9" * 30)
        ),
        *(
            (request(b"Transfer-Encoding: " + value), Problem.FRAMING)
            for value in (b"gzip, chunked", b"chunked, chunked", b'"chunked"', b"chunked;q=1", b",chunked", b"", b"gzip", b"identity")
        ),
        (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), Problem.FRAMING),
        (request(b"Transfer-Encoding: zork"), Problem.CODING),
        (request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), Problem.FRAMING),
        (request(b"X: a\nY: b"), Problem.FRAMING),
        (request(b"X: a\rY: b"), Problem.FRAMING),
        (request(b"X: a\x00b"), Problem.FRAMING),
        (request(b"X: a\x7fb"), Problem.FRAMING),
        (request(b"X: a", b" folded"), Problem.FRAMING),
        (request(b"X : a"), Problem.FRAMING),
        (request(b" X: a"), Problem.FRAMING),
        (request(b"no colon"), Problem.FRAMING),
        (request(b": empty"), Problem.FRAMING),
        (request(b"X@Y: a"), Problem.FRAMING),
        (request(b"Transfer-Encoding\x0b: chunked"), Problem.FRAMING),
        (request(host=None), Problem.FRAMING),
        (request(b"Host: shop.test"), Problem.FRAMING),
        *((request(host=b"Host: " + value), Problem.FRAMING) for value in (b"", b"a, b", b"u@a", b"a/b", b"a b", b"a:80:80", b"a:x")),
        (request(line=b"GET http://other.test/ HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET  / HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET\t/ HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET /a#b HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET /a\\b HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET /\xc3\xa9 HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET /%00 HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET / http/1.1"), Problem.FRAMING),
        (request(line=b"GET a HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET * HTTP/1.1"), Problem.FRAMING),
        (request(line=b"GET /"), Problem.FRAMING),
        (request(line=b"GET / HTTP/2.0"), Problem.VERSION),
        (request(line=b"GET / HTTP/0.9"), Problem.VERSION),
        (b"PRI * HTTP/2.0\r\n\r\n", Problem.VERSION),
        (request(line=b"CONNECT shop.test:443 HTTP/1.1"), Problem.METHOD),
        (request(line=b"TRACE / HTTP/1.1"), Problem.METHOD),
        (request(b"Expect: the-impossible"), Problem.EXPECTATION),
        (request(line=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), Problem.TARGET_TOO_LONG),
        (request(*(b"X-%d: a" % n for n in range(200))), Problem.HEAD_TOO_LARGE),
        (request(b"Via: 1.1 a, 1.1 banyan"), Problem.LOOP),
        (request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 5", line=b"POST / HTTP/1.1"), Problem.FRAMING),
        (request(b"Upgrade: websocket", b"Upgrade: h2c", b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1"), Problem.FRAMING),
    ],
)
def test_refused(head: bytes, problem: Problem) -> None:
    with pytest.raises(HeadError) as refused:
        parse_request(head)
    assert refused.value.problem is problem
    assert refused.value.detail.endswith(".")


def test_what_is_not_passed_on() -> None:
    head = parse_request(
        request(
            b"Connection: keep-alive, X-Private",
            b"Keep-Alive: timeout=5",
            b"Proxy-Authorization: Basic abc",
            b"TE: trailers",
            b"Trailer: X",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            b"X-Forwarded-For: 1.2.3.4",
            b"x-forwarded-user: admin",
            b"Forwarded: for=1.2.3.4",
            b"X-Real-IP: 1.2.3.4",
            b"X-Request-ID: mine",
            b"Banyan-Identity: forged",
            b"Banyan-Shadow: 1",
            b"X_Forwarded_For: 1.2.3.4",
            b"x-private: secret",
            b"Accept: text/html",
            b"Cookie: a_b=c",
        )
    )
    assert head.fields == b"\r\nHost: shop.test\r\nAccept: text/html\r\nCookie: a_b=c"
    assert head.underscored == 1
    assert head.request_id == b""


def test_a_trusted_proxys_forwarding_fields_stay_but_never_banyans_own() -> None:
    head = parse_request(
        request(b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-User: admin", b"X-Request-ID: Theirs", b"Banyan-Identity: forged"), trusted=True
    )
    assert head.fields == b"\r\nHost: shop.test\r\nX-Forwarded-For: 1.2.3.4"
    assert head.request_id == b"Theirs"


@pytest.mark.parametrize("named", [b"Host", b"Content-Length", b"host, content-length"])
def test_connection_cannot_take_away_the_framing(named: bytes) -> None:
    head = parse_request(request(b"Connection: " + named, b"Content-Length: 5", line=b"POST / HTTP/1.1"))
    assert head.length == 5
    assert field(head.fields, b"host") == b"shop.test"
    assert field(head.fields, b"content-length") == b"5"


@pytest.mark.parametrize(
    ("line", "connection", "expected"),
    [
        (b"GET / HTTP/1.1", None, True),
        (b"GET / HTTP/1.1", b"close", False),
        (b"GET / HTTP/1.1", b"Close, X", False),
        (b"GET / HTTP/1.0", None, False),
        (b"GET / HTTP/1.0", b"keep-alive", True),
    ],
)
def test_keep_alive(line: bytes, connection: bytes | None, expected: bool) -> None:
    fields = [] if connection is None else [b"Connection: " + connection]
    assert parse_request(request(*fields, line=line)).keep_alive is expected


def test_absolute_form_becomes_origin_form() -> None:
    assert parse_request(request(line=b"GET http://shop.test/a?b HTTP/1.1")).target == b"/a?b"
    assert parse_request(request(line=b"GET http://SHOP.test?b HTTP/1.1")).target == b"/?b"
    assert parse_request(request(line=b"OPTIONS * HTTP/1.1")).target == b"*"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_bad_response_is_refused(head: bytes) -> None:
    with pytest.raises(HeadError) as refused:
        parse_response(head)
    assert refused.value.problem is Problem.BAD_ANSWER


def test_a_responses_hop_by_hop_fields_are_cut() -> None:
    head = parse_response(
        b"HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: close, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nBanyan-Error: forged\r\n"
        b"Content-Length: 3\r\nSet-Cookie: a=b\r\n\r\n"
    )
    assert head.fields == b"\r\nServer: x\r\nContent-Length: 3\r\nSet-Cookie: a=b"
    assert (head.status, head.line, head.length, head.keep_alive) == (200, b"HTTP/1.1 200 Fine", 3, False)
    assert parse_response(b"HTTP/1.0 200 Old\r\n\r\n").line == b"HTTP/1.1 200 Old"
    assert parse_response(b"HTTP/1.1 204\r\n\r\n").fields == b""


@pytest.mark.parametrize(
    "fields", [[b"Upgrade: h2c", b"Content-Length: 5"], [b"Upgrade: websocket"], [b"Upgrade: websocket", b"Content-Length: 0"]]
)
def test_an_upgrade_that_harms_nobody_is_cut(fields: list[bytes]) -> None:
    head = parse_request(request(b"Connection: Upgrade", *fields, line=b"POST / HTTP/1.1"))
    assert field(head.fields, b"upgrade") is None


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (b"h2c, foo", b"foo"),
        (b"foo,H2C", b"foo"),
        (b"websocket, h2c, a/1", b"websocket, a/1"),
        (b"h2c,", b""),
        (b",h2c", b""),
        (b"h2c h2c", b""),
        (b"h2c;q=1", b""),
        (b"h2c/1", b""),
        (b'"h2c"', b""),
        (b"h2cx", b"h2cx"),
    ],
)
def test_h2c_is_never_asked_for_however_it_is_written(value: bytes, asked: bytes) -> None:
    head = parse_request(request(b"Connection: Upgrade", b"Upgrade: " + value))
    assert head.upgrade == asked
    assert field(head.fields, b"upgrade") is None


def test_helpers() -> None:
    assert without(b"\r\nA: 1\r\nB: 2\r\na: 3", frozenset({b"a"})) == b"\r\nB: 2"
    assert field(b"\r\nA:  1 \r\nB: 2", b"b") == b"2"
    assert field(b"\r\nA: 1", b"c") is None


TOKENS = st.text("abcXYZ-_!#$%&'*+.^`|~09", min_size=1, max_size=12).map(str.encode)
VALUES = st.binary(max_size=20)


@given(
    method=st.sampled_from([b"GET", b"POST", b"get", b"G T", b"P\x00"]),
    target=st.one_of(st.just(b"/a?b=c"), st.binary(min_size=1, max_size=12)),
    version=st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
    fields=st.lists(st.tuples(st.one_of(TOKENS, st.binary(max_size=6)), VALUES), max_size=5),
    end=st.sampled_from([b"\r\n", b"\n", b"\r"]),
)
def test_what_is_accepted_h11_accepts_and_reads_the_same(
    method: bytes, target: bytes, version: bytes, fields: list[tuple[bytes, bytes]], end: bytes
) -> None:
    raw = (
        method
        + b" "
        + target
        + b" "
        + version
        + b"\r\nHost: a"
        + b"".join(end + name + b": " + value for name, value in fields)
        + b"\r\n\r\n"
    )
    try:
        ours = parse_request(raw)
    except HeadError:
        return
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(raw)
    event = theirs.next_event()
    assert isinstance(event, h11.Request)
    assert event.method.decode() == ours.method
    # What is passed on, read by h11 once more: nothing new appears in it, and every field is one that the client sent.
    again = h11.Connection(h11.SERVER)
    again.receive_data(b"GET / HTTP/1.1" + ours.fields + b"\r\n\r\n")
    passed = again.next_event()
    assert isinstance(passed, h11.Request)
    sent = list(event.headers)
    for pair in passed.headers:
        assert pair in sent
        sent.remove(pair)
    for name, _ in sent:
        lowered = name.lower()
        assert b"_" in lowered or lowered in {b"te", b"via", b"connection", b"upgrade", b"trailer"} or lowered in _connection_options(event)


def _connection_options(event: h11.Request) -> set[bytes]:
    return {option.strip().lower() for name, value in event.headers if name == b"connection" for option in value.split(b",")}


@given(st.binary(max_size=60))
def test_bytes_that_are_no_head_never_pass(junk: bytes) -> None:
    for parse in (parse_request, parse_response):
        try:
            parse(junk + b"\r\n\r\n")
        except HeadError:
            continue
        assert junk.startswith((b"HTTP/1.", b"GET", b"OPTIONS"))
