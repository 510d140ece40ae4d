"""How long the sides took, and how often they failed, from counters that can be added up over any time.

Times are counted in buckets that everybody shares, so two figures can be added, and a quantile is found within one bucket: the true one
lies between that bucket's bounds, each at most two and a half times the one before. What is told is interpolated between the bounds, as
if the bucket's answers were spread evenly in it (as Prometheus' histogram_quantile does), so it is wrong by the bucket's width at most.

What serves a client is timed from its request's head to its answer's end; what is asked beside, from the asking to the answer's end. The
latter has neither the client's own slowness in it nor the gateway's, so the two are never added up.

Pure: the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, of Prometheus' own default but for the first two and the last. One bucket more is for what was slower."""

LEGACY: Final = "legacy"
CANDIDATE: Final = "candidate"
SHADOW: Final = "shadow-"
"""Before a side that was asked beside."""
SIDES: Final = (LEGACY, CANDIDATE, SHADOW + LEGACY, SHADOW + CANDIDATE)

_LATENCY: Final = "latency."
_ERRORS: Final = "errors."
_UNANSWERED: Final = "unanswered."


@dataclass(frozen=True, slots=True)
class Quantile:
    """A time in seconds, and the bounds that the true one lies between; `high` None: it is longer than all bounds."""

    seconds: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class SideFigures:
    """What one side did in some time."""

    times: Mapping[int, int] = field(default_factory=dict)
    """Bucket → answers."""
    errors: int = 0
    """5xx, no answer, or one that broke off."""
    unanswered: int = 0
    """Of `errors`, those in none of the buckets."""

    @property
    def answered(self) -> int:
        return sum(self.times.values())

    @property
    def asked(self) -> int:
        """What `errors` are a share of."""
        return self.answered + self.unanswered

    @property
    def error_rate(self) -> float | None:
        """None while it was not asked."""
        return min(1.0, self.errors / self.asked) if self.asked else None

    @property
    def p50(self) -> float | None:
        """Seconds."""
        return _seconds(self.times, 0.5)

    @property
    def p95(self) -> float | None:
        """Seconds."""
        return _seconds(self.times, 0.95)


def quantile(times: Mapping[int, int], share: float) -> Quantile | None:
    """The time within which `share` of the answers came; None while there are none."""
    total = sum(times.values())
    if not total:
        return None
    rank, before = share * total, 0
    for number in sorted(times):
        here = times[number]
        if here and before + here >= rank:
            low = BUCKETS[number - 1] if number else 0.0
            if number >= len(BUCKETS):
                return Quantile(BUCKETS[-1], BUCKETS[-1], None)
            high = BUCKETS[number]
            return Quantile(low + (high - low) * max(0.0, rank - before) / here, low, high)
        before += here
    raise AssertionError("a rank is among the answers")


def _seconds(times: Mapping[int, int], share: float) -> float | None:
    found = quantile(times, share)
    return None if found is None else found.seconds


def figures(sums: Mapping[str, int] | Iterable[tuple[str, int]]) -> dict[str, SideFigures]:
    """By side, of counters by their names; those with other names are passed over, and sides of which there is nothing are not in it."""
    times: dict[str, dict[int, int]] = {}
    errors: dict[str, int] = {}
    unanswered: dict[str, int] = {}
    for name, count in sums.items() if isinstance(sums, Mapping) else sums:
        if name.startswith(_LATENCY):
            side, _, bucket = name.removeprefix(_LATENCY).rpartition(".")
            if bucket.isdecimal():
                mine = times.setdefault(side, {})
                mine[int(bucket)] = mine.get(int(bucket), 0) + count
        elif name.startswith(_ERRORS):
            errors[name.removeprefix(_ERRORS)] = errors.get(name.removeprefix(_ERRORS), 0) + count
        elif name.startswith(_UNANSWERED):
            unanswered[name.removeprefix(_UNANSWERED)] = unanswered.get(name.removeprefix(_UNANSWERED), 0) + count
    return {
        side: SideFigures(times.get(side, {}), errors.get(side, 0), unanswered.get(side, 0))
        for side in SIDES
        if side in times or side in errors
    }


NOTHING: Final = SideFigures()


def best(sides: Mapping[str, SideFigures], side: str) -> tuple[SideFigures, bool]:
    """What there is more of: what the side served, or what it answered beside. The second is whether that is beside."""
    served, beside = sides.get(side, NOTHING), sides.get(SHADOW + side, NOTHING)
    return (beside, True) if beside.asked > served.asked else (served, False)
