"""Heads that come again are read exactly as if each were the first; and they are in fact recognised."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.fields import captured
from gateway.net.head import REQUEST_LINE, HeadError, parse_request, parse_response
from gateway.net.lines import REQUEST
from gateway.net.recurring import _VALUE, MAX_VARYING, PATIENCE, Requests, Responses, _request_line, _value_end

NAMES = (
    b"Accept Referer X-A Cookie Authorization Content-Length Transfer-Encoding Connection Via X-Token X-Forwarded-For X_A Expect "
    b"X-Request-ID Set-Cookie Keep-Alive Banyan-X Banyan-Identity Host Date Upgrade traceparent tracestate"
).split()
TRACE = b"00-" + b"a" * 31 + b"%b-" + b"b" * 16 + b"-01"
VALUES = [
    *(
        b"a",
        b"b",
        b"",
        b" ",
        b"0",
        b" 0",
        b"5",
        b"17",
        b"05",
        b"+5",
        b"9" * 19,
        b"chunked",
        b"keep-alive",
        b"close",
        b"x-a",
        b"X-A, close",
        b"\xff",
    ),
    *(TRACE % b"1", TRACE % b"2", b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01"),
    *(b"100-continue", b"1.1 banyan", b"a\rb", b"a\nb", b"a\x00", b"a\r\nX-B: c", b"a\r\n\r\nGET / HTTP/1.1", b" padded\t"),
]
LINES = [
    *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET / HTTP/1.0", b"GET http://a/ HTTP/1.1", b"GET http://b/ HTTP/1.1"),
    *(b"GET /%00 HTTP/1.1", b"GET /" + b"x" * 40 + b" HTTP/1.1", b"GET / HTTP/1.11", b"CONNECT a HTTP/1.1"),
]
STATUSES = [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 200 OK", b"HTTP/1.1 204"]
REST = [b"", b"body", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]


@st.composite
def conversations(draw: st.DrawFn, starts: list[bytes]) -> list[bytes]:
    """Heads as one connection brings them: mostly the same fields, with another value here and there, and something after their end."""
    # Most of the values are plain ones: a sequence that breaks at its first head shows nothing.
    value = st.one_of(st.sampled_from(VALUES[:3]), st.sampled_from(VALUES))
    fields = draw(st.lists(st.tuples(st.sampled_from(NAMES), value), max_size=7))
    places = draw(st.lists(st.integers(0, max(0, len(fields) - 1)), max_size=6))
    made = []
    for _ in range(draw(st.integers(2, 8))):
        for place in draw(st.lists(st.sampled_from(places), max_size=2)) if places and fields else []:
            fields[place] = (fields[place][0], draw(value))
        if draw(st.integers(0, 9)) == 0:
            fields = [*fields, (draw(st.sampled_from(NAMES)), draw(value))]
        line = draw(st.one_of(st.just(starts[0]), st.sampled_from(starts)))
        host = [(b"Host", b"a")] if starts is LINES else []
        text = b"".join(b"\r\n" + name + b": " + found for name, found in [*host, *fields])
        made.append(line + text + b"\r\n\r\n" + draw(st.sampled_from(REST)))
    return made


def outcome(names: list[str], read: Callable[..., Any], *arguments: object, **keywords: object) -> tuple[object, ...]:
    try:
        head = read(*arguments, **keywords)
    except HeadError as error:
        return (error.problem, error.detail)
    return (
        *(getattr(head, name) for name in ["chunked", "fields", "http11", "keep_alive", "length", "secrets", "size", *names]),
        captured(head),
    )


BOTH_NAMES = ["chunked", "fields", "http11", "keep_alive", "length", "secrets", "size"]
REQUEST_NAMES = ["expect", "host", "method", "named", "patience", "request_id", "stamp", "target", "traceparent", "underscored", "upgrade"]
RESPONSE_NAMES = ["line", "status", "upgrade"]


@given(conversation=conversations(LINES), trusted=st.booleans(), secret=st.booleans())
def test_every_request_is_read_as_if_it_were_the_first(conversation: list[bytes], trusted: bool, secret: bool) -> None:
    REQUEST.keep_secret([b"x-token"] if secret else [])
    try:
        requests = Requests(trusted=trusted, max_fields=6)
        for data in conversation:
            end = data.find(b"\r\n\r\n") + 4
            fresh = outcome(REQUEST_NAMES, parse_request, data[:end], trusted=trusted, max_fields=6)
            assert outcome(REQUEST_NAMES, requests.read, data, 1000) == fresh
    finally:
        REQUEST.keep_secret([])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trusted", [False, True])
def test_whatever_comes_where_a_value_varied(name: bytes, trusted: bool) -> None:
    for line in LINES:
        for value in VALUES:
            requests, responses = Requests(trusted=trusted, max_fields=100), Responses()
            # What can vary is known to vary then.
            for found in [TRACE % number if name == b"traceparent" else number for number in (b"5", b"6", b"7")]:
                try:
                    requests.read(b"GET / HTTP/1.1\r\nHost: a\r\n" + name + b": " + found + b"\r\nServer: x\r\n\r\n", 1000)
                    responses.read(b"HTTP/1.1 200 OK\r\n" + name + b": " + found + b"\r\nServer: x\r\n\r\n")
                except HeadError:
                    continue
            fields = name + b": " + value + b"\r\nServer: x\r\n\r\n"
            data = line + b"\r\nHost: a\r\n" + fields
            whole = data[: data.find(b"\r\n\r\n") + 4]
            fresh = outcome(REQUEST_NAMES, parse_request, whole, trusted=trusted)
            assert outcome(REQUEST_NAMES, requests.read, data, 1000) == fresh
            answer = b"HTTP/1.1 200 OK\r\n" + fields
            whole = answer[: answer.find(b"\r\n\r\n") + 4]
            fresh = outcome(RESPONSE_NAMES, parse_response, whole)
            assert outcome(RESPONSE_NAMES, responses.read, answer) == fresh


@given(conversation=conversations(STATUSES))
def test_every_response_is_read_as_if_it_were_the_first(conversation: list[bytes]) -> None:
    responses = Responses()
    for data in conversation:
        end = data.find(b"\r\n\r\n") + 4
        fresh = outcome(RESPONSE_NAMES, parse_response, data[:end])
        assert outcome(RESPONSE_NAMES, responses.read, data) == fresh


@given(conversation=conversations(LINES), cut=st.integers(1, 200))
def test_a_head_that_has_not_come_whole_is_none_yet(conversation: list[bytes], cut: int) -> None:
    requests = Requests(trusted=False, max_fields=100)
    try:
        for data in conversation:
            end = data.find(b"\r\n\r\n") + 4
            assert requests.read(data[: end - min(cut, end)], 1000) is None
            assert requests.read(data, end - 1) is None, "it is longer than the limit"
            requests.read(data, 1000)
    except HeadError:
        pass


def head(number: int, *, line: bytes = b"GET /%d HTTP/1.1", varying: int = 1, extra: bytes = b"") -> bytes:
    values = b"".join(b"\r\nX-%d: %d" % (each, number * 7 + each) for each in range(varying))
    return line % number + b"\r\nHost: a\r\nConnection: keep-alive\r\nCookie: a=b" + values + extra + b"\r\nAccept: x\r\n\r\n"


def misses(requests: Requests | Responses, heads: list[bytes]) -> int:
    """How many of them were parsed in full."""
    count = 0
    for data in heads:
        before = requests._misses
        if isinstance(requests, Requests):
            requests.read(data, 10_000)
        else:
            requests.read(data)
        count += requests._misses > before
    return count


@pytest.mark.parametrize(("varying", "expected"), [(0, 1), (1, 2), (MAX_VARYING, 2), (MAX_VARYING + 1, 50)])
def test_what_varies_is_learnt_once(varying: int, expected: int) -> None:
    requests = Requests(trusted=False, max_fields=100)
    assert misses(requests, [head(number, varying=varying) for number in range(50)]) == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b"\r\nContent-Length: %d", 2),
        (b"\r\nX-Request-ID: %d", 2),  # from somebody who is not trusted: cut, so its value means nothing
        (b"\r\nCookie: %d", 2),  # which says nothing of how the head is read, and is never captured: as below
        (b"\r\nConnection: keep-alive, x-%d", 50),
        (b"\r\nVia: 1.1 %d", 50),
    ],
)
def test_only_what_means_nothing_may_vary(extra: bytes, expected: int) -> None:
    requests = Requests(trusted=False, max_fields=100)
    assert misses(requests, [head(number, varying=0, extra=extra % number) for number in range(50)]) == expected


def test_a_credential_that_varies_is_as_secret_as_one_that_does_not() -> None:
    """A load balancer's connection carries one client's request after the other's."""
    requests = Requests(trusted=False, max_fields=100)
    for number in range(20):
        data = head(number, extra=b"\r\nAuthorization:  Token %d\r\nSet-Cookie: a=%d" % (number, number))
        found = requests.read(data.replace(b"a=b", b"a=%d" % number), 10_000)
        assert found is not None
        assert found.secrets == [b"Cookie: a=%d" % number, b"Authorization:  Token %d" % number, b"Set-Cookie: a=%d" % number]
        assert b"\r\nCookie: a=%d\r\n" % number in found.fields
        assert captured(found) == b"Host: a\r\nX-0: %d\r\nSet-Cookie: a=*\r\nAccept: x\r\n" % (number * 7)
    assert misses(requests, [head(number) for number in range(20, 22)]) == 2, "it has other lines"
    assert misses(requests, [head(number).replace(b"a=b", b"a=%d" % number) for number in range(22, 40)]) <= 1


