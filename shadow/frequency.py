"""How often one signature was seen: of the route's comparisons, and minute by minute.

From what differed together (shadow.recompute), excused or not; where a route has had more combinations than are kept, these are the least
that there were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import BigIntegerField, ExpressionWrapper, F, Sum

from shadow import counters
from shadow.batch import OTHER
from shadow.models import Combination, Signature, Tally

MINUTES = 60
"""Of the chart."""
_COMPARED = (counters.MATCHED, counters.MISMATCHED, counters.EXCUSED)


@dataclass(frozen=True, slots=True)
class Frequency:
    """Of one signature, since a moment."""

    since: float
    exchanges: int | None
    """In which it was seen; None: that is not kept."""
    compared: int
    """The route's comparisons in the same time."""
    minutes: Sequence[int] = ()
    """Exchanges in each of the last MINUTES, the newest last; that which runs now is the last."""
    untold: int = 0
    """Comparisons that differed, and of which it is not kept in what."""

    @property
    def share(self) -> float | None:
        """Of the comparisons; None where nothing was compared, or it is not kept."""
        return min(1.0, self.exchanges / self.compared) if self.compared and self.exchanges is not None else None


def frequency(row: Signature, since: float, now: float) -> Frequency:
    """How often `row` was seen since `since`, and in the last hour by minutes. Three queries."""
    names: list[str] = []
    every: list[str] = []
    for key, members in Combination.objects.filter(route=row.route).values_list("key", "members"):
        every.append(counters.COMBINATION + key)
        if any(member[0] == row.kind and member[1] == row.path for member in members):
            names.append(counters.COMBINATION + key)
    sums = dict(
        Tally.objects.filter(route=row.route, at__gte=math.ceil(since), name__in=[*_COMPARED, *every])
        .values_list("name")
        .annotate(total=Sum("count"))
    )
    compared = sum(sums.get(name, 0) for name in _COMPARED)
    told = sum(sums.get(name, 0) for name in every)
    untold = max(0, compared - sums.get(counters.MATCHED, 0) - told)
    if row.path == OTHER:
        return Frequency(since, None, compared, untold=untold)
    first = int(now) // 60 * 60 - (MINUTES - 1) * 60
    minute = ExpressionWrapper(F("at") - F("at") % 60, output_field=BigIntegerField())
    recent = (
        Tally.objects.filter(route=row.route, at__gte=first, name__in=names)
        .annotate(minute=minute)
        .values_list("minute")
        .annotate(total=Sum("count"))
        if names
        else ()
    )
    by_minute = {int(at): total for at, total in recent}
    return Frequency(
        since,
        sum(sums.get(name, 0) for name in names),
        compared,
        tuple(by_minute.get(first + 60 * number, 0) for number in range(MINUTES)),
        untold,
    )
