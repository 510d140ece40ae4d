"""The time deal in small: all four runs of the drill on a real PostgreSQL, and what is made of what they show."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from drills import timedeal
from drills.buyers import FAILED, ORDERED, WAITING, Bought, Buyers
from drills.orders import Books
from drills.report import Report
from drills.timedeal import Pair, Side

pytestmark = pytest.mark.timeout(240)  # half a minute by itself, and several times that on a machine that does other things

FAST = ("orders a second", "options sold out")
"""The bars that a slow machine may miss."""


@pytest.fixture(scope="module")
def report() -> Report:
    return timedeal.run(print, buyers=60, seconds=4.0)


def test_the_fix_holds_what_does_not_hang_on_the_machine(report: Report) -> None:
    assert [bar for bar in report.bars if not bar.ok and not bar.name.startswith(FAST)] == []


def test_the_incident_is_there(report: Report) -> None:
    told = report.plain()
    for limit in ("", "_limited"):
        assert told["without"][f"deadlocks{limit}"] > 0
        assert told["without"][f"failed{limit}"] > 0
        assert told["with"][f"failed{limit}"] == 0
        assert told["with"][f"orders_a_second{limit}"] > told["without"][f"orders_a_second{limit}"]


def test_nothing_is_astray_in_any_of_the_runs(report: Report) -> None:
    """Slow or not: what a transaction that was given up had taken is there again."""
    assert [run["astray"] for run in report.more["runs"]] == [0, 0, 0, 0]
    assert all(run["orders"] > 0 for run in report.more["runs"] if run["way"] == "as it is")


def side(orders: int, **books: Any) -> Side:
    """So many orders in ten seconds, of a user each."""
    buyers = Buyers(0, {1: [1, 2]}, orders)
    buyers.began, buyers.seconds = 1000.0, 10.0
    buyers.bought = [Bought(number * 0.01, 0.2, ORDERED, 1) for number in range(orders)]
    buyers.statuses = Counter({201: orders})
    stocked = {"option 1": 40, "option 2": 1000, "item 1": 1040}
    sold = {"option 1": 40, "option 2": 60, "item 1": 100}
    left = {"option 1": 0, "option 2": 940, "item 1": 940}
    found = Books([1000.0 + number * 0.01 for number in range(orders)], Counter(range(orders)), stocked, sold, left)
    return Side(buyers, replace(found, **books), 0)


def missed(now: Side, before: Side | None = None) -> list[str]:
    before = before or side(100)
    return [bar.name for bar in timedeal.report([Pair(True, before, now)], 200, 10.0).bars if not bar.ok]


def test_a_good_day_misses_nothing() -> None:
    assert missed(side(300)) == []
    assert missed(side(100), side(0)) == []


def test_each_bar_can_be_missed() -> None:
    good = side(300)
    assert missed(replace(good, deadlocks=1)) == ["deadlocks, one per user"]
    assert missed(side(299)) == ["orders a second, one per user"]
    assert missed(side(2), side(0)) == ["orders a second, one per user"]
    assert missed(side(300, users=Counter({7: 2}))) == ["orders of one user, at most"]
    assert missed(side(300, left={**good.books.left, "option 1": 3})) == [
        "pieces neither in an order nor left, one per user",
        "options sold out while they came, one per user",
    ]


def test_an_oversold_piece_is_seen_of_an_option_and_of_an_item() -> None:
    good = side(300).books
    for what in ("option 1", "item 1"):
        sold = {**good.sold, what: good.stocked[what] + 2}
        assert "pieces oversold, one per user" in missed(side(300, sold=sold))
        assert replace(good, sold=sold).oversold == 2


def test_what_was_placed_after_the_deal_does_not_count() -> None:
    late = side(300)
    assert late.orders == 300
    late.books.orders[0] = 1010.5
    assert late.orders == 299


def test_who_still_waits_in_the_end_counts_with_what_he_has_waited() -> None:
    found = side(300)
    found.buyers.bought += [Bought(10.0, 9.0, WAITING, 1) for _ in range(10)]
    assert found.p99 == 9000.0
    found.buyers.bought = [Bought(10.0, 9.0, FAILED, 4)] * 10
    assert found.p99 == 0.0