@given(st.binary(max_size=80).map(lambda value: value.replace(b"\0", b"a")), st.integers(0, 90))
def test_a_short_value_ends_where_a_long_one_does(value: bytes, more: int) -> None:
    data = b"x" + value + b"y" * more + b"\r\n"
    found = _VALUE.match(data, 1)
    assert found is not None
    assert _value_end(data, 1) == found.end()


@given(
    st.sampled_from([b"GET", b"POST", b"get", b"PURGE", b"", b"G T"]),
    st.lists(st.sampled_from([b"/", b"a", b"?", b"#", b"\\", b" ", b"\t", b"\x7f", b"\xff", b"%", b"~", b"!", b"a" * 60]), max_size=8).map(
        b"".join
    ),
    st.sampled_from([b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b"  HTTP/1.1", b" HTTP/1.11", b"HTTP/1.1", b""]),
)
def test_a_short_request_line_is_read_as_a_long_one_is(method: bytes, target: bytes, version: bytes) -> None:
    data = method + b" " + target + version + b"\r\nHost: a b\r\n\r\n"
    found = REQUEST_LINE.match(data)
    *read, escaped = _request_line(data)
    assert read == (["", b"", 0] if found is None else [found[1].decode(), found[2], found.end()])
    assert escaped or found is None or b"%" not in found[2]


