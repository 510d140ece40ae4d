"""What a provider has charged, and what it has answered to which key: SQLite, one transaction for both.

Invariant: a charge and the answer that tells of it are written together or not at all. So whoever asks with the same key again gets the
answer that belongs to the charge, whatever the process died of in between; and what was not written was not charged.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from services.psp.faults import Fault

BUSY_SECONDS: Final = 5.0
LONGEST_LIST: Final = 100
DECLINED: Final = "declined"
"""The card that every provider declines."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS charges (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, reference TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS charges_reference ON charges (reference);
CREATE INDEX IF NOT EXISTS charges_name ON charges (name);
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, digest TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deaths (name TEXT NOT NULL, fault TEXT NOT NULL, PRIMARY KEY (name, fault));
"""


class OtherBodyError(Exception):
    """The key was used before, for something else."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be charged."""

    reference: str
    """What it is for, in the caller's words."""
    amount: int
    """In the currency's smallest unit."""
    currency: str
    card: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


class Ledger:
    """One provider's. Its methods block for the disk, and may be called by several threads."""

    def __init__(self, path: Path, provider: str) -> None:
        """
        Raises:
            sqlite3.Error, OSError: the file cannot be made or used.
        """
        self._provider = provider
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        # NORMAL: the process may be killed at any moment and nothing is lost; the machine is not what a stand-in guards against.
        self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")

    def charge(self, name: str, key: str, digest: str, order: Order) -> Answer:
        """Charges `order`, unless `key` was answered before. An empty key is none, and then every call charges.

        Raises:
            OtherBodyError: `key` was answered before, and `digest` is another.
        """
        with self._writing() as connection:
            if key:
                found = connection.execute("SELECT digest, status, body FROM answers WHERE key = ?", (key,)).fetchone()
                if found is not None:
                    if found["digest"] != digest:
                        raise OtherBodyError
                    return Answer(found["status"], json.loads(found["body"]), replayed=True)
            answer = self._charge(connection, name, order)
            if key:
                body = json.dumps(answer.body)
                connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", (key, digest, answer.status, body))
            return answer

    def _charge(self, connection: sqlite3.Connection, name: str, order: Order) -> Answer:
        if order.card == DECLINED:
            return Answer(402, {"error": "declined", "detail": "The card was declined."})
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        number = connection.execute(
            "INSERT INTO charges (name, reference, amount, currency, created_at) VALUES (?, ?, ?, ?, ?)",
            (name, order.reference, order.amount, order.currency, moment),
        ).lastrowid
        row = connection.execute("SELECT * FROM charges WHERE id = ?", (number,)).fetchone()
        return Answer(201, as_json(self._provider, row))

    def met(self, name: str) -> list[Fault]:
        """The deaths that the payment `name` has brought already."""
        with self._lock:
            rows = self._connection.execute("SELECT fault FROM deaths WHERE name = ?", (name,)).fetchall()
        return [Fault(row["fault"]) for row in rows]

    def meet(self, name: str, fault: Fault) -> None:
        """Writes down that it brings one now."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO deaths VALUES (?, ?)", (name, fault))

    def find(self, number: int) -> dict[str, Any] | None:
        """A charge by its number."""
        with self._lock:
            row = self._connection.execute("SELECT * FROM charges WHERE id = ?", (number,)).fetchone()
        return None if row is None else as_json(self._provider, row)

    def search(self, key: str, reference: str) -> list[dict[str, Any]]:
        """The newest charges of a key, of a reference, or of both: this is how one finds out what became of a payment."""
        wanted = {"name": key, "reference": reference}
        terms = [column for column, value in wanted.items() if value]
        where = " AND ".join(f"{column} = ?" for column in terms) or "1"
        query = f"SELECT * FROM charges WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - its own columns
        with self._lock:
            rows = self._connection.execute(query, (*(wanted[column] for column in terms), LONGEST_LIST)).fetchall()
        return [as_json(self._provider, row) for row in rows]

    def close(self) -> None:
        """No call may come after this one."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise


def as_json(provider: str, row: Mapping[str, Any] | sqlite3.Row) -> dict[str, Any]:
    """A charge as it is told."""
    return {
        "id": f"{provider}-{row['id']:06}",
        "provider": provider,
        "status": "charged",
        "reference": row["reference"],
        "amount": row["amount"],
        "currency": row["currency"],
        "created_at": row["created_at"],
    }


def charges(path: Path) -> list[tuple[str, str]]:
    """(name, reference) of every charge in the ledger at `path`, oldest first; of a provider that need not run.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    # rw and not ro: a reader of a WAL database has to write beside it.
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as connection:
        return [(str(name), str(reference)) for name, reference in connection.execute("SELECT name, reference FROM charges ORDER BY id")]
