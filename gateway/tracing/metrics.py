"""What becomes of spans, in Prometheus' terms. Nothing where nothing is traced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor


def families(supervisor: Supervisor) -> Iterator[Metric]:
    """On each scrape."""
    lost = supervisor.totals.spans_dropped
    if not supervisor.exporting.active and not lost:
        return
    figures = supervisor.exporting.figures()
    exported = CounterMetricFamily("banyan_trace_spans_exported", "Spans that the endpoint has taken")
    exported.add_metric([], figures.exported)
    dropped = CounterMetricFamily("banyan_trace_spans_dropped", "Spans that were lost", labels=["reason"])
    for reason in sorted({*lost, *figures.dropped}):
        dropped.add_metric([reason], lost.get(reason, 0) + figures.dropped.get(reason, 0))
    waiting = GaugeMetricFamily("banyan_trace_spans_waiting", "Spans that wait in the exporter")
    waiting.add_metric([], figures.waiting)
    yield from (exported, dropped, waiting)
