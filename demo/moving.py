"""What moves the shop's data in the demo: relays out of the two outboxes, and who follows them. Each is a process with metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from demo.processes import Running, StartError, python, start
from demo.shop import Shop, shop_environment

FOLLOWING: Final = ("reviews", "product_view")
"""Services that are kept in step with the shop."""
CHANGES_A_SECOND: Final = 4.0
"""Events of the shop's back office, beside what people order."""
ANSWER_SECONDS: Final = 1.0
_METRICS: Final = re.compile(r"metrics on http://(\S+)/metrics")
_SAMPLE: Final = re.compile(r"(?m)^(banyan_\w+)(?:\{[^}]*\})? (\S+)$")


@dataclass(slots=True)
class Part(Running):
    """A relay or a follower."""

    address: str
    """host:port, at which it tells its metrics and how it stands."""

    @property
    def metrics(self) -> str:
        return f"http://{self.address}/metrics"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a part, summed over its partitions."""

    values: Mapping[str, float]

    def of(self, metric: str) -> str:
        """For people; - where it told nothing, or does not know."""
        value = self.values.get(metric)
        return "-" if value is None or math.isnan(value) else f"{value:.0f}"


def start_relay(folder: Path, name: str, store: str, nats: str, *, tail: bool = False) -> Part:
    """Publishes the outbox of `store`. `tail`: from PostgreSQL's log, else by polling.

    Raises:
        StartError: it did not come up.
    """
    way = "log" if tail else "table"
    return _start(folder, name, python("-m", "events", "relay", "--store", store, "--nats", nats, "--from", way), {})


def start_follower(folder: Path, service: str, nats: str) -> Part:
    """Applies the shop's events to a service's database, which is filled.

    Raises:
        StartError: it did not come up.
    """
    environment = {f"BANYAN_{service.upper()}_DB": str(folder / f"{service}.sqlite3")}
    return _start(folder, f"{service}-follow", python("-m", f"services.{service}", "follow", "--nats", nats), environment)


def start_shop_follower(folder: Path, shop: Shop, nats: str) -> Part:
    """Applies what the reviews service tells to the shop.

    Raises:
        StartError: it did not come up.
    """
    command = python("legacy_django/manage.py", "follow", "--nats", nats)
    return _start(folder, "shop-follow", command, shop_environment(folder, shop.database))


def start_back_office(folder: Path, shop: Shop) -> Running:
    """Orders, and changes stock, discounts and ratings, slowly and until it is stopped. Prices stay: the recommendations service has a copy
    of them that nothing keeps in step."""
    command = python("legacy_django/manage.py", "churn", "--events", str(10**9), "--rate", str(CHANGES_A_SECOND), "--keep-prices")
    return start("back-office", command, log_dir=folder, env=shop_environment(folder, shop.database))


def figures(parts: Mapping[str, Part]) -> dict[str, Figures]:
    """What each tells now, asked all at once. Of one that does not answer in time there are none."""
    with ThreadPoolExecutor(max_workers=len(parts) or 1, thread_name_prefix="figures") as threads:
        return dict(zip(parts, threads.map(_figures, parts.values()), strict=True))


def line(parts: Mapping[str, Part]) -> str:
    """How the data moves, for people."""
    told = figures(parts)
    followers = {name: each for name, each in told.items() if name.endswith("-follow")}
    relays = {name: each for name, each in told.items() if name not in followers}
    behind = ", ".join(f"{name.removesuffix('-follow')} {each.of('banyan_consumer_lag')}" for name, each in followers.items())
    waits = ", ".join(f"{name.removesuffix('-relay')} {each.of('banyan_outbox_backlog')}" for name, each in relays.items())
    applied = sum(each.values.get("banyan_consumer_applied_total", 0) for each in followers.values())
    parked = sum(each.values.get("banyan_consumer_parked", 0) for each in followers.values())
    return f"events: {applied:.0f} took effect, {parked:.0f} parked; wait in outboxes: {waits}; lag of consumers: {behind}"


def _figures(part: Part) -> Figures:
    try:
        with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as client:
            text = client.get(part.metrics).raise_for_status().text
        values: dict[str, float] = {}
        for name, value in _SAMPLE.findall(text):
            values[name] = values.get(name, 0.0) + float(value)
    except (httpx.HTTPError, ValueError):
        return Figures({})
    return Figures(values)


def _start(folder: Path, name: str, command: list[str], environment: Mapping[str, str]) -> Part:
    running = start(
        name,
        [*command, "--metrics", "127.0.0.1:0"],
        log_dir=folder,
        env=environment,
        ready=lambda running: ": running" in running.tail(),
    )
    found = _METRICS.search(running.log.read_text())
    if found is None:
        running.kill()
        raise StartError(f"{name} does not say where its metrics are:\n{running.tail()}")
    return Part(running.name, running.process, running.log, running.port, found[1])
