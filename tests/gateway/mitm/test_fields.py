"""The header rules are written twice, once an engine: here both read the same heads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mitm.fields import Fields, Head, RefusedError, clean_request, clean_response, lines, sound
from gateway.net.head import HeadError, RequestHead, parse_request, parse_response
from gateway.policy.problems import Problem
from gateway.settings import Limits

NAMES = (
    b"Accept",
    b"Banyan-Identity",
    b"Connection",
    b"Content-Type",
    b"Cookie",
    b"Expect",
    b"Forwarded",
    b"HTTP2-Settings",
    b"Host",
    b"Keep-Alive",
    b"Proxy-Anything",
    b"TE",
    b"Trailer",
    b"Upgrade",
    b"traceparent",
    b"tracestate",
    b"Via",
    b"X-Forwarded-For",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Forwarded-Proto",
    b"X-Hop",
    b"X-Real-IP",
    b"X-Request-ID",
    b"X_Forwarded_For",
    b"under_score",
)
VALUES = (
    b"",
    b"a",
    b"100-continue",
    b"banyan",
    b"close",
    b"keep-alive",
    b"X-Hop, keep-alive",
    b"X-Forwarded-For , Cookie",
    b"traceparent, close",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    b"shop.test:80",
)
ODD = (b"\x80\xff", b"a\tb", b"a\rb", b"a\r\n b", b"a\nb", b"a\x00b", b"a\x01b", b"a\x0bb", b"a\x1bb", b"a\x7fb")
"""What is in a value on the way to an addon: mitmproxy asks only of its ends."""
odd = st.tuples(st.sampled_from([b"X-Own", b"Cookie", b"X-Forwarded-For", b"under_score", b"Keep-Alive"]), st.sampled_from(ODD))
methods = st.sampled_from([b"GET", b"OPTIONS", b"TRACE", b"QUERY", b"G(T", b"GE\x00T", b"GE\x7fT", b"GE\xe9T", b"G" * 32, b"G" * 33])
pairs = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
valid = st.lists(pairs.filter(lambda pair: pair[0] not in (b"Host", b"Expect", b"Via")), max_size=8).map(tuple)
"""Fields that no rule refuses."""
expecting = st.sampled_from([(), ((b"Expect", b"100-continue"),), ((b"Via", b"1.1 other"),)])
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"])
targets = st.sampled_from([b"/", b"/a?b=c", b"/%00", b"*", b"/a#b", b"/a\\b", b"/" + b"a" * 9000])


def edge(method: bytes, target: bytes, version: bytes, given: Fields, trusted: bool) -> RequestHead | Problem:
    try:
        return parse_request(b"%b %b %b\r\n%b\r\n" % (method, target, version, lines(given)), trusted=trusted)
    except HeadError as error:
        return error.problem


def mitm(method: bytes, target: bytes, version: bytes, given: Fields, trusted: bool) -> Head | Problem:
    try:
        return clean_request(method, target, b"", version, given, trusted=trusted, limits=Limits())
    except RefusedError as error:
        return error.problem


@settings(max_examples=300)
@given(versions, valid, expecting, st.booleans())
def test_what_is_passed_on(version: bytes, given: Fields, more: Fields, trusted: bool) -> None:
    fields = ((b"Host", b"shop.test"), *given, *more)
    one, other = edge(b"GET", b"/a?b=c", version, fields, trusted), mitm(b"GET", b"/a?b=c", version, fields, trusted)
    assert isinstance(one, RequestHead)
    assert isinstance(other, Head)
    assert one.fields + b"\r\n" == b"\r\n" + lines(other.fields)
    assert (one.target, one.host, one.method) == (other.target, other.host, other.method)
    assert (one.request_id, one.traceparent, one.underscored) == (other.request_id, other.traceparent, other.underscored)
    assert (one.keep_alive, one.expect) == (other.keep_alive, other.expects)


@settings(max_examples=300)
@given(methods, targets, versions, st.lists(st.one_of(pairs, odd), max_size=2).map(tuple))
def test_what_is_refused(method: bytes, target: bytes, version: bytes, given: Fields) -> None:
    fields = ((b"Host", b"shop.test"), *given)
    one, other = edge(method, target, version, fields, False), mitm(method, target, version, fields, False)
    # Where a head breaks two rules, either may be named.
    assert isinstance(one, Problem) == isinstance(other, Problem)


@settings(max_examples=300)
@given(valid)
def test_responses(given: Fields) -> None:
    one = parse_response(b"HTTP/1.1 200 OK\r\n%b\r\n" % lines(given))
    assert one.fields + b"\r\n" == b"\r\n" + lines(clean_response(given))


@given(st.sampled_from([b"99", b"099", b"100", b"200", b"999", b"1000", b"1234"]), st.sampled_from((b"OK", b"", *ODD)), versions)
def test_status_lines_that_are_refused(status: bytes, reason: bytes, version: bytes) -> None:
    assert sound(version, int(status), reason, ()) == answers(b"%b %b %b\r\n\r\n" % (version, status, reason))


@settings(max_examples=300)
@given(st.lists(st.one_of(pairs, odd), max_size=3).map(tuple), st.sampled_from([b"", b"chunked", b"Chunked", b"gzip", b"gzip, chunked"]))
def test_responses_that_are_refused(given: Fields, coding: bytes) -> None:
    fields = (*given, (b"Transfer-Encoding", coding)) if coding else given
    assert sound(b"HTTP/1.1", 200, b"OK", fields) == answers(b"HTTP/1.1 200 OK\r\n%b\r\n" % lines(fields))


def answers(head: bytes) -> bool:
    """Whether the edge takes it."""
    try:
        parse_response(head)
    except HeadError:
        return False
    return True
