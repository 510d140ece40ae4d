"""One request on its way. Its way out is gateway/net/outbound.py; here its answer is brought back, and the pair handed on for comparison.

Invariants:
- The client gets at most one answer. Once a byte of one was written (`_started`), a failure can only cut the connection (edge.md 45).
- A request goes to a second upstream only when the policy says that this cannot execute it twice, and only with its whole body at hand.
- An answer that legacy could still replace is held back until it is complete, if it is small enough to hold (HOLD): so a candidate that
  dies in the middle of it costs the client nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from gateway.net.accounting import account, failed, watched
from gateway.net.admitting import give_back, stream
from gateway.net.again import elsewhere
from gateway.net.answers import problem
from gateway.net.chunked import LAST, chunk
from gateway.net.head import ResponseHead
from gateway.net.keyed import choose
from gateway.net.outbound import Outbound
from gateway.net.reply import debug, reply
from gateway.net.tunnel import Tunnel
from gateway.policy.decision import Decision, Policy, SplitClaim, Target
from gateway.policy.failover import IDEMPOTENT, SAFE, may_repeat
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.telemetry import GATEWAY

if TYPE_CHECKING:
    from flags.snapshot import Context

HOLD: Final = 64 * 1024
"""Bytes of an answer with Content-Length that are held back while legacy could still take its place."""

GONE_SECONDS: Final = 1.0
"""To the guard, a client that left after so long without a head is one that was answered then: whoever left sooner says nothing."""


@mypyc_attr(free_list_len=1)
class Relay(Outbound):
    """See the module's docstring. It is the Sink of the upstream connection that serves the client."""

    __slots__ = ()

    def choose(self, claim: SplitClaim, context: Context) -> Decision | None:
        """Who answers a request of a split route that has to be watched over; None: it was answered."""
        return choose(self, claim, context)

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
        give_back(self)
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
        turnstile = self.turnstile
        if turnstile is not None:
            if head.status < 500:  # who fails is quick, and has not become faster
                turnstile.answered(self.waited)
            if not complete and stream(head):
                give_back(self)
        if self.payment is not None and self.payment.answered(head, data, complete):
            return
        if decision.fallback is not None and not self.fell_back:
            other = Policy.on_response(decision, method, head.status, replayable=self.whole)
            if other is not None:
                if connection is not None and not complete:
                    connection.abandon()
                if self.traced is not None:
                    self.traced.failed(self, f"status-{head.status}", head.status)
                self._fall_back(other, f"status-{head.status}")
                return
            if not complete and 0 <= head.length <= HOLD and may_repeat(method, replayable=self.whole):
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
        connection, self.connection = self.connection, None
        self._held = None
        if self.traced is not None:
            self.traced.failed(self, failure.code)
        if self._started:
            watched(self, failed=True)
            failed(self, begun=True)
            self.cut_off(failure.code)
            return
        if failure is Failure.TIMEOUT and self.turnstile is not None:
            self.turnstile.answered(self.edge.clock.now - self.asked_at)
        method = self.head.method
        whole = self.whole
        if stale and not self._sent_anew and may_repeat(method, replayable=whole):
            # The server closed it while it lay in the pool: once more, on a connection that cannot be stale (edge.md 40).
            self._sent_anew = True
            assert self.serve is not None  # noqa: S101 - it just failed
            self._send(self.serve)
            return
        payment = self.payment
        if payment is not None and payment.failed(failure):
            return
        if (payment is None or not payment.ledgered) and elsewhere(self, connection, failure):
            return
        decision = self.decision
        assert decision is not None  # noqa: S101 - nothing is sent before it is decided
        if (
            self.tried_before and not failure.sent and method not in SAFE and (method not in IDEMPOTENT or not self.replaceable)
        ):  # nothing was sent this time, but before: nobody else may execute it, and nobody knows whether it was
            outcome: Target | Problem = Problem.OUTCOME_UNKNOWN
        elif self.fell_back:
            outcome = Policy.on_failure(decision, failure, method, replayable=False)
        else:
            # A connection that was refused may be followed by another while the body still arrives: all of it is still here.
            outcome = Policy.on_failure(decision, failure, method, replayable=self._replayable and (whole or not failure.sent))
        if isinstance(outcome, Target):
            self._fall_back(outcome, failure.code)
        else:
            watched(self, failed=True)
            failed(self, begun=False)
            upstream = self.serve.upstream if self.serve else "upstream"
            retry = self.terms.pools[upstream].retry_after if outcome is Problem.BREAKER_OPEN else 1
            self.answer(outcome, f"{upstream}: {failure.code}", retry=retry)

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
        if self.traced is not None:
            self.traced.problem = kind.value
        request_id, head_only = self.request_id.decode("latin-1"), self.head.method == "HEAD"
        self.client.write(problem(kind, detail, request_id, close=close, head_only=head_only, challenge=challenge, retry=retry))
        self._end(GATEWAY, close)

    def cancel(self) -> None:
        """The client is gone: nobody is asked any further."""
        if self.done:
            return
        asked = self.serve is not None and self.waiting is None
        self.unanswered()
        self._drop_upstream()
        self._skip_shadow("client_gone")
        if self.traced is not None:
            self.traced.failure = "client-gone"
        account(self, self.serve.side if asked and self.serve and self.decision else GATEWAY, 0)

    def unanswered(self) -> None:
        """Its client waits no longer."""
        if self.serve is not None and self.waiting is None and self.response is None:
            waited = self.edge.clock.now - self.asked_at
            if waited >= GONE_SECONDS:
                # Clients mostly have less patience than [upstreams] response_timeout: a candidate that hangs must not go unseen by it.
                self.waited = waited
                watched(self, failed=False)
            if self.turnstile is not None:
                self.turnstile.abandoned(waited)
        if self.payment is not None:
            self.payment.client_gone()

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
        give_back(self)
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
        elif not self.sends or self.head.method in SAFE:
            self.answer(Problem.DRAINING, "The gateway is shutting down. Try again.", close=True)
        else:
            self.answer(Problem.OUTCOME_UNKNOWN_TIMEOUT, "The gateway is shutting down and could not wait for the answer.", close=True)

    def cut_off(self, why: str) -> None:
        """Bytes of the answer are out and no more will come: a clean end would be a lie."""
        self.edge.tally.event(f"cut-off-{why}")
        self._skip_shadow("unanswered")
        if self.traced is not None:
            self.traced.failure = why
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

    def go_elsewhere(self, target: Target, why: str) -> None:
        """Sends it there, in the place of who was asked before."""
        self._fall_back(target, why)

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
