"""Counters put into a database that another process reads, as a shipper writes them: with their sums."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from shadow.spans import WIDTHS


def insert(database: sqlite3.Connection, route: str, at: int, counts: Mapping[str, int]) -> None:
    """In the second `at`, of which nothing of these names may be there yet."""
    for name, count in counts.items():
        database.execute("INSERT INTO shadow_tally (route, at, width, name, count) VALUES (?, ?, 1, ?, ?)", (route, at, name, count))
        for width in WIDTHS[1:]:
            database.execute(
                "INSERT INTO shadow_tallysum (route, width, at, name, count) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (route, width, at, name) DO UPDATE SET count = count + excluded.count",
                (route, width, at // width * width, name, count),
            )
