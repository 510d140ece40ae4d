"""The same request, asked beside: nothing here can reach the client.

A Capture collects the answer that the client gets; a Mirror asks the other upstream through pools of its own. When both are there the pair
goes to the shipper, or is dropped and counted. Bodies are kept as references to the bytes that were relayed anyway; parsing,
decompressing and redacting happen in other processes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from mypy_extensions import mypyc_attr

from gateway.identity.caller import known
from gateway.net.chunked import unframed
from gateway.net.fields import captured
from gateway.net.head import ResponseHead
from gateway.net.outgoing import request_head
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.decision import Decision, ShadowRules, Target
from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure
from gateway.telemetry import drop, skip
from shadow.exchange import Answer, Exchange, Side

if TYPE_CHECKING:
    from gateway.net.edge import Edge
    from gateway.net.outbound import Outbound


def consider(relay: Outbound, decision: Decision) -> Capture | None:
    """Whether this request, which is eligible, is compared: a Capture of it, or the reason why not is counted."""
    edge = relay.edge
    rules = decision.rules
    assert rules is not None  # noqa: S101 - a decision with a shadow has its route's rules
    route = edge.tally.route(decision.route)
    route.eligible += 1
    counts = route.shadow
    if relay.head.upgrade:
        skip(counts, "upgrade")
    elif relay.head.method not in rules.methods:
        skip(counts, rules.skips(relay.head.method))
    elif rules.sample < 1 and edge.chance() >= rules.sample:
        skip(counts, "sampled_out")
    elif relay.head.length > relay.terms.replay_buffer:
        skip(counts, "body_too_large")
    elif decision.fallback is not None and relay.terms.pools[decision.serve.upstream].barred:
        skip(counts, "fallback")  # legacy is about to answer: to ask it beside itself would double its load, just now
    else:
        beside = edge.mirrors.get(decision.route)
        if beside is None:
            beside = edge.mirrors[decision.route] = Beside()
        if beside.count < relay.terms.most_mirrors:
            return Capture(relay, decision, rules, beside)
        drop(counts, "concurrency")
    return None


class Beside:
    """How many of a route are being asked beside."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


BODILESS: Final = (204, 304)
"""Statuses of answers that have no body (RFC 9112, 6.3)."""
SHADOW: Final = b"\r\nBanyan-Shadow: 1"


@mypyc_attr(acyclic=True, free_list_len=1)
class Recorder:
    """One answer as it is captured: bounded, and marked where it was not kept."""

    __slots__ = ("_head_only", "_limit", "_parts", "_size", "began", "elapsed", "error", "head", "skipped", "target")

    def __init__(self, edge: Edge, target: Target, limit: int, *, head_only: bool) -> None:
        """`head_only`: it answers HEAD."""
        self.target = target
        self._limit = limit
        self._head_only = head_only
        self._parts: list[bytes] = []
        self._size = 0
        self.began = edge.clock.now
        self.elapsed = 0.0
        self.head: ResponseHead | None = None
        self.error = ""
        self.skipped = ""

    def begin(self, head: ResponseHead, data: bytes) -> None:
        self.head = head
        if self._head_only or head.status in BODILESS:
            return  # what its fields say of a body is what another answer would have (RFC 9110, 8.6): it is compared like any other
        # A stream of events has no length: only without one is it worth looking (0.2 µs).
        if head.length < 0 and head.fields.lower().find(b"text/event-stream") >= 0:
            self.skipped = "event_stream"
        elif head.length > self._limit:
            self.skipped = "too_large"
        else:
            self.add(data)

    def add(self, data: bytes) -> None:
        if self.skipped or not data:
            return
        self._size += len(data)
        if self._size > self._limit:
            self.skipped = "too_large"
            self._parts.clear()
        else:
            self._parts.append(data)

    def finish(self, now: float) -> None:
        self.elapsed = now - self.began

    def answer(self) -> Answer:
        head = self.head
        side: Side = "legacy" if self.target.upstream == "legacy" else "candidate"
        if head is None or self.error:
            return Answer(side, self.target.upstream, 0, b"", b"", self.elapsed, self.error or "reset")
        fields = captured(head)
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return Answer(side, self.target.upstream, head.status, fields, body, self.elapsed, "", self.skipped)


