"""A connection to the ledger's database, SQLite or PostgreSQL, in one dialect: `?` for parameters, and what both know alike.

A connection belongs to one thread. An SQLite file is made by nobody but shadow.database.prepare, which says why it is never opened beside
SQLite.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from shadow import database as addresses

CONNECT_SECONDS: Final = 3
LOCK: Final = 7_233_210_017
"""Of PostgreSQL's advisory locks: two gateways that make the tables at once."""

TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS ledger_entry (
        number {serial},
        route TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, keyed INTEGER NOT NULL,
        digest {bytes} NOT NULL, state TEXT NOT NULL, provider TEXT NOT NULL, refused TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 1, token TEXT NOT NULL, owner TEXT NOT NULL,
        method TEXT NOT NULL, target TEXT NOT NULL, size INTEGER NOT NULL, request_id TEXT NOT NULL,
        began {float} NOT NULL, changed {float} NOT NULL, doubted {float} NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '', status INTEGER NOT NULL DEFAULT 0,
        answer_size INTEGER NOT NULL DEFAULT 0, answer {bytes},
        UNIQUE (route, scope, key))""",
    "CREATE INDEX IF NOT EXISTS ledger_entry_started ON ledger_entry (owner) WHERE state = 'started'",
    "CREATE INDEX IF NOT EXISTS ledger_entry_doubt ON ledger_entry (doubted) WHERE state = 'in-doubt'",
    "CREATE INDEX IF NOT EXISTS ledger_entry_age ON ledger_entry (changed) WHERE state IN ('answered', 'settled')",
    "CREATE INDEX IF NOT EXISTS ledger_entry_answer ON ledger_entry (changed, answer_size) WHERE answer_size > 0",
    "CREATE TABLE IF NOT EXISTS ledger_owner (owner TEXT PRIMARY KEY, seen {float} NOT NULL)",
    """CREATE TABLE IF NOT EXISTS ledger_settled (
        number BIGINT PRIMARY KEY,
        route TEXT NOT NULL, key TEXT NOT NULL, digest {bytes} NOT NULL, provider TEXT NOT NULL, refused TEXT NOT NULL,
        attempts INTEGER NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL, size INTEGER NOT NULL, request_id TEXT NOT NULL,
        began {float} NOT NULL, doubted {float} NOT NULL, reason TEXT NOT NULL, status INTEGER NOT NULL,
        outcome TEXT NOT NULL, by_whom TEXT NOT NULL, why TEXT NOT NULL, at {float} NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS ledger_settled_age ON ledger_settled (at)",
)
_SQLITE: Final = {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "bytes": "BLOB", "float": "REAL"}
_POSTGRES: Final = {
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "bytes": "BYTEA",
    "float": "DOUBLE PRECISION",
}


class AwayError(Exception):
    """The database cannot be used now. The message says why, and nothing of its address."""


class BusyError(AwayError):
    """Just what this was about is held by somebody else. Nothing of it was done, and the rest of the database can be used."""


class RefusedError(Exception):
    """The database can be used, and does not take just this: a mistake of ours."""


