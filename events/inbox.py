"""What a consumer has applied: written in the transaction of the effect, so that an event takes effect once whatever dies.

Tables, beside those of the store: how far in the stream each partition is, and in which stream; which events took effect, which ones are
parked, and what the copy held from which the store began. The same SQL in SQLite and PostgreSQL; a store brings its transactions.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from events import position
from events.envelope import PARTITIONS, EnvelopeError, Event, decoded
from events.position import Position

MOST_TRIES: Final = 5
"""Of an event whose effect fails, before it is parked."""
REMEMBER_SECONDS: Final = 8 * 86400.0
"""How long ids are kept: longer than the stream keeps the events."""
FORGET_SECONDS: Final = 600.0

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS event_positions (consumer TEXT NOT NULL, partition INTEGER NOT NULL, sequence BIGINT NOT NULL,"
    " PRIMARY KEY (consumer, partition))",
    "CREATE TABLE IF NOT EXISTS event_inbox (consumer TEXT NOT NULL, event_id TEXT NOT NULL, applied_at BIGINT NOT NULL,"
    " PRIMARY KEY (consumer, event_id))",
    "CREATE INDEX IF NOT EXISTS event_inbox_age ON event_inbox (consumer, applied_at)",
    "CREATE TABLE IF NOT EXISTS event_parked (consumer TEXT NOT NULL, sequence BIGINT NOT NULL, event_id TEXT NOT NULL,"
    " event_key TEXT NOT NULL, body TEXT NOT NULL, reason TEXT NOT NULL, tries INTEGER NOT NULL, parked_at BIGINT NOT NULL,"
    " PRIMARY KEY (consumer, sequence))",
    "CREATE TABLE IF NOT EXISTS event_copies (consumer TEXT NOT NULL PRIMARY KEY, position TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS event_as_of (consumer TEXT NOT NULL, partition INTEGER NOT NULL, moment BIGINT NOT NULL,"
    " PRIMARY KEY (consumer, partition))",
    "CREATE TABLE IF NOT EXISTS event_marks (consumer TEXT NOT NULL, mark TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (consumer, mark))",
)

STREAM: Final = "stream"
"""Of the marks: which stream it is that is followed (events.stream.identity)."""
STORE: Final = "store"
"""Of the marks: which store this is. A copy made anew leaves it."""
HERE: Final = "here"
"""Of the marks: it begins where the stream does, whatever that has forgotten."""

AS_OF: Final = "SELECT MIN(moment), COUNT(*) FROM event_as_of WHERE consumer = ?"
"""All that was in the stream at the first is done with, if the second is PARTITIONS."""

type Execute = Callable[..., Sequence[Sequence[Any]]]
"""(statement with ?, *arguments) → its rows."""


class InboxError(RuntimeError):
    """The store can't be used now; the same again later."""


class MovedError(InboxError):
    """The store was filled anew meanwhile: what was read of the stream is not what follows."""


class Store(Protocol):
    """A database with these tables."""

    def transaction(self) -> AbstractContextManager[Execute]:
        """Committed at the end, undone by an exception. Raises InboxError where the database, and not what it was asked, is the trouble."""


class Effect(Protocol):
    """What an event does to a store."""

    def __call__(self, execute: Execute, event: Event) -> None:
        """In the transaction that notes it as done. Any exception undoes it, and is a try that failed; InboxError is none."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message of the stream."""

    sequence: int
    body: bytes
    stored: float = 0.0
    """When the stream took it; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that took no effect, and why."""

    sequence: int
    event_id: str
    key: str
    reason: str
    tries: int
    parked_at: int
    """Milliseconds since 1970, as all times in these tables."""


@dataclass(slots=True)
class Applied:
    """What came of some deliveries."""

    took_effect: list[Event] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    parked: int = 0
    last: datetime | None = None
    """When the last event was written, if one was read."""


