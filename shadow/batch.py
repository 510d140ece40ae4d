"""What happened since the last write, added up.

Bounded by what it counts and not by how much traffic there was: so a database that is slow or away costs detail, never memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from shadow import counters
from shadow.compare import Drift, Kind
from shadow.exchange import RouteCounts, Summary
from shadow.judge import Judgement, Sample
from shadow.noise import Manner, merged
from shadow.recompute import Combination, resting
from shadow.room import Room

MAX_SIGNATURES = 500
"""Signatures per route. A route with more has field names that are data; the rest is counted under OTHER."""
OTHER = "(other paths)"
MAX_TALLIES = 200_000
"""Counters in one batch: hours of them while a database is away."""
MAX_COMBINATIONS = 500
"""Combinations of signatures per route that are told apart; see shadow.recompute. What shows another is counted, and never becomes a match;
but where rules excuse all of it, it is one as long as every rule of that time stays."""
MAX_PLACES = 2000
"""Places of legacy's own pairs in one batch."""
MAX_DRIFTS = 300
"""Places and types in one batch, and of one route in the database: what is new beyond that is not watched."""
MAX_SAMPLES_A_WRITE = 3
"""New samples per signature and write, twice a second: when everything differs, the newest few tell as much as all."""

type Key = tuple[str, Kind, str]
"""Route, kind, generalised path."""


