"""A consumer between a real nats-server and a real SQLite store: in order, once, and past what cannot be applied."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from events import stream as streams
from events.consumer import Consumer
from events.envelope import PARTITIONS, Event
from events.inbox import MOST_TRIES, Delivery, Execute, Inbox, begin_anew
from events.metrics import ConsumerMetrics
from events.sqlite_store import SqliteStore, execute_on
from events.stream import STREAM, Stream
from tests.support.nats import Nats
from tests.support.outbox import event


class Things:
    """A store whose one effect can be made to fail; it is not idempotent, so that twice is seen."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "things.sqlite3"
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE effects (n INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT, number INTEGER)")
            connection.commit()
        self.stores: list[SqliteStore] = []
        self.refused: set[int] = set()
        self.tries = 0

    def apply(self, execute: Execute, event: Event) -> None:
        execute("INSERT INTO effects (event_key, number) VALUES (?, ?)", event.key, event.data["n"])
        if event.data["n"] in self.refused:
            self.tries += 1
            raise ValueError(f"{event.data['n']} is not wanted")

    def effects(self) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT event_key, number FROM effects ORDER BY n").fetchall()

    def inbox(self, **more: Any) -> Inbox:
        self.stores.append(SqliteStore(self.path))
        return Inbox(self.stores[-1], "things", self.apply, **more)


@pytest.fixture
def things(tmp_path: Path) -> Iterator[Things]:
    found = Things(tmp_path)
    yield found
    for store in found.stores:
        store.close()


@asynccontextmanager
async def running(nats: Nats, inbox: Inbox) -> AsyncIterator[ConsumerMetrics]:
    metrics = ConsumerMetrics()
    with ThreadPoolExecutor(1) as thread:
        task = asyncio.create_task(Consumer(inbox, "shop", Stream((nats.url,)), metrics, thread).run())
        try:
            yield metrics
        finally:
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def publish(nats: Nats, events: Iterable[Event]) -> None:
    import nats as client

    connection = await client.connect(nats.url)
    try:
        stream = connection.jetstream(timeout=5)
        await streams.ensure(stream, Stream((nats.url,)))
        for one in events:
            await stream.publish(streams.subject(one), one.encoded(), headers={"Nats-Msg-Id": one.id})
    finally:
        await connection.close()


