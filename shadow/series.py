"""What was counted of a route over time: the same counters as a report's sums, by spans of equal length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shadow import counters, sums
from shadow.latency import SideFigures, figures

STEPS = (60, 300, 900, 3600, 4 * 3600, 86400)
"""Seconds. A minute is the finest: counts that are over an hour old have nothing finer."""
FINE_STEPS = (10, 30)
"""Seconds: of the last hour, for who asks for them."""
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
    fallback: int = 0
    gateway: int = 0
    eligible: int = 0
    sides: dict[str, SideFigures] = field(default_factory=dict)
    """By shadow.latency.SIDES: times and errors."""

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

    `step`: seconds, a multiple of 60, or one of FINE_STEPS where `since` is in the last hour; without one, as many as suit the time between
    the first count and the last. A step begins at a multiple of itself, in UTC. Two queries, whatever the span.
    """
    if step is not None and (step < 60 or step % 60) and step not in FINE_STEPS:
        raise ValueError(f"a step is a multiple of 60 seconds: {step} is not")
    ends = sums.ends(route, since, until)
    if ends is None:
        return Series(step or STEPS[0])
    first, last = ends
    step = step or step_for(last - first)
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    names: dict[int, dict[str, int]] = defaultdict(dict)
    for _, at, name, total in sums.by_step([route], since, until, step):
        names[at][name] = total
        place = _FIELDS.get(name) or (
            "skipped" if name.startswith(counters.SKIPPED) else "dropped" if name.startswith(counters.DROPPED) else ""
        )
        if place:
            counts[at][place] += total
    first, last = first // step * step, last // step * step
    first = max(first, last - 10 * MOST_POINTS * step)  # a stray count of long ago makes no list without end
    return Series(step, tuple(Point(at, **counts.get(at, {}), sides=figures(names.get(at, {}))) for at in range(first, last + 1, step)))


def plain(found: Series) -> dict[str, Any]:
    """For machines. Times are seconds."""
    return {"step": found.step, "points": [_plain(point) for point in found.points]}


def _plain(point: Point) -> dict[str, Any]:
    numbers = {name: getattr(point, name) for name in ("at", *dict.fromkeys(_FIELDS.values()), "skipped", "dropped")}
    return {**numbers, "sides": plain_sides(point.sides)}


def plain_sides(sides: Mapping[str, SideFigures]) -> dict[str, dict[str, Any]]:
    """By side, for machines. Times are seconds."""
    return {side: {"asked": each.asked, "errors": each.errors, "p50": each.p50, "p95": each.p95} for side, each in sides.items()}


_FIELDS = {
    counters.MATCHED: "matched",
    counters.EXCUSED: "matched",  # by the reviewed rules of its time; the sums of a report go by those of now
    counters.MISMATCHED: "mismatched",
    counters.SERVED_LEGACY: "legacy",
    counters.SERVED_CANDIDATE: "candidate",
    counters.FALLBACK: "fallback",
    counters.SERVED_GATEWAY: "gateway",
    counters.ELIGIBLE: "eligible",
}
