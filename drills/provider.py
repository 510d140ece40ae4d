"""The outage of a payment provider, twice: as it was, with the shop asking one provider by itself; and with the gateway before two of them.

What was charged is read from the providers' own ledgers, by what it was for. What people were told, and what the gateway lists as in doubt,
is held against that.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import uvloop

from demo.processes import ROOT, StartError, python
from demo.providers import Provider, start_provider
from demo.shop import USERS, Shop, manage_shop, start_shop
from drills import timeline
from drills.customers import PAID, Customers
from drills.gateway import Gateway, start_gateway
from drills.killing import HUNG, STAGES, Death, Killer
from drills.load import Connections, OpenLoop, Phase, Seen
from drills.report import Bar, Chart, Figure, Level, Line, Mark, Report
from drills.stage import Say, Stage, stage

OUTAGE_SECONDS: Final = 1.5
"""From a death to the start of the next process, which takes a second more until it answers."""
COMPLETED: Final = 0.99
LISTED_SECONDS: Final = 5.0
"""For the gateway to write down what it owes its ledger after the last payment."""
PATIENCE_SECONDS: Final = 20.0
LONGEST: Final = 4
"""How many times the payments are made on a machine so slow that the provider is not back from its last death in time."""

TOML: Final = """\
[upstreams.legacy]
url = "http://127.0.0.1:{shop}"
response_timeout = "15s"
[upstreams.psp-a]
url = "http://127.0.0.1:{psp_a}"
connect_timeout = "500ms"
response_timeout = "3s"
breaker = {{ open = "300ms" }}
[upstreams.psp-b]
url = "http://127.0.0.1:{psp_b}"
connect_timeout = "500ms"
response_timeout = "3s"
breaker = {{ open = "300ms" }}

