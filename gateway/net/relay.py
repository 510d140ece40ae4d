"""One request on its way: asks the policy, sends it where the policy says, brings the answer back, and hands the pair on for comparison.

Invariants:
- The client gets at most one answer. Once a byte of one was written (`_started`), a failure can only cut the connection (edge.md 45).
- A request goes to a second upstream only when the policy says that this cannot execute it twice, and only with its whole body at hand.
- An answer that legacy could still replace is held back until it is complete, if it is small enough to hold (HOLD): so a candidate that
  dies in the middle of it costs the client nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.identity.caller import ANONYMOUS, Caller, explained
from gateway.identity.rules import Rule
from gateway.identity.stamp import OVERSIZED
from gateway.identity.visitors import Visitors
from gateway.limiting import TOO_MANY, RouteLimit
from gateway.net.accounting import account, failed, watched
from gateway.net.answers import problem
from gateway.net.chunked import LAST, chunk
from gateway.net.head import RequestHead, ResponseHead
from gateway.net.keyed import choose
from gateway.net.mirror import Capture, consider
from gateway.net.outgoing import request_head
from gateway.net.payment import Payment
from gateway.net.reply import debug, reply
from gateway.net.tunnel import Tunnel
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.admission import refusal
from gateway.policy.decision import Claim, Decision, Policy, SplitClaim, Target
from gateway.policy.failover import SAFE, may_repeat
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.telemetry import GATEWAY

if TYPE_CHECKING:
    from gateway.net.downstream import Downstream
    from gateway.net.edge import Edge
    from gateway.net.terms import Terms

_log = logging.getLogger("banyan.worker")

HOLD: Final = 64 * 1024
"""Bytes of an answer with Content-Length that are held back while legacy could still take its place."""

GONE_SECONDS: Final = 1.0
"""To the guard, a client that left after so long without a head is one that was answered then: whoever left sooner says nothing."""


class Relay(Sink):
    """See the module's docstring. It is the Sink of the upstream connection that serves the client."""

    __slots__ = (
        "_body",
        "_connecting",
        "_gathering",
        "_held",
        "_mirrored",
        "_replay_size",
        "_replayable",
        "_rule",
        "_sent_anew",
        "_started",
        "address",
        "asked_at",
        "body_complete",
        "caller",
        "capture",
        "claim",
        "client",
        "connection",
        "decision",
        "done",
        "edge",
        "fell_back",
        "head",
        "payment",
        "request_id",
        "response",
        "sent",
        "serve",
        "started_at",
        "status",
        "terms",
        "trace",
        "visitor",
        "waited",
    )

    edge: Edge
    terms: Terms
    head: RequestHead

    def __init__(self, client: Downstream, head: RequestHead) -> None:
        self.client = client
        self.edge = client.edge
        self.terms = client.terms
        self.head = head
        self.address = client.peer.address(head)
        ids = self.edge.ids
        ids.begin()
        self.trace = b"" if head.traceparent else ids.traceparent()
        self.request_id = head.request_id or ids.request_id()
        self.started_at = self.edge.clock.now
        self.body_complete = head.length == 0
        self.connection: UpstreamConnection | None = None
        self.response: ResponseHead | None = None
        self.done = False
        self.status = 0
        self.sent = 0
        """Body bytes written to the client."""
        self.fell_back = ""
        self.decision: Decision | None = None
        self.serve: Target | None = None
        self._body: list[bytes] = []
        """The request's body as it goes out (chunks framed), as long as it is replayable or not yet sent."""
        self._replay_size = 0
        self._replayable = True
        self._gathering = False
        """Nobody is asked before the body is whole."""
        self._started = False
        self._held: list[bytes] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._sent_anew = False
        """It has met a connection that had died in the pool. From then on none is taken from there: so it is sent once, once more for this,
        and once to a fallback, and never a fourth time (edge.md 46)."""
        self.capture: Capture | None = None
        self.claim: Claim | None = None
        self._rule: Rule | None = None
        self.payment: Payment | None = None
        """Of a request that must not be executed twice, and of one that another provider may answer."""
        self.caller: Caller | None = None
        """Who is calling; None where that is nobody's matter."""
        self.visitor = b""
        """The cookie of a visitor who comes for the first time."""
        self._mirrored = False
        self.asked_at = self.started_at
        """When the request was sent to the upstream that serves."""
        self.waited = 0.0
        """Seconds from then to its answer's head."""
        self.terms.in_flight += 1

    # The request

    def start(self) -> None:
        """The head is there. Finds out who is calling, decides, and sends."""
        terms, head = self.terms, self.head
        found = terms.policy.find(head.method, head.target)
        if isinstance(found, Decision):
            self._go(found)
            return
        self.claim = found
        limit = terms.limits.get(found.route) if terms.limits else None
        if limit is not None and limit.per != "user" and self._limited(limit, None):
            return  # before anybody is asked who that is
        rule = self._rule = terms.rules.get(found.route)
        caller = terms.who(rule, head.fields, self._told, self.edge.clock.wall) if rule is not None else ANONYMOUS
        if caller is not None:  # else it is asked for, and _told goes on
            self._identified(caller)

    def body(self, data: bytes, last: bool) -> None:
        """More of the request's body, without its framing."""
        if self.done:
            return
        out = data
        if self.head.chunked:
            out = (chunk(data) if data else b"") + (LAST if last else b"")
        self.body_complete = last
        connection = self.connection
        if self._replayable:
            self._replay_size += len(out)
            if self._replay_size > self.terms.replay_buffer and connection is not None:
                self._replayable = False
                self._body.clear()
            elif out:
                self._body.append(out)
        if connection is not None:
            connection.write(out, last=last)
        elif self._gathering:
            if self.payment is not None and self._replay_size > self.terms.replay_buffer:
                self.payment.too_long()
                return
            if last:
                self._gathering = False
                self._begin_sending()
        elif self._replay_size > self.terms.replay_buffer:
            self.client.pause_reading()  # until there is a connection to pass it on to
        if last:
            self._request_complete()

    def _told(self, caller: Caller) -> None:
        """Who calls was asked for, and is known now. Whatever goes wrong here is this request's end, and of none that waited beside it."""
        try:
            self._identified(caller)
        except Exception:
            _log.exception("a request could not be decided about")
            self.client.abort()

    def _identified(self, caller: Caller) -> None:
        if self.done:
            return
        claim, terms = self.claim, self.terms
        assert claim is not None  # noqa: S101 - nobody asks who is calling of what no route matched
        rule = self._rule
        if rule is not None:
            self.caller = caller
            self.edge.tally.caller(caller.standing)
            limit = terms.limits.get(claim.route) if terms.limits else None
            if limit is not None and limit.per == "user" and self._limited(limit, caller):
                return
            kind = refusal(rule.need, caller.standing, self.head.method)
            if kind is not None:
                self.answer(kind, explained(caller), challenge=rule.challenge)
                return
        if terms.visitors is not None and caller.user_id is None and caller.session_id is None:
            caller = self._visiting(terms.visitors, claim)
        context = terms.context(self.client.peer, self.head, claim.route, self.address, caller)
        decision: Decision | None
        if isinstance(claim, SplitClaim) and (claim.field or claim.careful):
            decision = choose(self, claim, context)
        else:
            decision = terms.policy.decide(claim, context)
        if decision is not None:
            self._go(decision)

    def _limited(self, limit: RouteLimit, caller: Caller | None) -> bool:
        """Whether that was one request too many; then it is answered."""
        wait = limit.wait(self.address, caller)
        if wait:
            self.answer(Problem.RATE_LIMITED, TOO_MANY, retry=wait)
        return wait > 0

    def _visiting(self, visitors: Visitors, claim: Claim) -> Caller:
        known = visitors.known(self.head.fields)
        if known is None and claim.by_session(self.terms.policy.flags):
            known, self.visitor = visitors.new()
        return known or ANONYMOUS

    def _go(self, decision: Decision) -> None:
        self.decision = decision
        if decision.shadow is not None:
            self.capture = consider(self, decision)
        head = self.head
        if self.payment is not None and self.payment.gathers():
            self._gathering = True
        elif self.done:
            return
        elif self.body_complete:
            self._begin_sending()
            self._request_complete()
        elif 0 < head.length <= self.terms.replay_buffer and not head.expect:
            # It is kept in any case. A slow client occupies no upstream meanwhile, and where nobody can be reached, all of it is at hand.
            self._gathering = True
        else:
            self._begin_sending()

    def _begin_sending(self) -> None:
        if self.payment is not None:
            self.payment.begin()
        else:
            assert self.decision is not None  # noqa: S101 - made before anything is gathered or sent
            self._send(self.decision.serve)

    def _send(self, target: Target) -> None:
        self.serve = target
        self.asked_at = self.edge.clock.now
        pool = self.terms.pools[target.upstream]
        connection = None if self._sent_anew else pool.acquire(repeatable=may_repeat(self.head.method, replayable=self._replayable))
        if connection is None:
            self._connecting = pool.connect(self._connected)
        else:
            self._begin(connection, target)

    def _connected(self, result: UpstreamConnection | Failure) -> None:
        self._connecting = None
        target = self.serve
        if self.done or target is None:
            if isinstance(result, UpstreamConnection):
                result.abandon()
        elif isinstance(result, UpstreamConnection):
            self._begin(result, target)
        else:
            self.on_failure(result, False)

    def _begin(self, connection: UpstreamConnection, target: Target) -> None:
        self.connection = connection
        if self.payment is not None:
            self.payment.sending()
        stamp = self.stamp(target.upstream)
        data = request_head(self.head, target, self.client.peer.forwarding(self.head), self.request_id, self.trace, stamp)
        if self._body:
            data = b"".join((data, *self._body))
            if self._replay_size > self.terms.replay_buffer:
                self._replayable = False
                self._body.clear()
                self.client.resume_reading()
        head = self.head
        connection.begin(self, data, head_only=head.method == "HEAD", whole=self.body_complete, upgrade=head.upgrade)

    def stamp(self, upstream: str) -> bytes:
        """Who calls, signed for this upstream: a field with its CRLF before it. b"" where nobody has asked who calls."""
        stamps, caller = self.terms.stamps, self.caller
        if stamps is None or caller is None:
            return b""
        line = stamps.field(caller, upstream, self.edge.clock.wall())
        if not line:
            self.edge.tally.event(OVERSIZED)
        return line

    # The answer: Sink

    def on_interim(self, head: ResponseHead) -> None:
        """1xx, passed on to clients that know it (edge.md 19)."""
        if self.head.http11 and not self._started and (self.payment is None or not self.payment.ledgered):
            self.client.write(head.line + head.fields + b"\r\n\r\n")

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """101: the client's connection becomes the upstream's, for as long as both want it."""
        connection, client = self.connection, self.client
        assert connection is not None  # noqa: S101 - it has just spoken
        self.response = head
        self.waited = self.edge.clock.now - self.asked_at
        self.status = head.status
        self._started = True
        tunnel = connection.sink = Tunnel(self, connection)
        parts = [head.line, head.fields, b"\r\nConnection: Upgrade\r\nUpgrade: ", head.upgrade]
        if self.terms.expose or client.peer.trusted:
            parts.append(debug(self))
        parts += (b"\r\n\r\n", data)
        self.sent += len(data)
        client.write(b"".join(parts))
        client.begin_tunnel(tunnel)

    def tunnel_closed(self) -> None:
        """The upstream has ended the connection in order."""
        self.connection = None
        self.client.closing_after = True
        self._finish()

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        """The answer's head, with what came of its body."""
        decision = self.decision
        assert decision is not None  # noqa: S101 - nothing is sent before it is decided
        method = self.head.method
        connection = self.connection
        self.waited = self.edge.clock.now - self.asked_at
        if complete:
            self.connection = None
        if self.payment is not None and self.payment.answered(head, data, complete):
            return
        if decision.fallback is not None and not self.fell_back:
            other = Policy.on_response(decision, method, head.status, replayable=self._replayable and self.body_complete)
            if other is not None:
                if connection is not None and not complete:
                    connection.abandon()
                self._fall_back(other, f"status-{head.status}")
                return
            if not complete and 0 <= head.length <= HOLD and may_repeat(method, replayable=self._replayable and self.body_complete):
                self.response = head
                self._held = [data]
                if connection is not None:
                    connection.hurry()
                return
        self._respond(head, data, complete)

    def on_data(self, data: bytes, complete: bool) -> None:
        """More of the answer's body."""
        if complete:
            self.connection = None
        if self.payment is not None and self.payment.more(data, complete):
            return
        if self._held is not None:
            self._held.append(data)
            if complete:
                held, self._held = self._held, None
                assert self.response is not None  # noqa: S101 - it was held with its head
                self._respond(self.response, b"".join(held), True)
            return
        if self.capture is not None:
            self.capture.add(data)
        self._write_body(data, complete)
        if complete:
            self._finish()

    def on_failure(self, failure: Failure, stale: bool) -> None:
        """The upstream failed. Whether somebody else is asked is the policy's word."""
        self.connection = None
        self._held = None
        if self._started:
            watched(self, failed=True)
            failed(self, begun=True)
            self.cut_off(failure.code)
            return
        method = self.head.method
        whole = self._replayable and self.body_complete
        if stale and not self._sent_anew and may_repeat(method, replayable=whole):
            # The server closed it while it lay in the pool: once more, on a connection that cannot be stale (edge.md 40).
            self._sent_anew = True
            assert self.serve is not None  # noqa: S101 - it just failed
            self._send(self.serve)
            return
        if self.payment is not None and self.payment.failed(failure):
            return
        decision = self.decision
        assert decision is not None  # noqa: S101 - nothing is sent before it is decided
        if self.fell_back:
            outcome: Target | Problem = Policy.on_failure(decision, failure, method, replayable=False)
        else:
            # A connection that was refused may be followed by another while the body still arrives: all of it is still here.
            outcome = Policy.on_failure(decision, failure, method, replayable=self._replayable and (whole or not failure.sent))
        if isinstance(outcome, Target):
            self._fall_back(outcome, failure.code)
        else:
            watched(self, failed=True)
            failed(self, begun=False)
            self.answer(outcome, f"{self.serve.upstream if self.serve else 'upstream'}: {failure.code}")

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream reads more slowly than the client sends."""
        if paused:
            self.client.pause_reading()
        else:
            self.client.resume_reading()

    # Towards the client

    def answer(self, kind: Problem, detail: str, *, close: bool = False, challenge: bytes = b"", retry: int = 1) -> None:
        """The gateway's own answer. `challenge`: the WWW-Authenticate that goes with it; `retry`: the Retry-After, in seconds."""
        if self.done:
            return
        self._drop_upstream()
        close = close or not self.body_complete or not self.client.keeps_alive(self.head)
        self.status = kind.status
        self.edge.tally.problem(kind.value)
        request_id, head_only = self.request_id.decode("latin-1"), self.head.method == "HEAD"
        self.client.write(problem(kind, detail, request_id, close=close, head_only=head_only, challenge=challenge, retry=retry))
        self._end(GATEWAY, close)

    def cancel(self) -> None:
        """The client is gone: nobody is asked any further."""
        if self.done:
            return
        waited = self.edge.clock.now - self.asked_at
        if waited >= GONE_SECONDS and self.serve is not None and self.response is None:
            # Clients mostly have less patience than [upstreams] response_timeout: a candidate that hangs must not go unseen by it.
            self.waited = waited
            watched(self, failed=False)
        if self.payment is not None:
            self.payment.client_gone()
        self._drop_upstream()
        self._skip_shadow("client_gone")
        account(self, self.serve.side if self.serve and self.decision else GATEWAY, 0)

    def _respond(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        self.response = head
        self.status = head.status
        self._started = True
        if self.capture is not None:
            self.capture.begin(head, data)
        self.sent += len(data)
        self.client.write(reply(self, head, data, complete))
        if complete:
            self._finish()

    def _write_body(self, data: bytes, complete: bool) -> None:
        client = self.client
        self.sent += len(data)
        if client.chunking:
            data = (chunk(data) if data else b"") + (LAST if complete else b"")
        if data:
            client.write(data)

    # Endings

    def _finish(self) -> None:
        serve = self.serve
        assert serve is not None  # noqa: S101 - it has answered
        watched(self, failed=self.status >= 500)
        self._end(serve.side, self.client.closing_after)

    def _end(self, side: str, close: bool) -> None:
        account(self, side, self.status)
        capture = self.capture
        if capture is not None:
            if side == GATEWAY or self.fell_back:
                self._skip_shadow("fallback" if self.fell_back else "unanswered")
            elif not self._mirrored:
                self._skip_shadow("body_incomplete")  # it was answered before its body had come, so nobody was asked beside
            else:
                self.capture = None  # it refers to this relay: a cycle would be left to the garbage collector (5 % of CPU)
                capture.finish(self.edge.clock.now)
        self.client.request_done(close or not self.body_complete)

    def _fall_back(self, target: Target, why: str) -> None:
        watched(self, failed=True)
        self.fell_back = why
        self.waited = 0.0
        decision = self.decision
        self.edge.tally.route(decision.route if decision else "").fell_back(why)
        self._send(target)

    def give_up(self) -> None:
        """The gateway is shutting down and cannot wait any longer."""
        if self.done:
            return
        if self._started:
            self._drop_upstream()
            self.cut_off("draining")
        elif self.connection is None or self.head.method in SAFE:
            self.answer(Problem.DRAINING, "The gateway is shutting down. Try again.", close=True)
        else:
            self.answer(Problem.OUTCOME_UNKNOWN_TIMEOUT, "The gateway is shutting down and could not wait for the answer.", close=True)

    def cut_off(self, why: str) -> None:
        """Bytes of the answer are out and no more will come: a clean end would be a lie."""
        self.edge.tally.event(f"cut-off-{why}")
        self._skip_shadow("unanswered")
        self.status = 0
        account(self, self.serve.side if self.serve else GATEWAY, 0)
        self.client.abort()

    def _drop_upstream(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None

    # What a payment asks of its request (gateway/net/payment.py)

    def ask(self, target: Target) -> None:
        """Sends it there."""
        self._send(target)

    def ask_anew(self, target: Target) -> None:
        """Sends it there once more, over a connection of its own."""
        self._sent_anew = True
        self._send(target)

    def go_elsewhere(self, target: Target, why: str) -> None:
        """Sends it there, in the place of who was asked before."""
        self._fall_back(target, why)

    def at_hand(self, *, whole: bool) -> bool:
        """Whether what has come of the body is all here; `whole`: and has come to its end."""
        return self._replayable and (self.body_complete or not whole)

    def gathered(self) -> bytes:
        """What has come of the body, framed as it goes out."""
        return b"".join(self._body)

    def deliver(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        """The answer, or its beginning."""
        self._respond(head, data, complete)

    def replay(self, target: Target, head: ResponseHead, body: bytes) -> None:
        """The answer that `target` gave before."""
        self.serve = target
        self.response = head
        self.status = head.status
        self._started = True
        self.sent += len(body)
        self.client.write(reply(self, head, body, True))
        self._end(GATEWAY, self.client.closing_after)

    # Shadow

    def _request_complete(self) -> None:
        capture = self.capture
        if capture is not None and not self._mirrored and not self.done:
            if not self._replayable or self._replay_size > self.terms.replay_buffer:
                self._skip_shadow("body_too_large")
            else:
                self._mirrored = True
                capture.mirror(b"".join(self._body))

    def _skip_shadow(self, reason: str) -> None:
        capture, self.capture = self.capture, None
        if capture is not None:
            capture.give_up(reason)
