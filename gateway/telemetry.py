"""What a worker reports of its counts (gateway/tally.py). Plain sums since the last report: whoever receives the reports adds them up, so
that a worker's death loses at most a second of counting and never makes a counter go back.

Labels are route names, sides and codes, never paths: their number is bounded by the configuration.
"""

from __future__ import annotations

import msgspec

from shadow.exchange import RouteCounts
from shadow.latency import BUCKETS as BUCKETS

GATEWAY = "gateway"
"""The side that answered when no upstream did."""


class Latency(msgspec.Struct):
    """A histogram. `buckets` has one more than BUCKETS: what was slower than all."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0
    """Seconds."""


class Watched(msgspec.Struct):
    """What the guard is told of one side of a route."""

    requests: int = 0
    errors: int = 0
    times: dict[int, int] = {}
    """Bucket (shadow/guard.py) → answers, by the time from the request's being sent to the answer's head."""


class RouteStats(msgspec.Struct):
    """One route's requests. The route '' is what no route matched."""

    answered: dict[str, int] = {}
    """"legacy 200" → how many: side and status."""
    latency: dict[str, Latency] = {}
    """By side, from the request's head to the answer's end."""
    fallbacks: dict[str, int] = {}
    """By what the candidate did: refused, timeout, status-500 …"""
    shadow: RouteCounts = msgspec.field(default_factory=RouteCounts)
    guard: dict[str, Watched] = {}
    """Of a route with a guard: candidate, legacy, or shadow (legacy asked beside). The supervisor's sums do not have it."""


class AddressStats(msgspec.Struct):
    """One address of an upstream, as one worker finds it."""

    breaker: str = "closed"
    """closed, open or half-open."""
    left_out: bool = False
    """It failed alone among several."""
    unwell: bool = False
    """Its health says so."""
    pending: int = 0
    """Requests under way …"""
    idle: int = 0
    """… and connections without one."""
    requests: int = 0
    """Within the breaker's window …"""
    errors: int = 0
    """… and those among them without a good answer."""
    opened: int = 0
    """How often the breaker has opened. From here on: counted."""
    ejections: int = 0
    """How often it was left out."""
    failures: dict[str, int] = {}
    """By what happened: refused, timeout, status-503 …"""


class UpstreamStats(msgspec.Struct):
    """One upstream."""

    addresses: dict[str, AddressStats] = {}
    repeated: int = 0
    """Requests that were sent to, or tried to reach, another of its addresses after one had failed …"""
    not_repeated: int = 0
    """… and those that were not, for want of a budget."""


class TurnstileStats(msgspec.Struct):
    """What came of one upstream's limit (gateway/net/turnstile.py), and how it is now."""

    waited: int = 0
    """Requests that were let in after a while."""
    shed: dict[str, int] = {}
    """"normal queue-full" → how many: priority, and why."""
    limit: int = 0
    """Gauges, each a worker's: how many may be under way …"""
    inside: int = 0
    """… are …"""
    waiting: int = 0
    """… and wait."""
    base: float = 0.0
    """Seconds to an answer's head without a crowd, where the limit is adaptive; 0.0: unknown."""
    latency: float = 0.0
    """The same as it is now."""


