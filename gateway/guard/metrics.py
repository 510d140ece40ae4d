"""The guard in Prometheus' terms. Names are part of the interface: docs/reference/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shadow.guard import Figures

if TYPE_CHECKING:
    from gateway.guard.guard import Guard

STATES = ("off", "not-enough", "healthy", "breach", "turning-off")


def families(guard: Guard) -> Iterator[Metric]:
    """Nothing where no route has a guard."""
    if not guard.watches and not guard.trips.counts:
        return
    state = GaugeMetricFamily("banyan_guard_state", "1: what the guard says of the route", labels=["route", "state"])
    errors = GaugeMetricFamily("banyan_guard_error_ratio", "Share of errors within the guard's window", labels=["route", "side"])
    p95 = GaugeMetricFamily("banyan_guard_p95_seconds", "p95 until the answer's head within the guard's window", labels=["route", "side"])
    mismatches = GaugeMetricFamily("banyan_guard_mismatch_ratio", "Share of comparisons that differ within the window", labels=["route"])
    for watch in guard.watches.values():
        standing = guard.standing(watch)
        for each in STATES:
            state.add_metric([watch.route, each], float(each == standing))
        seen = watch.seen
        if seen is None:
            continue
        sides: dict[str, Figures | None] = {"candidate": seen.candidate, "legacy": seen.legacy.figures}
        for side, figures in sides.items():
            if figures is not None and figures.error_rate is not None:
                errors.add_metric([watch.route, side], figures.error_rate)
            if figures is not None and figures.p95 is not None:
                p95.add_metric([watch.route, side], figures.p95)
        pairs = seen.compared
        if pairs is not None and pairs.matched + pairs.mismatched:
            mismatches.add_metric([watch.route], pairs.mismatched / (pairs.matched + pairs.mismatched))
    trips = CounterMetricFamily(
        "banyan_guard_trips", "Times that the guard turned a flag off, by what came of it", labels=["route", "reason", "outcome"]
    )
    for (route, reason, outcome), count in guard.trips.counts.items():
        trips.add_metric([route, reason, outcome], count)
    yield from (state, errors, p95, mismatches, trips)
