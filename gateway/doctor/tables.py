"""Reads a few rows of a database, SQLite or PostgreSQL, and changes nothing: not even the files that SQLite puts beside its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from shadow import database


class AwayError(Exception):
    """It cannot be read. The message says why, and nothing of its address."""


class AbsentError(Exception):
    """There is no such file yet."""


class Tables(Protocol):
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """
        Raises:
            AwayError: it cannot be read.
        """
        ...

    def has(self, table: str) -> bool:
        """
        Raises:
            AwayError: it cannot be read.
        """
        ...


@contextmanager
def opened(url: str, folder: Path, within: float) -> Iterator[Tables]:
    """For reading.

    Raises:
        AbsentError: an SQLite file that nobody has made yet.
        AwayError: it cannot be had within these seconds.
    """
    path = database.sqlite_path(url, folder)
    connected = _Sqlite(path, within) if path is not None else _Postgres(url, folder, within)
    try:
        yield connected
    finally:
        connected.close()


class _Sqlite:
    def __init__(self, path: Path, within: float) -> None:
        if not path.exists():
            raise AbsentError
        # Whoever opens a file in WAL mode makes -wal and -shm beside it where they are not there. Where they are not, nobody has it open,
        # and it may be read as one that does not change.
        alone = not path.with_name(f"{path.name}-wal").exists()
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro{'&immutable=1' if alone else ''}", uri=True, timeout=within, isolation_level=None
            )
        except sqlite3.Error as error:
            raise AwayError(_first(error)) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise AwayError(_first(error)) from error

    def has(self, table: str) -> bool:
        return bool(self.rows(f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{table}'"))  # noqa: S608 - our own names

    def close(self) -> None:
        self._connection.close()


class _Postgres:
    def __init__(self, url: str, folder: Path, within: float) -> None:
        import psycopg

        self._error = psycopg.Error
        known = database.settings(url, folder)
        names = {
            "dbname": known["NAME"],
            "user": known["USER"],
            "password": known["PASSWORD"],
            "host": known["HOST"],
            "port": known["PORT"],
        }
        waiting = max(1, round(1000 * within))
        options = {
            **known["OPTIONS"],
            "connect_timeout": str(max(2, int(within))),  # of libpq, which takes 1 for 2
            "options": f"-c default_transaction_read_only=on -c statement_timeout={waiting} -c lock_timeout={waiting}",
            "application_name": "banyan doctor",
        }
        try:
            self._connection = psycopg.connect(**{name: value for name, value in (names | options).items() if value}, autocommit=True)
        except psycopg.Error as error:
            raise AwayError(_first(error)) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql.encode()).fetchall()
        except self._error as error:
            raise AwayError(_first(error)) from error

    def has(self, table: str) -> bool:
        return self.rows(f"SELECT to_regclass('{table}')")[0][0] is not None

    def close(self) -> None:
        self._connection.close()


def _first(error: Exception) -> str:
    """The first line, which names no password: neither library repeats one."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def count(tables: Tables, sql: str) -> int:
    """What a SELECT count(*) says."""
    found: Sequence[tuple[Any, ...]] = tables.rows(sql)
    return int(found[0][0])