[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = {{ psp-a = 70, psp-b = 30 }}
sticky = "idempotency-key"
failover = "safe"
require_key = true
"""
"""By default a breaker is open for 5 s. A provider that dies every four would hardly be asked in between, and nothing would hang."""


@dataclass(slots=True)
class Side:
    """What one of the two runs has shown."""

    seconds: float
    """That the load was sent for."""
    seen: list[Seen]
    customers: Customers
    began: float
    """Of time.monotonic()."""
    deaths: list[Death]
    states: dict[int, str]
    """What the shop has written down of each order's payment."""
    charged: Counter[int]
    """How often each order was charged, by all providers together."""
    elsewhere: int
    """Charged by the other provider than the one that is killed."""
    doubts: dict[int, bool]
    """Orders that the gateway lists as in doubt; and whether the provider that is listed has charged it by the key that is listed."""

    @property
    def listed(self) -> set[int]:
        return set(self.doubts)

    @property
    def paid(self) -> set[int]:
        """The orders that are, for the shop."""
        return {order for order, state in self.states.items() if state == "paid"}

    @property
    def unknown(self) -> set[int]:
        """The orders of which the shop does not know it."""
        return {order for order, state in self.states.items() if state in ("unknown", "started")}

    @property
    def doubled(self) -> set[int]:
        return {order for order, times in self.charged.items() if times > 1}

    @property
    def lost(self) -> set[int]:
        """Charged and not paid for the shop, or the reverse; and in no list that somebody looks at."""
        return (set(self.charged) ^ self.paid) - self.listed


def run(say: Say, *, payments: int, rate: float, keep: bool = False, outage: float = OUTAGE_SECONDS) -> Report:
    """Both runs.

    Raises:
        StartError: something did not come up, did not die, or cannot be read.
    """
    with stage("provider", say, keep=keep) as found:
        say("seeding a shop with orders to pay")
        manage_shop(found.folder, "seed")
        orders = ceil(LONGEST * payments / len(USERS)) * len(USERS)  # whole turns: the second run begins with the first user, too
        first, last = map(int, manage_shop(found.folder, "orders", str(2 * orders)).split())
        if last - first + 1 != 2 * orders:
            raise StartError(f"the shop has placed orders {first} to {last}, and not {2 * orders}")
        say(f"without the gateway: {payments} payments at {rate:g} a second, and one provider")
        without = _side(found, False, first, payments, rate, outage)
        say(f"with the gateway: {payments} payments at {rate:g} a second, and two providers")
        with_gateway = _side(found, True, first + orders, payments, rate, outage)
    return report(without, with_gateway, payments, rate)


def _side(found: Stage, with_gateway: bool, first: int, payments: int, rate: float, outage: float) -> Side:
    world = _world(found, with_gateway)
    psp_a, others, gateway = world.psp_a, world.others, world.gateway
    customers = Customers(Connections((gateway or world.shop).port), first)
    again = partial(found.start, partial(start_provider, "psp-a", psp_a.ledger.parent, port=psp_a.port))
    killer = Killer(psp_a, again, outage, customers.since)
    load = OpenLoop(
        [Phase("outage", LONGEST * payments / rate, rate)],
        customers.pay,
        patience=PATIENCE_SECONDS,
        enough=lambda number: number >= payments and killer.over,
    )
    seen = uvloop.run(_play(load, customers, killer, payments / rate))
    doubts = {}
    if gateway is not None:
        doubts = _cleared_up(_in_doubt(gateway), [killer.provider, *others])
    references = [reference for provider in (killer.provider, *others) for _, reference in provider.charges()]
    elsewhere = sum(len(provider.charges()) for provider in others)
    states = _states(found.folder / "shop.sqlite3", first, first + len(seen))
    for running in (world.shop, *([gateway] if gateway is not None else ()), killer.provider, *others):
        found.end(running)
    charged = Counter(_order(reference) for reference in references)
    return Side(len(seen) / rate, seen, customers, load.began, killer.deaths, states, charged, elsewhere, doubts)


@dataclass(slots=True)
class _World:
    """What runs in one of the two runs."""

    shop: Shop
    psp_a: Provider
    others: list[Provider]
    gateway: Gateway | None


def _world(found: Stage, with_gateway: bool) -> _World:
    """All of it, side by side: each takes a second or three to come up. In threads; `found` ends whatever has come up if one does not."""
    folder = found.folder / ("with" if with_gateway else "without")
    names = ("psp-a", "psp-b") if with_gateway else ("psp-a",)
    with ThreadPoolExecutor(thread_name_prefix="start") as threads:
        starting = [threads.submit(found.start, partial(start_provider, name, folder)) for name in names]
        psp_a, *others = [each.result() for each in starting]
        if not with_gateway:
            settings = {"BANYAN_SHOP_PAYMENTS_URL": f"{psp_a.url}/api/v1/payments/", "BANYAN_SHOP_PAYMENTS_CARELESS": "1"}
            return _World(found.start(lambda: start_shop(found.folder, env=settings)), psp_a, others, None)
        # Each of the two has to be told where the other will be.
        shop_port, gateway_port = _free_ports(2)
        settings = {"BANYAN_SHOP_PAYMENTS_URL": f"http://127.0.0.1:{gateway_port}/api/v1/payments/"}
        shop = threads.submit(found.start, lambda: start_shop(found.folder, port=shop_port, env=settings))
        toml = TOML.format(shop=shop_port, psp_a=psp_a.port, psp_b=others[0].port)
        gateway = start_gateway(found, toml, port=gateway_port)
        return _World(shop.result(), psp_a, others, gateway)


async def _play(load: OpenLoop, customers: Customers, killer: Killer, seconds: float) -> list[Seen]:
    try:
        async with asyncio.TaskGroup() as group:
            paying = group.create_task(load.run(), name="paying")
            group.create_task(killer.run(seconds), name="killing")
        return paying.result()
    except* StartError as errors:
        raise errors.exceptions[0] from None
    finally:
        customers.connections.close()
        await asyncio.sleep(0)


def _states(path: Path, first: int, end: int) -> dict[int, str]:
    """By order, what became of its last try to be paid, in the shop's own words; of those from `first` until before `end`."""
    query = "SELECT order_id, state FROM orders_payment WHERE order_id >= ? AND order_id < ? ORDER BY attempt"
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return {int(order): str(state) for order, state in connection.execute(query, (first, end))}


def _in_doubt(gateway: Gateway) -> list[dict[str, Any]]:
    """What `banyan payments in-doubt` lists, once the gateway owes its ledger nothing."""
    command = python("-m", "gateway.cli", "payments", "in-doubt", "--json", "--config", str(gateway.config))
    deadline = time.monotonic() + LISTED_SECONDS
    before: list[dict[str, Any]] | None = None
    while True:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own
        if ended.returncode:
            raise StartError(f"banyan payments in-doubt ended with status {ended.returncode}: {ended.stderr.strip()}")
        listed: list[dict[str, Any]] = json.loads(ended.stdout)
        if listed == before or time.monotonic() > deadline:
            return listed
        before = listed
        time.sleep(1.0)


def _cleared_up(listed: list[dict[str, Any]], providers: list[Provider]) -> dict[int, bool]:
    """Asks the provider that is listed by the key that is listed, as a person would who has nothing but the list."""
    found = {}
    for line in listed:
        provider = next(running for running in providers if running.name == line["provider"])
        found[_order(line["key"])] = bool(provider.search(line["key"]))
    return found


def _order(text: str) -> int:
    """Of a reference, "order-17", or of a key, "order-17-1"."""
    return int(text.split("-")[1])


def _free_ports(count: int) -> list[int]:
    """Free at this moment, and different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def report(without: Side, with_gateway: Side, payments: int, rate: float) -> Report:
    """What both have shown."""
    sides = (without, with_gateway)
    figures = [
        _figure("payments", "orders to be paid", [len(side.seen) for side in sides]),
        _figure("paid", "orders paid", [len(side.paid) for side in sides]),
        _figure("goodput", "orders paid, a second", [round(len(side.paid) / side.seconds, 1) for side in sides]),
        _figure("p99_ms", "p99 until an order was paid", [_p99(side) for side in sides], "ms"),
        _figure("failed", "failed orders", [len(side.seen) - len(side.paid) - len(side.unknown) for side in sides]),
        _figure("doubled", "double charges", [len(side.doubled) for side in sides]),
        _figure("lost", "charged and not paid for the shop, or the reverse", [len(side.lost) for side in sides]),
        Figure("in_doubt", "in doubt, and listed", None, len(with_gateway.listed)),
        Figure("in_doubt_charged", "of these, charged, says the provider when it is asked", None, sum(with_gateway.doubts.values())),
        Figure("elsewhere", "charged by the other provider", None, with_gateway.elsewhere),
        _figure("restarts", "restarts of the provider", [len(side.deaths) for side in sides]),
    ]
    return Report(
        "provider",
        f"A payment provider dies at {len(STAGES)} stages and hangs, {payments:,} payments",
        figures,
        _bars(with_gateway, payments),
        [_chart(without, with_gateway, rate)],
        [
            "Whoever is not told that his order is paid tries again a second later; and if he was told that it failed, or that nobody",
            "knows, once more, three seconds after that.",
            "What is in doubt was sent to the provider that died, and is sent to nobody again, however often the button is pressed.",
        ],
        {"payments": payments, "rate": rate, "stages": [_plain(side) for side in sides], "orders": _plain_orders(with_gateway)},
    )


def _figure(key: str, name: str, values: list[Any], unit: str = "") -> Figure:
    return Figure(key, name, values[0], values[1], unit)


def _p99(side: Side) -> float:
    return round(1000 * timeline.percentile(timeline.took(side.seen, {PAID}), 0.99), 1)


def _bars(side: Side, payments: int) -> list[Bar]:
    charged, paid = set(side.charged), side.paid
    doubtful = side.unknown | (charged - paid)
    open_to_others = len(side.seen) - len(side.listed - paid)
    share = len(paid) / open_to_others if open_to_others else 0.0
    dying: set[int] = set()
    for death in side.deaths:
        dying |= side.customers.under_way(death.armed, death.seen)
    reached = {death.stage.key for death in side.deaths} - {HUNG.key}
    # As the provider itself said: of what was being paid at that time, the other one may have had all.
    in_hand = {_order(name) for death in side.deaths if death.stage is HUNG for name in death.in_hand}
    return [
        Bar("killed at each of five stages", "5", f"{len(reached)}", len(reached) == len(STAGES)),
        Bar("payments in hand while it hung", ">= 1", f"{len(in_hand)}", bool(in_hand)),
        Bar("of these, listed as in doubt", "every one", f"{len(in_hand & side.listed)} of {len(in_hand)}", in_hand <= side.listed),
        Bar("payments made", f">= {payments:,}", f"{len(side.seen):,}", len(side.seen) >= payments),
        Bar("payments doubled", "0", f"{len(side.doubled)}", not side.doubled),
        Bar("payments lost", "0", f"{len(side.lost)}", not side.lost),
        Bar("unknown, and listed", "every one", f"{len(doubtful & side.listed)} of {len(doubtful)}", doubtful <= side.listed),
        Bar(
            "listed, and under way when the provider died",
            "every one",
            f"{len(side.listed & dying)} of {len(side.listed)}",
            side.listed <= dying,
        ),
        Bar(
            "listed, and cleared up by what the list says",
            "every one",
            f"{sum(answer == (order in charged) for order, answer in side.doubts.items())} of {len(side.doubts)}",
            all(answer == (order in charged) for order, answer in side.doubts.items()),
        ),
        Bar(
            "completed, of those that could be completed elsewhere",
            f">= {COMPLETED:.0%}",
            f"{100 * share:.2f} %, {len(paid)} of {open_to_others}",
            share >= COMPLETED,
        ),
    ]


def _chart(without: Side, with_gateway: Side, rate: float) -> Chart:
    seconds = max(without.seconds, with_gateway.seconds)
    lines = [
        Line(label, timeline.rate(side.seen, {PAID}, seconds), with_it)
        for label, side, with_it in (("without the gateway", without, False), ("with the gateway", with_gateway, True))
    ]
    marks = [
        Mark(death.seen - with_gateway.began, death.stage.label, (death.back or death.seen) - with_gateway.began)
        for death in with_gateway.deaths
    ]
    return Chart("Orders paid", "a second", timeline.STEP_SECONDS, lines, marks, [Level(rate, "asked for")])


def _plain(side: Side) -> list[dict[str, Any]]:
    return [
        {"stage": death.stage.key, "died": round(death.seen - side.began, 3), "back": round(death.back - side.began, 3)}
        for death in side.deaths
    ]


def _plain_orders(side: Side) -> dict[str, Any]:
    """What to look at where a bar is missed."""
    return {
        "doubled": sorted(side.doubled),
        "lost": sorted(side.lost),
        "in_doubt": sorted(side.listed),
        "unknown_and_not_listed": sorted(side.unknown - side.listed),
        "failed": sorted(order for order, state in side.states.items() if state == "failed"),
        "statuses": {str(status): count for status, count in sorted(side.customers.statuses().items())},
    }
