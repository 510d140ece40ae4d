"""How the upstreams are, as the workers find them: for GET /upstreams, and in Prometheus' terms.

Each worker judges for itself, so there is one opinion for each worker. Names are part of the interface: docs/reference/admin.md and
metrics.md list them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gateway import upstream_limits
from gateway.settings import Upstream
from gateway.telemetry import AddressStats, UpstreamStats

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor

LABELS = ["upstream", "address"]


def addresses(upstream: Upstream) -> list[str]:
    """As workers call them (gateway/net/place.py)."""
    return [f"unix:{path}" if path else f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port, path in upstream.places]


def state(supervisor: Supervisor) -> list[dict[str, Any]]:
    """Each upstream as configured now, with what is known of its addresses."""
    return [_upstream(supervisor, name, upstream) for name, upstream in supervisor.config.upstreams.items()]


def _upstream(supervisor: Supervisor, name: str, upstream: Upstream) -> dict[str, Any]:
    sums = supervisor.totals.upstreams.get(name, UpstreamStats())
    return {
        "name": name,
        "addresses": [_address(supervisor, name, address, sums) for address in addresses(upstream)],
        "repeated": sums.repeated,
        "not_repeated": sums.not_repeated,
        "breaker": upstream.breaker.model_dump() if upstream.breaker is not None else None,
        "health": upstream.health.model_dump() if upstream.health is not None else None,
        "concurrency": upstream_limits.state(supervisor, name),
    }


def _address(supervisor: Supervisor, name: str, address: str, sums: UpstreamStats) -> dict[str, Any]:
    counted = sums.addresses.get(address, AddressStats())
    found = {str(worker.index): stats for worker, stats in _opinions(supervisor, name, address)}
    return {
        "address": address,
        "workers": {
            index: {
                "breaker": stats.breaker,
                "left_out": stats.left_out,
                "unwell": stats.unwell,
                "pending": stats.pending,
                "idle": stats.idle,
                "requests": stats.requests,
                "errors": stats.errors,
            }
            for index, stats in found.items()
        },
        "opened": counted.opened,
        "ejections": counted.ejections,
        "failures": counted.failures,
    }


def _opinions(supervisor: Supervisor, name: str, address: str) -> Iterator[tuple[Any, AddressStats]]:
    for worker in supervisor.workers:
        upstream = worker.upstreams.get(name)
        stats = upstream.addresses.get(address) if upstream is not None else None
        if stats is not None:
            yield worker, stats


def remarks(supervisor: Supervisor, decision: dict[str, Any] | None) -> list[str]:
    """For an explanation: what of the upstream that would serve says that another may have to."""
    name = decision["serve"] if decision is not None else None
    upstream = supervisor.config.upstreams.get(name) if name is not None else None
    if name is None or upstream is None:
        return []
    found = []
    for address in addresses(upstream):
        opinions = [stats for _, stats in _opinions(supervisor, name, address)]
        workers = f"of {len(opinions)} worker{'s' if len(opinions) > 1 else ''}"
        if closed := sum(stats.breaker != "closed" for stats in opinions):
            found.append(f"the breaker of {name} at {address} is open in {closed} {workers}: it is hardly asked (GET /upstreams)")
        if unwell := sum(stats.unwell for stats in opinions):
            found.append(f"{name} at {address} is not well, by its health in {unwell} {workers}")
        if left_out := sum(stats.left_out for stats in opinions):
            found.append(f"{name} at {address} is left out by {left_out} {workers}, since it failed alone")
    return found


def families(supervisor: Supervisor) -> Iterator[Metric]:
    """The metrics."""
    breakers = GaugeMetricFamily("banyan_upstream_breakers_open", "Workers whose breaker of this address is not closed", labels=LABELS)
    left_out = GaugeMetricFamily("banyan_upstream_left_out", "Workers that leave it out, since it failed alone", labels=LABELS)
    unwell = GaugeMetricFamily("banyan_upstream_unwell", "Workers to which its health says that it is not well", labels=LABELS)
    pending = GaugeMetricFamily("banyan_upstream_pending", "Requests under way there", labels=LABELS)
    opened = CounterMetricFamily("banyan_upstream_breaker_opened", "How often a worker's breaker has opened", labels=LABELS)
    ejections = CounterMetricFamily("banyan_upstream_ejections", "How often a worker has left it out", labels=LABELS)
    failures = CounterMetricFamily("banyan_upstream_failures", "Requests without a good answer", labels=[*LABELS, "failure"])
    repeats = CounterMetricFamily(
        "banyan_upstream_repeats", "Requests that met another address after one had failed", labels=["upstream", "result"]
    )
    for name, upstream in supervisor.config.upstreams.items():
        sums = supervisor.totals.upstreams.get(name, UpstreamStats())
        repeats.add_metric([name, "sent"], sums.repeated)
        repeats.add_metric([name, "over-budget"], sums.not_repeated)
        for address in addresses(upstream):
            label = [name, address]
            found = [stats for _, stats in _opinions(supervisor, name, address)]
            breakers.add_metric(label, sum(stats.breaker != "closed" for stats in found))
            left_out.add_metric(label, sum(stats.left_out for stats in found))
            unwell.add_metric(label, sum(stats.unwell for stats in found))
            pending.add_metric(label, sum(stats.pending for stats in found))
            counted = sums.addresses.get(address, AddressStats())
            opened.add_metric(label, counted.opened)
            ejections.add_metric(label, counted.ejections)
            for failure, count in counted.failures.items():
                failures.add_metric([*label, failure], count)
    yield from (breakers, left_out, unwell, pending, opened, ejections, failures, repeats)
