"""One route under watch: what each side did lately, part by part, and what shadow/guard.py says of it. Pure: time is passed in.

What counts against the candidate is younger than the last time that its flag was turned on. Legacy's figures are of three kinds, and the
first that there is enough of is taken:

- served: what legacy answered in the same window, to those for whom the flag is off;
- shadow: what it answered beside the candidate, while `<flag>.shadow` is on;
- baseline: the last window that one of these two had, kept for when there is neither, with its age.

Where there is none of them, errors are judged as if legacy made none, and latency is not judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.settings import Guard as Settings
from gateway.telemetry import Watched
from shadow.guard import Comparisons, Figures, Limits, Verdict, judge, total

SETTLE_SECONDS: Final = 2
"""After a flag was turned on, before anything counts: every worker has heard of it, and has reported what came before. After one that was
off for a moment only it takes as long as requests from before may take."""
REPORT_SECONDS: Final = 2.0
"""Until what has ended is told, at most."""
PARTS: Final = 120
"""Of a window, at most: in one of two minutes or less each is a second."""
BASELINE_SECONDS: Final = 3600.0
"""A baseline that is older is not compared with by latency, which goes by the hour; by errors still."""
_LATELY: Final = 0.25
"""Of the window: a baseline is taken while legacy still answers, not from what is left of it after the last request."""

Basis = Literal["served", "shadow", "baseline", "none"]
Compared = Mapping[int, tuple[int, int]]
"""Unix second → how many comparisons of its requests matched, and how many did not."""


class Parts:
    """One side's figures, in parts of `width` seconds, for as long as they can matter."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._kept: deque[tuple[int, Figures]] = deque()
        self._bad = -1
        """The last second with errors in it."""

    def add(self, now: float, told: Watched, keep: float) -> None:
        """Adds what a worker reported just now; forgets what is more than `keep` seconds older."""
        second = int(now)
        begin = second // self._width * self._width
        if not self._kept or self._kept[-1][0] < begin:
            self._kept.append((begin, Figures()))
        bad = told.errors > 0 and second != self._bad
        self._kept[-1][1].add(Figures(told.requests, told.errors, told.times, 1 if bad else 0))
        if bad:
            self._bad = second
        while self._kept[0][0] < begin - keep:
            self._kept.popleft()

    def since(self, begin: float) -> list[Figures]:
        return [figures for at, figures in self._kept if at >= begin]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the candidate is compared with."""

    basis: Basis
    figures: Figures | None
    """None: nothing is known of legacy."""
    at: float
    """When it was so."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found. `compared` None: no mismatches are watched. `late`: seconds since the newest request that is compared."""

    at: float
    candidate: Figures
    legacy: Reference
    compared: Comparisons | None
    verdict: Verdict
    late: float | None = None


