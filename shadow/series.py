"""What was counted of a route over time: the same counters as a report's sums, by spans of equal length."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import BigIntegerField, ExpressionWrapper, F, Max, Min, Sum

from shadow import counters
from shadow.models import Tally

STEPS = (60, 300, 900, 3600, 4 * 3600, 86400)
"""Seconds. A minute is the finest: counts that are over an hour old have nothing finer."""
MOST_POINTS = 120
"""As many as a chart can show; a day's steps alone may be more."""


@dataclass(frozen=True, slots=True)
class Point:
    """Counts of one span."""

    at: int
    """Unix seconds at which it begins."""
    matched: int = 0
    mismatched: int = 0
    skipped: int = 0
    dropped: int = 0
    legacy: int = 0
    candidate: int = 0

    @property
    def compared(self) -> int:
        return self.matched + self.mismatched

    @property
    def match_rate(self) -> float | None:
        """None where nothing was compared."""
        return self.matched / self.compared if self.compared else None


@dataclass(frozen=True, slots=True)
class Series:
    """Points without a gap, the oldest first; none where nothing was counted."""

    step: int
    """Seconds that each point spans."""
    points: tuple[Point, ...] = ()


def step_for(seconds: float) -> int:
    """The finest step by which `seconds` are MOST_POINTS or fewer."""
    return next((step for step in STEPS if seconds / step <= MOST_POINTS), STEPS[-1])


def series(route: str, since: float, until: float, step: int | None = None) -> Series:
    """What was counted of `route` from `since` to `until` (Unix seconds), but nothing from before the first count.

    `step`: seconds, a multiple of 60; without one, as many as suit the time between the first count and the last. A step begins at a
    multiple of itself, in UTC. Two queries, whatever the span.
    """
    if step is not None and (step < 60 or step % 60):
        raise ValueError(f"a step is a multiple of 60 seconds: {step} is not")
    rows = Tally.objects.filter(route=route, at__gte=since, at__lt=until)
    ends = rows.aggregate(first=Min("at"), last=Max("at"))
    if ends["first"] is None:
        return Series(step or STEPS[0])
    step = step or step_for(ends["last"] - ends["first"])
    start = ExpressionWrapper(F("at") - F("at") % step, output_field=BigIntegerField())
    sums: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for at, name, total in rows.annotate(start=start).values_list("start", "name").annotate(total=Sum("count")):
        field = _FIELDS.get(name) or (
            "skipped" if name.startswith(counters.SKIPPED) else "dropped" if name.startswith(counters.DROPPED) else ""
        )
        if field:
            sums[at][field] += total
    first, last = ends["first"] // step * step, ends["last"] // step * step
    first = max(first, last - 10 * MOST_POINTS * step)  # a stray count of long ago makes no list without end
    return Series(step, tuple(Point(at, **sums.get(at, {})) for at in range(first, last + 1, step)))


_FIELDS = {
    counters.MATCHED: "matched",
    counters.EXCUSED: "matched",  # by the reviewed rules of its time; the sums of a report go by those of now
    counters.MISMATCHED: "mismatched",
    counters.SERVED_LEGACY: "legacy",
    counters.SERVED_CANDIDATE: "candidate",
}