async def until(true: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for happens in a database or a thread
            await asyncio.sleep(0.02)


def value(metrics: ConsumerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"banyan_consumer_{name}", {"consumer": "things", **labels})


def lags(metrics: ConsumerMetrics) -> list[float]:
    found = [value(metrics, "lag", partition=str(number)) for number in range(PARTITIONS)]
    return [-1.0 if number is None else number for number in found]


def of(effects: Sequence[tuple[str, int]], key: str) -> list[int]:
    return [number for name, number in effects if name == key]


async def test_every_event_takes_effect_once_in_the_order_of_its_key(nats: Nats, things: Things) -> None:
    events = [event(f"key-{number % 9}", number) for number in range(1000)]
    await publish(nats, events[:400])
    async with running(nats, things.inbox()):
        await until(lambda: len(things.effects()) == 400)
        await publish(nats, events[400:700])
        await until(lambda: len(things.effects()) == 700)
    await publish(nats, events[700:])
    async with running(nats, things.inbox()) as metrics:
        await until(lambda: len(things.effects()) == 1000)
        await until(lambda: all(value(metrics, "lag", partition=str(number)) == 0 for number in range(PARTITIONS)))
        assert value(metrics, "applied_total") == 300
        assert value(metrics, "age_seconds_count") == 300
    effects = things.effects()
    assert sorted(number for _, number in effects) == list(range(1000))
    assert all(of(effects, f"key-{key}") == list(range(key, 1000, 9)) for key in range(9))


async def test_what_comes_twice_takes_effect_once(nats: Nats, things: Things) -> None:
    events = [event("key-1", number) for number in range(10)]
    await publish(nats, events)
    import nats as client

    connection = await client.connect(nats.url)
    for one in events:  # as after the window in which NATS knows the ids: without one
        await connection.jetstream().publish(streams.subject(one), one.encoded())
    await connection.close()
    async with running(nats, things.inbox()) as metrics:
        await until(lambda: value(metrics, "skipped_total", why="repeated") == 10)
    assert [number for _, number in things.effects()] == list(range(10))


async def test_what_cannot_be_applied_is_parked_and_its_key_waits_behind_it(nats: Nats, things: Things) -> None:
    things.refused = {3}
    events = [event(f"key-{number % 2}", number) for number in range(10)]
    await publish(nats, events)
    inbox = things.inbox()
    async with running(nats, inbox) as metrics:
        await until(lambda: len(things.effects()) == 6 and value(metrics, "parked"))
        await until(lambda: value(metrics, "parked") == 4)
    assert of(things.effects(), "key-0") == [0, 2, 4, 6, 8]
    assert of(things.effects(), "key-1") == [1]
    assert things.tries >= MOST_TRIES
    parked = inbox.parked()
    assert [one.key for one in parked] == ["key-1"] * 4
    assert parked[0].reason == "ValueError: 3 is not wanted"
    assert parked[0].tries == MOST_TRIES
    assert parked[1].reason == f"behind {parked[0].event_id}, of the same key"

    assert inbox.redrive() == (0, 4), "it is not wanted still"
    assert of(things.effects(), "key-1") == [1]
    things.refused = set()
    assert inbox.redrive(parked[1].event_id) == (4, 0), "one of a key is all of it, from its first"
    assert of(things.effects(), "key-1") == [1, 3, 5, 7, 9]
    assert inbox.redrive() == (0, 0)


def test_what_is_parked_behind_one_while_it_is_tried_again_is_tried_as_well(things: Things) -> None:
    """A consumer that runs: it parks what it is given of a key of which something is parked."""
    inbox, running = things.inbox(), things.inbox()
    things.refused = {0, 10}
    first, other = event("key-1", 0), event("key-2", 10)
    for sequence, one in ((1, first), (2, other)):
        inbox.park(0, sequence - 1, Delivery(sequence, one.encoded()), "not wanted")
    things.refused = {10}
    begun, came = inbox._try, iter(range(3, 6))

    def trying(sequence: int) -> bool:
        if (number := next(came, 0)) > 0:
            running.apply(0, number - 1, [Delivery(number, event("key-1", number).encoded())])
        return begun(sequence)

    inbox._try = trying  # type: ignore[method-assign]
    assert inbox.redrive(first.id) == (4, 0)
    assert of(things.effects(), "key-1") == [0, 3, 4, 5]
    assert inbox.redrive() == (0, 1), "the other is not wanted still"
    assert [one.event_id for one in inbox.parked()] == [other.id]


async def test_one_that_is_given_up_lets_those_behind_it_go(nats: Nats, things: Things) -> None:
    things.refused = {0}
    await publish(nats, [event("key-1", number) for number in range(3)])
    inbox = things.inbox()
    async with running(nats, inbox):
        await until(lambda: len(inbox_parked(things)) == 3)
    assert inbox.discard(inbox.parked()[0].event_id)
    assert not inbox.discard("unheard-of")
    assert inbox.redrive() == (2, 0)
    assert of(things.effects(), "key-1") == [1, 2]


def inbox_parked(things: Things) -> list[Any]:
    with closing(sqlite3.connect(things.path)) as connection:
        return connection.execute("SELECT * FROM event_parked").fetchall()


async def test_what_is_no_event_is_parked_at_once(nats: Nats, things: Things) -> None:
    await publish(nats, [event("key-1", 1)])
    import nats as client

    connection = await client.connect(nats.url)
    await connection.jetstream().publish("events.shop.0.thing.changed", b"\xff{")
    await connection.close()
    inbox = things.inbox()
    async with running(nats, inbox):
        await until(lambda: inbox_parked(things) and things.effects())
    [one] = inbox.parked()
    assert one.event_id == "stream-2"
    assert one.reason.startswith("not an event")


async def test_what_a_copy_has_is_passed_over_and_what_it_lacks_is_not(nats: Nats, things: Things) -> None:
    await publish(nats, [event("key-1", number, sequence=number) for number in range(1, 11)])
    inbox = things.inbox()
    async with running(nats, inbox):
        await until(lambda: len(things.effects()) == 10)
        with closing(sqlite3.connect(things.path, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM effects")  # a new copy, which has up to 7
            begin_anew(execute_on(connection), "things", "number:7", {})
            connection.execute("COMMIT")
        await publish(nats, [event("key-1", 11, sequence=11)])
        await until(lambda: len(things.effects()) == 4)
    assert [number for _, number in things.effects()] == [8, 9, 10, 11]


async def test_its_own_word_is_passed_over(nats: Nats, things: Things) -> None:
    await publish(nats, [event("key-1", 1, origin="things"), event("key-1", 2)])
    async with running(nats, things.inbox(not_from="things")):
        await until(lambda: len(things.effects()) == 1)
    assert things.effects() == [("key-1", 2)]


async def test_a_broker_that_dies_costs_nothing(nats: Nats, things: Things) -> None:
    events = [event(f"key-{number % 5}", number) for number in range(300)]
    await publish(nats, events[:100])
    async with running(nats, things.inbox()) as metrics:
        assert all(map(math.isnan, lags(metrics))), "nobody has asked yet"
        await until(lambda: len(things.effects()) == 100)
        await until(lambda: lags(metrics) == [0.0] * PARTITIONS)
        nats.kill()
        await until(lambda: all(map(math.isnan, lags(metrics))))
        await asyncio.to_thread(nats.restart)
        await publish(nats, events[100:])
        await until(lambda: len(things.effects()) == 300)
    assert all(of(things.effects(), f"key-{key}") == list(range(key, 300, 5)) for key in range(5))


async def test_a_stream_that_has_forgotten_what_follows_is_no_stream_to_go_on_with(
    nats: Nats, things: Things, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(nats, [event("key-1", number) for number in range(10)])
    async with running(nats, things.inbox()):
        await until(lambda: len(things.effects()) == 10)
    await publish(nats, [event("key-1", number) for number in range(10, 20)])

    async def forget(stream: JetStreamContext) -> None:
        await stream.purge_stream(STREAM, seq=15)

    await asyncio.to_thread(nats.ask, forget)
    async with running(nats, things.inbox()) as metrics:
        await until(lambda: "fill the store anew" in caplog.text)
        await asyncio.sleep(0.3)
        assert any(map(math.isnan, lags(metrics))), "how far behind is not known"
    assert len(things.effects()) == 10

    async def another(stream: JetStreamContext) -> None:
        try:
            await stream.delete_stream(STREAM)
        except NotFoundError:
            pass

    await asyncio.to_thread(nats.ask, another)
    await publish(nats, [event("key-1", 99)])
    caplog.clear()
    async with running(nats, things.inbox()):
        await until(lambda: "another stream" in caplog.text)
    assert len(things.effects()) == 10