@mypyc_attr(free_list_len=1)
class Capture:
    """One exchange in the making."""

    __slots__ = ("_body", "_mirrors", "_over", "beside", "decision", "edge", "relay", "rules", "served", "terms")

    def __init__(self, relay: Outbound, decision: Decision, rules: ShadowRules, beside: Beside) -> None:
        self.beside = beside
        self.relay = relay
        self.edge = relay.edge
        self.terms = relay.terms
        self.decision = decision
        self.rules = rules
        self.served = Recorder(self.edge, decision.serve, rules.capture, head_only=relay.head.method == "HEAD")
        self._mirrors: list[Mirror] = []
        self._body = b""
        self._over = False

    def begin(self, head: ResponseHead, data: bytes) -> None:
        """The client's answer begins."""
        self.served.begin(head, data)

    def add(self, data: bytes) -> None:
        self.served.add(data)

    def mirror(self, body: bytes) -> None:
        """The request is complete: asks beside. `body` is framed as it went out."""
        self._body = body
        decision = self.decision
        assert decision.shadow is not None  # noqa: S101 - a Capture exists only then
        self._ask(decision.shadow, "pair")
        rules = self.rules
        if rules.noise and rules.noisy(self.relay.head.method, decision.serve) and self.edge.chance() < rules.noise:
            self._ask(decision.serve, "noise")

    def finish(self, now: float) -> None:
        """The client has its whole answer."""
        self.served.finish(now)
        self._over = True
        for mirror in self._mirrors.copy():
            if mirror.done:
                self._hand_over(mirror)

    def mirrored(self, mirror: Mirror) -> None:
        """The other answer is there, or will never be."""
        if self._over:
            self._hand_over(mirror)

    def give_up(self, reason: str) -> None:
        """The client got no answer that could be compared."""
        skip(self.edge.tally.route(self.decision.route).shadow, reason)
        for mirror in self._mirrors:
            mirror.cancel()
        self._mirrors.clear()

    def lost(self, mirror: Mirror) -> None:
        """The worker ends, and will not have the other answer. Where the client has not got its own either, that is what is counted."""
        if self._over:
            self._mirrors.remove(mirror)
            if mirror.kind == "pair":
                drop(self.edge.tally.route(self.decision.route).shadow, "worker_stopped")

    def _ask(self, target: Target, kind: Literal["pair", "noise"]) -> None:
        mirror = Mirror(self, target, kind, self._body)
        self._mirrors.append(mirror)
        mirror.start()

    def _hand_over(self, mirror: Mirror) -> None:
        self._mirrors.remove(mirror)  # it refers to this capture: see Relay._end
        relay, edge = self.relay, self.edge
        shipper = edge.shipper
        if shipper is None:
            reason = "shipper_gone"
        elif edge.terms is not self.terms and edge.terms.shadow.secrets != self.terms.shadow.secrets:
            reason = "reload"  # it would be redacted by other rules than it was captured by
        else:
            head = relay.head
            reason = shipper.offer(
                Exchange(
                    self.decision.route,
                    relay.request_id.decode("latin-1"),
                    edge.clock.wall() - (edge.clock.now - relay.started_at),
                    head.method,
                    head.target.decode("latin-1"),
                    captured(head),
                    unframed(self._body) if head.chunked else self._body,
                    self.served.answer(),
                    mirror.recorder.answer(),
                    mirror.kind,
                    known(relay.caller),
                )
            )
        if mirror.kind == "pair":
            route = edge.tally.route(self.decision.route)
            if reason:
                drop(route.shadow, reason)
            else:
                route.captured += 1


