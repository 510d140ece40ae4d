"""Turns what a worker wrote down into spans, as OpenTelemetry's semantic conventions for HTTP have them (1.43, stable).

Two of their attributes are left out on purpose, url.path with url.query and url.full: a path has ids in it, and a query secrets. A span is
named by its route's pattern instead. So is client.address, which is personal data.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.tracing.records import Beside, Call, Record, Request

SCOPE: Final = InstrumentationScope("banyan")
OTHER: Final = "HTTP"
"""What a span is called by whose method is none of the usual."""

Attributes = dict[str, str | int | bool]


def spans_of(record: Record, resource: Resource) -> list[ReadableSpan]:
    """The spans of one record, in no particular order."""
    if isinstance(record, Beside):
        attributes: Attributes = {"banyan.shadow": True, "banyan.noise": record.noise}
        return [_call(record.call, 0, record.trace, record.parent, record.method, record.route, record.pattern, resource, attributes)]
    made = [_served(record, resource)]
    for number, call in enumerate(record.calls):
        made.append(_call(call, number, record.trace, record.span, record.method, record.route, record.pattern, resource, {}))
    return made


def _served(record: Request, resource: Resource) -> ReadableSpan:
    attributes: Attributes = {
        "http.request.method": record.method,
        "url.scheme": record.scheme,
        "banyan.served_by": record.side,
        "banyan.request_id": record.request_id,
        "banyan.shadow": record.shadow,
    }
    if record.pattern:
        attributes["http.route"] = record.pattern
    if record.status:
        attributes["http.response.status_code"] = record.status
    for name, value in (
        ("banyan.route", record.route),
        ("banyan.upstream", record.upstream),
        ("banyan.reason", record.reason),
        ("banyan.fallback", record.fell_back),
        ("banyan.error", record.problem),
        ("error.type", _error(record.status, record.problem or record.failure)),
    ):
        if value:
            attributes[name] = value
    return _span(
        _name(record.method, record.pattern),
        SpanKind.SERVER,
        _context(record.trace, record.span, remote=False),
        _context(record.trace, record.parent, remote=True) if record.parent else None,
        record.began,
        record.ended,
        attributes,
        # A client that left before its answer's end is no error of ours (semantic conventions, HTTP, Status).
        failed=record.status >= 500 or (record.status == 0 and record.failure != "client-gone"),
        resource=resource,
    )


def _call(
    call: Call,
    number: int,
    trace: bytes,
    parent: bytes,
    method: str,
    route: str,
    pattern: str,
    resource: Resource,
    attributes: Attributes,
) -> ReadableSpan:
    attributes |= {"http.request.method": method, "banyan.upstream": call.upstream, "banyan.side": call.side}
    if route:
        attributes["banyan.route"] = route
    if pattern:
        attributes["url.template"] = pattern
    if call.status:
        attributes["http.response.status_code"] = call.status
    if number:
        attributes["http.request.resend_count"] = number
    if call.address.startswith("unix:"):
        attributes["server.address"] = call.address.removeprefix("unix:")
    elif call.address:
        host, _, port = call.address.rpartition(":")
        attributes |= {"server.address": host.strip("[]"), "server.port": int(port)}
    error = _error(call.status, call.failure, worst=400)
    if error:
        attributes["error.type"] = error
    return _span(
        _name(method, pattern),
        SpanKind.CLIENT,
        _context(trace, call.span, remote=False),
        _context(trace, parent, remote=False),
        call.began,
        call.ended,
        attributes,
        failed=bool(error) and call.failure != "client-gone",
        resource=resource,
    )


def _name(method: str, pattern: str) -> str:
    name = OTHER if method == "_OTHER" else method
    return f"{name} {pattern}" if pattern else name


def _error(status: int, why: str, worst: int = 500) -> str:
    """error.type. To whoever asked, 4xx is an error too."""
    if status and status < worst:
        return ""
    return why or (str(status) if status else "")


def _context(trace: bytes, span: bytes, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), remote, TraceFlags(TraceFlags.SAMPLED))


def _span(
    name: str,
    kind: SpanKind,
    context: SpanContext,
    parent: SpanContext | None,
    began: float,
    ended: float,
    attributes: Attributes,
    *,
    failed: bool,
    resource: Resource,
) -> ReadableSpan:
    # The SDK's own way to a span generates its ids, and takes its times from here. These have been since before this process knew of them.
    return ReadableSpan(
        name,
        context,
        parent,
        resource,
        attributes,
        kind=kind,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=int(began * 1e9),
        end_time=int(ended * 1e9),
        instrumentation_scope=SCOPE,
    )
