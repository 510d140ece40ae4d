"""The record of what flags and overrides changed, as gateways told it: each change is kept once, and a gap says how long it is.

A gateway numbers its changes from 1 in each of its runs. Whoever reads them (several consoles may, and again after a restart) writes all
that it got; the pair of run and number decides what is new. Several gateways tell of one flip, each by itself: all is kept, and what
another had told is marked, so that pages show it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from django.db import transaction
from django.db.models import Max

from shadow.store import storable

if TYPE_CHECKING:
    from shadow.models import FlagChange

MAX_ROWS = 50_000
"""Kept at most, the newest: a flag that something flips every second reaches it in half a day."""
SAME_SECONDS = 10.0
"""Two gateways that tell of the same new state of a flag within this time tell of one flip."""
MAX_STATE = 256 * 1024
"""Bytes of one state of one flag. Of a longer one the size is kept, and whether the flag was on."""


class Change(msgspec.Struct, frozen=True):
    """One change, as the gateway's GET /flags/changes has it."""

    number: int
    at: float
    kind: str
    """"flag" or "override"."""
    flag: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    by: str = ""
    why: str = ""


def last(gateway: str, below: int = 2**63 - 1) -> int:
    """The number of the last change, of those below `below`, that is kept of this run of a gateway; 0 for none."""
    from shadow.models import FlagChange

    found: int | None = FlagChange.objects.filter(gateway=gateway[:100], number__lt=below).aggregate(last=Max("number"))["last"]
    return found or 0


def record(
    gateway: str,
    after: int,
    changes: Sequence[Change],
    *,
    source: str,
    confirmed: Callable[[float], float | None],
    before: float,
) -> list[FlagChange]:
    """Keeps `changes`, all that the gateway has after number `after`, oldest first. All of it or nothing; what is kept already stays.

    `source` is where its flags come from, and `confirmed` says when that had last confirmed the state before a change of that moment (Unix
    seconds), as far as it is known. What happened before the moment `before` is too old to be kept. Returns the rows that are new, but for
    those that another gateway had told of.

    Raises:
        django.db.Error: the database refused; the same may be recorded again.
    """
    from shadow.models import FlagChange

    rows = [
        FlagChange(
            gateway=gateway[:100],
            number=change.number,
            at=change.at,
            kind=FlagChange.Kind.OVERRIDE if change.kind == "override" else FlagChange.Kind.FLAG,
            flag=storable(change.flag)[:200],
            old=_state(change.old),
            new=_state(change.new),
            source=source[:20],
            by=storable(change.by)[:400],
            why=storable(change.why),
            after=confirmed(change.at),
        )
        for change in changes
        if change.at >= before
    ]
    with transaction.atomic():
        _mark_again(gateway[:100], rows)
        if changes and changes[0].number > after + 1 and changes[0].at >= before:
            first = changes[0]
            missed = first.number - 1 - max(after, last(gateway, below=first.number))
            if missed > 0:
                rows.insert(
                    0,
                    FlagChange(
                        gateway=gateway[:100],
                        number=first.number - 1,
                        at=first.at,
                        kind=FlagChange.Kind.MISSED,
                        source=source[:20],
                        missed=missed,
                    ),
                )
        numbers = [row.number for row in rows]
        kept = set(FlagChange.objects.filter(gateway=gateway[:100], number__in=numbers).values_list("number", flat=True))
        FlagChange.objects.bulk_create(rows, ignore_conflicts=True)
    new = [number for number in numbers if number not in kept]
    return list(FlagChange.objects.filter(gateway=gateway[:100], number__in=new, again=False).order_by("number"))


def _mark_again(gateway: str, rows: list[FlagChange]) -> None:
    """Marks those of which another gateway has told. An override is each gateway's own. One query."""
    from shadow.models import FlagChange

    flips = [row for row in rows if row.kind == FlagChange.Kind.FLAG]
    if not flips:
        return
    first, last = min(row.at for row in flips) - SAME_SECONDS, max(row.at for row in flips) + SAME_SECONDS
    others = FlagChange.objects.filter(
        kind=FlagChange.Kind.FLAG, flag__in={row.flag for row in flips}, at__gte=first, at__lte=last, again=False
    )
    told: dict[str, list[FlagChange]] = {}
    for other in others.exclude(gateway=gateway):
        told.setdefault(other.flag, []).append(other)
    for row in flips:
        same = [each for each in told.get(row.flag, ()) if each.new == row.new and abs(each.at - row.at) <= SAME_SECONDS]
        if same:
            nearest = min(same, key=lambda each: abs(each.at - row.at))
            told[row.flag].remove(nearest)  # on, off and on again are two flips, also where another gateway told of both
            row.again = True


def purge(before: float) -> None:
    """Removes what happened before the moment `before` (Unix seconds), and all but the newest MAX_ROWS."""
    from shadow.models import FlagChange

    FlagChange.objects.filter(at__lt=before).delete()
    oldest = FlagChange.objects.order_by("-pk").values_list("pk", flat=True)[MAX_ROWS : MAX_ROWS + 1]
    for key in list(oldest):
        FlagChange.objects.filter(pk__lte=key).delete()


def _state(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    size = len(orjson.dumps(state))
    if size > MAX_STATE:
        return {"name": storable(str(state.get("name", ""))[:200]), "enabled": bool(state.get("enabled")), "too_large": size}
    return storable(state)
