"""Counts each message once: what it comes to and its name are written in one transaction, and a name that is there is not counted again.

A message arrives more than once where a worker ends between its commit and the acknowledgement, where an acknowledgement is lost, and
where a shipper, having heard nothing, sends it again after the stream has forgotten it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import DataError, IntegrityError, connection, transaction

from shadow import counters, store
from shadow.batch import Batch

_log = logging.getLogger("banyan.shadow")

KEEP_SECONDS = 2 * 86400.0
"""How long a name is kept after it was counted. A message that the stream may deliver again keeps its name longer; one that a shipper
could not get rid of for so long, because NATS was away, and that had arrived all the same, would be counted twice."""
_NEVER = (DataError, IntegrityError, ValueError, OverflowError, TypeError)
"""What another try would not mend."""
_ROWS = 200
"""In one statement: SQLite takes 32,766 values, older ones 999."""


@dataclass(slots=True)
class Counted:
    """One message, judged."""

    producer: str
    number: int
    sequence: int
    batch: Batch = field(default_factory=Batch)
    spoilt: Batch = field(default_factory=Batch)
    """What it counts as where the database will never take `batch`."""


def write(messages: Sequence[Counted]) -> int:
    """Adds what `messages` came to, all of it or nothing. How many of them were new.

    Raises:
        django.db.Error: the database refused; they may be written again.
    """
    try:
        return _write([(message, message.batch) for message in messages])
    except _NEVER:
        pass  # not the database's state but what was to be written: below, each by itself
    new = 0
    for message in messages:
        try:
            new += _write([(message, message.batch)])
        except _NEVER as error:
            _log.error("message %d cannot be stored (%s) and counts as lost", message.sequence, type(error).__name__)
            try:
                new += _write([(message, message.spoilt)])
            except _NEVER:  # what its headers say can't be stored either
                bare = Batch()
                bare.count("", time.time(), counters.UNREADABLE)
                new += _write([(message, bare)])
    return new


def _write(messages: Sequence[tuple[Counted, Batch]]) -> int:
    with transaction.atomic():
        new = _claim([message for message, _ in messages])
        batch = Batch()
        left = set(new)
        for message, came_to in messages:
            if (message.producer, message.number) in left:
                left.discard((message.producer, message.number))  # the same one may be in hand twice
                batch.merge(came_to)
        store.write(batch)
    return len(new)


def _claim(messages: Sequence[Counted]) -> set[tuple[str, int]]:
    """The names that nobody has counted, now written down. Another transaction with the same name is waited for."""
    first = {(message.producer, message.number): message.sequence for message in reversed(messages)}
    rows = [(*name, sequence) for name, sequence in sorted(first.items())]
    now = time.time()
    new: set[tuple[str, int]] = set()
    with connection.cursor() as cursor:
        for at in range(0, len(rows), _ROWS):
            part = rows[at : at + _ROWS]
            values = ", ".join(["(%s, %s, %s, %s)"] * len(part))
            cursor.execute(
                f"INSERT INTO shadow_consumed (producer, number, sequence, at) VALUES {values}"  # noqa: S608 - placeholders alone
                " ON CONFLICT (producer, number) DO NOTHING RETURNING producer, number",
                [value for row in part for value in (*row, now)],
            )
            new |= {(str(producer), int(number)) for producer, number in cursor.fetchall()}
    return new


def purge(now: float, floor: int) -> None:
    """Forgets names older than KEEP_SECONDS whose messages the stream will not deliver again: those up to its `floor`."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM shadow_consumed WHERE at < %s AND sequence <= %s", [now - KEEP_SECONDS, floor])
