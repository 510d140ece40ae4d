"""Placing an order, both ways: what is taken, what is refused, and who loses when two lock each other out. On a real PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from django.db import OperationalError

from demo.shop import Shop, manage_shop, start_shop
from legacy_django.accounts.seeded import token
from legacy_django.orders import retrying
from legacy_django.orders.retrying import ATTEMPTS, BusyError, again

WAYS = ("careful", "careless")


class Till:
    """One way of placing orders, and the database beside it. Items are counted from `_first`: what one way has sold, the other knows of."""

    def __init__(self, shop: Shop, folder: Path, first: int) -> None:
        self.shop = shop
        self._folder = folder
        self._first = first

    def deal(self, item: int, *arguments: str) -> list[int]:
        """Puts an item on deal; returns its options."""
        number = str(self._first + item)
        said = manage_shop(self._folder, "deal", number, "--buyers", "12", *arguments, database=self.shop.database)
        options: list[int] = json.loads(said)[number]
        return options

    def order(self, options: list[int], buyer: int = 1) -> httpx.Response:
        lines = [{"option": option, "quantity": 2} for option in options]
        headers = {"Authorization": f"Token {token(f'buyer{buyer:05}')}"}
        return httpx.post(f"{self.shop.url}/api/v1/orders/", json={"lines": lines}, headers=headers, timeout=60)

    def churn(self, events: int) -> None:
        manage_shop(self._folder, "churn", "--events", str(events), "--rate", "100000", database=self.shop.database)

    def stock(self, item: int) -> tuple[int, list[int]]:
        """(the item's, its options')"""
        item += self._first
        with psycopg.connect(self.shop.database) as connection:
            (whole,) = connection.execute("SELECT stock FROM items_item WHERE id = %s", (item,)).fetchone() or (-1,)
            parts = connection.execute("SELECT stock FROM items_option WHERE item_id = %s ORDER BY id", (item,)).fetchall()
        return whole, [stock for (stock,) in parts]


@pytest.fixture(scope="module")
def tills(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[dict[str, Till]]:
    found = {}
    try:
        for number, way in enumerate(WAYS):
            folder = tmp_path_factory.mktemp(way)
            env = {"BANYAN_SHOP_ORDERS_CARELESS": "1" if way == "careless" else "0"}
            found[way] = Till(start_shop(folder, 1, database=postgres_url, env=env), folder, 50 * number)
        yield found
    finally:
        for till in found.values():
            till.shop.stop()


both = pytest.mark.parametrize("way", WAYS)


@both
def test_stock_is_taken_of_the_options_and_of_the_item(tills: dict[str, Till], way: str) -> None:
    till = tills[way]
    options = till.deal(10, "--stock", "5")
    made = till.order([options[2], options[0]])
    assert made.status_code == 201, made.text
    assert {line["option"] for line in made.json()["lines"]} == {"small", "large"}
    assert till.stock(10) == (11, [3, 5, 3])


@both
def test_what_cannot_be_had_whole_takes_nothing(tills: dict[str, Till], way: str) -> None:
    till = tills[way]
    options = till.deal(11, "--stock", "5", "--scarce", "1", "--one-per-user")
    refused = till.order(options)
    assert (refused.status_code, refused.json()["error"]) == (409, "out_of_stock")
    assert till.stock(11) == (11, [5, 5, 1])
    assert till.order([*options[:2], 10**6]).json()["error"] == "bad_field"
    assert till.stock(11) == (11, [5, 5, 1])
    assert till.order(options[:2]).status_code == 201, "who got nothing has had nothing of his one"


@both
def test_of_the_last_pieces_no_more_are_sold_than_there_are(tills: dict[str, Till], way: str) -> None:
    till = tills[way]
    options = till.deal(12, "--stock", "7")
    with ThreadPoolExecutor(12) as threads:
        statuses = [answer.status_code for answer in threads.map(lambda buyer: till.order(options[:1], buyer), range(1, 13))]
    assert sorted(statuses) == [201] * 3 + [409] * 9
    assert till.stock(12) == (15, [1, 7, 7])


@both
def test_one_for_each_is_one_for_each(tills: dict[str, Till], way: str) -> None:
    till = tills[way]
    options = till.deal(13, "--stock", "50", "--one-per-user")
    assert till.order(options[:1]).status_code == 201
    again = till.order(options[1:])
    assert (again.status_code, again.json()["error"]) == (409, "one_per_user")
    assert till.order(options[1:], buyer=2).status_code == 201
    assert till.stock(13) == (144, [48, 48, 48])


def test_one_for_each_however_many_are_pressed_at_once(tills: dict[str, Till]) -> None:
    till = tills["careful"]
    options = till.deal(14, "--stock", "50", "--one-per-user")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: till.order([options[number % 3]]), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert sum(till.stock(14)[1]) == till.stock(14)[0] == 148


@pytest.mark.parametrize(("way", "status"), [("careful", 201), ("careless", 500)])
def test_who_is_given_up_for_anothers_sake(tills: dict[str, Till], way: str, status: int) -> None:
    """Somebody else, who knows nothing of the shop's order of locks: the careful way is tried again, the careless one fails."""
    till = tills[way]
    options = till.deal(15, "--stock", "9")
    with psycopg.connect(till.shop.database) as other, ThreadPoolExecutor(1) as threads:
        other.execute("SET deadlock_timeout = '60s'")  # the shop is the one to find out, and so the one to be given up
        other.execute("UPDATE items_item SET stock = stock WHERE id = (SELECT item_id FROM items_option WHERE id = %s)", (options[0],))
        ordering = threads.submit(till.order, options[:1])
        _until_it_waits(till.shop.database)
        other.execute("UPDATE items_option SET stock = stock WHERE id = %s", (options[0],))
        other.commit()
        assert ordering.result().status_code == status
    assert till.stock(15) == ((25, [7, 9, 9]) if status == 201 else (27, [9, 9, 9]))


def _until_it_waits(url: str) -> None:
    deadline = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.02)


class _GivenUpError(Exception):
    """As psycopg's own: it has the SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def failing(*states: str) -> list[str]:
    """What `again` made of a transaction that is given up so: "done" or "busy" or the error's text; and once for each try a word before."""
    told = []
    left = list(states)

    def write() -> str:
        told.append("try")
        if left:
            raise OperationalError(left[0]) from _GivenUpError(left.pop(0))
        return "done"

    try:
        told.append(again(write))
    except BusyError:
        told.append("busy")
    except OperationalError as error:
        told.append(str(error))
    return told


def test_tries_are_bounded_and_only_for_what_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_SECONDS", 0.0)
    assert failing() == ["try", "done"]
    assert failing("40P01", "40001") == ["try", "try", "try", "done"]
    assert failing(*["40001"] * ATTEMPTS) == ["try"] * ATTEMPTS + ["busy"]
    assert failing("57P01") == ["try", "57P01"], "a connection that is gone says nothing of what was written"


def test_whatever_happens_in_a_shop_an_item_has_what_its_options_have(tills: dict[str, Till]) -> None:
    """Orders, refills and prices, as the drills make them happen."""
    till = tills["careful"]
    till.churn(400)
    with psycopg.connect(till.shop.database) as connection:
        sums = "SELECT id, stock, (SELECT sum(stock) FROM items_option WHERE item_id = items_item.id) FROM items_item"
        found = connection.execute(sums).fetchall()
    assert len(found) > 50
    assert [row for row in found if row[1] != row[2]] == []
