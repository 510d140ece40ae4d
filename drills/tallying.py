"""`python -m drills.tallying DATABASE NATS`: a consumer that only writes down what it applies, a line for each time.

The services' own effects could hide that one came twice: written again, a price is the same price. A line more is a line more.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.consumer import Consumer
from events.envelope import Event
from events.inbox import Execute, Inbox
from events.metrics import ConsumerMetrics
from events.running import run
from events.sqlite_store import SqliteStore, alone
from events.stream import Stream

CONSUMER: Final = "tally"
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS effects (line INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, event_key TEXT NOT NULL,
    sequence INTEGER NOT NULL, written REAL NOT NULL, applied REAL NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One effect. Seconds since 1970."""

    event: str
    key: str
    sequence: int
    written: float
    applied: float


def make(path: Path) -> None:
    """The database, empty."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(_TABLE)
        connection.commit()


def lines(path: Path) -> list[Line]:
    """In the order in which they were written."""
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        rows = connection.execute("SELECT event_id, event_key, sequence, written, applied FROM effects ORDER BY line")
        return [Line(*row) for row in rows]


def count(path: Path) -> int:
    """How many there are."""
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return int(connection.execute("SELECT COALESCE(max(line), 0) FROM effects").fetchone()[0])


def apply(execute: Execute, event: Event) -> None:
    execute(
        "INSERT INTO effects (event_id, event_key, sequence, written, applied) VALUES (?, ?, ?, ?, ?)",
        event.id,
        event.key,
        event.sequence,
        event.time.timestamp(),
        time.time(),
    )


def main(arguments: Sequence[str]) -> int:
    database, servers = Path(arguments[0]), arguments[1]
    metrics = ConsumerMetrics()
    with (
        alone(database.with_name(f"{database.name}.follow"), 0.1),
        closing(SqliteStore(database)) as store,
        ThreadPoolExecutor(1, thread_name_prefix="inbox") as thread,
    ):
        consumer = Consumer(Inbox(store, CONSUMER, apply), "shop", Stream((servers,)), metrics, thread)
        return run(CONSUMER, [consumer.run()], metrics.registry, "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
