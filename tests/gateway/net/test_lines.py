"""What is remembered of field lines: that it changes no answer, is bounded, and holds no credential."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net import lines
from gateway.net.fields import captured
from gateway.net.head import HeadError, RequestHead, ResponseHead, parse_request, parse_response
from gateway.net.lines import REQUEST, RESPONSE, Lines

NAMES = st.sampled_from(
    [
        *(b"Host", b"host", b"Accept", b"X-A", b"Cookie", b"Authorization", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Via"),
        *(b"X-Forwarded-For", b"X_A", b"Expect", b"X-Request-ID", b"Set-Cookie", b"Keep-Alive", b"bad name", b"", b"Banyan-X"),
    ]
)
VALUES = st.sampled_from(
    [b"a", b"", b"5", b"chunked", b"keep-alive", b"close", b"x-a", b"X-A, close", b"100-continue", b"1.1 banyan", b"a\rb"]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(lambda pairs: b"".join(b"\r\n" + name + b": " + value for name, value in pairs))
REQUEST_LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET / HTTP/1.0", b"GET http://a/ HTTP/1.1", b"GET /%00 HTTP/1.1"]
)


def outcome[T: (RequestHead, ResponseHead)](parse: Callable[[], T]) -> tuple[object, ...]:
    try:
        head = parse()
    except HeadError as error:
        return (error.problem, error.detail)
    # By name: compiled classes do not tell their slots.
    names = ["chunked", "fields", "http11", "keep_alive", "length", "secrets", "size"]
    if isinstance(head, RequestHead):
        names += ["expect", "host", "method", "request_id", "target", "underscored"]
    else:
        names += ["line", "status"]
    return tuple(getattr(head, name) for name in names)


def forget() -> None:
    for known in (REQUEST, RESPONSE):
        known.keep_secret(())


@given(line=REQUEST_LINES, fields=FIELDS, trusted=st.booleans())
def test_what_is_remembered_changes_no_request(line: bytes, fields: bytes, trusted: bool) -> None:
    data = line + b"\r\nHost: a" + fields + b"\r\n\r\n"
    forget()
    fresh = outcome(lambda: parse_request(data, trusted=trusted))
    assert outcome(lambda: parse_request(data, trusted=trusted)) == fresh


@given(fields=FIELDS)
def test_what_is_remembered_changes_no_response(fields: bytes) -> None:
    data = b"HTTP/1.1 200 OK" + fields + b"\r\n\r\n"
    forget()
    fresh = outcome(lambda: parse_response(data))
    assert outcome(lambda: parse_response(data)) == fresh


@pytest.mark.parametrize("value", [b"s3cret", b"s3cret" * 100])
def test_credentials_are_neither_remembered_nor_captured(value: bytes) -> None:
    forget()
    request = b"".join(
        (
            b"GET / HTTP/1.1\r\nCookie: sessionid=",
            value,
            b"\r\nHost: a\r\nAUTHORIZATION: Bearer ",
            value,
            b"\r\nAccept: x\r\nCookie: sessionid=",
            value,
            b"\r\n\r\n",
        )
    )
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=" + value + b"\r\nSet-Cookie: a=" + value + b"\r\nServer: x\r\n\r\n"
    head = parse_request(request)
    assert head.fields.count(value) == 3
    assert captured(head) == b"Host: a\r\nAccept: x\r\n"
    assert captured(parse_response(answer)) == b"Set-Cookie: a=*\r\nSet-Cookie: a=*\r\nServer: x\r\n"
    for known in (REQUEST, RESPONSE):
        assert not [line for line in (*known._plain, *known._special) if b"s3cret" in line]


def test_names_from_the_configuration_are_not_captured_either() -> None:
    try:
        REQUEST.keep_secret([b"x-token", b"host"])
        head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Token: 1\r\nX-Token: 1\r\nX-Token: 11\r\nAccept: x\r\n\r\n")
        assert captured(head) == b"Accept: x\r\n"
        assert head.fields.count(b"X-Token") == 3
    finally:
        forget()


def test_a_named_field_that_connection_cuts_is_no_reason_to_stumble() -> None:
    head = parse_response(b"HTTP/1.1 200 OK\r\nConnection: set-cookie\r\nSet-Cookie: a\r\nServer: x\r\n\r\n")
    assert (head.fields, captured(head)) == (b"\r\nServer: x", b"Server: x\r\n")
    assert captured(parse_response(b"HTTP/1.1 200 OK\r\n\r\n")) == b""


def test_what_is_remembered_is_bounded() -> None:
    known = Lines({b"a": lines.CUT}, {}, underscores=False)
    for number in range(3 * lines.MAX_LINES):
        assert known.read(b"X: %d" % number) is not None
        assert known.read(b"A: %d" % number) is not None
        assert len(known._plain) <= lines.MAX_LINES
        assert len(known._special) <= lines.MAX_LINES
    assert known.strange([b"X: 0", b"X: %d" % (3 * lines.MAX_LINES - 1)]) == [b"X: 0"]
    long = b"X: " + b"y" * lines.MAX_LINE
    assert known.read(long) is not None
    assert known.strange([long]) == [long]
