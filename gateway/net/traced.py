"""Sampled requests: what is written down of them on their way, for spans that another process makes (gateway/tracing/).

Without `[tracing]` there is no Tracer, and a request asks once for it, and twice for its own `traced`; with one, a request that is not
sampled costs a look at its traceparent besides, or a random number. Everything else here is for those that are sampled.

Ids and flags are those of W3C Trace Context, level 1. Who samples is the first of a trace: what a trusted proxy has decided holds
(section 3.2.2.5), and only of a trace that begins here it is decided here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.shipping import ShipperLink
from gateway.telemetry import GATEWAY
from gateway.tracing.records import Beside, Call, Record, Request, encode, spans

if TYPE_CHECKING:
    from gateway.net.mirror import Recorder
    from gateway.net.outbound import Outbound
    from gateway.net.upstream import UpstreamConnection
    from gateway.policy.decision import Target

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER: Final = "_OTHER"
"""Any other method, which a client may choose freely (OpenTelemetry, HTTP spans: http.request.method)."""
_SAMPLED: Final = b"13579bdf"
"""Second digits of flags with the bit `sampled`."""
_GONE: Final = "exporter_gone"


def _new(size: int) -> bytes:
    return os.urandom(size).hex().encode()


class Tracer:
    """One worker's: who is sampled, and where what was written down goes. It lives as long as the worker."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._sample = 0.0
        self._link: ShipperLink | None = None
        self._patterns: dict[str, str] = {}
        self.dropped: dict[str, int] = {}
        """Spans that the exporter was not given, by reason, since they were last reported."""

    def configure(self, link: ShipperLink | None, sample: float, patterns: dict[str, str]) -> None:
        """From now on. `sample`: the share of the traces that begin here; `patterns`: route → its `match`."""
        self._link = link
        self._sample = sample
        self._patterns = patterns

    def begin(self, relay: Outbound) -> None:
        """Decides whether a request is sampled."""
        told = relay.head.traceparent
        if told:  # from a trusted proxy, and valid
            if _SAMPLED.find(told[54:55]) >= 0:
                self._trace(relay, told[3:35], told[36:52])
        elif self._sample > 0.0 and (self._sample >= 1.0 or self._chance() < self._sample):
            self._trace(relay, _new(16), b"")

    def _trace(self, relay: Outbound, trace: bytes, parent: bytes) -> None:
        traced = relay.traced = Traced(self, trace, parent)
        relay.trace = traced.context(traced.own)

    def pattern(self, route: str) -> str:
        return self._patterns.get(route, "")

    def take(self, record: Record) -> None:
        """Hands it on, or counts what is lost."""
        link = self._link
        reason = _GONE if link is None else link.put(encode(record))
        if reason:
            if reason == "shipper_gone":
                reason = _GONE
            self.dropped[reason] = self.dropped.get(reason, 0) + spans(record)


class Traced:
    """One sampled request. It refers to no relay: a cycle would be left to the garbage collector."""

    __slots__ = ("_address", "_began", "_calls", "_side", "_span", "_tracer", "_upstream", "failure", "own", "parent", "problem", "trace")

    def __init__(self, tracer: Tracer, trace: bytes, parent: bytes) -> None:
        self._tracer = tracer
        self.trace = trace
        self.parent = parent
        self.own = _new(8)
        """The span of the request as the gateway sees it."""
        self.problem = ""
        """The gateway's own answer, by its code."""
        self.failure = ""
        """Why the answer did not come to its end."""
        self._calls: list[Call] = []
        self._span = b""
        """Of the call that is under way; b'': none is."""
        self._began = 0.0
        self._upstream = ""
        self._side = ""
        self._address = ""

    def context(self, span: bytes) -> bytes:
        """The traceparent for whoever is asked in this span."""
        return b"00-%b-%b-01" % (self.trace, span)

    def sent(self, relay: Outbound, connection: UpstreamConnection, target: Target) -> None:
        """It is about to go out: in a span of its own, which the upstream is told."""
        self._close(relay, "repeated", 0)  # a payment that is asked for again after an answer
        self._span = _new(8)
        relay.trace = self.context(self._span)
        self._began = relay.asked_at
        self._upstream = target.upstream
        self._side = target.side
        self._address = connection.home.name if connection.home is not None else ""

    def failed(self, relay: Outbound, why: str, status: int = 0) -> None:
        """Whoever was asked gave no good answer."""
        serve = relay.serve
        if not self._span and serve is not None:  # there was no connection to send it over
            self._span = _new(8)
            self._began = relay.asked_at
            self._upstream = serve.upstream
            self._side = serve.side
            self._address = ""
        self._close(relay, why, status)

    def ended(self, relay: Outbound, route: str, side: str, status: int) -> None:
        """The request is done."""
        answered = status if side != GATEWAY else 0
        self._close(relay, "" if answered else self.failure or "unanswered", answered)
        decision, serve = relay.decision, relay.serve
        clock = relay.edge.clock
        now = clock.wall()
        reason: str = decision.reason if decision is not None else ""
        method = relay.head.method
        self._tracer.take(
            Request(
                self.trace,
                self.own,
                self.parent,
                now - (clock.now - relay.started_at),
                now,
                relay.request_id.decode("latin-1"),
                method if method in METHODS else OTHER,
                "https" if relay.client.peer.by_https(relay.head) else "http",
                route,
                self._tracer.pattern(route),
                side,
                serve.upstream if serve is not None and side != GATEWAY else "",
                str(reason),
                relay.fell_back,
                self.problem,
                self.failure,
                status,
                relay.capture is not None,
                self._calls,
            )
        )

    def aside(self) -> tuple[bytes, bytes]:
        """The span of a mirrored request, and the traceparent that goes with it."""
        span = _new(8)
        return span, self.context(span)

    def beside(
        self, relay: Outbound, recorder: Recorder, connection: UpstreamConnection | None, span: bytes, route: str, noise: bool
    ) -> None:
        """A mirrored request was answered, or will not be. `span`: b"" of one that could not be sent."""
        clock = relay.edge.clock
        status = recorder.head.status if recorder.head is not None else 0
        address = connection.home.name if connection is not None and connection.home is not None else ""
        target = recorder.target
        began = clock.wall() - (clock.now - recorder.began)
        call = Call(span or _new(8), began, began + recorder.elapsed, target.upstream, target.side, address, status, recorder.error)
        method = relay.head.method if relay.head.method in METHODS else OTHER
        self._tracer.take(Beside(self.trace, self.own, method, route, self._tracer.pattern(route), noise, call))

    def logged(self, line: bytes) -> bytes:
        """The access log's line of this request with the trace that it belongs to."""
        return b'%b,"trace":"%b"}\n' % (line[:-2], self.trace)

    def _close(self, relay: Outbound, failure: str, status: int) -> None:
        if self._span:
            clock = relay.edge.clock
            now = clock.wall()
            began = now - (clock.now - self._began)
            self._calls.append(Call(self._span, began, now, self._upstream, self._side, self._address, status, failure))
            self._span = b""