class Stats(msgspec.Struct):
    """Everything that one worker counted since its last report, and its gauges now."""

    routes: dict[str, RouteStats] = {}
    problems: dict[str, int] = {}
    """By Problem code: what the gateway itself answered."""
    events: dict[str, int] = {}
    """Rare things worth a counter: underscored-header, access-log-dropped, shipper-reconnect …"""
    callers: dict[str, int] = {}
    """By standing (gateway/policy/admission.py): of whom it was found out who they are, or not."""
    questions: dict[str, int] = {}
    """How often legacy was asked who is calling, by what came of it: answered, or why not."""
    flags: dict[str, tuple[int, int]] = {}
    """Flag → how often (on, off) was decided."""
    variants: dict[str, dict[str, int]] = {}
    """Flag → how often each of its variants was the answer, of those that were asked for one."""
    seen: list[tuple[str, bytes, str, str, int, float, int]] = []
    """Finished requests, or a fair part of them (gateway/sampling.py). The supervisor's sums have neither this nor the next …"""
    seen_of: int = 0
    """… which is how many there were."""
    payments: dict[str, dict[str, int]] = {}
    """Route → what came of its requests by the ledger → how many (gateway/net/payment.py)."""
    in_doubt: dict[str, int] | None = None
    """Route → payments in doubt, in the whole ledger; None: this worker keeps none, or cannot read it."""
    owed: int = 0
    """Outcomes of payments that this worker could not write down yet."""
    crossings: dict[str, int] = {}
    """"review item with" → how often one domain called another, and whether that is the way (gateway/policy/domains.py)."""
    spans_dropped: dict[str, int] = {}
    """Of sampled requests, what the exporter was not given, by reason."""
    turnstiles: dict[str, TurnstileStats] = {}
    """Of upstreams with a limit. The supervisor's sums have the counts alone."""
    connections: int = 0
    in_flight: int = 0
    upstreams: dict[str, UpstreamStats] = {}

    def route(self, name: str) -> RouteStats:
        stats = self.routes.get(name)
        if stats is None:
            stats = self.routes[name] = RouteStats()
        return stats

    def event(self, name: str, count: int = 1) -> None:
        self.events[name] = self.events.get(name, 0) + count


def skip(counts: RouteCounts, reason: str) -> None:
    """An eligible request that is not compared, for a reason that lies in the request or its answer."""
    counts.skipped[reason] = counts.skipped.get(reason, 0) + 1


def drop(counts: RouteCounts, reason: str, number: int = 1) -> None:
    """Exchanges lost for lack of room."""
    counts.dropped[reason] = counts.dropped.get(reason, 0) + number


def merge(total: Stats, part: Stats) -> None:
    """Adds `part`'s counts to `total`. Gauges are not added: they belong to one worker at one moment."""
    for name, stats in part.routes.items():
        into = total.route(name)
        _add(into.answered, stats.answered)
        _add(into.fallbacks, stats.fallbacks)
        for side, latency in stats.latency.items():
            target = into.latency.setdefault(side, Latency())
            target.buckets = [a + b for a, b in zip(target.buckets, latency.buckets, strict=True)]
            target.total += latency.total
        shadow, more = into.shadow, stats.shadow
        for counter in ("legacy", "candidate", "fallback", "eligible", "captured", "gateway", "unfinished"):
            setattr(shadow, counter, getattr(shadow, counter) + getattr(more, counter))
        _add(shadow.skipped, more.skipped)
        _add(shadow.dropped, more.dropped)
        _add(shadow.errors, more.errors)
        _add(shadow.unanswered, more.unanswered)
        for side, times in more.latency.items():
            mine = shadow.latency.setdefault(side, {})
            for number, count in times.items():
                mine[number] = mine.get(number, 0) + count
    for name, turnstile in part.turnstiles.items():
        passed = total.turnstiles.setdefault(name, TurnstileStats())
        passed.waited += turnstile.waited
        _add(passed.shed, turnstile.shed)
    _add(total.problems, part.problems)
    _add(total.events, part.events)
    _add(total.callers, part.callers)
    _add(total.questions, part.questions)
    _add(total.crossings, part.crossings)
    _add(total.spans_dropped, part.spans_dropped)
    for name, upstream in part.upstreams.items():
        sums = total.upstreams.setdefault(name, UpstreamStats())
        sums.repeated += upstream.repeated
        sums.not_repeated += upstream.not_repeated
        for address, counted in upstream.addresses.items():
            found = sums.addresses.setdefault(address, AddressStats())
            found.opened += counted.opened
            found.ejections += counted.ejections
            _add(found.failures, counted.failures)
    for name, counts in part.payments.items():
        _add(total.payments.setdefault(name, {}), counts)
    for flag, (on, off) in part.flags.items():
        was_on, was_off = total.flags.get(flag, (0, 0))
        total.flags[flag] = (was_on + on, was_off + off)


def _add(total: dict[str, int], part: dict[str, int]) -> None:
    for key, count in part.items():
        total[key] = total.get(key, 0) + count
