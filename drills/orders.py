"""What PostgreSQL knows of a time deal: deadlocks by its own count, and what was sold, from the shop's tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, LiteralString

import psycopg

from demo.processes import StartError

QUIET_SECONDS: Final = 15.0
"""Within which everybody has left the database, once the shop is gone."""


@dataclass(frozen=True, slots=True)
class Books:
    """After a run."""

    orders: list[float]
    """Unix times at which they were placed."""
    users: Counter[int]
    """How many orders each user has."""
    stocked: dict[str, int]
    """"option 4" or "item 2" → the pieces that there were …"""
    sold: dict[str, int]
    """… those in orders …"""
    left: dict[str, int] = field(default_factory=dict)
    """… and those left."""

    @property
    def oversold(self) -> int:
        """Pieces in orders beyond those that there were: of options, and of items."""
        return sum(max(0, self.sold.get(what, 0) - pieces) for what, pieces in self.stocked.items())

    @property
    def astray(self) -> int:
        """Pieces that are neither in an order nor left, or in both."""
        return sum(abs(pieces - self.sold.get(what, 0) - self.left.get(what, 0)) for what, pieces in self.stocked.items())

    @property
    def sold_out(self) -> list[str]:
        """The options of which nothing is left."""
        return [what for what, pieces in self.left.items() if what.startswith("option") and not pieces]


class Database:
    """The shop's, past the shop."""

    def __init__(self, url: str) -> None:
        self._url = url

    def deadlocks(self) -> int:
        """So far, by PostgreSQL's own count. Complete once `empty` has returned."""
        return self._number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    def empty(self) -> None:
        """Ends what a shop that was killed has left there. Each of them writes down what it has counted when it goes.

        Raises:
            StartError: they do not go.
        """
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        deadline = time.monotonic() + QUIET_SECONDS
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())
            while True:
                row = connection.execute(f"SELECT count(*) {others}".encode()).fetchone()
                if row is not None and not row[0]:
                    return
                if time.monotonic() > deadline:
                    raise StartError("connections to the shop's database stay open though the shop is gone")
                time.sleep(0.05)

    def stock(self, items: Iterable[int]) -> dict[str, int]:
        """Pieces of each of these items, and of each of their options."""
        wanted = list(items)
        with psycopg.connect(self._url) as connection:
            rows = connection.execute(
                "SELECT 'item ' || id, stock FROM items_item WHERE id = ANY(%s)"
                " UNION ALL SELECT 'option ' || id, stock FROM items_option WHERE item_id = ANY(%s)",
                (wanted, wanted),
            ).fetchall()
        return {str(what): int(pieces) for what, pieces in rows}

    def books(self, items: Iterable[int], stocked: dict[str, int], first: int) -> Books:
        """Of the orders from id `first` on. `stocked`: what `stock` said before the run."""
        wanted = list(items)
        lines = "FROM orders_line l JOIN items_option o ON o.id = l.option_id WHERE l.order_id >= %s"
        with psycopg.connect(self._url) as connection:
            orders = connection.execute(
                "SELECT user_id, extract(epoch FROM created_at) FROM orders_order WHERE id >= %s", (first,)
            ).fetchall()
            sold = connection.execute(
                f"SELECT 'option ' || o.id, sum(l.quantity) {lines} GROUP BY o.id"
                f" UNION ALL SELECT 'item ' || o.item_id, sum(l.quantity) {lines} GROUP BY o.item_id".encode(),
                (first, first),
            ).fetchall()
        return Books(
            [float(at) for _, at in orders],
            Counter(int(user) for user, _ in orders),
            stocked,
            {str(what): int(pieces) for what, pieces in sold},
            self.stock(wanted),
        )

    def next_order(self) -> int:
        """The lowest id that no order has yet. Ids of orders that came to nothing are not used again."""
        return self._number("SELECT coalesce(max(id), 0) + 1 FROM orders_order")

    def _number(self, query: LiteralString) -> int:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row is not None else 0