class RouteWatch:
    """See the module's docstring. All times are of one monotonic clock but for those of comparisons, which are Unix seconds."""

    def __init__(self, route: str, flag: str, settings: Settings, patience: float = 0.0, address: object = None) -> None:
        """`patience`: how long a request to the candidate may take, in seconds. `address`: where it is asked; compared, no more."""
        self.route = route
        self.flag = flag
        self.settings = settings
        self.limits = Limits(settings.errors, settings.latency, settings.mismatch, settings.minimum)
        self.patience = patience
        self.address = address
        self.begun: float | None = None
        """Since when the flag is on; None: it is off."""
        self.begun_at = 0.0
        """The same in Unix seconds."""
        self._settles = 0.0
        """Seconds from then on until something counts."""
        self._ended: float | None = None
        """When it was last on."""
        self.seen: Seen | None = None
        """At the last look since then."""
        self._width = max(1, int(settings.window / PARTS))
        """Seconds that are kept as one: what is added up at each look is bounded."""
        self._sides = {side: Parts(self._width) for side in ("candidate", "legacy", "shadow")}
        self._baseline: Reference | None = None

    def heard(self, now: float, told: Mapping[str, Watched]) -> None:
        """What a worker counted, and told just now."""
        for side, figures in told.items():
            if side in self._sides:
                self._sides[side].add(now, figures, self.settings.window + self._width)

    def begin(self, now: float, wall: float) -> None:
        """Its flag is on: from now on the candidate answers for what it does."""
        self.begun, self.begun_at, self.seen = now, wall, None
        rest = 0.0 if self._ended is None else self._ended + self.patience + REPORT_SECONDS - now
        self._settles = max(SETTLE_SECONDS, rest)

    def end(self, now: float) -> None:
        """Its flag is off, or was for a moment: what was seen before is no matter of what comes."""
        if self.begun is not None:
            self._ended = now
        self.begun = self.seen = None

    def inherit(self, before: RouteWatch) -> None:
        """Goes on where `before`, the same route under other settings, is."""
        self.begun, self.begun_at = before.begun, before.begun_at
        self._settles, self._ended = before._settles, before._ended
        self._baseline = before._baseline
        if self._width == before._width:
            self._sides = before._sides

    def replace(self, before: RouteWatch, now: float) -> None:
        """As `inherit`, but the candidate is another one now: nothing that the one of before did, or still does, counts against it."""
        self.inherit(before)
        if self.begun is not None:
            self._ended = now + max(0.0, before.patience - self.patience)  # so long its last requests may take
        self.begun = None

    def reference(self, now: float) -> Reference:
        """What there is of legacy."""
        window = self.settings.window
        basis: Basis
        for basis, side in (("served", "legacy"), ("shadow", "shadow")):
            parts = self._sides[side]
            figures = total(parts.since(now - window))
            if figures.requests >= self.settings.minimum:
                found = Reference(basis, figures, now)
                lately = sum(each.requests for each in parts.since(now - _LATELY * window))
                if lately * 10 >= figures.requests or self._baseline is None:
                    self._baseline = found
                return found
        if self._baseline is not None:
            return Reference("baseline", self._baseline.figures, self._baseline.at)
        return Reference("none", None, now)

    def look(self, now: float, wall: float, compared: Compared | None) -> Seen | None:
        """What is to be seen at `now`, which is `wall` on the clock on the wall; None: its flag is off."""
        legacy = self.reference(now)  # also while the flag is off: it becomes the baseline
        if self.begun is None:
            return None
        settled = self.begun + self._settles
        parts = self._sides["candidate"].since(max(settled, now - self.settings.window))
        candidate = total(parts)
        pairs, late = None, None
        if self.limits.mismatch is not None:
            # Comparing may lag by more than the window is long. So that ends with the newest: else it would be empty, and nobody watching.
            newest = min(wall, max(compared)) if compared else wall
            pairs = counted(compared or {}, max(self.begun_at + self._settles, newest - self.settings.window))
            late = wall - newest if compared else None
        old = legacy.basis == "baseline" and now - legacy.at > BASELINE_SECONDS
        verdict = judge(
            candidate,
            legacy.figures,
            self.limits,
            parts=[each.times for each in parts],
            timed=Figures() if old else None,
            compared=pairs,
        )
        self.seen = Seen(now, candidate, legacy, pairs, verdict, late)
        return self.seen


def counted(compared: Compared, since: float) -> Comparisons:
    """The comparisons of requests from `since` on (Unix seconds)."""
    found = Comparisons()
    for second, (matched, mismatched) in compared.items():
        if second >= since:
            found.matched += matched
            found.mismatched += mismatched
            found.bad_seconds += 1 if mismatched else 0
    return found


def described(seen: Seen | None, figures: Iterable[str] = ("candidate", "legacy")) -> dict[str, object]:
    """What was seen, as JSON: rates, p95 in seconds, and how many requests each is of. All null before the first look."""
    wanted = {"candidate": seen.candidate, "legacy": seen.legacy.figures} if seen is not None else {}
    document: dict[str, object] = {side: _side(wanted.get(side)) for side in figures}
    document["basis"] = seen.legacy.basis if seen is not None else None
    document["age_seconds"] = round(seen.at - seen.legacy.at, 1) if seen is not None else None
    pairs = seen.compared if seen is not None else None
    document["compared"] = _compared(pairs, seen.late) if seen is not None and pairs is not None else None
    return document


def _compared(pairs: Comparisons, late: float | None) -> dict[str, object]:
    return {
        "pairs": pairs.matched + pairs.mismatched,
        "mismatched": pairs.mismatched,
        "late_seconds": None if late is None else round(late, 1),
    }


def _side(figures: Figures | None) -> dict[str, object] | None:
    if figures is None:
        return None
    return {"requests": figures.requests, "errors": figures.errors, "error_rate": figures.error_rate, "p95": figures.p95}
