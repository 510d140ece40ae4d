"""A shadow worker's figures in Prometheus' terms: docs/reference/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as Base

from shadow.consume import ShadowWorker


class Collector(Base):
    """Asked on each scrape, in a thread of its own."""

    def __init__(self, worker: ShadowWorker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        figures = self._worker.figures
        exchanges = CounterMetricFamily("banyan_shadow_worker_exchanges", "Exchanges by what came of them", labels=["outcome"])
        for outcome, number in list(figures.exchanges.items()):
            exchanges.add_metric([outcome], number)
        messages = CounterMetricFamily("banyan_shadow_worker_messages", "Messages of the stream, by what was found", labels=["state"])
        messages.add_metric(["counted"], figures.messages)
        messages.add_metric(["redelivered"], figures.redelivered)
        messages.add_metric(["repeated"], figures.repeated)
        connected = GaugeMetricFamily("banyan_shadow_worker_connected", "1: it can be used", labels=["to"])
        connected.add_metric(["nats"], float(self._worker.connected))
        connected.add_metric(["database"], float(figures.database))
        held = GaugeMetricFamily("banyan_shadow_worker_messages_held", "Messages in hand that are not written yet")
        held.add_metric([], figures.held)
        waiting = GaugeMetricFamily("banyan_shadow_stream_messages_waiting", "Messages in the stream that no worker has")
        waiting.add_metric([], figures.waiting)
        yield from (exchanges, messages, connected, held, waiting)
