"""What was seen, over time: counts by the second, percentiles, and gauges that are looked at while a load runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from math import ceil
from typing import Final

from drills.load import OpenLoop, Seen

STEP_SECONDS: Final = 0.5
LONGEST: Final = 1200
"""Steps of a curve: ten minutes of them. A drill is over after a minute and a half."""


def rate(seen: Iterable[Seen], outcomes: Collection[str], seconds: float, step: float = STEP_SECONDS) -> list[float]:
    """How many a second ended with one of `outcomes`, for each step of `seconds`, by when they ended. What ended later is left out."""
    counts = [0] * min(LONGEST, max(1, ceil(seconds / step)))
    for one in seen:
        place = int(one.ended / step)
        if one.outcome in outcomes and place < len(counts):
            counts[place] += 1
    return [count / step for count in counts]


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed. 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else 0.0


def took(seen: Iterable[Seen], outcomes: Collection[str], phase: str = "") -> list[float]:
    """The seconds that those with one of `outcomes` took; with `phase`, of that one alone."""
    return [one.took for one in seen if one.outcome in outcomes and phase in ("", one.phase)]


class Gauges:
    """Looks at figures of running things at every step, for as long as it is run; a look must not block."""

    def __init__(self, load: OpenLoop, gauges: Mapping[str, Callable[[], float]], step: float = STEP_SECONDS) -> None:
        self.series: dict[str, list[float]] = {name: [] for name in gauges}
        self._load = load
        self._gauges = gauges
        self._step = step

    async def run(self) -> None:
        """Until cancelled. A step that was slept through is given the next look's value, so that the curves stay in time."""
        while True:
            await asyncio.sleep(self._step / 4)
            due = min(LONGEST, int(self._load.elapsed / self._step) + 1) if self._load.began else 0
            for name, gauge in self._gauges.items():
                series = self.series[name]
                if len(series) < due:
                    series += [gauge()] * (due - len(series))
