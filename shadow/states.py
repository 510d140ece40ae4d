"""What people say of a signature: new, expected, bug or fixed, and every change of it with who, why and when.

This is the one place that changes a state. `fixed` is a claim: a signature that is seen in an exchange which happened after it was made
goes back to new, and the history says so (shadow.store asks for that, in the transaction that counts the sighting). An exchange from before
the fix, which had waited in a queue, changes nothing.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction

from shadow.batch import OTHER

NEW, EXPECTED, BUG, FIXED = STATES = ("new", "expected", "bug", "fixed")
"""As in shadow.models.Signature.State."""
OPEN = (NEW, BUG)
"""Somebody still has to look at it, or to mend something."""
BANYAN = "banyan"
SEEN_AGAIN = "seen again after the fix"
MAX_BY = 200
MAX_WHY = 2000
"""Characters."""


class StateError(ValueError):
    """A state can't be changed like that; the message says why."""


class UnknownSignatureError(StateError):
    """There is none of that number."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a signature's history."""

    at: float
    """Unix seconds."""
    old: str
    new: str
    by: str
    why: str


def change(signature: int, new: str, *, by: str, why: str, since: float | None = None) -> Change | None:
    """Gives a signature a state; None where it has that already, which leaves its history as it is. `since`: and where the state that it
    has is not of that moment (its state_since), for who decides by what he read before.

    A rule's author makes it `expected` through here too, with the rule's reason; what has no path of its own (shadow.batch.OTHER) can't be.

    Raises:
        StateError: no such state, nobody, no reason, or too long a one.
        UnknownSignatureError: no such signature.
        django.db.Error: the database refused.
    """
    from shadow.models import Signature, StateChange
    from shadow.store import storable

    by, why = storable(by.strip()), storable(why.strip())
    if new not in STATES:
        raise StateError(f"{new!r} is no state: {', '.join(STATES)} are")
    if not by or not why:
        raise StateError("a change of state has somebody who made it, and a reason")
    if len(by) > MAX_BY or len(why) > MAX_WHY:
        raise StateError(f"who may have {MAX_BY} characters, and why {MAX_WHY}")
    with transaction.atomic():
        row = Signature.objects.select_for_update().filter(pk=signature).first()
        if row is None:
            raise UnknownSignatureError(f"there is no signature {signature}")
        if row.path == OTHER and new == EXPECTED:
            raise StateError(f"{OTHER} are many, and not all of them known: no rule expects them")
        if row.state == new or (since is not None and row.state_since != since):
            return None
        # The time is taken now that the row is locked: whatever was counted before happened before.
        made = Change(time.time(), row.state, new, by, why)
        Signature.objects.filter(pk=signature).update(state=new, state_since=made.at)
        StateChange.objects.create(signature_id=signature, at=made.at, old=made.old, new=new, by=by, why=why)
    return made


def reopen(signature: int, at: float) -> None:
    """Makes a fixed signature new again, since it was seen at `at` (Unix seconds). Within a transaction that has its row locked."""
    from shadow.models import Signature, StateChange

    if Signature.objects.filter(pk=signature, state=FIXED, state_since__lt=at).update(state=NEW, state_since=at):
        StateChange.objects.create(signature_id=signature, at=at, old=FIXED, new=NEW, by=BANYAN, why=SEEN_AGAIN)


def history(signature: int) -> tuple[Change, ...]:
    """All changes of a signature, the oldest first."""
    return histories([signature])[signature]


def histories(signatures: Iterable[int]) -> dict[int, tuple[Change, ...]]:
    """`history` of several, with one query."""
    from shadow.models import StateChange

    wanted = list(signatures)
    found: dict[int, list[Change]] = defaultdict(list)
    for row in StateChange.objects.filter(signature_id__in=wanted).order_by("pk"):
        found[row.signature_id].append(Change(row.at, row.old, row.new, row.by, row.why))
    return {signature: tuple(found[signature]) for signature in wanted}
