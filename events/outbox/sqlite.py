"""The outbox in an SQLite file, polled. SQLite has one writer at a time: rows are numbered in the order in which they are committed."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from events.envelope import Event
from events.outbox import MOST_COUNTED, Backlog, OutboxError
from events.outbox.rows import COLUMNS, TABLE, event

BUSY_SECONDS = 5.0


class SqliteOutbox:
    """One connection, and a lock on a file beside the database: it ends with the process, however that ends."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            OutboxError: there is no such file, or it has no outbox.
        """
        self._path = path
        self._lock: int | None = None
        with self._told():
            self._connection = sqlite3.connect(
                f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.execute(f"SELECT 1 FROM {TABLE} LIMIT 1")  # noqa: S608 - a constant
            except sqlite3.Error:
                self._connection.close()
                raise

    def hold(self, partitions: Sequence[int]) -> frozenset[int]:
        """All or none: two relays of one file would only wait for each other."""
        if self._lock is None:
            try:
                found = os.open(Path(f"{self._path}.relay"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise OutboxError(f"{self._path}.relay: {error.strerror}") from error
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(found)
                return frozenset()
            self._lock = found
        return frozenset(partitions)

    def waiting(self, held: frozenset[int], most: int) -> list[Event]:
        marks = ", ".join("?" * len(held))
        query = f"SELECT {COLUMNS} FROM {TABLE} WHERE partition IN ({marks}) ORDER BY number LIMIT ?"  # noqa: S608 - marks and constants
        with self._told():
            return [event(row) for row in self._connection.execute(query, (*sorted(held), most))]

    def published(self, events: Sequence[Event]) -> None:
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                rows = [(one.sequence,) for one in events]
                self._connection.executemany(f"DELETE FROM {TABLE} WHERE number = ?", rows)  # noqa: S608 - a constant
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self._connection.rollback()
                raise

    def backlog(self) -> Backlog:
        query = f"SELECT count(*), min(time) FROM (SELECT time FROM {TABLE} ORDER BY number LIMIT ?)"  # noqa: S608 - a constant
        with self._told():
            rows, oldest = self._connection.execute(query, (MOST_COUNTED,)).fetchone()
        return Backlog(rows, oldest)

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutboxError(f"{self._path}: {error}") from error
