"""What relays and consumers tell Prometheus, over HTTP on a port of their own. docs/reference/metrics.md lists it, by a test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, make_wsgi_app, start_http_server

from events.address import AddressError, listening

AGES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

disable_created_metrics()  # type: ignore[no-untyped-call] # typed in part; it spares a series for each counter, of which nothing is made


class RelayMetrics:
    """Of one relay."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on = self.registry
        self.backlog = Gauge(
            "banyan_outbox_backlog", "events that are committed and not published, counted up to 100,000; NaN: not known", registry=on
        )
        self.oldest = Gauge("banyan_outbox_oldest_seconds", "age of the first of them; 0: nothing waits; NaN: not known", registry=on)
        self.unknown()
        self.published = Counter("banyan_relay_published_total", "events that the stream has acknowledged", registry=on)
        self.repeated = Counter("banyan_relay_repeated_total", "those among them that it had already, and dropped", registry=on)
        self.failures = Counter("banyan_relay_failures_total", "tries that failed, by what did", ["what"], registry=on)
        self.partitions = Gauge("banyan_relay_partitions", "partitions that this relay publishes", registry=on)
        self.connected = Gauge("banyan_relay_nats_connected", "1: NATS and the stream there can be used", registry=on)

    def unknown(self) -> None:
        """Nobody could look at the outbox. 0 would say that nothing waits, and the last figures that they still hold."""
        self.backlog.set(math.nan)
        self.oldest.set(math.nan)


class ConsumerMetrics:
    """Of one consuming process, which may have several consumers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        on, labels = self.registry, ["consumer", "partition"]
        self.lag = Gauge(
            "banyan_consumer_lag", "events in the stream that this consumer has not applied; NaN: not known", labels, registry=on
        )
        self.oldest = Gauge(
            "banyan_consumer_oldest_seconds", "age of the first event in hand that is not applied; 0: none", labels, registry=on
        )
        self.last = Gauge("banyan_consumer_last_event_timestamp_seconds", "when the last applied event was written", labels, registry=on)
        self.age = Histogram(
            "banyan_consumer_age_seconds", "from an event's writing to its effect", ["consumer"], buckets=AGES, registry=on
        )
        self.applied = Counter("banyan_consumer_applied_total", "events that took effect", ["consumer"], registry=on)
        self.skipped = Counter(
            "banyan_consumer_skipped_total", "events without one: repeated, copied, own", ["consumer", "why"], registry=on
        )
        self.failures = Counter("banyan_consumer_failures_total", "tries that failed and are tried again", ["consumer"], registry=on)
        self.parked = Gauge("banyan_consumer_parked", "events that are parked now; alert above 0", ["consumer"], registry=on)
        self.connected = Gauge("banyan_consumer_nats_connected", "1: NATS and the stream there can be used", ["consumer"], registry=on)


@contextmanager
def served(registry: CollectorRegistry, address: str, standing: Callable[[], dict[str, Any]] | None = None) -> Iterator[str]:
    """Answers GET /metrics on `address`, HOST:PORT or [HOST]:PORT with 0 for a free port, while the block lasts, and GET /standing with
    what `standing` says (events/standing.py). Gives the address; "" serves nothing.

    Raises:
        AddressError: it is none.
        OSError: it can't be listened on.
    """
    if not address:
        yield ""
        return
    host, port = listening(address)
    try:
        server, thread = start_http_server(port, host, registry)
    except UnicodeError as error:
        raise AddressError(f"--metrics: there is no host of such a name: {host!r}") from error
    if standing is not None:
        server.set_app(_beside(make_wsgi_app(registry), standing))
    try:
        yield f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _beside(metrics: Any, standing: Callable[[], dict[str, Any]]) -> Any:
    """A WSGI application (PEP 3333): /standing, and for all else `metrics`."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO") != "/standing" or environ.get("REQUEST_METHOD") != "GET":
            return metrics(environ, start_response)
        body = json.dumps(standing()).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
        return [body]

    return answer
