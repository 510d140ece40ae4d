"""The supervisor's sums in Prometheus' terms. Names are part of the interface: docs/reference/metrics.md lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector as Base

from gateway import upstream_limits
from gateway.domains.metrics import families as domains
from gateway.guard.metrics import families
from gateway.telemetry import BUCKETS
from gateway.tracing.metrics import families as traces
from gateway.upstreams import families as upstreams
from shadow.sinks import Status

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor


class Collector(Base):
    """Asked on each scrape."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        supervisor = self._supervisor
        totals = supervisor.totals
        requests = CounterMetricFamily(
            "banyan_requests", "Requests by route, who answered, and status (0: cut off)", labels=["route", "served_by", "status"]
        )
        latency = HistogramMetricFamily(
            "banyan_request_duration_seconds", "From a request's head to its answer's end", labels=["route", "served_by"]
        )
        fallbacks = CounterMetricFamily(
            "banyan_fallbacks", "Requests that legacy answered because the candidate failed", labels=["route", "reason"]
        )
        eligible = CounterMetricFamily("banyan_shadow_eligible", "Requests that were to be compared", labels=["route"])
        captured = CounterMetricFamily("banyan_shadow_captured", "Exchanges handed to the shipper", labels=["route"])
        skipped = CounterMetricFamily("banyan_shadow_skipped", "Eligible requests that cannot be compared", labels=["route", "reason"])
        dropped = CounterMetricFamily("banyan_shadow_dropped", "Exchanges lost for lack of room", labels=["route", "reason"])
        for name, stats in totals.routes.items():
            label = name or "none"
            for key, count in stats.answered.items():
                side, status = key.split(" ")
                requests.add_metric([label, side, status], count)
            for side, histogram in stats.latency.items():
                sums = list(accumulate(histogram.buckets))
                buckets = [(str(bound), float(total)) for bound, total in zip((*BUCKETS, "+Inf"), sums, strict=True)]
                latency.add_metric([label, side], buckets, histogram.total)
            for reason, count in stats.fallbacks.items():
                fallbacks.add_metric([label, reason], count)
            if not name:
                continue
            eligible.add_metric([label], stats.shadow.eligible)
            captured.add_metric([label], stats.shadow.captured)
            for reason, count in stats.shadow.skipped.items():
                skipped.add_metric([label, reason], count)
            for reason, count in stats.shadow.dropped.items():
                dropped.add_metric([label, reason], count)
        shipper = supervisor.shipper()
        if shipper is not None:
            for name, reasons in shipper.dropped.items():
                for reason, count in reasons.items():
                    dropped.add_metric([name, reason], count)
            for name, count in shipper.stale.items():
                skipped.add_metric([name, "stale"], count)
            yield from _shipper(shipper)
        yield from (requests, latency, fallbacks, eligible, captured, skipped, dropped)
        yield from self._rest()

    def _keys(self) -> Iterator[Metric]:
        keys = self._supervisor.keys
        if not keys.active:
            return
        fetches = CounterMetricFamily("banyan_identity_jwks_fetches", "Questions to the key server by result", labels=["result"])
        for result, count in keys.results.items():
            fetches.add_metric([result], count)
        age = GaugeMetricFamily("banyan_identity_jwks_age_seconds", "Since the key server last gave its keys")
        age.add_metric([], keys.age())
        known = GaugeMetricFamily("banyan_identity_jwks_keys", "Keys of the key server that tokens are checked with")
        known.add_metric([], keys.count)
        yield from (fetches, age, known)

    def _endpoints(self) -> Iterator[Metric]:
        live = self._supervisor.live
        requests = CounterMetricFamily(
            "banyan_top_requests", "Requests in GET /top: told of one by one, or stood for by others", labels=["how"]
        )
        requests.add_metric(["told"], live.told)
        requests.add_metric(["stood_for"], live.stood_for)
        displaced = CounterMetricFamily(
            "banyan_top_displaced", "Requests in GET /top under no endpoint of their own, for want of room", labels=["reason"]
        )
        for reason, count in live.displaced.items():
            displaced.add_metric([reason], count)
        words = GaugeMetricFamily("banyan_top_words", "Words and places of paths that are known")
        words.add_metric([], live.templates.size)
        yield from (requests, displaced, words)

    def _payments(self) -> Iterator[Metric]:
        supervisor = self._supervisor
        payments = CounterMetricFamily(
            "banyan_payments",
            "Requests of split routes by what the ledger or another provider did",
            labels=["route", "outcome"],
        )
        for route, counts in supervisor.totals.payments.items():
            for outcome, count in counts.items():
                payments.add_metric([route, outcome], count)
        yield payments
        if not supervisor.config.ledgered and not supervisor.in_doubt:
            return
        doubts = GaugeMetricFamily("banyan_payments_in_doubt", "Requests in the ledger of which nobody knows what came", labels=["route"])
        for route in sorted({*supervisor.config.ledgered, *supervisor.in_doubt}):  # those too that have another name by now
            doubts.add_metric([route], supervisor.in_doubt.get(route, 0))
        up = GaugeMetricFamily("banyan_ledger_up", "1: the worker can use the ledger; else its routes are answered 503", labels=["worker"])
        for worker in supervisor.workers:
            up.add_metric([str(worker.index)], float(worker.ledger))
        owed = GaugeMetricFamily("banyan_ledger_owed", "Outcomes of payments that the ledger has not got yet", labels=["worker"])
        for worker in supervisor.workers:
            owed.add_metric([str(worker.index)], worker.owed)
        yield from (doubts, up, owed)

    def _rest(self) -> Iterator[Metric]:
        supervisor = self._supervisor
        problems = CounterMetricFamily("banyan_problems", "Requests that the gateway itself answered", labels=["code"])
        for code, count in supervisor.totals.problems.items():
            problems.add_metric([code], count)
        events = CounterMetricFamily("banyan_events", "Rare things worth a counter", labels=["event"])
        for event, count in supervisor.totals.events.items():
            events.add_metric([event], count)
        callers = CounterMetricFamily("banyan_identity_callers", "Requests by what is known of their caller", labels=["standing"])
        for standing, count in supervisor.totals.callers.items():
            callers.add_metric([standing], count)
        questions = CounterMetricFamily("banyan_identity_questions", "Questions to legacy who is calling, by outcome", labels=["outcome"])
        for outcome, count in supervisor.totals.questions.items():
            questions.add_metric([outcome], count)
        connections = GaugeMetricFamily("banyan_connections", "Open client connections", labels=["worker"])
        in_flight = GaugeMetricFamily("banyan_requests_in_flight", "Requests being answered", labels=["worker"])
        current = GaugeMetricFamily("banyan_worker_flags_current", "1: decides by the newest flags", labels=["worker"])
        for worker in supervisor.workers:
            label = [str(worker.index)]
            connections.add_metric(label, worker.gauges[0])
            in_flight.add_metric(label, worker.gauges[1])
            current.add_metric(label, float(supervisor.flags.current(worker)))
        staleness = GaugeMetricFamily("banyan_flags_staleness_seconds", "Since the flag source last confirmed its state")
        staleness.add_metric([], supervisor.flags.source.staleness())
        overridden = GaugeMetricFamily(
            "banyan_flag_override_end_timestamp_seconds",
            "Unix time at which an override (`banyan flags override`) ends; there is one series for each in force",
            labels=["flag", "enabled"],
        )
        for flag, override in supervisor.flags.overrides.by_flag.items():
            overridden.add_metric([flag, "true" if override.enabled else "false"], override.until)
        wrong = GaugeMetricFamily("banyan_flag_problems", "What is wrong with a flag that a route reads: see GET /flags", labels=["flag"])
        for flag, count in Counter(problem.flag for problem in supervisor.flags.problems).items():
            wrong.add_metric([flag], count)
        decisions = CounterMetricFamily("banyan_flag_decisions", "Decisions by flag and answer", labels=["flag", "enabled"])
        for flag, (on, off) in supervisor.totals.flags.items():
            decisions.add_metric([flag, "true"], on)
            decisions.add_metric([flag, "false"], off)
        restarts = CounterMetricFamily("banyan_child_restarts", "Workers and shippers that ended unasked", labels=["child"])
        for child, count in supervisor.restarts.items():
            restarts.add_metric([child], count)
        config = GaugeMetricFamily("banyan_worker_config_current", "1: new requests go by the newest configuration", labels=["worker"])
        for worker in supervisor.workers:
            config.add_metric([str(worker.index)], float(worker.number == supervisor.number))
        reloads = supervisor.reloads
        reloaded = CounterMetricFamily("banyan_config_reloads", "Reloads of banyan.toml by result", labels=["result"])
        reloaded.add_metric(["ok"], reloads.ok)
        reloaded.add_metric(["failed"], reloads.failed)
        good = GaugeMetricFamily("banyan_config_last_reload_successful", "1: the last reload put the file in force, or there was none")
        good.add_metric([], float(reloads.last is None or reloads.last.ok))
        since = GaugeMetricFamily(
            "banyan_config_last_reload_success_timestamp_seconds", "Unix time at which the configuration in force was loaded"
        )
        since.add_metric([], reloads.succeeded_at)
        yield from upstreams(supervisor)
        yield from self._endpoints()
        yield from self._payments()
        yield from self._keys()
        yield from families(supervisor.guard)
        yield from domains(supervisor)
        yield from upstream_limits.families(supervisor)
        yield from traces(supervisor)
        started = GaugeMetricFamily("banyan_start_time_seconds", "Unix time of the supervisor's start")
        started.add_metric([], supervisor.started_at)
        yield from (
            problems,
            events,
            callers,
            questions,
            connections,
            in_flight,
            current,
            staleness,
            overridden,
            wrong,
            decisions,
            restarts,
            config,
            reloaded,
            good,
            since,
            started,
        )


def _shipper(status: Status) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("banyan_shipper_waiting", "Exchanges that wait in the shipper")
    waiting.add_metric([], status.waiting)
    size = GaugeMetricFamily("banyan_shipper_waiting_bytes", "The same in bytes")
    size.add_metric([], status.waiting_bytes)
    shipped = CounterMetricFamily("banyan_shipper_shipped", "Exchanges that were compared, or that NATS has")
    shipped.add_metric([], status.shipped)
    yield from (waiting, size, shipped)
    if status.connected is None:
        return
    connected = GaugeMetricFamily("banyan_shipper_nats_connected", "1: NATS and its stream can be used")
    connected.add_metric([], float(status.connected))
    repeated = CounterMetricFamily("banyan_shipper_repeated", "Messages that were sent again, for nothing was heard of them")
    repeated.add_metric([], status.repeated)
    messages = GaugeMetricFamily("banyan_shipper_stream_messages", "Messages in the stream that no shadow worker has done with")
    messages.add_metric([], status.stream_messages)
    stored = GaugeMetricFamily("banyan_shipper_stream_bytes", "The same in bytes")
    stored.add_metric([], status.stream_bytes)
    yield from (connected, repeated, messages, stored)
