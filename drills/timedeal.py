"""A time deal, with both of the shop's ways of placing an order, and each with and without one order per user.

The shop is real Django under gunicorn, with real threads, on a real PostgreSQL, asked directly: what is shown lies in its database and not
before it. Both ways get the same crowd with the same carts, the same threads and the same database, with PostgreSQL's own settings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvloop

from demo.postgres import RunningPostgres, start_postgres
from demo.processes import Running
from demo.shop import Shop, manage_shop, start_shop
from drills import timeline
from drills.buyers import FAILED, ORDERED, PRESSES, WAITING, Bought, Buyers
from drills.load import Seen
from drills.orders import Books, Database
from drills.report import Bar, Chart, Figure, Line, Report
from drills.stage import Say, Stage, stage

BUYERS: Final = 200
"""At once."""
SECONDS: Final = 8.0
WORKERS: Final = 2
THREADS: Final = 16
"""Of each worker: so many orders are under way at once in the database; the others wait before the shop."""
ITEMS: Final = 2
"""On deal at once, of three options each."""
STOCK: Final = 100_000
"""Of each option but one of an item: more than anybody can sell …"""
SCARCE: Final = 20
"""… and of that one: it is sold out while they come."""
PEOPLE: Final = 300
"""Accounts for each second of the deal: more than can be served."""
FASTER: Final = 3.0
WAYS: Final = ("as it was", "as it is")
STEP_SECONDS: Final = 0.5


@dataclass(slots=True)
class Side:
    """What one of the four runs has shown."""

    buyers: Buyers
    books: Books
    deadlocks: int

    @property
    def orders(self) -> int:
        """In the database, placed while the deal lasted."""
        return sum(1 for at in self.books.orders if at < self.buyers.began + self.buyers.seconds)

    @property
    def rate(self) -> float:
        """Orders a second."""
        return self.orders / self.buyers.seconds

    @property
    def p99(self) -> float:
        """Milliseconds from the first press to the order; who still waited in the end counts with what he had waited."""
        return 1000 * timeline.percentile([one.took for one in self.buyers.bought if one.outcome in (ORDERED, WAITING)], 0.99)

    @property
    def failures(self) -> int:
        """Answers that were errors, or none."""
        return sum(count for status, count in self.buyers.statuses.items() if status >= 500 or not status)

    @property
    def most(self) -> int:
        """Orders of the user who has most."""
        return max(self.books.users.values(), default=0)

    @property
    def doubled(self) -> int:
        """Users with more than one order."""
        return sum(1 for orders in self.books.users.values() if orders > 1)

    def count(self, outcome: str) -> int:
        return sum(1 for one in self.buyers.bought if one.outcome == outcome)


@dataclass(slots=True)
class Pair:
    """Both ways, under the same load. `limited`: one order per user, and everybody presses on two devices at once."""

    limited: bool
    before: Side
    now: Side

    @property
    def faster(self) -> float:
        """How many times the orders a second. Where there was not one before, those of now count against one in the whole run."""
        return self.now.rate / max(self.before.rate, 1 / self.before.buyers.seconds)


def run(say: Say, *, buyers: int = BUYERS, seconds: float = SECONDS, keep: bool = False) -> Report:
    """All four runs.

    Raises:
        StartError: something did not come up.
    """
    with stage("timedeal", say, keep=keep) as found:
        say("starting PostgreSQL, and seeding a shop")
        url = start_database(found)
        manage_shop(found.folder, "seed", database=url)
        people = max(buyers, round(PEOPLE * seconds))
        deals = [_deal(found, url, limited, people) for limited in (False, True)]
        pairs = []
        for limited, items in zip((False, True), deals, strict=True):
            sides = []
            for number, way in enumerate(WAYS):
                say(f"{way}{', one order per user' if limited else ''}: {buyers} buyers for {seconds:g} s")
                # What was ordered in one run is no order of the next one's items.
                on_deal = dict(list(items.items())[number * ITEMS : (number + 1) * ITEMS])
                crowd = Buyers(0, on_deal, people, twice=limited)
                sides.append(_side(found, url, crowd, way == WAYS[0], buyers, seconds))
            pairs.append(Pair(limited, *sides))
    return report(pairs, buyers, seconds)


def start_database(found: Stage) -> str:
    """Its URL."""
    servers: list[RunningPostgres] = []

    def begin() -> Running:
        servers.append(start_postgres(found.folder, "shop"))
        return servers[0].running

    _started(found, begin, lambda running: servers[0].stop())
    return servers[0].url


def _started[Server: Running](found: Stage, begin: Callable[[], Server], stop: Callable[[Server], object]) -> Server:
    """As `found.start`, in a thread: an interrupt comes to the main one, and in the middle of a start it would leave a process of which
    nobody knows."""
    with ThreadPoolExecutor(1, thread_name_prefix="start") as threads:
        return threads.submit(found.start, begin, stop).result()


def _deal(found: Stage, url: str, limited: bool, people: int) -> dict[int, list[int]]:
    """Puts the items of two runs on deal. Returns their options, by item."""
    first = 1 + 2 * ITEMS * limited
    items = map(str, range(first, first + 2 * ITEMS))
    limits = ["--one-per-user"] if limited else []
    stock = ["--stock", str(STOCK), "--scarce", str(SCARCE), "--buyers", str(people)]
    said = manage_shop(found.folder, "deal", *items, *stock, *limits, database=url)
    return {int(item): options for item, options in json.loads(said).items()}


def _side(found: Stage, url: str, crowd: Buyers, careless: bool, buyers: int, seconds: float) -> Side:
    database = Database(url)
    stocked, first, deadlocks = database.stock(crowd.items), database.next_order(), database.deadlocks()
    begin = partial(start_shop, found.folder, WORKERS, database=url, env=_settings(careless), seed=False)
    shop = _started(found, begin, Shop.kill)
    crowd.port = shop.port
    try:
        uvloop.run(crowd.run(buyers, seconds))
    finally:
        found.end(shop)  # killed: what it had begun is rolled back
    database.empty()
    return Side(crowd, database.books(crowd.items, stocked, first), database.deadlocks() - deadlocks)


def _settings(careless: bool) -> dict[str, str]:
    return {"BANYAN_SHOP_ORDERS_CARELESS": "1" if careless else "0", "GUNICORN_CMD_ARGS": f"--threads {THREADS}"}


def report(pairs: list[Pair], buyers: int, seconds: float) -> Report:
    """What all have shown."""
    return Report(
        "timedeal",
        f"A time deal: {buyers} buyers at once, {seconds:g} s of each of four runs",
        [figure for pair in pairs for figure in _figures(pair)],
        [bar for pair in pairs for bar in _bars(pair)],
        [_chart(pair) for pair in pairs],
        [
            f"{ITEMS} items of three options each; carts of one to three options, in any order. {WORKERS * THREADS} orders are under way",
            "at once, the others wait before the shop. deadlock_timeout is PostgreSQL's own default, 1 s. Who is told that it failed",
            f"presses again, {PRESSES} times in all. With one order per user everybody presses on two devices at the same moment.",
        ],
        {
            "buyers": buyers,
            "runs": [_plain(pair, way, side) for pair in pairs for way, side in zip(WAYS, (pair.before, pair.now), strict=True)],
        },
        sides=WAYS,
    )


def _figures(pair: Pair) -> list[Figure]:
    sides = (pair.before, pair.now)
    key, name = ("_limited", ", one per user") if pair.limited else ("", "")

    def figure(what: str, label: str, values: list[Any], unit: str = "") -> Figure:
        return Figure(what + key, label + name, values[0], values[1], unit)

    found = [
        figure("orders_a_second", "orders a second", [round(side.rate, 1) for side in sides]),
        figure("deadlocks", "deadlocks, as PostgreSQL counts them", [side.deadlocks for side in sides]),
        figure("p99_ms", "p99 of who ordered, or still waited in the end", [round(side.p99, 1) for side in sides], "ms"),
        figure("failed", "answers that were errors", [side.failures for side in sides]),
        figure("gave_up", "presses that came to nothing", [side.count(FAILED) for side in sides]),
        figure("oversold", "pieces oversold", [side.books.oversold for side in sides]),
    ]
    if pair.limited:
        found.append(figure("doubled", "users with more than one order", [side.doubled for side in sides]))
    return found


def _bars(pair: Pair) -> list[Bar]:
    side = pair.now
    name = ", one per user" if pair.limited else ""
    books = side.books
    bars = [
        Bar(f"deadlocks{name}", "0", f"{side.deadlocks}", not side.deadlocks),
        Bar(f"orders a second{name}", f">= {FASTER:g} x {pair.before.rate:.1f}, as it was", f"{side.rate:.1f}", pair.faster >= FASTER),
        Bar(f"pieces oversold{name}", "0", f"{books.oversold}", not books.oversold),
        Bar(f"pieces neither in an order nor left{name}", "0", f"{books.astray}", not books.astray),
        Bar(f"options sold out while they came{name}", ">= 1", f"{len(books.sold_out)}", bool(books.sold_out)),
    ]
    if pair.limited:
        bars.append(Bar("orders of one user, at most", "1", f"{side.most}", side.most == 1))
    return bars


def _chart(pair: Pair) -> Chart:
    whole = STEP_SECONDS * max(1, int(pair.now.buyers.seconds / STEP_SECONDS))  # the last step, if it is only begun, would look like a fall
    lines = [
        Line(way, timeline.rate(_seen(side), {ORDERED}, whole, STEP_SECONDS), way == WAYS[1])
        for way, side in zip(WAYS, (pair.before, pair.now), strict=True)
    ]
    return Chart("Orders, one per user" if pair.limited else "Orders", "a second", STEP_SECONDS, lines)


def _seen(side: Side) -> list[Seen]:
    def seen(number: int, one: Bought) -> Seen:
        return Seen(number, "", one.ended - one.took, one.took, one.outcome)

    return [seen(number, one) for number, one in enumerate(side.buyers.bought)]


def _plain(pair: Pair, way: str, side: Side) -> dict[str, Any]:
    return {
        "way": way,
        "one_per_user": pair.limited,
        "orders": side.orders,
        "seconds": round(side.buyers.seconds, 3),
        "statuses": {str(status): count for status, count in sorted(side.buyers.statuses.items())},
        "outcomes": dict(Counter(one.outcome for one in side.buyers.bought)),
        "astray": side.books.astray,
        "sold_out": side.books.sold_out,
        "most_orders_of_a_user": side.most,
    }
