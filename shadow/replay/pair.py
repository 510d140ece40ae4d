"""One request that is asked again: its questions, and the comparisons of what is answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from gateway.net.fields import captured
from gateway.net.lines import CREDENTIALS
from gateway.net.question import Question
from gateway.policy.decision import LEGACY, Target
from gateway.set_cookie import NAME as SET_COOKIE
from gateway.set_cookie import without_value
from recorded.entry import Entry
from shadow.exchange import Answer, Exchange, Side
from shadow.replay.plan import RECORDED, Wanted, lines_of
from shadow.signature import Signature

if TYPE_CHECKING:
    from shadow.replay.engine import Replay

PROOFS = 2
"""Times that legacy is asked again after a pair that differed, while it is not known whether it would differ from itself in the same."""


class Pair:
    """One request and its answers."""

    def __init__(self, replay: Replay, wanted: Wanted, *, noise: bool, again: bool) -> None:
        """`noise`: legacy is asked a second time, whatever is found. `again`: it may be, where something is."""
        self._replay = replay
        self._wanted = wanted
        self._at = time.time()
        self._id, self._trace = replay.asker.names(wanted)
        trace = self._trace
        self._may_ask_again = again
        self._reference: Answer | None = None
        self._proofs: dict[int, tuple[Exchange, tuple[Signature, ...]]] = {}
        """By identity: comparisons of legacy with itself because of these signatures."""
        self._first: Question | None = None
        """The reference's, unless that is in the recording."""
        self._again: list[Question] = []
        if not replay.from_recording:
            self._first = replay.asker.question(wanted, Target(LEGACY), self._id, trace, self._answered)
            if noise:
                self._again = [replay.asker.question(wanted, Target(LEGACY), self._id, trace, self._answered)]
        self._other = replay.asker.question(wanted, replay.asker.other(wanted), self._id, trace, self._answered)
        self._asked = [each for each in (self._first, self._other) if each is not None] + self._again
        self._left = len(self._asked)
        self._comparing = 1 + len(self._again)

    def start(self) -> None:
        for question in self._asked:
            question.start()

    def cancel(self) -> None:
        for question in self._asked:
            question.cancel()

    def prove(self, signatures: tuple[Signature, ...]) -> None:
        """It has shown these. Legacy is asked whether it does so by itself."""
        if not self._may_ask_again or not self._replay.tally.route(self._wanted.route).unsure(signatures):
            return

        def answered(question: Question) -> None:
            assert self._reference is not None  # noqa: S101 - it has differed
            exchange = self._exchange(self._reference, answer_of(question, "legacy"), "noise")
            self._proofs[id(exchange)] = exchange, signatures
            self._replay.compare(self, exchange)

        asked = [self._replay.asker.question(self._wanted, Target(LEGACY), self._id, self._trace, answered) for _ in range(PROOFS)]
        self._comparing += len(asked)
        self._asked += asked
        for question in asked:
            question.start()

    def proof(self, exchange: Exchange) -> tuple[Signature, ...] | None:
        """The signatures because of which it was asked for; None: it was not."""
        found = self._proofs.get(id(exchange))
        return None if found is None else found[1]

    def judged(self) -> None:
        """One of its comparisons is done."""
        self._comparing -= 1
        if not self._comparing:
            self._replay.ended(self)

    def _answered(self, question: Question) -> None:
        self._left -= 1
        if self._left:
            return
        replay, wanted = self._replay, self._wanted
        other = answer_of(self._other, "candidate")
        reference = answer_of(self._first, "legacy") if self._first is not None else recorded(wanted.entry)
        self._reference = reference
        tally = replay.tally.route(wanted.route)
        tally.answered(other)
        if self._first is not None:
            tally.answered(reference)
        # First what legacy says against itself: `compare` may end the pair.
        for again in self._again:
            replay.compare(self, self._exchange(reference, answer_of(again, "legacy"), "noise"))
        replay.compare(self, self._exchange(reference, other, "pair"))

    def _exchange(self, served: Answer, shadow: Answer, kind: Literal["pair", "noise"]) -> Exchange:
        head = self._wanted.head
        target = head.target.decode("latin-1")
        return Exchange(
            self._wanted.route,
            self._id.decode(),
            self._at,
            head.method,
            target,
            captured(head),
            self._wanted.body,
            served,
            shadow,
            kind,
        )


def answer_of(question: Question, side: Side) -> Answer:
    """As the shadow captures it."""
    if question.error:
        return Answer(side, question.upstream, 0, b"", b"", question.elapsed, question.error)
    return Answer(side, question.upstream, question.status, question.fields, question.body, question.elapsed, "", question.skipped)


def recorded(entry: Entry) -> Answer:
    """The answer in the recording, as the shadow would have captured it."""
    fields = tuple(
        (name, without_value(value) if name.lower() == SET_COOKIE else value)
        for name, value in entry.answer_fields
        if name.lower() == SET_COOKIE or name.lower() not in CREDENTIALS
    )
    assert entry.status is not None  # noqa: S101 - the plan has looked
    return Answer("legacy", RECORDED, entry.status, lines_of(fields), entry.answer_body or b"", entry.duration or 0.0)