def test_a_trusted_proxys_ids_and_traces_vary_too() -> None:
    def made(number: int) -> bytes:
        trace = TRACE % b"%d" % (number % 10)
        return head(number, varying=0, extra=b"\r\nX-Request-ID: %d\r\ntraceparent: %b\r\ntracestate: v=%d" % (number, trace, number))

    requests = Requests(trusted=True, max_fields=100)
    for number in range(20):
        found = requests.read(made(number), 10_000)
        assert found is not None
        assert (found.request_id, found.traceparent) == (b"%d" % number, TRACE % b"%d" % (number % 10))
        assert b"\r\ntraceparent: %b\r\ntracestate: v=%d" % (found.traceparent, number) in found.fields
    assert misses(requests, [made(number) for number in range(20, 30)]) == 0
    # Of two that vary, which one counts is looked at each time.
    twice = [head(number, varying=0, extra=b"\r\nX-Request-ID: %d\r\nX-Request-ID: same" % number) for number in range(9)]
    assert [found.request_id for each in twice if (found := requests.read(each, 10_000))] == [b"same"] * 9


def test_answers_of_two_lengths() -> None:
    responses = Responses()
    answers = [b"HTTP/1.1 200 OK\r\nDate: %d\r\nContent-Length: %d\r\nServer: x\r\n\r\n" % (number, number % 3) for number in range(50)]
    assert misses(responses, answers) == 2
    found = responses.read(answers[2])
    assert found is not None
    assert (found.length, found.fields) == (2, b"\r\nDate: 2\r\nContent-Length: 2\r\nServer: x")


def test_learning_is_given_up_where_nothing_comes_again_and_taken_up_when_it_does() -> None:
    requests = Requests(trusted=False, max_fields=100)
    changing = [head(number, extra=b"\r\nY-%d: 1" % number) for number in range(5 * PATIENCE)]
    learnt = 0
    for data in changing:
        requests.read(data, 10_000)
        learnt += requests._shape is not None
    assert learnt == PATIENCE + 1 + 2 * 3 + 1
    same = [head(number) for number in range(3 * PATIENCE)]
    assert misses(requests, same) <= PATIENCE + 1


def test_18_an_upgrade_with_a_body_is_none_though_lengths_have_varied() -> None:
    requests = Requests(trusted=False, max_fields=100)
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length:%b\r\n\r\n"
    for nothing in (b" 0", b"  0", b" 0", b"  0"):
        requests.read(upgrade % nothing, 1000)
    with pytest.raises(HeadError, match="Upgrade"):
        requests.read(upgrade % b" 5", 1000)
