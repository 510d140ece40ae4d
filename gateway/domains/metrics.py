"""Calls between domains, as the supervisor has summed them: for Prometheus, and for GET /domains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, Metric

from gateway.domains.crossings import domains

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor


def families(supervisor: Supervisor) -> Iterator[Metric]:
    """In Prometheus' terms."""
    calls = CounterMetricFamily(
        "banyan_domain_calls", "Calls of services through the gateway, by their domains", labels=["caller", "domain", "verdict"]
    )
    for key, count in supervisor.totals.crossings.items():
        calls.add_metric(key.split(" "), count)
    yield calls


def state(supervisor: Supervisor) -> dict[str, Any]:
    """For the admin port."""
    settings = supervisor.config.domains
    found = []
    for key, count in sorted(supervisor.totals.crossings.items()):
        caller, domain, verdict = key.split(" ")
        found.append({"caller": caller, "domain": domain, "verdict": verdict, "calls": count})
    return {
        "order": settings.order if settings is not None else [],
        "enforce": settings.enforce if settings is not None else "off",
        "since": supervisor.started_at,
        "routes": domains(supervisor.config),
        "calls": found,
    }
