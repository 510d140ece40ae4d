"""The outbox of a store, as a relay sees it: rows that are committed and not published yet, in the order of their numbers.

A row is there until it is published: that is all there is of a position. A transaction that commits late has rows with low numbers, which
are found like all others; no reading "beyond number N" can skip them. Within one key numbers are in the order of the commits, since whoever
emits holds the lock on what changed (ADR 18 says why neither a number nor a transaction's number would do as a position).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
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


EXPECTED: Final = (
    "expected the store's DATABASE_URL, sqlite:///path or postgres://user:password@host:port/name; special characters of a password as %XX"
)


def kind_of(url: str) -> str:
    """sqlite or postgres, of the database at `url`; "": it is no URL of either, and no later try will find it one."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a [ in its password
        return ""
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return "sqlite"
    return "postgres" if parts.scheme in {"postgres", "postgresql"} else ""


def open_outbox(url: str) -> Outbox:
    """The outbox in the database at `url`, polled.

    Raises:
        OutboxError: it is no such URL, or nothing answers there.
    """
    kind = kind_of(url)
    if kind == "sqlite":
        from events.outbox.sqlite import SqliteOutbox

        return SqliteOutbox(unquote(urlsplit(url).path).removeprefix("/"))
    if kind == "postgres":
        from events.outbox.postgres import PostgresOutbox  # psycopg takes a while to import, and SQLite needs none of it

        return PostgresOutbox(url)
    raise OutboxError(EXPECTED)
