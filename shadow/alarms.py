"""Alarms about ignored places (shadow.drift), as signatures of their own: open ones, which somebody has to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Sum

from shadow import counters, rulebook, states
from shadow.drift import Alarm, Counted, alarms, key

if TYPE_CHECKING:
    from shadow.models import Drift, Signature

WINDOW_SECONDS = 86_400.0
"""How far back alarms look."""


def raise_alarms(now: float) -> list[Signature]:
    """Holds what was counted lately against chance, and keeps what chance does not explain as signatures. Returns those that are new or
    open again. A signature that was fixed is tested on what came after."""
    from shadow.models import Drift, Signature

    raised: list[Signature] = []
    since = now - WINDOW_SECONDS
    for route in sorted(set(Drift.objects.filter(last_seen__gte=since).values_list("route", flat=True))):
        drifts = {row.key: row for row in Drift.objects.filter(route=route, last_seen__gte=since).select_related("sample")}
        rows = {(row.kind, row.path): row for row in Signature.objects.filter(route=route, kind__in=("drift", "null-rate"))}
        for alarm in alarms(_counted(route, drifts, since)):
            row = rows.get((alarm.kind, alarm.path[:300]))
            if row is not None and row.state == Signature.State.FIXED:
                later = alarms(_counted(route, drifts, max(row.last_seen, row.state_since) + 1))
                if not any((each.kind, each.path) == (alarm.kind, alarm.path) for each in later):
                    continue
                states.change(row.pk, states.NEW, by=states.BANYAN, why=states.SEEN_AGAIN)
                raised.append(row)
            made = _keep(route, alarm, row, drifts)
            if made is not None:
                raised.append(made)
        if raised:
            rulebook.settle(now, [route])
    return raised


def _counted(route: str, drifts: dict[str, Drift], since: float) -> list[Counted]:
    from shadow.models import Tally

    names = {counters.DRIFT + name: row for name, row in drifts.items()}
    sums = Tally.objects.filter(route=route, name__in=list(names), at__gte=since).values_list("name").annotate(total=Sum("count"))
    return [Counted(names[name].path, names[name].legacy, names[name].candidate, total, names[name].last_seen) for name, total in sums]


def _keep(route: str, alarm: Alarm, row: Signature | None, drifts: dict[str, Drift]) -> Signature | None:
    """Writes the alarm's signature; returns it where it is new."""
    from shadow.models import Sighting, Signature

    with transaction.atomic():
        if row is not None:
            Signature.objects.filter(pk=row.pk).update(count=max(row.count, alarm.count), last_seen=max(row.last_seen, alarm.last_seen))
            return None
        made, new = Signature.objects.get_or_create(
            route=route,
            kind=alarm.kind,
            path=alarm.path[:300],
            defaults={"count": alarm.count, "first_seen": alarm.last_seen, "last_seen": alarm.last_seen},
        )
        samples = {drift.sample for each in alarm.of if (drift := drifts.get(key(*each))) is not None and drift.sample is not None}
        Sighting.objects.bulk_create([Sighting(signature=made, sample=sample) for sample in samples], ignore_conflicts=True)
    return made if new else None
