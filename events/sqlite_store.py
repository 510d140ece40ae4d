"""A store in an SQLite file, as an inbox writes it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from events.inbox import SCHEMA, Execute, InboxError

BUSY_SECONDS: Final = 10.0
_LATER: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM,
    }
)  # fmt: skip
"""What has nothing to do with the event that is applied. All else is what the event asks for, and would fail again."""


class SqliteStore:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InboxError: there is no such file, or it can't be written.
        """
        self._path = path
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous=NORMAL")  # effect and position are one write: neither is there without the other
            for statement in SCHEMA:
                self._connection.execute(statement)
        except sqlite3.Error as error:
            raise InboxError(f"{path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield execute_on(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _LATER:
                raise InboxError(f"{self._path}: {error}") from error
            raise

    def close(self) -> None:
        self._connection.close()


def execute_on(connection: sqlite3.Connection) -> Execute:
    """The way in which inboxes and effects ask `connection`."""

    def execute(statement: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        return connection.execute(statement, arguments).fetchall()

    return execute


@contextmanager
def alone(path: Path, wait: float = 1.0) -> Iterator[None]:
    """Waits until no other process holds `path`, and holds it while the block lasts: whoever is second stands by. The lock ends with the
    process, however that ends. `wait`: seconds between two tries.

    Raises:
        InboxError: it can't be made.
    """
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InboxError(f"{path}: {error.strerror}") from error
    try:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(wait)
        yield
    finally:
        os.close(held)
