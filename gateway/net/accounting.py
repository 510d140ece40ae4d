"""What is counted and written of a request that has ended, and what the guard is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access import line
from gateway.net.admitting import give_back
from gateway.telemetry import GATEWAY

if TYPE_CHECKING:
    from gateway.net.relay import Relay


def account(relay: Relay, side: str, status: int) -> None:
    """The request is done: it is counted, and has its line in the access log. `status` 0: its answer did not come to an end."""
    relay.done = True
    if relay.timer is not None:
        relay.timer.cancel()
    if relay.payment is not None:
        relay.payment.ended()
    if relay.turnstile is not None:
        give_back(relay)
    edge = relay.edge
    relay.terms.in_flight -= 1
    seconds = edge.clock.now - relay.started_at
    decision = relay.decision
    claim = relay.claim
    route = decision.route if decision is not None else claim.route if claim is not None else ""
    edge.tally.route(route).finish(side, status, seconds)
    if edge.sample.due():
        waited = relay.waited or (edge.clock.now - relay.asked_at if relay.serve is not None else 0.0)
        fields = relay.response.fields if relay.response is not None else b""
        edge.sample.take(relay.head.method, relay.head.target, route, side, status, waited, fields)
    traced = relay.traced
    if traced is not None:
        traced.ended(relay, route, side, status)
    if edge.access.enabled:
        reason: str = decision.reason if decision is not None else ""  # not its .value, which costs 0.15 µs
        if relay.fell_back:
            reason = "fallback-" + relay.fell_back
        head, shadow = relay.head, relay.capture is not None
        text = line(
            edge.clock.wall(),
            relay.request_id,
            relay.address,
            head.method,
            relay.terms.mask.presentable(head.target),
            status,
            relay.sent,
            seconds,
            route,
            side,
            relay.serve.upstream if relay.serve is not None and side != GATEWAY else "",
            reason,
            shadow,
            True,
        )
        if traced is not None:
            text = traced.logged(text)
        edge.access.write(text if relay.crossing is None else relay.crossing.logged(text))


def watched(relay: Relay, *, failed: bool) -> None:
    """Tells the guard how the upstream did that was asked first. Not what legacy answers in a candidate's place: it is asked for just
    what the candidate could not do."""
    decision, serve = relay.decision, relay.serve
    if decision is not None and decision.guarded and not relay.fell_back and serve is not None:
        relay.edge.tally.route(decision.route).watched(serve.side, failed, relay.waited)


def failed(relay: Relay, *, begun: bool) -> None:
    """Counts that the upstream which was asked last failed, and that nobody takes its place. `begun`: its answer broke off."""
    if relay.decision is not None and relay.serve is not None:
        relay.edge.tally.route(relay.decision.route).failed(relay.serve.side, begun=begun)
