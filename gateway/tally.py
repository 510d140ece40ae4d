"""What a worker counts as it goes: cheap to add to, and turned into a report (gateway/telemetry.py) once a second."""

from __future__ import annotations

from math import ceil, log
from typing import Final

from gateway.policy.admission import Standing
from gateway.telemetry import BUCKETS, GATEWAY, Latency, RouteStats, Stats, Watched
from shadow.exchange import RouteCounts
from shadow.guard import GROWTH, LAST, SHORTEST

_BUCKETS: Final[list[float]] = list(BUCKETS)
_SHORTEST: Final = float(SHORTEST)
_PER_LOG: Final = 1 / log(GROWTH)
_LAST: Final = int(LAST)


def _bucket(seconds: float) -> int:
    """As bisect_left(BUCKETS, seconds): nearly all answers are in the first few, and no float object is made for a call."""
    number = 0
    for bound in _BUCKETS:
        if seconds <= bound:
            break
        number += 1
    return number


class _Side:
    """What one side answered on one route."""

    __slots__ = ("_count", "_status", "buckets", "statuses", "total")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        """Up to `settle`."""
        self._status = 0
        self._count = 0
        """How often the last one came since then: mostly it is the same again, and for that no number is looked up and made anew."""
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def finish(self, status: int, seconds: float) -> None:
        if status != self._status:
            self.settle()
            self._status = status
        self._count += 1
        self.buckets[_bucket(seconds)] += 1
        self.total += seconds

    def settle(self) -> None:
        if self._count:
            self.statuses[self._status] = self.statuses.get(self._status, 0) + self._count
            self._count = 0


class _Watched:
    """What the guard is told of one side."""

    __slots__ = ("errors", "requests", "times")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.times: dict[int, int] = {}


class RouteTally:
    """One route's requests. The route '' is what no route matched."""

    __slots__ = ("_beside", "_failed", "_sides", "_watched", "captured", "eligible", "fallbacks", "shadow")

    def __init__(self) -> None:
        self._sides: dict[str, _Side] = {}
        self._beside: dict[str, list[int]] = {}
        """The latency by side of what is asked beside, as in _Side."""
        self._failed: dict[str, int] = {}
        """By side, what is no status of its own: no answer, or one that broke off."""
        self._watched: dict[str, _Watched] = {}
        self.fallbacks: dict[str, int] = {}
        """By what the candidate did: refused, timeout, status-500 …"""
        self.shadow = RouteCounts()
        self.eligible = 0
        self.captured = 0
        """Both go into `shadow` with the report: these two nearly every request counts, and a msgspec.Struct's take three calls each."""

    def finish(self, side: str, status: int, seconds: float) -> None:
        """One request was answered (status 0: the client was cut off or went away)."""
        counts = self._sides.get(side)
        if counts is None:
            counts = self._sides[side] = _Side()
        counts.finish(status, seconds)

    def watched(self, side: str, failed: bool, seconds: float) -> None:
        """For the guard, and only where there is one: a side answered, its answer's head after `seconds`, or it failed."""
        counts = self._watched.get(side)
        if counts is None:
            counts = self._watched[side] = _Watched()
        counts.requests += 1
        if failed:
            counts.errors += 1
            return
        # As shadow.guard.bucket, which is not compiled.
        number = 0 if seconds <= _SHORTEST else min(_LAST, ceil(log(seconds / _SHORTEST) * _PER_LOG))
        counts.times[number] = counts.times.get(number, 0) + 1

    def failed(self, side: str, *, begun: bool) -> None:
        """An upstream failed a request, and nobody takes its place. `begun`: its answer broke off, which `finish` is told of as well; else
        there was none, and the gateway answers."""
        self._failed[side] = self._failed.get(side, 0) + 1
        if not begun:
            self.shadow.unanswered[side] = self.shadow.unanswered.get(side, 0) + 1

    def beside(self, side: str, status: int, seconds: float) -> None:
        """One was asked beside, in the shadow, and answered after `seconds`; status 0: it did not."""
        if status == 0:
            self.failed("shadow-" + side, begun=False)
            return
        if status >= 500:
            self._failed["shadow-" + side] = self._failed.get("shadow-" + side, 0) + 1
        times = self._beside.get(side)
        if times is None:
            times = self._beside[side] = [0] * (len(BUCKETS) + 1)
        times[_bucket(seconds)] += 1

    def fell_back(self, why: str) -> None:
        """The candidate failed; legacy is asked instead."""
        self.fallbacks[why] = self.fallbacks.get(why, 0) + 1
        self.shadow.fallback += 1

    def report(self) -> RouteStats:
        """The same as it is sent."""
        for counts in self._sides.values():
            counts.settle()
        answered = {f"{side} {status}": count for side, counts in self._sides.items() for status, count in counts.statuses.items()}
        latency = {side: Latency(counts.buckets, counts.total) for side, counts in self._sides.items()}
        self.shadow.eligible += self.eligible
        self.shadow.captured += self.captured
        for side, times in self._beside.items():
            self.shadow.latency["shadow-" + side] = {number: count for number, count in enumerate(times) if count}
        for side, counts in self._sides.items():
            unfinished = counts.statuses.get(0, 0)
            self.shadow.unfinished += unfinished
            finished = sum(counts.statuses.values()) - unfinished
            if side == "legacy":
                self.shadow.legacy = finished
            elif side == "candidate":
                self.shadow.candidate = finished
            else:
                self.shadow.gateway = finished
            if side != GATEWAY:
                self.shadow.latency[side] = {number: count for number, count in enumerate(counts.buckets) if count}
                errors = sum([count for status, count in counts.statuses.items() if status >= 500])
                if errors:
                    self._failed[side] = self._failed.get(side, 0) + errors
        if self.shadow.fallback:  # of each the candidate gave no answer, or none that went to the client
            self._failed["candidate"] = self._failed.get("candidate", 0) + self.shadow.fallback
            self.shadow.unanswered["candidate"] = self.shadow.unanswered.get("candidate", 0) + self.shadow.fallback
        self.shadow.errors = self._failed
        watched = {side: Watched(counts.requests, counts.errors, counts.times) for side, counts in self._watched.items()}
        return RouteStats(answered, latency, self.fallbacks, self.shadow, watched)


