"""What the upstreams' limits do, for the admin port and for Prometheus: GET /upstreams, and banyan_upstream_*."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor


def state(supervisor: Supervisor, upstream: str) -> dict[str, Any] | None:
    """Of one upstream; None: it has no limit."""
    settings = supervisor.config.upstreams[upstream].concurrency
    if settings is None:
        return None
    counts = supervisor.totals.turnstiles.get(upstream)
    workers = {}
    for worker in supervisor.workers:
        stats = worker.turnstiles.get(upstream)
        if stats is not None:
            workers[str(worker.index)] = {
                "limit": stats.limit,
                "inside": stats.inside,
                "waiting": stats.waiting,
                "base_seconds": stats.base or None,
                "latency_seconds": stats.latency or None,
            }
    return {
        "configured": settings.model_dump(),
        "workers": workers,
        "waited": counts.waited if counts is not None else 0,
        "shed": counts.shed if counts is not None else {},
    }


def families(supervisor: Supervisor) -> Iterator[Metric]:
    """Of all that have, or had, a limit."""
    limit = GaugeMetricFamily("banyan_upstream_limit", "Requests that may be under way at once", labels=["upstream", "worker"])
    inside = GaugeMetricFamily("banyan_upstream_inside", "Requests that are", labels=["upstream", "worker"])
    waiting = GaugeMetricFamily("banyan_upstream_waiting", "Requests that wait for a place", labels=["upstream", "worker"])
    base = GaugeMetricFamily(
        "banyan_upstream_base_seconds", "What an answer takes without a crowd, as an adaptive limit sees it", labels=["upstream", "worker"]
    )
    for worker in supervisor.workers:
        for name, stats in worker.turnstiles.items():
            label = [name, str(worker.index)]
            limit.add_metric(label, stats.limit)
            inside.add_metric(label, stats.inside)
            waiting.add_metric(label, stats.waiting)
            if stats.base:
                base.add_metric(label, stats.base)
    waited = CounterMetricFamily("banyan_upstream_waited", "Requests that waited for a place and got one", labels=["upstream"])
    shed = CounterMetricFamily("banyan_shed", "Requests that were told to come again", labels=["upstream", "priority", "reason"])
    for name, counts in supervisor.totals.turnstiles.items():
        waited.add_metric([name], counts.waited)
        for key, count in counts.shed.items():
            shed.add_metric([name, *key.split(" ")], count)
    yield from (limit, inside, waiting, base, waited, shed)