@dataclass(slots=True)
class Seen:
    """How often a signature was seen, and when."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, count: int, first: float, last: float) -> None:
        self.first = min(self.first, first) if self.count else first
        self.last = max(self.last, last)
        self.count += count


@dataclass(slots=True)
class Shown:
    """How often a combination was seen, by second; and the rules under which it was, where they excuse all of it."""

    seconds: Counter[int] = field(default_factory=Counter)
    under: frozenset[str] = frozenset()


@dataclass(slots=True)
class Drifted:
    """How often two types met in an ignored place, by second, and one exchange in which they did."""

    seconds: Counter[int] = field(default_factory=Counter)
    sample: Sample | None = None


@dataclass(slots=True)
class Batch:
    """Counts, signatures and samples. Not thread-safe: its owner holds a lock."""

    tallies: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    """(route, second, name) → how often."""
    signatures: dict[Key, Seen] = field(default_factory=dict)
    expected: dict[Key, Seen] = field(default_factory=dict)
    """Signatures that reviewed rules excuse."""
    combinations: dict[tuple[str, Combination], Shown] = field(default_factory=dict)
    noise: dict[Key, Seen] = field(default_factory=dict)
    manners: dict[Key, Manner] = field(default_factory=dict)
    """Of noise, how it differs."""
    places: dict[tuple[str, str], Seen] = field(default_factory=dict)
    """(route, path) of places that legacy's own pairs had."""
    drifts: dict[tuple[str, Drift], Drifted] = field(default_factory=dict)
    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    room: Room = field(default_factory=Room)
    """For samples, those of drifts among them. What finds none is counted all the same."""
    lost: int = 0
    """Counts that found no room."""

    def __bool__(self) -> bool:
        return bool(self.tallies or self.signatures or self.noise)

    def count(self, route: str, at: float, name: str, number: int = 1) -> None:
        key = (route, int(at), name[:100])
        if len(self.tallies) < MAX_TALLIES or key in self.tallies:
            self.tallies[key] += number
        else:
            self.lost += number

    def summary(self, summary: Summary) -> None:
        """Adds what a worker counted."""
        for route, counts in summary.routes.items():
            for name, number in _names(counts):
                if number:
                    self.count(route, summary.at, name, number)

    def judgement(self, judgement: Judgement) -> None:
        """Adds what a comparison came to."""
        route, at = judgement.route, judgement.at
        if judgement.noise:
            self.count(route, at, counters.NOISE_SKIPPED if judgement.outcome == "skipped" else counters.NOISE_PAIRS)
            if judgement.outcome == "mismatch":
                self.count(route, at, counters.NOISE_DIFFERENT)
                for kind, path in judgement.signatures:
                    _seen(self.noise, (route, kind, path)).add(1, at, at)
            if judgement.outcome != "skipped":
                self._noise(judgement)
            return
        self._drift(judgement)
        if judgement.outcome == "match" and not judgement.combination:
            self.count(route, at, counters.MATCHED)
            if judgement.configured:
                self.count(route, at, counters.CONFIGURED)
        elif judgement.outcome == "skipped":
            self.count(route, at, counters.SKIPPED + judgement.reason)
        else:
            self.count(route, at, counters.EXCUSED if judgement.outcome == "match" else counters.MISMATCHED)
            self._show(judgement)
            for kind, path in judgement.expected:
                _seen(self.expected, (route, kind, path)).add(1, at, at)
            for kind, path in judgement.signatures:
                seen = _seen(self.signatures, (route, kind, path))
                seen.add(1, at, at)
            if judgement.sample is not None and judgement.signatures:
                self._sample(judgement, judgement.sample)

    def _noise(self, judgement: Judgement) -> None:
        for (kind, path), manner in judgement.manners.items():
            key = (judgement.route, kind, path)
            if key in self.noise:
                self.manners.setdefault(key, Manner()).add(manner)
        for path in judgement.places:
            if (judgement.route, path) in self.places or len(self.places) < MAX_PLACES:
                self.places.setdefault((judgement.route, path), Seen()).add(1, judgement.at, judgement.at)

    def _drift(self, judgement: Judgement) -> None:
        for drift in judgement.drifts:
            key = (judgement.route, drift)
            if key in self.drifts or len(self.drifts) < MAX_DRIFTS:
                self._add_drifted(key, Drifted(Counter({int(judgement.at): 1}), judgement.sample))

    def _add_drifted(self, key: tuple[str, Drift], drifted: Drifted) -> None:
        mine = self.drifts.setdefault(key, Drifted())
        if mine.sample is None and drifted.sample is not None and self.room.take(drifted.sample):
            mine.sample = drifted.sample
        _add_seconds(mine.seconds, drifted.seconds, MAX_TALLIES // MAX_DRIFTS)

    def _show(self, judgement: Judgement) -> None:
        members = judgement.combination
        if not members:
            return
        under = judgement.under if judgement.outcome == "match" else frozenset[str]()
        self._add_shown(judgement.route, members, Shown(Counter({int(judgement.at): 1}), under))

    def _add_shown(self, route: str, members: Combination, shown: Shown) -> None:
        if (route, members) not in self.combinations and _full(self.combinations, route, MAX_COMBINATIONS):
            if not shown.under:
                return
            members = tuple(sorted(resting(shown.under)))
        mine = self.combinations.setdefault((route, members), Shown(under=shown.under))
        _add_seconds(mine.seconds, shown.seconds, MAX_TALLIES // MAX_COMBINATIONS)

    def _sample(self, judgement: Judgement, sample: Sample) -> None:
        for kind, path in judgement.signatures:
            key = (judgement.route, kind, path)
            if key in self.signatures and self.room.take(sample):
                kept = self.samples.setdefault(key, [])
                kept.append(sample)
                while len(kept) > self._most:
                    self.room.leave(kept.pop(0))

    @property
    def _most(self) -> int:
        return 1 if self.room.tight else MAX_SAMPLES_A_WRITE

    def merge(self, other: Batch) -> None:
        """Adds a batch that could not be written. Its samples are the older ones and give way."""
        for (route, at, name), number in other.tallies.items():
            self.count(route, at, name, number)
        for (route, members), shown in other.combinations.items():
            self._add_shown(route, members, shown)
        for mine, theirs in (
            (self.signatures, other.signatures),
            (self.expected, other.expected),
            (self.noise, other.noise),
        ):
            for key, seen in theirs.items():
                _seen(mine, key).add(seen.count, seen.first, seen.last)
        for key, manner in other.manners.items():
            self.manners[key] = manner if key not in self.manners else merged(manner, self.manners[key])
        for place, seen in other.places.items():
            if place in self.places or len(self.places) < MAX_PLACES:
                self.places.setdefault(place, Seen()).add(seen.count, seen.first, seen.last)
        for drift, drifted in other.drifts.items():
            if drift in self.drifts or len(self.drifts) < MAX_DRIFTS:
                self._add_drifted(drift, drifted)
        for key, samples in other.samples.items():
            kept = self.samples.setdefault(key, [])
            for sample in reversed(samples):
                if len(kept) < self._most and self.room.take(sample):
                    kept.insert(0, sample)
        self.lost += other.lost


def _seen(table: dict[Key, Seen], key: Key) -> Seen:
    """The entry for `key`, or for OTHER where the batch has too many of its route."""
    if key not in table and _full(table, key[0], MAX_SIGNATURES):
        key = (key[0], key[1], OTHER)
    return table.setdefault(key, Seen())


def _full(table: Collection[tuple[str, Any] | Key], route: str, most: int) -> bool:
    """Whether there are `most` entries of the route. What another route is full of is nothing to it."""
    return len(table) >= most and sum(key[0] == route for key in table) >= most


def _add_seconds(mine: Counter[int], more: Mapping[int, int], most: int) -> None:
    """Adds counts by second; by minute, once there are `most` seconds: a database may be away for long, and nothing is to be lost."""
    for second, number in more.items():
        mine[second if second in mine or len(mine) < most else second // 60 * 60] += number


def _names(counts: RouteCounts) -> list[tuple[str, int]]:
    return [
        (counters.SERVED_LEGACY, counts.legacy),
        (counters.SERVED_CANDIDATE, counts.candidate),
        (counters.FALLBACK, counts.fallback),
        (counters.SERVED_GATEWAY, counts.gateway),
        (counters.UNFINISHED, counts.unfinished),
        (counters.ELIGIBLE, counts.eligible),
        (counters.CAPTURED, counts.captured),
        *((counters.SKIPPED + reason, number) for reason, number in counts.skipped.items()),
        *((counters.DROPPED + reason, number) for reason, number in counts.dropped.items()),
        *((f"{counters.LATENCY}{side}.{bucket}", number) for side, times in counts.latency.items() for bucket, number in times.items()),
        *((counters.ERRORS + side, number) for side, number in counts.errors.items()),
        *((counters.UNANSWERED + side, number) for side, number in counts.unanswered.items()),
    ]
