"""What may become of a request that must not be executed twice: the states of its line in the ledger, and what follows from each.

Pure: the ledger itself is gateway/ledger. Of two requests with one key the second never reaches an upstream, unless the first is in doubt
at a provider that takes the same key for the same payment (`idempotent = true`): there, and nowhere else, it is asked again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

UNANSWERED: Final = 500
"""An answer from this status on says as little of what was executed as none does (design, section 8)."""

DECLINED: Final = frozenset((402, 422))
"""Refusals of the payment itself, and not of the try: whoever gives one has looked at what it was asked, and at its key."""
UNTOUCHED: Final = frozenset((425, 429))
"""Answers that refuse a request before it is looked at: whoever sent it may send it again (RFC 8470, 5.2; RFC 6585, 4)."""


class State(StrEnum):
    """Of a line in the ledger."""

    STARTED = "started"
    """Claimed: it is being sent, or waits for its answer."""
    ANSWERED = "answered"
    IN_DOUBT = "in-doubt"
    """It was sent, and nobody knows what came of it."""
    SETTLED = "settled"
    """Somebody found out that it was executed, and has said so."""


class Verdict(StrEnum):
    """What a claim is told."""

    CLAIMED = "claimed"
    """The key is this request's: it may be sent to the provider that the claim names."""
    AGAIN = "again"
    """The key was in doubt, and is this request's now: it may be sent once more to the provider that had it, and to no other."""
    RUNNING = "running"
    """Another request with this key is under way."""
    OTHER = "other-request"
    """The key came with another request."""
    REPLAY = "replayed"
    """It was answered, and the answer is here."""
    NOT_KEPT = "not-kept"
    """It was answered, and the answer is not here any more, or was too large to keep."""
    IN_DOUBT = "in-doubt"
    SETTLED = "settled"


class Step(StrEnum):
    """What follows a failure."""

    ELSEWHERE = "elsewhere"
    """Nothing was sent to anybody: the next provider may be asked, or the key is given back."""
    AGAIN = "again"
    """The same provider may be asked once more, with the same key."""
    DOUBT = "doubt"


def judge(state: State, *, same: bool, repeatable: bool, kept: bool) -> Verdict:
    """What a second request with a key is told. `same`: it is the same request, to the byte of its body. `repeatable`: the provider that
    had the first takes the same key for the same payment. `kept`: the answer is there."""
    if not same:
        return Verdict.OTHER
    if state is State.ANSWERED:
        return Verdict.REPLAY if kept else Verdict.NOT_KEPT
    if state is State.IN_DOUBT:
        return Verdict.AGAIN if repeatable else Verdict.IN_DOUBT
    return Verdict.SETTLED if state is State.SETTLED else Verdict.RUNNING


def settles(status: int) -> bool:
    """Does this answer to a repeat say what became of the try before? A provider that is still at it says 409; and whoever stands before
    the provider and knows no such path, method or host (404, 405, 421), asks for a login (302, 401) or did not like the request (400) may
    never have asked it. So only what is plainly the provider's word on the payment is."""
    return 200 <= status < 300 or status in DECLINED


def after_failure(*, sent: bool, sent_before: bool, idempotent: bool, repeated: bool) -> Step:
    """What follows when a provider gave no answer that counts. `sent`: bytes of it went out this time; `sent_before`: at an earlier time;
    `idempotent`: the provider takes the same key for the same payment; `repeated`: it was asked once more already.

    Another provider is asked only of what was sent to nobody: no provider knows another's keys, so whether it is idempotent says nothing
    of that.
    """
    if not sent and not sent_before:
        return Step.ELSEWHERE
    if sent and idempotent and not repeated:
        return Step.AGAIN
    return Step.DOUBT
