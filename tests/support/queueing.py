"""A simulated server with so many workers and a queue in front, behind a limit: for policy that is told the time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.policy.concurrency import Adaptive

Service = Callable[[random.Random, float], float]
"""Seconds that one request takes a worker, at a time."""


@dataclass
class Crowd:
    """Poisson arrivals before `limit`, behind which `workers` serve. Whoever finds no place waits for `patience` seconds, in a queue of
    `seats`; the last comes first. The clock is the simulation's."""

    limit: Adaptive
    workers: int
    service: Service
    chance: random.Random
    now: float = 1000.0
    seats: int = 64
    patience: float = 0.2
    inside: int = 0
    most: int = 0
    """Inside at once."""
    shed: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)
    """(when, after how long for its client)."""
    _busy: int = 0
    _number: int = 0
    _backlog: deque[tuple[float, float]] = field(default_factory=deque)
    _ends: list[tuple[float, int, float, float]] = field(default_factory=list)
    _waiting: deque[float] = field(default_factory=deque)

    def run(self, rate: float, seconds: float) -> None:
        """For so long."""
        end = self.now + seconds
        arrival = self.now + self.chance.expovariate(rate)
        while True:
            done = self._ends[0][0] if self._ends else float("inf")
            self.now = min(done, arrival)
            if self.now >= end:
                self.now = end
                return
            if done <= arrival:
                self._end()
            else:
                arrival = self.now + self.chance.expovariate(rate)
                self._arrive()

    def goodput(self, seconds: float) -> float:
        """Answers a second, over the last so many."""
        return sum(1 for when, _ in self.answered if when > self.now - seconds) / seconds

    def slowest(self, share: float, seconds: float) -> float:
        """The quantile of what clients waited, over the last so many seconds."""
        took = sorted(took for when, took in self.answered if when > self.now - seconds)
        return took[min(len(took) - 1, int(share * len(took)))]

    def _arrive(self) -> None:
        if self.inside < self.limit.limit:
            self._begin(self.now)
            return
        self.limit.held_back()
        self._waiting.append(self.now)
        if len(self._waiting) > self.seats:
            self._waiting.popleft()
            self.shed += 1

    def _begin(self, arrived: float) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self._busy < self.workers:
            self._work(self.now, arrived)
        else:
            self._backlog.append((self.now, arrived))

    def _work(self, sent: float, arrived: float) -> None:
        self._busy += 1
        self._number += 1
        heapq.heappush(self._ends, (self.now + self.service(self.chance, self.now), self._number, sent, arrived))

    def _end(self) -> None:
        _, _, sent, arrived = heapq.heappop(self._ends)
        self._busy -= 1
        self.limit.answered(self.now - sent, self.inside, self.now)
        self.inside -= 1
        self.answered.append((self.now, self.now - arrived))
        if self._backlog:
            self._work(*self._backlog.popleft())
        while self._waiting and self._waiting[0] < self.now - self.patience:
            self._waiting.popleft()
            self.shed += 1
        while self._waiting and self.inside < self.limit.limit:
            self._begin(self._waiting.pop())
