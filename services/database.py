"""A service's own SQLite database: filled by the import in one transaction; read by the server through a pool of connections, and written
by it through one more, where a service takes writes.

WAL mode, so that an import beside a running server is safe: until it commits every reader sees the old rows, then all of the new ones.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.shop import Reader, Row


class DatabaseError(RuntimeError):
    """The service's database is not there, not filled, or busy."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and how its rows come out of the shop."""

    name: str
    columns: Sequence[str]
    """As in CREATE TABLE."""
    query: str
    """On the shop's database; gives the columns in their order."""
    convert: Callable[[Row], Row] = tuple
    index: str = ""
    """The columns of its index besides the primary key."""


def fill(
    path: Path, tables: Sequence[Table], shop: Reader, beside: Callable[[sqlite3.Connection], None] = lambda connection: None
) -> dict[str, int]:
    """Makes the database equal to the shop, all at once; returns the number of rows of each table. `beside`: what else is to be written in
    the same transaction.

    Raises:
        DatabaseError: the file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            counts = {table.name: _fill_table(connection, table, shop) for table in tables}
            beside(connection)
            connection.execute("COMMIT")
            return counts
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path} can't be written: {error}") from error


def _fill_table(connection: sqlite3.Connection, table: Table, shop: Reader) -> int:
    connection.execute(f"DROP TABLE IF EXISTS {table.name}")
    connection.execute(f"CREATE TABLE {table.name} ({', '.join(table.columns)})")
    marks = ", ".join("?" * len(table.columns))
    rows = map(table.convert, shop.rows(table.query))
    count = connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", rows).rowcount  # noqa: S608 - names are this project's own
    if table.index:
        connection.execute(f"CREATE INDEX {table.name}_index ON {table.name} ({table.index})")
    return count


class Pool:
    """At most `size` connections, each used by one thread at a time, which can't write; and one that can, opened for each write."""

    def __init__(self, path: Path, size: int = 8, timeout: float = 2.0) -> None:
        """
        Raises:
            DatabaseError: there is no database at `path`.
        """
        self._path = path
        self._timeout = timeout
        self._one_writes = threading.Lock()
        self._free: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        try:
            for _ in range(size):
                self._free.put(self._connect())
        except sqlite3.Error as error:
            self.close()
            raise DatabaseError(f"{path} can't be opened: {error}") from error
        self._size = size

    def _connect(self, *, writes: bool = False) -> sqlite3.Connection:
        # rw and not ro: a reader of a WAL database has to write beside it. Never create: an empty database would answer 404 to everything.
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw", uri=True, timeout=5, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        if not writes:
            connection.execute("PRAGMA query_only=1")
        return connection

    @contextmanager
    def writing(self, *, keep: bool = True) -> Iterator[Database]:
        """One transaction, to be used by one thread: committed at the end, undone by an exception, and always unless `keep`.

        Raises:
            DatabaseError: another write took too long, or the file can't be written.
        """
        if not self._one_writes.acquire(timeout=self._timeout):
            raise DatabaseError(f"another write took more than {self._timeout:g} s")
        try:
            with closing(self._connect(writes=True)) as connection:
                connection.execute("BEGIN IMMEDIATE")  # an import that runs meanwhile is waited for
                yield Database(connection)
                if keep:
                    connection.execute("COMMIT")  # or the closing undoes it
        except sqlite3.Error as error:
            raise DatabaseError(f"the database can't be written: {error}") from error
        finally:
            self._one_writes.release()

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """One moment's view of the database, to be used by one thread.

        Raises:
            DatabaseError: all connections stayed busy, or the file can't be read.
        """
        try:
            connection = self._free.get(timeout=self._timeout)
        except queue.Empty as error:
            raise DatabaseError(f"all {self._size} connections busy for {self._timeout:g} s") from error
        try:
            connection.execute("BEGIN")
            try:
                yield Database(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise DatabaseError(f"the database can't be read: {error}") from error
        finally:
            self._free.put(connection)

    def require(self, tables: Sequence[Table]) -> None:
        """
        Raises:
            DatabaseError: the import has not made one of `tables`.
        """
        with self.reading() as database:
            there = {row["name"] for row in database.all("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = [table.name for table in tables if table.name not in there]
        if missing:
            raise DatabaseError(f"{self._path} has no table {missing[0]}")

    def close(self) -> None:
        """Closes the connections that are not in use: all of them, after the server has drained."""
        while True:
            try:
                self._free.get_nowait().close()
            except queue.Empty:
                return


class Database:
    """Reads one moment's state."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, query: str, *arguments: int | str) -> list[sqlite3.Row]:
        return self._connection.execute(query, arguments).fetchall()

    def first(self, query: str, *arguments: int | str) -> sqlite3.Row | None:
        found: Any = self._connection.execute(query, arguments).fetchone()
        return found if isinstance(found, sqlite3.Row) else None