class Tally:
    """Everything since the last report."""

    __slots__ = ("_callers", "_crossings", "_events", "_known", "_payments", "_problems", "_routes")

    def __init__(self) -> None:
        self._routes: dict[str, RouteTally] = {}
        self._problems: dict[str, int] = {}
        self._events: dict[str, int] = {}
        self._callers: dict[str, int] = {}
        self._known = 0
        """Of `_callers`, those who are known."""
        self._payments: dict[str, dict[str, int]] = {}
        self._crossings: dict[str, int] = {}

    def route(self, name: str) -> RouteTally:
        tally = self._routes.get(name)
        if tally is None:
            tally = self._routes[name] = RouteTally()
        return tally

    def event(self, name: str, count: int = 1) -> None:
        """A rare thing worth a counter."""
        self._events[name] = self._events.get(name, 0) + count

    def caller(self, standing: Standing) -> None:
        """It was found out who is calling, or not."""
        if standing is Standing.KNOWN:
            self._known += 1
        else:
            self._callers[standing] = self._callers.get(standing, 0) + 1

    def payment(self, route: str, outcome: str) -> None:
        """Something came of a request that is kept in the ledger, or went to another provider."""
        counts = self._payments.get(route)
        if counts is None:
            counts = self._payments[route] = {}
        counts[outcome] = counts.get(outcome, 0) + 1

    def crossing(self, caller: str, domain: str, verdict: str) -> None:
        """A service has called, from one domain to another. All three are names that the configuration bounds."""
        key = f"{caller} {domain} {verdict}"
        self._crossings[key] = self._crossings.get(key, 0) + 1

    def problem(self, code: str) -> None:
        """The gateway itself answered."""
        self._problems[code] = self._problems.get(code, 0) + 1

    def report(self) -> Stats:
        """What was counted. The tally must not be used afterwards: a new one takes its place."""
        if self._known:
            self._callers[Standing.KNOWN] = self._known
        routes = {name: tally.report() for name, tally in self._routes.items()}
        return Stats(routes, self._problems, self._events, callers=self._callers, payments=self._payments, crossings=self._crossings)
