"""What a replay comes to: how much matches, where noise is no difference, and whether that is enough."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shadow.gate import wilson
from shadow.replay.plan import REASONS
from shadow.replay.tally import RouteTally, Tally
from shadow.signature import Signature
from shadow.words import percent

ANY: Final[Mapping[str, float]] = MappingProxyType({})
NOISE = "noise"
"""The state of a signature that legacy shows against itself."""


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """One route's."""

    name: str
    tally: RouteTally
    noise: frozenset[Signature]
    noisy: int
    """Pairs that differed in nothing but noise: they match."""
    required: float
    reasons: tuple[str, ...]
    """Why it is not enough."""

    @property
    def matched(self) -> int:
        return self.tally.matched + self.noisy

    @property
    def mismatched(self) -> int:
        return self.tally.mismatched - self.noisy

    @property
    def compared(self) -> int:
        return self.matched + self.mismatched

    @property
    def match_rate(self) -> float | None:
        """None where nothing was compared."""
        return self.matched / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, at 95 %."""
        return wilson(self.matched, self.compared)

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def skipped(self) -> dict[str, int]:
        """What was not compared, by reason; the most frequent first."""
        return dict(sorted(self.tally.skipped.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of it."""

    routes: tuple[RouteOutcome, ...]
    required: float

    @property
    def compared(self) -> int:
        return sum(route.compared for route in self.routes)

    @property
    def matched(self) -> int:
        return sum(route.matched for route in self.routes)

    @property
    def match_rate(self) -> float | None:
        return self.matched / self.compared if self.compared else None

    @property
    def passed(self) -> bool:
        """Every route has enough, and something was compared at all."""
        return self.compared > 0 and all(route.passed for route in self.routes)


def outcome(tally: Tally, required: float, asked: Collection[str] = (), coverage: Mapping[str, float] = ANY) -> Outcome:
    """`required`: the match rate that every route must have. `asked`: the routes that were named, of which something has to be compared.
    `coverage`: by route, the share of what was sent for it that has to have been compared, as its gate has it."""
    routes = []
    for name in sorted({*tally.routes, *asked}):
        found = tally.route(name)
        noise = found.noise
        noisy = found.noisy(noise)
        compared, matched = found.compared, found.matched + noisy
        sent = compared + sum(count for reason, count in found.skipped.items() if reason not in REASONS)
        least = coverage.get(name, 0.0)
        reasons: list[str] = []
        if not compared and (name in asked or sent):
            reasons.append("nothing was compared")
        elif compared and matched < required * compared:
            reasons.append(f"{percent(matched / compared)} match, {percent(required)} is needed")
        if compared and compared < least * sent:
            reasons.append(f"{percent(compared / sent)} of what was asked could be compared, {percent(least)} is needed")
        routes.append(RouteOutcome(name, found, noise, noisy, required, tuple(reasons)))
    return Outcome(tuple(routes), required)
