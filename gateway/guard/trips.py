"""What a guard did: kept in memory, the last hundred, and counted for as long as the gateway runs."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

KEPT: Final = 100

Outcome = Literal["pending", "switched-off", "already-off", "on-again"]
"""pending: it is still being tried; switched-off: by this gateway; already-off: somebody else, or another gateway, had done it; on-again: a
person has put an end to the trying, and the flag is on."""


@dataclass(slots=True)
class Trip:
    """One time that a flag was turned off."""

    number: int
    at: float
    """Unix seconds."""
    route: str
    flag: str
    reason: str
    """errors, latency or mismatch."""
    why: str
    """The same in words, with the figures."""
    figures: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = "pending"
    overridden: bool = False
    """The flag could not be turned off where it lives, or not at once, and was overridden on this gateway."""
    error: str = ""
    """Why it cannot be turned off where it lives; "" when all is well."""


class Trips:
    """The last of them."""

    def __init__(self) -> None:
        self.kept: deque[Trip] = deque(maxlen=KEPT)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """(route, reason, outcome) of those that are over."""
        self._next = 1

    def begin(self, at: float, route: str, flag: str, reason: str, why: str, figures: dict[str, Any]) -> Trip:
        trip = Trip(self._next, at, route, flag, reason, why, figures)
        self._next += 1
        self.kept.append(trip)
        return trip

    def end(self, trip: Trip, outcome: Outcome) -> None:
        trip.outcome = outcome
        self.counts[trip.route, trip.reason, outcome] += 1

    def of(self, route: str) -> list[Trip]:
        """The route's, oldest first."""
        return [trip for trip in self.kept if trip.route == route]
