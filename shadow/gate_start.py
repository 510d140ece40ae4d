"""That somebody has begun a route's gate anew: what was compared before that counts for it no more.

Nothing is deleted, and nothing is stored twice: the moment is held against what was counted whenever somebody asks, as with rules. So it
can be taken back, and then the gate is as if it had never been. Moments are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Max

from shadow.storable import storable

if TYPE_CHECKING:
    from shadow.gate import Terms
    from shadow.models import GateStart

MAX_WHY = 2000
"""Characters of a reason."""


class GateStartError(ValueError):
    """A gate can't be begun anew, or that can't be taken back; the message says why."""


def begin(route: str, *, by: str, why: str, at: float) -> GateStart:
    """Begins it anew.

    Raises:
        GateStartError: nobody, or no reason, or too long a one.
    """
    from shadow.models import Event, GateStart

    by, why = _said(by, why)
    with transaction.atomic():
        made = GateStart.objects.create(route=route, at=at, by=by, why=why)
        Event.objects.create(at=at, kind=Event.Kind.GATE, route=route, text="begun anew", by=by, detail={"begun": made.pk, "why": why})
    return made


def take_back(number: int, *, by: str, why: str, at: float) -> GateStart:
    """As if it had not been begun anew then; an earlier beginning holds again.

    Raises:
        GateStartError: there is no such beginning, or it was taken back before; nobody, or no reason.
    """
    from shadow.models import Event, GateStart

    by, why = _said(by, why)
    with transaction.atomic():
        if not GateStart.objects.filter(pk=number, ended_at=None).update(ended_at=at, ended_by=by, ended_why=why):
            raise GateStartError("that was taken back before, or never was")
        row = GateStart.objects.get(pk=number)
        detail = {"taken_back": row.pk, "why": why}
        Event.objects.create(at=at, kind=Event.Kind.GATE, route=row.route, text="not begun anew after all", by=by, detail=detail)
    return row


def in_force(route: str) -> GateStart | None:
    """The newest beginning that was not taken back."""
    from shadow.models import GateStart

    return GateStart.objects.filter(route=route, ended_at=None).order_by("-at", "-pk").first()


def since(routes: Iterable[str], terms: Mapping[str, Terms], now: float) -> dict[str, float]:
    """From when on what was compared counts for each route's gate: its window, or what somebody began within it. One query."""
    from shadow.models import GateStart

    names = list(routes)
    begun = dict(
        GateStart.objects.filter(route__in=names, ended_at=None).values_list("route").annotate(last=Max("at")).values_list("route", "last")
    )
    return {name: max(now - terms[name].window, begun.get(name, 0.0)) for name in names}


def _said(by: str, why: str) -> tuple[str, str]:
    by, why = storable(by).strip()[:200], storable(why).strip()
    if not by or not why:
        raise GateStartError("it takes somebody who does it, and a reason")
    if len(why) > MAX_WHY:
        raise GateStartError(f"a reason may have {MAX_WHY} characters; this one has {len(why)}")
    return by, why
