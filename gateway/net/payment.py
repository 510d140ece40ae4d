"""One request of a route that keeps a ledger, or whose providers stand in for each other.

Invariants (design, section 8; gateway/policy/payments.py):
- Nothing of what writes is sent before its key is claimed in the ledger for just this provider. Is the ledger away, nothing is.
- What was sent is sent to no other provider, whatever comes of it. It is answered, or in doubt, and the ledger says which before the client
  hears of it; where the ledger is away by then the client is answered all the same, and the ledger is told later.
- A client that leaves does not end a request that was sent: its answer is awaited, and written down (in the place of edge.md 37).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from gateway.ledger.entries import Held, Outcome
from gateway.net.accounting import failed
from gateway.net.alone import Alone
from gateway.net.claiming import gathers, too_long, turned_down, wanted
from gateway.net.head import ResponseHead
from gateway.net.kept import kept
from gateway.policy.decision import Decision, Reason, SplitClaim, Target
from gateway.policy.failover import SAFE, problem_of
from gateway.policy.failure import Failure
from gateway.policy.payments import UNANSWERED, UNTOUCHED, Step, Verdict, after_failure, settles
from gateway.policy.problems import Problem

if TYPE_CHECKING:
    from flags.snapshot import Context
    from gateway.ledger.desk import Desk
    from gateway.net.relay import Relay
    from gateway.net.turnstile import Turnstile

_log = logging.getLogger("banyan.worker")

MOST_OTHERS: Final = 2
"""Providers that are asked in another's place once a request was sent: so it is sent three times at most (edge.md 46)."""