class Inbox:
    """Of one consumer, in one store. Used by one thread at a time."""

    def __init__(self, store: Store, consumer: str, effect: Effect, *, not_from: str = "") -> None:
        """`not_from`: events with this origin are passed over: what this store has told others need not be told to it."""
        self._store = store
        self.consumer = consumer
        self._effect = effect
        self._not_from = not_from
        self._tries: Counter[int] = Counter()
        self._forgot = 0
        self._copied: tuple[str, Position] = ("", position.NOTHING)

    def at(self, partition: int) -> int:
        """The stream's number of the last event that is done with; 0: none."""
        with self._store.transaction() as execute:
            return self._at(execute, partition)

    def belongs(self, stream: str, last: int) -> bool:
        """Whether `stream`, whose last number is `last`, is the one of which the numbers are that are kept here. Where it was not kept
        which one that is, it is this one from now on, unless it ends before what was applied."""
        with self._store.transaction() as execute:
            known = self._mark(execute, STREAM)
            if known is None:
                [(most,)] = execute("SELECT COALESCE(MAX(sequence), 0) FROM event_positions WHERE consumer = ?", self.consumer)
                if most > last:
                    return False
                known = self._mark(execute, STREAM, stream)
        return known == stream

    def identity(self) -> str:
        """Of this store, among those that are followed by a consumer of this name."""
        with self._store.transaction() as execute:
            return self._mark(execute, STORE) or self._mark(execute, STORE, uuid.uuid4().hex[:12]) or ""

    def as_of(self, partition: int) -> int | None:
        """All that was in the stream at that moment, in milliseconds since 1970, is done with; None: nobody said so."""
        with self._store.transaction() as execute:
            rows = execute("SELECT moment FROM event_as_of WHERE consumer = ? AND partition = ?", self.consumer, partition)
        return int(rows[0][0]) if rows else None

    def begin_here(self) -> None:
        """Goes on where the stream begins, whichever it is and whatever it has forgotten. What took effect does so no second time."""
        with self._store.transaction() as execute:
            for table in ("event_positions", "event_as_of"):
                execute(f"DELETE FROM {table} WHERE consumer = ?", self.consumer)  # noqa: S608 - one of two
            execute("DELETE FROM event_marks WHERE consumer = ? AND mark = ?", self.consumer, STREAM)
            self._mark(execute, HERE, "1")

    def begins_here(self) -> bool:
        """Somebody said so, and no copy was made since."""
        with self._store.transaction() as execute:
            return self._mark(execute, HERE) is not None

    def apply(self, partition: int, after: int, deliveries: Sequence[Delivery]) -> Applied:
        """Applies what follows `after`, in order, all in one transaction.

        Raises:
            InboxError: nothing happened; the same again later.
            MovedError: nothing happened; begin anew from `at`.
            Exception: an effect's own. Nothing happened. Once it was tried MOST_TRIES times, alone, it is parked instead.
        """
        applied = Applied()
        try:
            with self._store.transaction() as execute:
                self._require(execute, partition, after)
                copied = self._copy(execute)
                for delivery in deliveries:
                    self._one(execute, delivery, copied, applied)
                self._move(execute, partition, deliveries[-1].sequence, deliveries[-1].stored)
                self._forget(execute)
        except InboxError:
            raise
        except Exception:
            if len(deliveries) == 1:
                self._tries[deliveries[0].sequence] += 1
            raise
        if len(deliveries) == 1:
            self._tries.pop(deliveries[0].sequence, None)
        return applied

    def park(self, partition: int, after: int, delivery: Delivery, reason: str) -> Applied:
        """Sets one aside whose effect fails, and goes on behind it. Whatever it is, that can be done: where the database won't have its id
        and key, it is known by its place in the stream.

        Raises:
            InboxError: nothing happened; the same again later.
            MovedError: nothing happened; begin anew from `at`.
        """
        try:
            event = decoded(delivery.body)
        except EnvelopeError:
            event = None
        try:
            self._aside(partition, after, delivery, event, reason)
        except InboxError:
            raise
        except Exception:
            if event is None:
                raise
            self._aside(partition, after, delivery, None, reason)
        self._tries.pop(delivery.sequence, None)
        return Applied(parked=1)

    def exhausted(self, delivery: Delivery) -> bool:
        """Whether it was tried often enough."""
        return self._tries[delivery.sequence] >= MOST_TRIES

    def advance(self, partition: int, after: int, sequence: int, moment: float) -> None:
        """There was nothing for this partition between `after` and `sequence`, nor behind it, at that moment (seconds since 1970)."""
        with self._store.transaction() as execute:
            self._require(execute, partition, after)
            self._move(execute, partition, sequence, moment)

    def parked(self) -> list[Parked]:
        """In the order of the stream."""
        with self._store.transaction() as execute:
            rows = execute(
                "SELECT sequence, event_id, event_key, reason, tries, parked_at FROM event_parked WHERE consumer = ? ORDER BY sequence",
                self.consumer,
            )
        return [Parked(*row) for row in rows]

    def set_aside(self, most: int) -> tuple[int, list[Parked]]:
        """(how many are parked, the first `most` of them)"""
        with self._store.transaction() as execute:
            [(count,)] = execute("SELECT COUNT(*) FROM event_parked WHERE consumer = ?", self.consumer)
            rows = execute(
                "SELECT sequence, event_id, event_key, reason, tries, parked_at FROM event_parked WHERE consumer = ?"
                " ORDER BY sequence LIMIT ?",
                self.consumer,
                most,
            )
        return int(count), [Parked(*row) for row in rows]

    def redrive(self, only: str = "") -> tuple[int, int]:
        """Tries what is parked again, in the order of the stream; `only`: that event's key alone. Of a key whose first one fails again, the
        others wait on. A consumer that runs parks what comes of a key behind what is parked of it: that is tried as well. Returns (how many
        took effect, how many are parked still, of that key or of all)."""
        done = 0
        stuck: set[str] = set()
        parked = self.parked()
        keys = {one.key for one in parked if not only or one.event_id == only}
        while waiting := [one for one in parked if one.key in keys - stuck]:
            for one in waiting:
                if one.key in stuck:
                    continue
                try:
                    done += self._try(one.sequence)
                except InboxError:
                    raise
                except Exception as error:  # whatever it is, it is the reason why it stays
                    stuck.add(one.key)
                    with self._store.transaction() as execute:
                        execute(
                            "UPDATE event_parked SET reason = ?, tries = tries + 1 WHERE consumer = ? AND sequence = ?",
                            why(error),
                            self.consumer,
                            one.sequence,
                        )
            parked = self.parked()
        return done, sum(1 for one in parked if not only or one.key in keys)

    def _try(self, sequence: int) -> bool:
        """Of a parked one; whether it was there still."""
        with self._store.transaction() as execute:
            rows = execute("SELECT body FROM event_parked WHERE consumer = ? AND sequence = ?", self.consumer, sequence)
            if rows:
                event = decoded(rows[0][0].encode())
                self._effect(execute, event)
                self._note(execute, event)
                self._unpark(execute, sequence)
        return bool(rows)

    def discard(self, event_id: str) -> bool:
        """Gives a parked event up: what it told will be seen in no effect. Whether it was there."""
        with self._store.transaction() as execute:
            found = execute("SELECT sequence FROM event_parked WHERE consumer = ? AND event_id = ?", self.consumer, event_id)
            for (sequence,) in found:
                self._unpark(execute, sequence)
        return bool(found)

    def _one(self, execute: Execute, delivery: Delivery, copied: Position, applied: Applied) -> None:
        try:
            event = decoded(delivery.body)
        except EnvelopeError as error:
            self._park(execute, delivery, None, str(error), 1)
            applied.parked += 1
            return
        applied.last = event.time
        if execute("SELECT 1 FROM event_inbox WHERE consumer = ? AND event_id = ?", self.consumer, event.id):
            applied.skipped["repeated"] += 1
        elif copied.covers(event):
            applied.skipped["copied"] += 1
        elif self._not_from and event.origin == self._not_from:
            applied.skipped["own"] += 1
        elif first := execute(
            "SELECT event_id FROM event_parked WHERE consumer = ? AND event_key = ? ORDER BY sequence LIMIT 1", self.consumer, event.key
        ):
            self._park(execute, delivery, event, f"behind {first[0][0]}, of the same key", 0)
            applied.parked += 1
        else:
            self._effect(execute, event)
            self._note(execute, event)
            applied.took_effect.append(event)

    def _aside(self, partition: int, after: int, delivery: Delivery, event: Event | None, reason: str) -> None:
        with self._store.transaction() as execute:
            self._require(execute, partition, after)
            self._park(execute, delivery, event, reason, self._tries[delivery.sequence])
            self._move(execute, partition, delivery.sequence, delivery.stored)

    def _park(self, execute: Execute, delivery: Delivery, event: Event | None, reason: str, tries: int) -> None:
        execute(
            "INSERT INTO event_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self.consumer,
            delivery.sequence,
            event.id if event is not None else f"stream-{delivery.sequence}",
            event.key if event is not None else f"stream-{delivery.sequence}",
            delivery.body.decode(errors="replace").replace("\0", "\ufffd"),
            _storable(reason),
            tries,
            now(),
        )

    def _unpark(self, execute: Execute, sequence: int) -> None:
        execute("DELETE FROM event_parked WHERE consumer = ? AND sequence = ?", self.consumer, sequence)

    def _note(self, execute: Execute, event: Event) -> None:
        execute("INSERT INTO event_inbox VALUES (?, ?, ?)", self.consumer, event.id, now())

    def _require(self, execute: Execute, partition: int, after: int) -> None:
        if self._at(execute, partition) != after:
            raise MovedError(f"{self.consumer}: the store was filled anew")

    def _at(self, execute: Execute, partition: int) -> int:
        rows = execute("SELECT sequence FROM event_positions WHERE consumer = ? AND partition = ?", self.consumer, partition)
        return int(rows[0][0]) if rows else 0

    def _move(self, execute: Execute, partition: int, sequence: int, moment: float) -> None:
        """Nothing is left of what the stream had for this partition at that moment."""
        execute(
            "INSERT INTO event_positions VALUES (?, ?, ?) ON CONFLICT (consumer, partition) DO UPDATE SET sequence = excluded.sequence",
            self.consumer,
            partition,
            sequence,
        )
        execute(
            "INSERT INTO event_as_of VALUES (?, ?, ?) ON CONFLICT (consumer, partition) DO UPDATE SET moment = excluded.moment"
            " WHERE excluded.moment > event_as_of.moment",
            self.consumer,
            partition,
            int(1000 * moment),
        )

    def _forget(self, execute: Execute) -> None:
        """Once in a while, what nobody will send again."""
        if now() - self._forgot > 1000 * FORGET_SECONDS:
            self._forgot = now()
            before = self._forgot - int(1000 * REMEMBER_SECONDS)
            execute("DELETE FROM event_inbox WHERE consumer = ? AND applied_at < ?", self.consumer, before)

    def _mark(self, execute: Execute, mark: str, value: str | None = None) -> str | None:
        """`value`: what it is from now on, unless it was something already."""
        if value is not None:
            execute("INSERT INTO event_marks VALUES (?, ?, ?) ON CONFLICT (consumer, mark) DO NOTHING", self.consumer, mark, value)
        rows = execute("SELECT value FROM event_marks WHERE consumer = ? AND mark = ?", self.consumer, mark)
        return str(rows[0][0]) if rows else None

    def _copy(self, execute: Execute) -> Position:
        rows = execute("SELECT position FROM event_copies WHERE consumer = ?", self.consumer)
        text = rows[0][0] if rows else ""
        if text != self._copied[0]:
            self._copied = (text, position.read(text) if text else position.NOTHING)
        return self._copied[1]


