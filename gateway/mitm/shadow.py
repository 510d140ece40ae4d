"""The same request, asked beside: nothing here can reach the client.

A Capture collects the answer that the client gets, while tasks ask the other upstream through clients of their own. When both answers are
there the pair goes to the shipper, or is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Literal

from gateway.identity.caller import Caller, known
from gateway.mitm.client import Reply, unfit
from gateway.mitm.fields import Fields, Head
from gateway.mitm.outgoing import Outgoing
from gateway.mitm.shared import Shared
from gateway.mitm.terms import Terms
from gateway.policy.decision import Decision, ShadowRules, Target
from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure
from gateway.telemetry import drop, skip
from shadow.exchange import Answer, Exchange, RouteCounts, Side

_log = logging.getLogger("banyan.worker")


def prepare(
    shared: Shared, terms: Terms, decision: Decision, outgoing: Outgoing, *, replayable: bool, caller: Caller | None = None
) -> Capture | None:
    """A Capture, if this request is to be compared; else it is counted why not."""
    rules = decision.rules
    if decision.shadow is None or rules is None:
        return None
    counts = shared.tally.route(decision.route).shadow
    counts.eligible += 1
    if outgoing.head.upgrade:
        skip(counts, "upgrade")
    elif outgoing.head.method not in rules.methods:
        skip(counts, rules.skips(outgoing.head.method))
    elif rules.sample < 1 and shared.chance() >= rules.sample:
        skip(counts, "sampled_out")
    elif not replayable:
        skip(counts, "body_too_large")
    elif shared.mirrors.get(decision.route, 0) >= terms.config.shadow.concurrency:
        drop(counts, "concurrency")
    else:
        return Capture(shared, terms, decision, rules, decision.shadow, outgoing, caller)
    return None


class Capture:
    """One exchange in the making."""

    def __init__(
        self,
        shared: Shared,
        terms: Terms,
        decision: Decision,
        rules: ShadowRules,
        shadow: Target,
        outgoing: Outgoing,
        caller: Caller | None,
    ) -> None:
        self._shared = shared
        self._terms = terms
        self._decision = decision
        self._rules = rules
        self._shadow = shadow
        self._outgoing = outgoing
        self._caller = caller
        self._began = shared.now()
        self._status = 0
        self._fields: Fields = ()
        self._parts: list[bytes] = []
        self._size = 0
        self._skipped = ""
        self._body = b""
        self._served: Answer | None = None
        self._answers: list[tuple[Literal["pair", "noise"], Answer]] = []
        """Of mirrors that were there before the client had its own."""
        self._tasks: list[asyncio.Task[None]] = []

    # The client's answer

    def begin(self, status: int, fields: Fields) -> None:
        self._status = status
        self._fields = fields
        self._skipped = unfit(fields, self._rules.capture, self._outgoing.head.method, status)

    def add(self, data: bytes) -> None:
        if self._skipped:
            return
        self._size += len(data)
        if self._size > self._rules.capture:
            self._skipped = "too_large"
            self._parts.clear()
        else:
            self._parts.append(data)

    def finish(self) -> None:
        """The client has its whole answer."""
        target = self._decision.serve
        elapsed = self._shared.now() - self._began
        head = self._terms.captured(self._fields)
        self._served = Answer(_side(target), target.upstream, self._status, head, b"".join(self._parts), elapsed, "", self._skipped)
        for kind, answer in self._answers:
            self._hand_over(self._served, kind, answer)

    def give_up(self, reason: str) -> None:
        """The client got no answer that could be compared."""
        skip(self._counts, reason)
        for task in self._tasks:
            task.cancel()

    # The other's

    def mirror(self, body: bytes) -> None:
        """The request is complete: asks beside."""
        self._body = body
        self._ask(self._shadow, "pair")
        rules = self._rules
        if rules.noisy(self._outgoing.head.method, self._decision.serve) and self._shared.chance() < rules.noise:
            self._ask(self._decision.serve, "noise")

    def _ask(self, target: Target, kind: Literal["pair", "noise"]) -> None:
        self._terms.mirroring += 1
        self._shared.mirrors[self._decision.route] = self._shared.mirrors.get(self._decision.route, 0) + 1
        task = self._shared.keep(self._mirror(target, kind), f"mirror {self._decision.route}")
        task.add_done_callback(partial(self._mirrored, kind))
        self._tasks.append(task)

    def _mirrored(self, kind: str, task: asyncio.Task[None]) -> None:
        # Counted here and not in the coroutine: one that is cancelled before its first step never gets to its `finally`.
        self._terms.mirroring -= 1
        self._shared.mirrors[self._decision.route] -= 1
        if task.cancelled():
            if self._served is not None and kind == "pair":
                drop(self._counts, "worker_stopped")  # the client has its answer, and the other will not be waited for
        elif (error := task.exception()) is not None:
            if kind == "pair":
                drop(self._counts, "failed")
            _log.error("%s failed", task.get_name(), exc_info=error)

    async def _mirror(self, target: Target, kind: Literal["pair", "noise"]) -> None:
        shared = self._shared
        began = shared.now()
        ask = self._outgoing.ask(target, self._body, ((b"Banyan-Shadow", b"1"),))
        # A sandboxed POST is sent once and no more, like any other: what calls itself a sandbox may be none.
        repeatable = may_repeat(self._outgoing.head.method, replayable=True)
        outcome: Reply | Failure
        try:
            async with asyncio.timeout(self._terms.config.shadow.timeout):  # in all, however busily it goes on
                outcome = await self._terms.shadow_clients[target.upstream].ask(ask, limit=self._rules.capture, repeatable=repeatable)
        except TimeoutError:
            outcome = Failure.TIMEOUT
        elapsed = shared.now() - began
        if kind == "pair" and (isinstance(outcome, Failure) or not outcome.skipped):
            status = 0 if isinstance(outcome, Failure) else outcome.status
            shared.tally.route(self._decision.route).beside(target.side, status, elapsed)
        if self._decision.guarded and kind == "pair" and target.upstream == "legacy":
            # The guard's measure for a candidate that leaves legacy no requests of its own.
            failed, waited = (True, 0.0) if isinstance(outcome, Failure) else (outcome.status >= 500, outcome.waited)
            shared.tally.route(self._decision.route).watched("shadow", failed, waited)
        if isinstance(outcome, Failure):
            answer = Answer(_side(target), target.upstream, 0, b"", b"", elapsed, outcome.code)
        else:
            answer = self._understood(outcome, target, elapsed)
        if self._served is not None:
            self._hand_over(self._served, kind, answer)
        else:
            self._answers.append((kind, answer))

    def _understood(self, reply: Reply, target: Target, elapsed: float) -> Answer:
        head = self._terms.captured(reply.fields)
        return Answer(_side(target), target.upstream, reply.status, head, reply.body, elapsed, "", reply.skipped)

    # Both

    def _hand_over(self, served: Answer, kind: Literal["pair", "noise"], answer: Answer) -> None:
        shared = self._shared
        head: Head = self._outgoing.head
        exchange = Exchange(
            self._decision.route,
            self._outgoing.request_id.decode("latin-1"),
            shared.wall() - (shared.now() - self._began),
            head.method,
            head.target.decode("latin-1"),
            self._terms.captured(head.fields),
            self._body,
            served,
            answer,
            kind,
            known(self._caller),
        )
        if shared.watch is not None:
            shared.watch.paired(exchange)
        if shared.shipper is None:
            reason = "shipper_gone"
        elif shared.terms.config.shadow.secrets != self._terms.config.shadow.secrets:
            reason = "reload"  # it would be redacted by other rules than it was captured by
        else:
            reason = shared.shipper.offer(exchange)
        if kind == "pair":
            if reason:
                drop(self._counts, reason)
            else:
                self._counts.captured += 1

    @property
    def _counts(self) -> RouteCounts:
        """Asked for anew each time: what was counted is sent away once a second."""
        return self._shared.tally.route(self._decision.route).shadow


def _side(target: Target) -> Side:
    return "legacy" if target.upstream == "legacy" else "candidate"