@mypyc_attr(free_list_len=1)
class Mirror(Sink):
    """One request to the other upstream. It is the Sink of its connection."""

    __slots__ = ("_body", "_capture", "_connecting", "_connection", "_repeatable", "_span", "_waited", "done", "kind", "recorder")

    def __init__(self, capture: Capture, target: Target, kind: Literal["pair", "noise"], body: bytes) -> None:
        self._capture = capture
        self._body = body
        self._connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.kind = kind
        self.done = False
        self._repeatable = may_repeat(capture.relay.head.method, replayable=True)
        """A sandboxed POST is sent once and no more, like any other: what calls itself a sandbox may be none."""
        self._waited = 0.0
        """Seconds until the answer's head."""
        self._span = b""
        """Of a sampled request, in which the other upstream is asked."""
        self.recorder = Recorder(capture.edge, target, capture.rules.capture, head_only=capture.relay.head.method == "HEAD")

    def start(self) -> None:
        capture = self._capture
        capture.beside.count += 1
        capture.terms.mirroring.begin(self, self.recorder.began)
        pool = capture.terms.shadow_pools[self.recorder.target.upstream]
        connection = pool.acquire(repeatable=self._repeatable)
        if connection is None:
            self._connecting = pool.connect(self._connected)
        else:
            self._begin(connection)

    def cancel(self) -> None:
        if self.done:
            return
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abandon()
        self._close()

    def stop(self) -> None:
        """The worker ends."""
        self._capture.lost(self)
        self.cancel()

    def timed_out(self) -> None:
        """It took too long in all, however busily it went on."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.abandon()
        self.recorder.error = Failure.TIMEOUT.code
        self._complete()

    def _connected(self, result: UpstreamConnection | Failure) -> None:
        self._connecting = None
        if self.done:
            if isinstance(result, UpstreamConnection):
                result.abandon()
        elif isinstance(result, UpstreamConnection):
            self._begin(result)
        else:
            self.on_failure(result, False)

    def _begin(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        relay = self._capture.relay
        forwarding = relay.client.peer.forwarding(relay.head)
        target = self.recorder.target
        stamp = relay.stamp(target.upstream)  # of the same caller, and for this upstream: it could not use the other's
        trace = relay.trace
        if relay.traced is not None:
            self._span, trace = relay.traced.aside()
        data = request_head(relay.head, target, forwarding, relay.request_id, trace, stamp, extra=SHADOW)
        if self._body:
            data += self._body
        connection.begin(self, data, head_only=relay.head.method == "HEAD", whole=True)

    def _close(self) -> None:
        self.done = True
        self._connection = None
        capture = self._capture
        capture.terms.mirroring.end(self)
        capture.beside.count -= 1

    # Sink

    def on_interim(self, head: ResponseHead) -> None:
        """1xx says nothing that is compared."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        self._waited = self._capture.edge.clock.now - self.recorder.began
        self.recorder.begin(head, data)
        if complete:
            self._complete()
        elif self.recorder.skipped:
            self._skip_rest()

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: upgrades are not mirrored."""

    def on_data(self, data: bytes, complete: bool) -> None:
        self.recorder.add(data)
        if complete:
            self._complete()
        elif self.recorder.skipped:
            self._skip_rest()

    def on_failure(self, failure: Failure, stale: bool) -> None:
        if stale and self._repeatable:
            # It lay in the pool too long, and the next one is fresh.
            self._connection = None
            self._connecting = self._capture.terms.shadow_pools[self.recorder.target.upstream].connect(self._connected)
            return
        self.recorder.error = failure.code
        self._complete()

    def on_upstream_paused(self, paused: bool) -> None:
        """The body is in memory already: nobody has to be paused."""

    def _skip_rest(self) -> None:
        """Too large, or without end: its body will not be compared, so it is not read."""
        if self._connection is not None:
            self._connection.abandon()
        self._complete()

    def _complete(self) -> None:
        capture, recorder = self._capture, self.recorder
        recorder.finish(capture.edge.clock.now)
        traced = capture.relay.traced
        if traced is not None:
            traced.beside(capture.relay, recorder, self._connection, self._span, capture.decision.route, self.kind == "noise")
        if self.kind == "pair" and not recorder.skipped:  # what was not read to its end took nobody knows how long
            status = recorder.head.status if recorder.head is not None and not recorder.error else 0
            capture.edge.tally.route(capture.decision.route).beside(recorder.target.side, status, recorder.elapsed)
        if capture.decision.guarded and self.kind == "pair" and recorder.target.upstream == "legacy":
            # The guard's measure for a candidate that leaves legacy no requests of its own.
            failed = recorder.error != "" or recorder.head is None or recorder.head.status >= 500
            capture.edge.tally.route(capture.decision.route).watched("shadow", failed, self._waited)
        self._close()
        capture.mirrored(self)
