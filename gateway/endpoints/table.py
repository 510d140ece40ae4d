"""The figures of as many endpoints as there is room for: those that matter most.

Space-Saving (A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams", ICDT 2005),
with weights, for which the same bounds hold (R. Berinde et al., "Space-optimal heavy hitters with strong error bounds", TODS 35, 2010), and
merged as in P. K. Agarwal et al., "Mergeable summaries", PODS 2012. What is counted by is cost: requests, and time.

With m entries and a cost of C in all: whatever cost more than C/m is an entry; an entry's figures never say more than what was, and
less by at most its `missed`, which is C/m at most. (Where Space-Saving hands a count on to the next who takes the place, here the figures
go to `rest`, so that all of them together are always exactly what was.)
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

from gateway.endpoints.figures import Figures, Row

type Key = tuple[str, str]
"""Method and template."""

ENTRIES: Final = 300
SECOND: Final = 20.0
"""What a second of an upstream's time costs, in requests: one slow report a minute may be what hurts."""


@dataclass(slots=True)
class Entry:
    """One endpoint."""

    figures: Figures = field(default_factory=Figures)
    cost: float = 0.0
    """`missed` included."""
    missed: float = 0.0
    """At most so much of its cost is in `rest`."""


class Table:
    """See the module's docstring."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self.entries: dict[Key, Entry] = {}
        self.rest = self.figures()
        """Of what is no entry, or was none when it came."""
        self.cost = 0.0
        self.displaced = 0.0
        """Requests that lost their place among the entries."""
        self._most = entries
        self._heap: list[tuple[float, Key]] = []
        """Every entry, with its cost as it was at some time: the true one is not smaller."""

    def add(self, key: Key, row: Row, weight: float) -> None:
        """One request that stands for `weight`."""
        self.at(key, weight * (1.0 + SECOND * row[5])).observe(row, weight)

    def at(self, key: Key, cost: float) -> Figures:
        """Where a request that cost so much is to be counted."""
        entry = self.entries.get(key)
        if entry is None:
            entry = self._enter(key)
        entry.cost += cost
        self.cost += cost
        return entry.figures

    def figures(self) -> Figures:
        """Those of a new entry, with nothing in them."""
        return Figures()

    def _enter(self, key: Key) -> Entry:
        entry = Entry(self.figures())
        if len(self.entries) >= self._most:
            entry.cost = entry.missed = self._displace()
        self.entries[key] = entry
        heapq.heappush(self._heap, (entry.cost, key))
        return entry

    def _displace(self) -> float:
        """The entry that cost least goes. What it cost."""
        while True:
            cost, key = self._heap[0]
            entry = self.entries[key]
            if entry.cost <= cost:
                heapq.heappop(self._heap)
                del self.entries[key]
                self.rest.merge(entry.figures)
                self.displaced += entry.figures.count
                return entry.cost
            heapq.heapreplace(self._heap, (entry.cost, key))

    def merge(self, other: Table) -> None:
        """Adds another's, which must not be used any more."""
        mine, theirs = self._least(), other._least()
        for key, entry in self.entries.items():
            if key not in other.entries:
                entry.cost += theirs
                entry.missed += theirs
        for key, entry in other.entries.items():
            here = self.entries.get(key)
            if here is None:
                entry.cost += mine
                entry.missed += mine
                self.entries[key] = entry
            else:
                here.figures.merge(entry.figures)
                here.cost += entry.cost
                here.missed += entry.missed
        self.rest.merge(other.rest)
        self.cost += other.cost
        self.displaced += other.displaced
        self._heap = [(entry.cost, key) for key, entry in self.entries.items()]
        heapq.heapify(self._heap)
        while len(self.entries) > self._most:
            self._displace()

    def _least(self) -> float:
        """What may have been missed of anything that is no entry."""
        return min(entry.cost for entry in self.entries.values()) if len(self.entries) >= self._most else 0.0