class Payment:
    """See the module's docstring. `by`: what stands in the field that the route is sticky by."""

    __slots__ = (
        "_by",
        "_claim",
        "_concluded",
        "_context",
        "_desk",
        "_head",
        "_held",
        "_known",
        "_over",
        "_parts",
        "_pinned",
        "_place",
        "_refused",
        "_relay",
        "_repeated",
        "_sends",
        "_sent",
        "_size",
        "_streaming",
        "_token",
        "ledgered",
    )

    def __init__(self, relay: Relay, claim: SplitClaim, context: Context, by: str) -> None:
        self.ledgered = claim.rules.ledger and relay.head.method not in SAFE
        """It is kept in the ledger: it writes."""
        self._relay = relay
        self._claim = claim
        self._context = context
        self._by = by
        self._desk: Desk | None = relay.edge.ledger if self.ledgered else None
        self._refused: list[str] = []
        """Providers to whom nothing could be sent."""
        self._token = ""
        self._known = b""
        self._held: Held | None = None
        """The attempt, once the key is claimed."""
        self._pinned = False
        """It was sent to its provider at an earlier time, by this request or by one before it."""
        self._sends = 0
        """How often it went out to the provider that has the key now, whoever had it sent again."""
        self._sent = False
        """Somebody may have read some of it."""
        self._repeated = False
        self._concluded = False
        """The ledger was told how the attempt ended."""
        self._over = False
        """The client is gone, and the request is under way for the ledger alone."""
        self._place: Turnstile | None = None
        """Where it is inside all the while: its provider works on it as before."""
        self._head: ResponseHead | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._streaming = False
        """The answer is too long to be kept, and goes on to the client as it comes."""

    # Before anything is sent

    def gathers(self) -> bool:
        """Whether the body has to be whole first. False, too, where the request was refused for it."""
        return self.ledgered and gathers(self._relay)

    def too_long(self) -> None:
        """The body cannot be held whole."""
        too_long(self._relay)

    def begin(self) -> None:
        """Claims the key, where there is one to claim, and sends."""
        relay, desk = self._relay, self._desk
        decision = relay.decision
        assert decision is not None  # noqa: S101 - it is made before anything begins
        if not self.ledgered:
            relay.ask(decision.serve)
            return
        if desk is None:
            relay.answer(Problem.LEDGER_UNAVAILABLE, "There is no ledger yet.")
            return
        self._token = uuid4().hex
        claim, self._known = wanted(relay, decision, self._by, self._token)
        desk.claim(claim, lambda outcome: self._safely(lambda: self._claimed(outcome)))

    def _claimed(self, outcome: Outcome | None) -> None:
        relay = self._relay
        relay.edge.clock.read()  # it is a thread that has brought this
        if outcome is None:
            self._count("away")
            if not relay.done:
                relay.answer(Problem.LEDGER_UNAVAILABLE, "The ledger is away. Nothing was sent: try again.")
            return
        verdict = outcome.verdict
        self._count(verdict.value)
        if verdict is Verdict.CLAIMED or verdict is Verdict.AGAIN:
            self._held = Held(outcome.number, self._token)
            self._pinned = verdict is Verdict.AGAIN
            if relay.done:
                self.ended()
                return
            decision = relay.decision
            assert decision is not None  # noqa: S101 - as above
            if self._pinned:
                decision = relay.decision = Decision(decision.route, Target(outcome.provider), None, None, Reason.PINNED)
            relay.ask(decision.serve)
        elif not relay.done:
            turned_down(relay, outcome, self._known)

    def sending(self) -> None:
        """Bytes of it are about to go out."""
        self._sends += 1
        self._sent = True

    # What a provider does

    def failed(self, failure: Failure) -> bool:
        """A provider gave no answer. Whether that is seen to here."""
        relay = self._relay
        if not self.ledgered:
            if (failure.sent or relay.tried_before) and relay.head.method not in SAFE:
                return False
            return relay.at_hand(whole=failure.sent) and self._go_elsewhere(failure.code, sent=failure.sent)
        if self._concluded:
            return True
        # TLS that is refused after the request was written: nothing of it was read. But what went out before that may have been.
        self._sent = failure.sent or self._sends > 1 or relay.tried_before
        step = self._step()
        if step is Step.ELSEWHERE and not relay.done:
            serve = relay.serve
            target = self._next(serve.upstream if serve is not None else "")
            if target is not None and self._held is not None and self._desk is not None:
                self._desk.move(
                    self._held, target.upstream, self._refused, lambda may: self._safely(lambda: self._moved(may, target, failure))
                )
                return True
        if step is Step.ELSEWHERE:
            self.ended()  # nothing was sent to anybody: the key is given back, and whoever has it may try again
            return False
        if step is Step.AGAIN and self._may_ask_again():
            self._ask_again(failure.code, 0)
        else:
            self._doubt(failure.code, 0, problem_of(failure, relay.head.method) if failure.sent else Problem.OUTCOME_UNKNOWN)
        return True

    def answered(self, head: ResponseHead, data: bytes, complete: bool) -> bool:
        """The head of an answer. Whether it is held back here."""
        relay = self._relay
        if not self.ledgered:
            if head.status < UNANSWERED or relay.head.method not in SAFE or not relay.at_hand(whole=True):
                return False
            return self._go_elsewhere(f"status-{head.status}", sent=True)
        unsettled = self._sent_before and head.status < UNANSWERED and not settles(head.status)
        if head.status >= UNANSWERED or unsettled:
            self._drop(complete)
            if not unsettled and self._step() is Step.AGAIN and self._may_ask_again():
                self._ask_again(f"status-{head.status}", head.status)
            else:
                self._doubt(f"status-{head.status}", head.status, Problem.OUTCOME_UNKNOWN)
            return True
        self._head = head
        self._parts = [data]
        self._size = len(data)
        if complete:
            self._write_down(head)
        elif head.length > relay.terms.config.ledger.answer_bytes or self._size > relay.terms.config.ledger.answer_bytes:
            self._stream(head)
        elif relay.connection is not None:
            relay.connection.hurry()
        return True

    def more(self, data: bytes, complete: bool) -> bool:
        """More of the answer's body. Whether it is held back here."""
        head = self._head
        if head is None:
            return False
        if self._streaming:
            if complete:
                self._finish(head.status, None)
            return False
        self._parts.append(data)
        self._size += len(data)
        if complete:
            self._write_down(head)
        elif self._size > self._relay.terms.config.ledger.answer_bytes:
            self._stream(head)
        return True

    def _stream(self, head: ResponseHead) -> None:
        self._streaming = True
        if self._relay.connection is not None:
            self._relay.connection.unhurry()
        parts, self._parts = self._parts, []
        if not self._relay.done:
            self._relay.deliver(head, b"".join(parts), False)

    def _write_down(self, head: ResponseHead) -> None:
        """The answer is whole: first the ledger has it, then the client."""
        relay = self._relay
        body = b"".join(self._parts)
        answer = kept(head, body) if len(body) <= relay.terms.config.ledger.answer_bytes else None

        def written(_result: object) -> None:
            relay.edge.clock.read()
            if not relay.done:
                relay.deliver(head, body, True)

        self._finish(head.status, answer, written)

    def _finish(self, status: int, answer: bytes | None, then: Callable[[object], None] | None = None) -> None:
        desk, held = self._desk, self._held
        assert desk is not None and held is not None  # noqa: PT018, S101 - nothing is sent before
        self._concluded = True
        if status in UNTOUCHED and not self._sent_before:
            self._count("released")
            desk.release(held)  # it may be sent again with this key, when its client has waited
            if then is not None:
                then(None)
        else:
            self._count("answered")
            desk.finish(held, status, answer, self._known, then)
        self._end_over()

    # Going on

    @property
    def _sent_before(self) -> bool:
        """May an earlier try of it have been read, and executed? A PUT goes out once more where its connection had died in the pool."""
        return self._pinned or self._sends > 1 or self._relay.tried_before

    @property
    def concluded(self) -> bool:
        """Has the ledger been told how the attempt ended?"""
        return self._concluded

    def _may_ask_again(self) -> bool:
        """Is there a client to tell, and something left of the retry budget of who serves? It is counted."""
        serve = self._relay.serve
        return not self._relay.done and serve is not None and self._relay.terms.pools[serve.upstream].may_repeat()

    def _step(self) -> Step:
        serve = self._relay.serve
        upstream = self._relay.terms.config.upstreams.get(serve.upstream) if serve is not None else None
        idempotent = upstream is not None and upstream.idempotent and self._by != ""
        return after_failure(sent=self._sent, sent_before=self._pinned, idempotent=idempotent, repeated=self._repeated)

    def _next(self, refused: str) -> Target | None:
        if refused not in self._refused:
            self._refused.append(refused)
        return self._claim.elsewhere(self._relay.terms.policy.flags, self._context, self._by, self._refused)

    def _go_elsewhere(self, why: str, *, sent: bool) -> bool:
        relay = self._relay
        serve = relay.serve
        if sent and len(self._refused) >= MOST_OTHERS:
            return False
        target = self._next(serve.upstream if serve is not None else "")
        if target is None:
            return False
        self._drop(False)
        self._count("elsewhere")
        relay.go_elsewhere(target, why)
        return True

    def _moved(self, may: bool | None, target: Target, failure: Failure) -> None:
        relay = self._relay
        relay.edge.clock.read()
        if relay.done:
            self.ended()
        elif may:
            self._count("elsewhere")
            self._sends = 0
            relay.go_elsewhere(target, failure.code)
        else:
            # Nobody knows whose key it is by the ledger, so nobody else is asked.
            self.ended()
            relay.answer(Problem.LEDGER_UNAVAILABLE, "The ledger is away. Nothing was sent: try again.")

    def _ask_again(self, why: str, status: int) -> None:
        desk, held = self._desk, self._held
        assert desk is not None and held is not None  # noqa: PT018, S101 - nothing is sent before
        self._repeated = self._pinned = True
        self._head = None
        self._parts = []
        self._sends = 0
        self._sent = False
        desk.again(held, lambda may: self._safely(lambda: self._may_again(may, why, status)))

    def _may_again(self, may: bool | None, why: str, status: int) -> None:
        relay = self._relay
        relay.edge.clock.read()
        if relay.done or self._concluded:
            self.ended()
        elif may:
            serve = relay.serve
            assert serve is not None  # noqa: S101 - it was asked before
            self._count("repeated")
            relay.ask_anew(serve)
        else:
            self._doubt(why, status, Problem.OUTCOME_UNKNOWN)

    def _doubt(self, reason: str, status: int, kind: Problem) -> None:
        relay = self._relay
        desk, held = self._desk, self._held
        assert desk is not None and held is not None  # noqa: PT018, S101 - nothing is sent before
        self._concluded = True
        if not status and self._head is not None:
            status = self._head.status  # its answer had begun
        self._count("in-doubt")
        failed(relay, begun=False)
        provider = relay.serve.upstream if relay.serve is not None else "upstream"
        desk.doubt(held, reason, status, lambda _result: self._tell(kind, f"{provider}: {reason}"))
        self._end_over()

    def _tell(self, kind: Problem, detail: str) -> None:
        self._relay.edge.clock.read()
        if not self._relay.done:
            self._relay.answer(kind, f"{detail}. Whether it was executed is not known; it is written down, and not sent again.")

    def _safely(self, go_on: Callable[[], None]) -> None:
        """The ledger has answered. Whatever goes wrong then is this request's end, and of none that waited beside it."""
        try:
            go_on()
        except Exception:
            _log.exception("a payment could not go on", extra={"request_id": self._relay.request_id.decode("latin-1")})
            self._relay.client.abort()
            self.ended()

    def _drop(self, complete: bool) -> None:
        """Nothing more is wanted of the connection."""
        relay = self._relay
        if relay.connection is not None:
            if not complete:
                relay.connection.abandon()
            relay.connection = None

    def _count(self, outcome: str) -> None:
        relay = self._relay
        if self.ledgered or outcome == "elsewhere":
            relay.edge.tally.payment(self._claim.route, outcome)

    # The client's end

    def client_gone(self) -> None:
        """The client has left. What was sent is awaited without it."""
        relay = self._relay
        connection = relay.connection
        if self._held is None or self._concluded or connection is None:
            return
        relay.connection = None
        self._over = True
        self._place, relay.turnstile = relay.turnstile, None
        relay.terms.in_flight += 1  # drained as any other
        connection.sink = Alone(self, connection)
        connection.pause(False)
        if self._streaming:
            connection.hurry()  # there is nobody left to whom it goes on as it comes: its end is awaited as any other's
        self._count("client-gone")

    def ended(self) -> None:
        """The request has come to its end, by whatever way. What the ledger was not told of it yet, it is told now."""
        desk, held = self._desk, self._held
        if self._concluded or self._over or held is None or desk is None:
            return
        self._concluded = True
        if self._sent or self._pinned:
            self._count("in-doubt")
            desk.doubt(held, "cut-off" if self._streaming else "given-up", self._head.status if self._head is not None else 0, None)
        else:
            self._count("released")
            desk.release(held)

    def _end_over(self) -> None:
        if self._over:
            self._over = False
            self._relay.terms.in_flight -= 1
            self.give_back()

    def give_back(self) -> None:
        """Whatever is under way without its client needs its provider's place no more."""
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def lost(self, failure: Failure) -> None:
        """The provider failed, and no client waits."""
        self._end_over()
        if self._streaming:
            self.ended()
        else:
            self.failed(failure)