def begin_anew(execute: Execute, consumer: str, copied: str, sequences: dict[int, int], as_of: int | None = None, stream: str = "") -> None:
    """The store holds a new copy, in the transaction that put it there: `copied` is its position, and `sequences` is how far the stream
    was, by partition, before it was read. All that is in the stream up to there had been committed, and is in the copy. `as_of`: when its
    reading began, in milliseconds since 1970. `stream`: the one that was asked; without, it is whichever is followed first."""
    for table in ("event_inbox", "event_parked", "event_positions", "event_copies", "event_as_of"):
        execute(f"DELETE FROM {table} WHERE consumer = ?", consumer)  # noqa: S608 - one of five
    for partition in range(PARTITIONS) if as_of is not None else ():
        execute("INSERT INTO event_as_of VALUES (?, ?, ?)", consumer, partition, as_of)
    for partition, sequence in sequences.items():
        execute("INSERT INTO event_positions VALUES (?, ?, ?)", consumer, partition, sequence)
    execute("INSERT INTO event_copies VALUES (?, ?)", consumer, copied)
    execute("DELETE FROM event_marks WHERE consumer = ? AND mark IN (?, ?)", consumer, STREAM, HERE)
    if stream:
        execute("INSERT INTO event_marks VALUES (?, ?, ?)", consumer, STREAM, stream)


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def why(error: BaseException) -> str:
    """In one line."""
    return _storable(f"{type(error).__name__}: {error}")


def _storable(reason: str) -> str:
    """It may repeat what an event holds, and databases take neither all of that nor any length."""
    return reason.replace("\n", " ").replace("\0", "").encode(errors="replace").decode()[:500]
