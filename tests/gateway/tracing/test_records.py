"""What workers hand over arrives as it was, however it is cut on its way; and becomes the spans that it stands for."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from gateway.tracing.records import Beside, Call, Frames, Record, Request, encode, spans
from gateway.tracing.spans import spans_of
from shadow.exchange import LENGTH, MAX_RECORD, FrameError

TRACE, SPAN, OTHER = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"00f067aa0ba902b7"
RESOURCE = Resource({})


def call(**more: Any) -> Call:
    known: dict[str, Any] = {"span": OTHER, "began": 1.25, "ended": 1.5, "upstream": "new", "side": "candidate", "address": "10.0.0.1:80"}
    return Call(**{**known, "status": 200, "failure": "", **more})


def request(**more: Any) -> Request:
    known: dict[str, Any] = {"trace": TRACE, "span": SPAN, "parent": b"", "began": 1.0, "ended": 2.0, "request_id": "r1", "method": "GET"}
    known |= {"scheme": "https", "route": "reviews", "pattern": "/reviews/{id}", "side": "candidate", "upstream": "new", "reason": "flag"}
    known |= {"fell_back": "", "problem": "", "failure": "", "status": 200, "shadow": False, "calls": [call()]}
    return Request(**{**known, **more})


RECORDS: list[Record] = [
    request(),
    request(calls=[]),
    Beside(TRACE, SPAN, "GET", "reviews", "/reviews/{id}", True, call(status=0, failure="timeout")),
]


@given(st.lists(st.sampled_from(RECORDS), max_size=6), st.integers(1, 400))
def test_a_stream_is_cut_into_what_was_sent(records: list[Record], size: int) -> None:
    stream = b"".join(LENGTH.pack(len(data)) + data for data in map(encode, records))
    frames = Frames()
    assert [one for at in range(0, len(stream), size) for one in frames.feed(stream[at : at + size])] == records


@pytest.mark.parametrize("data", [LENGTH.pack(MAX_RECORD + 1), LENGTH.pack(3) + b"abc", LENGTH.pack(1) + b"\x90"])
def test_what_is_no_record_is_told(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(Frames().feed(data))


def of(record: Record) -> list[ReadableSpan]:
    made = spans_of(record, RESOURCE)
    assert len(made) == spans(record)
    return made


def test_ids_times_and_kinds() -> None:
    served, asked = of(request(parent=OTHER))
    assert served.context is not None
    assert asked.context is not None
    assert served.parent is not None
    assert asked.parent is not None
    assert served.context.trace_id == asked.context.trace_id == int(TRACE, 16)
    assert (served.context.span_id, served.parent.span_id, served.parent.is_remote) == (int(SPAN, 16), int(OTHER, 16), True)
    assert (asked.context.span_id, asked.parent.span_id, asked.parent.is_remote) == (int(OTHER, 16), int(SPAN, 16), False)
    assert (served.kind, asked.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert served.start_time is not None
    assert math.isclose(served.start_time, 1e9)
    assert asked.start_time is not None
    assert math.isclose(asked.start_time, 1.25e9)


@pytest.mark.parametrize(
    ("more", "error", "code"),
    [
        ({}, None, StatusCode.UNSET),
        ({"status": 404}, None, StatusCode.UNSET),
        ({"status": 500}, "500", StatusCode.ERROR),
        ({"status": 503, "problem": "shed", "side": "gateway"}, "shed", StatusCode.ERROR),
        ({"status": 401, "problem": "unauthenticated", "side": "gateway"}, None, StatusCode.UNSET),
        ({"status": 0, "failure": "reset"}, "reset", StatusCode.ERROR),
        ({"status": 0, "failure": "client-gone"}, "client-gone", StatusCode.UNSET),
    ],
)
def test_what_is_an_error_to_a_server(more: dict[str, Any], error: str | None, code: StatusCode) -> None:
    served = of(request(**more))[0]
    assert (served.attributes or {}).get("error.type") == error
    assert served.status.status_code is code


@pytest.mark.parametrize(
    ("more", "error", "code"),
    [
        ({}, None, StatusCode.UNSET),
        ({"status": 404}, "404", StatusCode.ERROR),
        ({"status": 502}, "502", StatusCode.ERROR),
        ({"status": 0, "failure": "refused", "address": ""}, "refused", StatusCode.ERROR),
        ({"status": 500, "failure": "status-500"}, "status-500", StatusCode.ERROR),
        ({"status": 0, "failure": "client-gone"}, "client-gone", StatusCode.UNSET),
    ],
)
def test_what_is_an_error_to_whoever_asked(more: dict[str, Any], error: str | None, code: StatusCode) -> None:
    asked = of(request(calls=[call(**more)]))[1]
    assert (asked.attributes or {}).get("error.type") == error
    assert asked.status.status_code is code


def test_addresses_and_names() -> None:
    first, second = of(request(method="_OTHER", calls=[call(address="[::1]:8080"), call(address="unix:/run/s")]))[1:]
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.name, first.attributes["http.request.method"]) == ("HTTP /reviews/{id}", "_OTHER")
    assert (first.attributes["server.address"], first.attributes["server.port"]) == ("::1", 8080)
    assert "http.request.resend_count" not in first.attributes
    assert (second.attributes["server.address"], second.attributes["http.request.resend_count"]) == ("/run/s", 1)
    (unrouted,) = of(request(route="", pattern="", calls=[]))
    assert unrouted.name == "GET"
    assert "http.route" not in (unrouted.attributes or {})
    assert "banyan.route" not in (unrouted.attributes or {})
