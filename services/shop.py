"""Reads the shop's database, for the import: read-only, and all tables as of one moment.

By its DATABASE_URL rather than through its API: an import by HTTP would take thousands of requests and see a shop that changes meanwhile.
No Django here: the new services must not need the old code to run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from events.address import AddressError, require_postgres
from events.position import POSTGRES_QUERY, SQLITE_QUERY

if TYPE_CHECKING:
    import psycopg

type Row = Sequence[Any]


class ShopError(RuntimeError):
    """The shop can't be read. The message names the place without its password."""


class Reader(Protocol):
    """One consistent view of the shop."""

    def rows(self, query: str) -> Iterator[Row]:
        """The rows of a SELECT that both databases understand."""

    def position(self) -> str:
        """What of the shop's events this view holds (events.position)."""


@contextmanager
def open_shop(url: str) -> Iterator[Reader]:
    """A view of the shop at `url`: sqlite:///relative, sqlite:////absolute or postgres://…

    Raises:
        ShopError: it is no such URL, nothing answers there, or it isn't a shop.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its words are parts of the address
        raise ShopError("--from: the address has a bad host; in a password write @ / : [ as %40 %2F %3A %5B") from None
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        opened = _sqlite(unquote(parts.path).removeprefix("/"))
    elif parts.scheme in {"postgres", "postgresql"}:
        opened = _postgresql(url)
    else:
        raise ShopError("--from: expected the shop's DATABASE_URL, sqlite:///path or postgres://user:password@host:port/name")
    with opened as reader:
        yield reader


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path

    def rows(self, query: str) -> Iterator[Row]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise _unreadable(self._path, error) from error

    def position(self) -> str:
        [(found,)] = self.rows(SQLITE_QUERY)
        return str(found)


@contextmanager
def _sqlite(path: str) -> Iterator[Reader]:
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=10, isolation_level=None)
        try:
            connection.execute("BEGIN")  # in WAL mode everything after the first read is as of that read
            yield _Sqlite(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: sqlite3.Error) -> ShopError:
    return ShopError(f"the shop at {path} can't be read: {error}; make it with `python legacy_django/manage.py seed`")


class _Postgresql:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def rows(self, query: str) -> Iterator[Row]:
        with self._connection.cursor(name="import") as cursor:  # a named one is read in portions
            cursor.execute(query.encode())
            yield from cursor

    def position(self) -> str:
        [(found,)] = self.rows(POSTGRES_QUERY)
        return str(found)


@contextmanager
def _postgresql(url: str) -> Iterator[Reader]:
    import psycopg  # a third of a server's start-up, and only this import needs it

    try:
        require_postgres(url)
    except AddressError as error:
        raise ShopError(f"--from: {error}") from None
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield _Postgresql(connection)
    except psycopg.Error as error:
        # Of an address that libpq can read its messages name host, port and user, and never the password.
        reason = str(error).strip().partition("\n")[0]
        raise ShopError(f"the shop's PostgreSQL can't be read: {reason}") from error
