"""Compares a service's tables with the shop's, row by row, and says where they have drifted apart.

An event may be on its way while both are read. So what differs is read again after a while, and only what differs then too, in a row that
has not changed in the shop meanwhile, is drift.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.database import DatabaseError, Table
from services.shop import Reader, Row

MOST_NAMED = 20

type Digests = dict[Any, bytes]
"""A row's first column → what the row is."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Of one table. True where there is some."""

    table: str
    compared: int
    missing: tuple[Any, ...]
    """In the shop, and not here."""
    extra: tuple[Any, ...]
    """Here, and not in the shop."""
    different: tuple[Any, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        parts = {name: list(getattr(self, name)) for name in ("missing", "extra", "different")}
        counts = {name: len(rows) for name, rows in parts.items()}
        return {"table": self.table, "compared": self.compared, **counts, "rows": {name: rows[:MOST_NAMED] for name, rows in parts.items()}}

    def words(self) -> str:
        """For people."""
        parts = [
            f"{len(rows)} {name} ({', '.join(map(str, rows[:MOST_NAMED]))}{' …' if len(rows) > MOST_NAMED else ''})"
            for name, rows in (("missing", self.missing), ("too many", self.extra), ("different", self.different))
            if rows
        ]
        return "; ".join(parts) or "all equal"


def compare(database: Path, tables: Sequence[Table], shop: Callable[[], AbstractContextManager[Reader]], settle: float) -> list[Drift]:
    """One for each table. `settle`: seconds.

    Raises:
        ShopError, DatabaseError: one of them can't be read.
    """
    first = _both(database, tables, shop)
    if all(there == here for there, here in first):
        return [Drift(table.name, len(there), (), (), ()) for table, (there, _) in zip(tables, first, strict=True)]
    time.sleep(settle)
    second = _both(database, tables, shop)
    return [_drift(table.name, old, new) for table, old, new in zip(tables, first, second, strict=True)]


def _drift(name: str, old: tuple[Digests, Digests], new: tuple[Digests, Digests]) -> Drift:
    (there_before, here_before), (there, here) = old, new
    apart = [
        key
        for key in {**there, **here}
        if there.get(key) != here.get(key)
        and there_before.get(key) != here_before.get(key)
        and there_before.get(key) == there.get(key)  # it has changed in the shop since: its event is on its way
    ]
    return Drift(
        name,
        len(there),
        tuple(sorted(key for key in apart if key not in here)),
        tuple(sorted(key for key in apart if key not in there)),
        tuple(sorted(key for key in apart if key in there and key in here)),
    )


def _both(database: Path, tables: Sequence[Table], shop: Callable[[], AbstractContextManager[Reader]]) -> list[tuple[Digests, Digests]]:
    with shop() as reader:
        there = [_digests(map(table.convert, reader.rows(table.query))) for table in tables]
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True, timeout=5, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            here = [
                _digests(connection.execute(f"SELECT * FROM {table.name}"))  # noqa: S608 - names are this project's own
                for table in tables
            ]
    except sqlite3.Error as error:
        raise DatabaseError(f"{database} can't be read: {error}") from error
    return list(zip(there, here, strict=True))


def _digests(rows: Iterable[Row]) -> Digests:
    return {row[0]: blake2b(repr(tuple(row)).encode(), digest_size=12).digest() for row in rows}
