"""The header rules are written twice, once an engine: here both read the same heads."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mitm.fields import Fields, Head, RefusedError, clean_request, clean_response, lines
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
    b"shop.test:80",
)
fields = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=8).map(tuple)
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


@given(st.sampled_from([b"GET", b"OPTIONS", b"TRACE"]), targets, versions, fields, st.booleans(), st.booleans())
@example(b"GET", b"/", b"HTTP/1.1", ((b"X-Request-ID", b"a"), (b"X-Forwarded-Proto", b"https")), True, True)
def test_requests(method: bytes, target: bytes, version: bytes, given: Fields, host: bool, trusted: bool) -> None:
    if host:
        given = ((b"Host", b"shop.test"), *given)
    one, other = edge(method, target, version, given, trusted), mitm(method, target, version, given, trusted)
    if isinstance(one, Problem) or isinstance(other, Problem):
        # Where a head breaks two rules, either may be named.
        assert isinstance(one, Problem)
        assert isinstance(other, Problem)
        return
    assert one.fields + b"\r\n" == b"\r\n" + lines(other.fields)
    assert (one.target, one.host, one.method) == (other.target, other.host, other.method)
    assert (one.request_id, one.underscored) == (other.request_id, other.underscored)
    assert (one.keep_alive, one.expect) == (other.keep_alive, other.expects)


@given(fields)
def test_responses(given: Fields) -> None:
    one = parse_response(b"HTTP/1.1 200 OK\r\n%b\r\n" % lines(given))
    assert one.fields + b"\r\n" == b"\r\n" + lines(clean_response(given))
