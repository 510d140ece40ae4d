"""The outbox in a PostgreSQL, polled: any number of relays may run, and each partition is one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from events.address import AddressError, require_postgres
from events.envelope import Event
from events.outbox import MOST_COUNTED, Backlog, OutboxError
from events.outbox.rows import COLUMNS, TABLE, event

LOCK: Final = 0x42414E59
"""Of the advisory locks: "BANY", and beside it the partition."""
CONNECT_SECONDS: Final = 5
STATEMENT_MS: Final = 10_000


class PostgresOutbox:
    """One connection. Its locks end with it, whoever dies, and so no partition is without a relay for longer than that takes."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            OutboxError: it is no such address, or nothing answers there.
        """
        try:
            require_postgres(url)
        except AddressError as error:
            raise OutboxError(f"PostgreSQL: {error}") from None
        with _told():
            self._connection = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="banyan relay",
                options=f"-c statement_timeout={STATEMENT_MS}",
                # A relay whose machine is gone is not to hold its partitions for the two hours that TCP would give it.
                keepalives_idle=10,
                keepalives_interval=3,
                keepalives_count=3,
            )
        self._held: set[int] = set()

    def hold(self, partitions: Sequence[int]) -> frozenset[int]:
        for number in partitions:
            if number not in self._held and self._rows("SELECT pg_try_advisory_lock(%s, %s)", LOCK, number)[0][0]:
                self._held.add(number)
        return frozenset(self._held)

    def waiting(self, held: frozenset[int], most: int) -> list[Event]:
        query = f"SELECT {COLUMNS}, txid::text FROM {TABLE} WHERE partition = ANY(%s) ORDER BY number LIMIT %s"  # noqa: S608 - constants
        return [event(row[:-1], int(row[-1])) for row in self._rows(query, sorted(held), most)]

    def published(self, events: Sequence[Event]) -> None:
        self._do(f"DELETE FROM {TABLE} WHERE number = ANY(%s)", [one.sequence for one in events])  # noqa: S608 - a constant

    def backlog(self) -> Backlog:
        query = f"SELECT count(*), min(time) FROM (SELECT time FROM {TABLE} ORDER BY number LIMIT %s) AS first"  # noqa: S608 - a constant
        [(rows, oldest)] = self._rows(query, MOST_COUNTED)
        return Backlog(rows, oldest)

    def close(self) -> None:
        try:
            self._connection.close()
        except psycopg.Error:
            pass  # it was gone already, and its locks with it

    def _rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return self._run(lambda: self._connection.execute(query.encode(), arguments).fetchall())

    def _do(self, query: str, *arguments: Any) -> None:
        self._run(lambda: self._connection.execute(query.encode(), arguments))

    def _run[Found](self, ask: Callable[[], Found]) -> Found:
        with _told():
            return ask()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        # Of an address that libpq can read its messages name host, port and user, and never the password.
        raise OutboxError(f"PostgreSQL: {str(error).strip().partition('\n')[0] or type(error).__name__}") from error
