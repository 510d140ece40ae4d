"""The outbox as PostgreSQL's log tells it: logical decoding by pgoutput, resumed from a slot.

Read in the order of the commits. The slot is read by SQL (pg_logical_slot_peek_binary_changes) and moved by
pg_replication_slot_advance once the stream has what was read: psycopg speaks no replication protocol, so nobody pushes here, each look
decodes the log from where the slot stands, and a relay that dies reads the same again. Rows stay in the table until they are published,
as for the polling relay: a row that is gone was published before, and is passed over.

The slot keeps the log from being removed: while no relay runs, the server's disk fills. `max_slot_wal_keep_size` bounds that. A slot that
was lost by it is dropped by hand; the next relay makes it anew, and begins with what is left in the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from psycopg import sql

from events import position
from events.envelope import Event
from events.outbox import OutboxError
from events.outbox.pgoutput import Begin, Commit, Insert, PgoutputError, Relation, read
from events.outbox.postgres import LOCK, PostgresOutbox
from events.outbox.rows import COLUMNS, TABLE, event

SLOT: Final = "banyan_outbox"
PUBLICATION: Final = "banyan_outbox"
STEP_BYTES: Final = 64 * 1024**2
"""Of the log, decoded at one look: what others have written meanwhile may be more than a statement's time allows for."""
CHANGES: Final = 2
"""How many messages are decoded at one look for each event that is wanted. It ends with the transaction in which they are that many."""
STATEMENT_MS: Final = 60_000
"""For a look, which has to decode a long transaction from its beginning."""


class LogOutbox(PostgresOutbox):
    """See the module's docstring."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._do(sql.SQL("SET statement_timeout = {}").format(STATEMENT_MS).as_string(self._connection))
        self._read: deque[tuple[int, set[int]]] = deque()
        """(end of a transaction, its events that are not published), in the order of the log."""
        self._left: int | None = None
        """Up to this number what is in the table is published first: it may be older than the slot. None: the slot was not looked at."""
        self._all_seen = True
        """Every transaction that was read could be seen in the table, too."""

    def hold(self, partitions: Sequence[int]) -> frozenset[int]:
        """All or none: a slot has all partitions. They are taken in order, and given back at the first that another has: of two who begin
        at once one has them all, and not each a half for ever."""
        for number in sorted(partitions):
            if number not in super().hold((number,)):
                for taken in self._held:
                    self._rows("SELECT pg_advisory_unlock(%s, %s)", LOCK, taken)
                self._held.clear()
                return frozenset()
        if self._left is None:
            self._prepare()
        return frozenset(partitions)

    def waiting(self, held: frozenset[int], most: int) -> list[Event]:
        if self._left:
            self._read.clear()
            old = [one for one in super().waiting(held, most) if one.sequence <= self._left]
            if old:
                return old
            self._left = 0
        ends = self._rows(
            "SELECT least(pg_current_wal_flush_lsn(), confirmed_flush_lsn + %s::numeric) FROM pg_replication_slots WHERE slot_name = %s",
            STEP_BYTES, SLOT,
        )  # fmt: skip
        if not ends:
            raise OutboxError(f"the slot {SLOT} is gone; it is made anew")  # by the next connection
        before = ends[0][0]
        rows = self._rows(
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, %s, %s, 'proto_version', '1', 'publication_names', %s)",
            SLOT, before, CHANGES * most, PUBLICATION,
        )  # fmt: skip
        self._read.clear()
        found = self._seen(self._decode(row[0] for row in rows))
        there = self._there([one.sequence for one in found])
        for _, numbers in self._read:
            numbers.intersection_update(there)
        events = [one for one in found if one.sequence in there]
        if not events:
            # What others write is in the log as well, and need not be decoded again; but only as far as this look has come.
            whole = len(rows) < CHANGES * most and self._all_seen
            end = self._read[-1][0] if self._read else 0
            if whole or end:
                self._advance(end, before if whole else None)
            self._read.clear()
        return events

    def published(self, events: Sequence[Event]) -> None:
        super().published(events)
        done = {one.sequence for one in events}
        end = 0
        for _, numbers in self._read:
            numbers.difference_update(done)
        while self._read and not self._read[0][1]:
            end, _ = self._read.popleft()
        if end:
            self._advance(end, None)

    def _decode(self, messages: object) -> list[Event]:
        columns = COLUMNS.split(", ")
        names: dict[int, tuple[str, ...]] = {}
        found: list[Event] = []
        numbers: set[int] = set()
        try:
            for data in messages:  # type: ignore[attr-defined]
                message = read(bytes(data))
                if isinstance(message, Begin):
                    numbers = set()
                elif isinstance(message, Relation):
                    names[message.number] = message.columns
                elif isinstance(message, Insert):
                    row = dict(zip(names[message.relation], message.values, strict=True))
                    one = event([row[column] for column in columns], int(row["txid"] or 0))
                    numbers.add(one.sequence)
                    found.append(one)
                elif isinstance(message, Commit):
                    self._read.append((message.end, numbers))
        except (PgoutputError, KeyError, ValueError) as error:
            raise OutboxError(f"the slot {SLOT}: {error}") from error
        return found

    def _advance(self, end: int, at_least: str | None) -> None:
        """To `end`, or to `at_least` where that is farther. A slot never goes back."""
        text = f"{end >> 32:X}/{end & 0xFFFFFFFF:X}"
        self._do(
            "SELECT pg_replication_slot_advance(slot_name, greatest(%s::pg_lsn, %s::pg_lsn)) FROM pg_replication_slots"
            " WHERE slot_name = %s AND confirmed_flush_lsn < greatest(%s::pg_lsn, %s::pg_lsn)",
            text, at_least or text, SLOT, text, at_least or text,
        )  # fmt: skip

    def _seen(self, events: list[Event]) -> list[Event]:
        """Up to the first of a transaction that is in the log and not yet to be seen: its commit is written, and it is not over. Its rows
        seem gone, and they are yet to come. Looked at before the rows are."""
        if not events:
            self._all_seen = True
            return []
        over = position.read(self._rows(position.POSTGRES_QUERY)[0][0])
        early = {one.sequence for one in events if not over.covers(one)}
        self._all_seen = not early
        if early:
            while any(not numbers.isdisjoint(early) for _, numbers in self._read):
                self._read.pop()
        kept = {number for _, numbers in self._read for number in numbers}
        return [one for one in events if one.sequence in kept]

    def _there(self, numbers: list[int]) -> frozenset[int]:
        """Those that are not published yet."""
        if not numbers:
            return frozenset()
        query = f"SELECT number FROM {TABLE} WHERE number = ANY(%s)"  # noqa: S608 - a constant
        return frozenset(row[0] for row in self._rows(query, numbers))

    def _prepare(self) -> None:
        """Publication and slot, where they are missing. A slot begins when all that ran at its making is over: what is committed before is
        in the table then, and what is committed later is in its log."""
        if not self._rows("SELECT 1 FROM pg_publication WHERE pubname = %s", PUBLICATION):
            name, table = sql.Identifier(PUBLICATION), sql.Identifier(TABLE)
            statement = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert')").format(name, table)
            self._do(statement.as_string(self._connection))
        if not self._rows("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", SLOT):
            self._rows("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", SLOT)
        self._left = self._rows(f"SELECT COALESCE(max(number), 0) FROM {TABLE}")[0][0]  # noqa: S608 - a constant
