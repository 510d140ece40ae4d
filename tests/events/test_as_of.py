"""As of when a store is: never later than the first event that it has not got."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import stream as streams
from events.consumer import Consumer
from events.envelope import PARTITIONS, Event
from events.inbox import AS_OF, Delivery, Execute, Inbox, begin_anew
from events.metrics import ConsumerMetrics
from events.sqlite_store import SqliteStore
from events.stream import Stream
from tests.support.nats import Nats
from tests.support.outbox import event


def effect(execute: Execute, event: Event) -> None:
    if event.data["n"] < 0:
        raise ValueError("it is not wanted")


class Made:
    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        path.touch()
        self.path = path
        self.store = SqliteStore(path)
        self.inbox = Inbox(self.store, "things", effect)

    def as_of(self, partition: int) -> int | None:
        with self.store.transaction() as execute:
            rows = execute("SELECT moment FROM event_as_of WHERE consumer = 'things' AND partition = ?", partition)
        return rows[0][0] if rows else None

    def whole(self) -> tuple[int | None, int]:
        with closing(sqlite3.connect(self.path, timeout=10)) as connection:
            found: tuple[int | None, int] = connection.execute(AS_OF, ("things",)).fetchone()
        return found


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path / "things.sqlite3")
    yield found
    found.store.close()


def delivery(sequence: int, stored: float, number: int = 1) -> Delivery:
    return Delivery(sequence, event(f"key-{sequence}", number, sequence=sequence).encoded(), stored)


def test_it_is_as_of_what_was_applied_last(made: Made) -> None:
    made.inbox.apply(0, 0, [delivery(1, 100.0), delivery(2, 100.5)])
    assert (made.as_of(0), made.as_of(1)) == (100_500, None)
    assert made.whole() == (100_500, 1), "of the other partitions nothing is known: it is as of nothing"


def test_what_failed_moves_nothing_and_what_is_parked_is_done_with(made: Made) -> None:
    made.inbox.apply(0, 0, [delivery(1, 100.0)])
    with pytest.raises(ValueError, match="not wanted"):
        made.inbox.apply(0, 1, [delivery(2, 200.0, -1)])
    assert made.as_of(0) == 100_000
    made.inbox.park(0, 1, delivery(2, 200.0, -1), "it is not wanted")
    assert made.as_of(0) == 200_000, "who shows less than that does not lag behind, but is wrong"


def test_a_quiet_stream_moves_it_on_and_nothing_moves_it_back(made: Made) -> None:
    for partition in range(PARTITIONS):
        made.inbox.advance(partition, 0, 7, 300.0 + partition)
    assert made.whole() == (300_000, PARTITIONS)
    made.inbox.advance(0, 7, 7, 250.0)
    assert made.whole() == (300_000, PARTITIONS)


def test_a_copy_is_as_of_when_its_reading_began(made: Made) -> None:
    made.inbox.apply(0, 0, [delivery(1, 100.0)])
    with made.store.transaction() as execute:
        begin_anew(execute, "things", "number:7", {}, 500_000)
    assert made.whole() == (500_000, PARTITIONS)
    made.inbox.apply(0, 0, [delivery(1, 100.0)])
    assert made.whole() == (500_000, PARTITIONS), "what the stream had before is in the copy"
    with made.store.transaction() as execute:
        begin_anew(execute, "things", "number:7", {})
    assert made.whole() == (None, 0)


@given(gaps=st.lists(st.tuples(st.floats(0.001, 5), st.booleans()), min_size=1, max_size=12), batch=st.integers(1, 4))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_it_is_never_later_than_what_is_not_applied(tmp_path: Path, gaps: list[tuple[float, bool]], batch: int) -> None:
    made = Made(tmp_path / "any.sqlite3")
    try:
        moment, waiting = 1000.0, []
        for number, (gap, wanted) in enumerate(gaps, 1):
            moment += gap
            waiting.append(delivery(number, moment, 1 if wanted else -1))
        at = 0
        while waiting:
            taken = waiting[:batch]
            try:
                made.inbox.apply(0, at, taken)
            except ValueError:
                break
            at, waiting = taken[-1].sequence, waiting[batch:]
            shown = made.as_of(0)
            assert shown is not None
            assert not waiting or shown / 1000 <= waiting[0].stored
        if waiting:
            assert (made.as_of(0) or 0) / 1000 <= waiting[0].stored
    finally:
        made.store.close()


async def test_who_follows_a_quiet_stream_is_as_of_now(nats: Nats, made: Made) -> None:
    """Of one event in one partition; of the others it is known by nobody's saying anything."""
    import nats as client

    connection = await client.connect(nats.url)
    stream = connection.jetstream(timeout=5)
    await streams.ensure(stream, Stream((nats.url,)))
    one = event("key-1", 1)
    before = time.time()
    await stream.publish(streams.subject(one), one.encoded())
    await connection.close()
    with ThreadPoolExecutor(1) as thread:
        task = asyncio.create_task(Consumer(made.inbox, "shop", Stream((nats.url,)), ConsumerMetrics(), thread).run())
        try:
            async with asyncio.timeout(30):
                while made.whole()[1] < PARTITIONS or (made.whole()[0] or 0) < 1000 * before:  # noqa: ASYNC110 - in a database
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert (made.whole()[0] or 0) <= 1000 * time.time()
