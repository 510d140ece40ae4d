"""The way out of one request: finds out who is calling, asks the policy, and sends it where the policy says.

Its answer's way back is the other half of it (gateway/net/relay.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.identity.caller import ANONYMOUS, Caller, explained
from gateway.identity.rules import Rule
from gateway.identity.stamp import OVERSIZED
from gateway.identity.visitors import Visitors
from gateway.limiting import TOO_MANY, RouteLimit
from gateway.net import patience
from gateway.net.admitting import admitted, give_back, shed
from gateway.net.chunked import LAST, chunk
from gateway.net.crossing import stopped
from gateway.net.head import RequestHead, ResponseHead
from gateway.net.mirror import Capture, consider
from gateway.net.outgoing import request_head
from gateway.net.payment import Payment
from gateway.net.turnstile import Turnstile, Waiting
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.admission import refusal
from gateway.policy.decision import Claim, Decision, SplitClaim, Target
from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem

if TYPE_CHECKING:
    from flags.snapshot import Context
    from gateway.domains.crossings import Crossing
    from gateway.net.downstream import Downstream
    from gateway.net.edge import Edge
    from gateway.net.place import Place
    from gateway.net.terms import Terms
    from gateway.net.traced import Traced

_log = logging.getLogger("banyan.worker")


class Outbound(Sink):
    """See the module's docstring."""

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
        "_tried",
        "address",
        "asked_at",
        "body_complete",
        "caller",
        "capture",
        "claim",
        "client",
        "connection",
        "crossing",
        "deadline",
        "decision",
        "done",
        "edge",
        "fell_back",
        "head",
        "payment",
        "request_id",
        "response",
        "sends",
        "sent",
        "serve",
        "started_at",
        "status",
        "terms",
        "timer",
        "trace",
        "traced",
        "turnstile",
        "visitor",
        "waited",
        "waiting",
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
        self.traced: Traced | None = None
        """Of a request that is sampled."""
        tracer = self.edge.tracer
        if tracer is not None:
            tracer.begin(self)
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
        self.crossing: Crossing | None = None
        """From which domain to which it goes, where a service has sent it and that is looked at."""
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
        self.sends = 0
        """How often it was sent to an upstream so far."""
        self._tried: list[Place] | None = None
        """The addresses that have failed it."""
        self.deadline = 0.0
        """When its client will have stopped waiting, where that is known."""
        self.timer: asyncio.TimerHandle | None = None
        self.turnstile: Turnstile | None = None
        """That of the upstream which serves, where it has a limit: the request is inside, or has a seat (`waiting`)."""
        self.waiting: Waiting | None = None
        self.terms.in_flight += 1

    # The request

    def start(self) -> None:
        """The head is there. Finds out who is calling, decides, and sends."""
        terms, head = self.terms, self.head
        if head.patience >= 0 and patience.begin(self):
            return
        found = terms.policy.find(head.method, head.target)
        if isinstance(found, Decision):
            if terms.crossings is not None and head.stamp and stopped(self, terms.crossings, ""):
                return
            self._go(found)
            return
        self.claim = found
        if terms.crossings is not None and head.stamp and stopped(self, terms.crossings, found.route):
            return
        limit = terms.limits.get(found.route) if terms.limits else None
        if limit is not None and limit.per != "user" and self._limited(limit, None):
            return  # before anybody is asked who that is
        rule = self._rule = terms.rules.get(found.route)
        caller: Caller | None = ANONYMOUS
        if rule is not None:
            caller = terms.recall(rule, head.credentials()) or terms.who(rule, head.fields, self._told, self.edge.clock.wall)
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
            _log.exception("a request could not be decided about", extra={"request_id": self.request_id.decode("latin-1")})
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
            decision = self.choose(claim, context)
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
        if self.terms.turnstiles and self.turnstile is None:  # else it is inside, and is sent anew
            turnstile = self.terms.turnstiles.get(target.upstream)
            if turnstile is not None and not admitted(self, turnstile):
                return
        self._dispatch(target)

    def let_in(self, turnstile: Turnstile) -> None:
        """It waited, and has a place now."""
        self.waiting = None
        serve = self.serve
        assert serve is not None  # noqa: S101 - it waited to be sent
        try:
            self._dispatch(serve)
        except Exception:  # this request's end, and not that of whoever made room for it
            _log.exception("a request could not be sent", extra={"request_id": self.request_id.decode("latin-1")})
            self.client.abort()

    def turned_away(self, turnstile: Turnstile, why: str) -> None:
        """It waited in vain, or could not wait."""
        shed(self, turnstile, why)

    def take_over(self, target: Target, why: str) -> None:
        """Somebody else answers, and it was not the upstream's fault: no guard hears of it."""
        self.fell_back = why
        decision = self.decision
        self.edge.tally.route(decision.route if decision else "").fell_back(why)
        self.serve = target
        self._dispatch(target)

    def _dispatch(self, target: Target) -> None:
        self.asked_at = self.edge.clock.now
        pool = self.terms.pools[target.upstream]
        repeatable = may_repeat(self.head.method, replayable=self._replayable)
        if pool.unwell and self.replaceable:
            self._connecting = pool.refuse(self._connected, Failure.UNHEALTHY)
            return
        connection = None if self._sent_anew else pool.acquire(repeatable=repeatable, whole=self.body_complete)
        if connection is None:
            self._connecting = pool.connect(self._connected, repeatable=repeatable, whole=self.body_complete, tried=self._tried)
        else:
            self._begin(connection, target)

    def send_elsewhere(self, target: Target, tried: Place | None) -> None:
        """Once more to the same upstream, and over a connection that cannot be stale."""
        self._sent_anew = True
        if tried is not None:
            self._tried = [*(self._tried or ()), tried]
        self._send(target)

    @property
    def replaceable(self) -> bool:
        """Is there still somebody who may answer in the place of whoever serves?"""
        return self.decision is not None and self.decision.fallback is not None and not self.fell_back

    @property
    def whole(self) -> bool:
        """Is all of the request at hand, to be sent again?"""
        return self._replayable and self.body_complete

    @property
    def tried_before(self) -> bool:
        """May an earlier try of it have been read, and executed?"""
        return self._sent_anew

    @property
    def started(self) -> bool:
        """Has the client some of its answer, or will it be given what is held?"""
        return self._started or self._held is not None

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
        self.sends += 1
        if self.payment is not None:
            self.payment.sending()
        if self.traced is not None:
            self.traced.sent(self, connection, target)
        stamp = self.stamp(target.upstream)
        pool = connection.pool
        left = pool.told if self.deadline == 0.0 else patience.told(self, pool.answering.seconds)
        data = request_head(self.head, target, self.client.peer.forwarding(self.head), self.request_id, self.trace, stamp, left)
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
        if self.terms.crossings is not None and self.claim is not None:
            stamps = self.terms.crossings.of(self.claim.route) or stamps
        line = stamps.field(caller, upstream, self.edge.clock.wall())
        if not line:
            self.edge.tally.event(OVERSIZED)
        return line

    def ask(self, target: Target) -> None:
        """Sends it there."""
        give_back(self)  # a place at another provider's, where nothing could be sent
        self._send(target)

    def ask_anew(self, target: Target) -> None:
        """Sends it there once more, over a connection of its own."""
        self._sent_anew = True
        self._send(target)

    def at_hand(self, *, whole: bool) -> bool:
        """Whether what has come of the body is all here; `whole`: and has come to its end."""
        return self._replayable and (self.body_complete or not whole)

    def gathered(self) -> bytes:
        """What has come of the body, framed as it goes out."""
        return b"".join(self._body)

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

    # What the whole of it does

    def choose(self, claim: SplitClaim, context: Context) -> Decision | None:
        """Who answers a request of a split route that has to be watched over; None: it was answered."""
        raise NotImplementedError

    def unanswered(self) -> None:
        """Its client waits no longer."""
        raise NotImplementedError

    def answer(self, kind: Problem, detail: str, *, close: bool = False, challenge: bytes = b"", retry: int = 1) -> None:
        """The gateway's own answer. `challenge`: the WWW-Authenticate that goes with it; `retry`: the Retry-After, in seconds."""
        raise NotImplementedError
