"""What is counted of an endpoint. Numbers are floats: a request that stands for several that were not looked at counts as so many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from shadow.guard import bucket, upper

type Row = tuple[str, bytes, str, str, int, float, int]
"""One finished request as a worker tells of it (gateway/sampling.py): method, path without its query, route or "", who answered (legacy,
candidate, gateway), status or 0, seconds until the upstream's answer began, and what that says of caches: UNSAID, CACHEABLE, PRIVATE."""

UNSAID: Final = 0
CACHEABLE: Final = 1
PRIVATE: Final = 2
CACHES: Final = ("unsaid", "cacheable", "private")

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
METHODS: Final = SAFE | {"POST", "PUT", "PATCH", "DELETE"}
OTHER_METHOD: Final = "OTHER"

LEAST: Final = 1e-6
"""Answers: what is less is what sums of floats are wrong by."""
MOST_ROUTES: Final = 4
"""Routes that one endpoint is told apart by."""


def method_of(method: str) -> str:
    """As it is counted: HEAD with GET, and what nobody knows as one."""
    if method == "HEAD":
        return "GET"
    return method if method in METHODS else OTHER_METHOD


class Figures(msgspec.Struct, omit_defaults=True):
    """Sums. Adding them up is always right, in any order."""

    count: float = 0.0
    sides: dict[str, float] = {}
    statuses: dict[int, float] = {}
    """0: the client was cut off or went away."""
    routes: dict[str, float] = {}
    """Of those that a route matched."""
    caches: dict[str, float] = {}
    legacy: float = 0.0
    """Seconds that legacy took: from a request's being sent to its answer's head."""
    seconds: float = 0.0
    """The same of whoever answered."""
    times: dict[int, float] = {}
    """Bucket (shadow/guard.py) → answers, by the same."""
    candidate_times: dict[int, float] = {}
    """Of these, the candidate's; all others are legacy's."""

    def observe(self, row: Row, weight: float) -> None:
        """Adds one request that stands for `weight`."""
        _, _, route, side, status, seconds, cache = row
        self.count += weight
        add(self.sides, side, weight)
        add(self.statuses, status, weight)
        if route and (route in self.routes or len(self.routes) < MOST_ROUTES):
            add(self.routes, route, weight)
        if side != "gateway":
            self.seconds += seconds * weight
            if side == "legacy":
                self.legacy += seconds * weight
            if status:
                number = bucket(seconds)
                add(self.times, number, weight)
                if side == "candidate":
                    add(self.candidate_times, number, weight)
                add(self.caches, CACHES[cache], weight)

    def merge(self, other: Figures) -> None:
        """Adds what was counted elsewhere."""
        self.count += other.count
        self.legacy += other.legacy
        self.seconds += other.seconds
        for mine, theirs in ((self.sides, other.sides), (self.routes, other.routes), (self.caches, other.caches)):
            for name, count in theirs.items():
                add(mine, name, count)
        for numbers, more in (
            (self.statuses, other.statuses),
            (self.times, other.times),
            (self.candidate_times, other.candidate_times),
        ):
            for number, count in more.items():
                add(numbers, number, count)

    def share(self, first: int, last: int) -> float:
        """Of all requests, those that were answered with a status from `first` to `last`."""
        found = sum(count for status, count in self.statuses.items() if first <= status <= last)
        return found / self.count if self.count else 0.0

    def quantile(self, share: float) -> float | None:
        """Seconds within which that share of the answers began, to 10 %; None: there is none."""
        return _quantile(self.times, share)

    def quantile_of(self, side: str, share: float) -> float | None:
        """The same of legacy's answers or the candidate's alone."""
        if side == "candidate":
            return _quantile(self.candidate_times, share)
        return _quantile({number: count - self.candidate_times.get(number, 0.0) for number, count in self.times.items()}, share)

    @property
    def cacheable(self) -> float | None:
        """Share of the answers that shared caches may keep, of those that say anything; None: none does."""
        said = self.caches.get("cacheable", 0.0) + self.caches.get("private", 0.0)
        return self.caches.get("cacheable", 0.0) / said if said else None

    @property
    def route(self) -> str:
        """The one that most of them belong to; "" where more belong to none."""
        if not self.routes:
            return ""
        name = max(self.routes, key=lambda each: self.routes[each])
        return name if self.routes[name] * 2 >= self.count else ""


def add[Key](table: dict[Key, float], key: Key, number: float) -> None:
    """Adds to one entry."""
    table[key] = table.get(key, 0.0) + number


def _quantile(times: Mapping[int, float], share: float) -> float | None:
    total = sum(times.values())
    if total <= LEAST:
        return None
    passed = 0.0
    for number in sorted(times):
        passed += times[number]
        if passed >= share * total * (1 - 1e-9):
            return upper(number)
    return None


def by_class(statuses: Mapping[int, float]) -> dict[str, float]:
    """Statuses as 2xx, 3xx …; "none" is 0."""
    found: dict[str, float] = {}
    for status, count in statuses.items():
        add(found, f"{status // 100}xx" if status else "none", count)
    return found
