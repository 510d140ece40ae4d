"""The outbox of a store, as a relay sees it: rows that are committed and not published yet, in the order of their numbers.

A row is there until it is published: that is all there is of a position. A transaction that commits late has rows with low numbers, which
are found like all others; no reading "beyond number N" can skip them. Within one key numbers are in the order of the commits, since whoever
emits holds the lock on what changed (ADR 18 says why neither a number nor a transaction's number would do as a position).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from events.envelope import Event

MOST_COUNTED = 100_000
"""A backlog is counted up to here: counting is not to be what keeps a database busy that is behind."""


class OutboxError(RuntimeError):
    """The database can't be used now. The message names the place without its password."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be published."""

    rows: int
    """Up to MOST_COUNTED."""
    oldest: str | None
    """The time of the first; None: nothing waits."""


class Outbox(Protocol):
    """Used by one thread at a time. Every method may raise OutboxError; `close` never does."""

    def hold(self, partitions: Sequence[int]) -> frozenset[int]:
        """Those of `partitions` that this relay alone may publish now, from here to the loss of its connection."""

    def waiting(self, held: frozenset[int], most: int) -> list[Event]:
        """The first `most` events of these partitions."""

    def published(self, events: Sequence[Event]) -> None:
        """The stream has them, for good."""

    def backlog(self) -> Backlog:
        """Of all partitions."""

    def close(self) -> None:
        """Gives back what was held."""


def open_outbox(url: str) -> Outbox:
    """The outbox in the database at `url`, polled.

    Raises:
        OutboxError: it is no such URL, or nothing answers there.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its words are parts of the address
        raise OutboxError("the address has a bad host; in a password write @ / : [ as %40 %2F %3A %5B") from None
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        from events.outbox.sqlite import SqliteOutbox

        return SqliteOutbox(unquote(parts.path).removeprefix("/"))
    if parts.scheme in {"postgres", "postgresql"}:
        from events.outbox.postgres import PostgresOutbox  # psycopg takes a while to import, and SQLite needs none of it

        return PostgresOutbox(url)
    raise OutboxError("expected the store's DATABASE_URL, sqlite:///path or postgres://user:password@host:port/name")