class Connection(Protocol):
    """Every method raises AwayError where the database does not do it now, and RefusedError where it never will."""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a statement gives."""
        ...

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """How many rows a statement changed."""
        ...

    def now(self) -> float:
        """Unix seconds, by the clock that all who share the database go by."""
        ...

    def close(self) -> None:
        """It is not used any more. Never raises."""
        ...

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Never raises."""
        ...


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of it or nothing.

    Raises:
        AwayError: nothing of it; or, where the end of it was not heard of, perhaps all.
    """
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def connect(url: str, folder: Path, *, timeout: float) -> Connection:
    """A connection, with the tables there. `timeout`: seconds for which a statement may wait for another.

    Raises:
        AwayError: it cannot be had.
    """
    if addresses.sqlite_path(url, folder) is not None:
        return _Sqlite(url, folder, timeout)
    return _Postgres(url, folder, timeout)


class _Sqlite:
    def __init__(self, url: str, folder: Path, timeout: float) -> None:
        path = addresses.sqlite_path(url, folder)
        try:
            addresses.prepare(url, folder)
            self._connection = sqlite3.connect(str(path), timeout=timeout, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise AwayError(_said(error)) from error
        try:
            self.rows("PRAGMA journal_mode=WAL")
            # FULL: a claim outlives the machine's power, or what was sent could be sent again after it.
            self.rows("PRAGMA synchronous=FULL")
            known = self.rows("SELECT count(*) FROM sqlite_master WHERE name = 'ledger_settled_age'")
            if not known[0][0]:
                with transaction(self):
                    for table in TABLES:
                        self.rows(table.format(**_SQLITE))
        except AwayError:
            self.close()
            raise

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._why(error) from error

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self._why(error) from error

    def now(self) -> float:
        return time.time()

    def _why(self, error: sqlite3.Error) -> AwayError | RefusedError:
        mistake = isinstance(error, sqlite3.DataError | sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError)
        return RefusedError(_said(error)) if mistake else AwayError(_said(error))

    def begin(self) -> None:
        self.rows("BEGIN IMMEDIATE")

    def commit(self) -> None:
        try:
            self.rows("COMMIT")
        except AwayError:
            self.rollback()
            raise

    def rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # it is rolled back when the connection is closed

    def close(self) -> None:
        try:
            self._connection.close()
        except sqlite3.Error:
            pass


class _Postgres:
    def __init__(self, url: str, folder: Path, timeout: float) -> None:
        import psycopg

        self._error = psycopg.Error
        self._mistake = (psycopg.DataError, psycopg.IntegrityError)
        self._unfit = psycopg.ProgrammingError
        self._busy = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
        known = addresses.settings(url, folder)
        options = {**known["OPTIONS"], "connect_timeout": str(CONNECT_SECONDS)}
        waiting = max(1, round(1000 * timeout))
        # A server that is gone without a word is known as gone within twice the timeout, not after the kernel's quarter of an hour.
        options |= {"options": f"-c statement_timeout={2 * waiting} -c lock_timeout={waiting}", "tcp_user_timeout": str(2 * waiting)}
        names = {
            "dbname": known["NAME"],
            "user": known["USER"],
            "password": known["PASSWORD"],
            "host": known["HOST"],
            "port": known["PORT"],
        }
        try:
            self._connection = psycopg.connect(
                **{name: value for name, value in (names | options).items() if value},
                autocommit=True,
            )
        except psycopg.Error as error:
            raise AwayError(_said(error)) from error
        try:
            # A claim outlives the server's power, or what was sent could be sent again after it: whoever said that commits need not did not
            # mean these. What waits for more than its own disk (remote_apply, say) goes on doing so.
            self.rows("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
            if self.rows("SELECT to_regclass('ledger_settled_age')")[0][0] is None:
                with transaction(self):
                    self.rows("SELECT pg_advisory_xact_lock(?)", (LOCK,))
                    for table in TABLES:
                        self.change(table.format(**_POSTGRES))
        except AwayError:
            self.close()
            raise

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(_placed(sql), values).fetchall()
        except self._error as error:
            raise self._why(error) from error

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        try:
            return self._connection.execute(_placed(sql), values).rowcount
        except self._error as error:
            raise self._why(error) from error

    def now(self) -> float:
        return float(self.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def begin(self) -> None:
        self.change("BEGIN")

    def commit(self) -> None:
        self.change("COMMIT")

    def rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except self._error:
            pass  # the connection is gone, and with it what was not committed

    def close(self) -> None:
        try:
            self._connection.close()
        except self._error:
            pass

    def _why(self, error: Exception) -> AwayError | RefusedError:
        if isinstance(error, self._busy):
            return BusyError(_said(error))
        # Of what the server says of a statement much can be put right there (a table, a right); what the library says of it, only here.
        ours = isinstance(error, self._mistake) or (isinstance(error, self._unfit) and error.sqlstate is None)
        return RefusedError(_said(error)) if ours else AwayError(_said(error))


def _placed(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def _said(error: BaseException) -> str:
    """The first line, which names no password: neither library repeats one."""
    text = str(error).strip().partition("\n")[0]
    return text or type(error).__name__
