"""A consumer between a real nats-server and a real SQLite store: in order, once, and past what cannot be applied."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
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
from events.envelope import PARTITIONS, Event, moment
from events.inbox import MOST_TRIES, Delivery, Execute, Inbox, begin_anew
from events.metrics import ConsumerMetrics
from events.sqlite_store import SqliteStore, execute_on
from events.standing import PartitionStanding
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


async def test_what_no_store_would_take_stops_nobody(nats: Nats, things: Things) -> None:
    one = event("key-1", 1)
    when = moment(one.time).encode()
    wrong = [
        one.encoded().replace(when, b"9999-12-31T23:59:59-12:00"),
        one.encoded()[:-1] + b',"transaction":1e400}',
        one.encoded().replace(one.id.encode(), rb"\ud800"),
        one.encoded().replace(b'"key":"key-1"', rb'"key":"\u0000"'),
    ]
    import nats as client

    connection = await client.connect(nats.url)
    stream = connection.jetstream(timeout=5)
    await streams.ensure(stream, Stream((nats.url,)))
    for body in wrong:
        await stream.publish(streams.subject(one), body)
    await connection.close()
    await publish(nats, [one])
    inbox = things.inbox()
    async with running(nats, inbox) as metrics:
        await until(lambda: things.effects() == [("key-1", 1)])
        await until(lambda: value(metrics, "parked") == 4)
    assert [(each.event_id, each.key) for each in inbox.parked()] == [(f"stream-{number}", f"stream-{number}") for number in range(1, 5)]
    assert all(each.reason.startswith("not an event") for each in inbox.parked()[:3])
    for body in wrong:
        assert PartitionStanding(waiting=Delivery(1, body)).age() == 0.0, "its age is not known"


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
        await publish(nats, [event("key-1", number) for number in range(100, 130)])  # past where it stood: it is another still
        await until(lambda: "not the one that was followed here" in caplog.text)
        await asyncio.sleep(0.3)
    assert len(things.effects()) == 10


async def _forget(nats: Nats, up_to: int) -> None:
    async def forget(stream: JetStreamContext) -> None:
        await stream.purge_stream(STREAM, seq=up_to)

    await asyncio.to_thread(nats.ask, forget)


async def test_a_stream_that_has_forgotten_its_first_messages_is_none_to_begin_with(
    nats: Nats, things: Things, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(nats, [event("key-1", number) for number in range(10)])
    await _forget(nats, 5)
    async with running(nats, things.inbox()):
        await until(lambda: "begins at 5, and no copy here" in caplog.text)
        await asyncio.sleep(0.3)
    assert things.effects() == []
    things.inbox().begin_here()
    async with running(nats, things.inbox()):
        await until(lambda: len(things.effects()) == 6)


@pytest.mark.parametrize(("later", "followed"), [(3600.0, True), (0.0, False), (-3600.0, False)])
@pytest.mark.parametrize("all_of_them", [False, True])
async def test_what_the_stream_has_forgotten_is_in_a_copy_that_was_made_later(
    nats: Nats, things: Things, caplog: pytest.LogCaptureFixture, later: float, followed: bool, all_of_them: bool
) -> None:
    """`later`: when the copy was begun, in seconds since the last message; within a minute the clocks could be apart."""
    await publish(nats, [event("key-1", number, sequence=number + 1) for number in range(10)])
    await _forget(nats, 11 if all_of_them else 9)
    inbox = things.inbox()
    with things.stores[-1].transaction() as execute:
        begin_anew(execute, "things", "number:9", {}, int(1000 * (time.time() + later)))
    async with running(nats, inbox):
        if followed:
            await publish(nats, [event("key-1", 99, sequence=99)])
            await until(lambda: things.effects() == ([("key-1", 99)] if all_of_them else [("key-1", 9), ("key-1", 99)]))
        else:
            await until(lambda: "no copy here" in caplog.text)
            assert things.effects() == []


async def test_an_inbox_of_before_takes_the_stream_that_it_finds(nats: Nats, things: Things, caplog: pytest.LogCaptureFixture) -> None:
    await publish(nats, [event("key-1", number) for number in range(10)])
    inbox = things.inbox()
    async with running(nats, inbox):
        await until(lambda: len(things.effects()) == 10)
    with closing(sqlite3.connect(things.path)) as connection, connection:
        connection.execute("DROP TABLE event_marks")
    inbox = things.inbox()
    assert not inbox.belongs("too short", 9), "one partition may be behind what another has applied"
    async with running(nats, inbox):
        await publish(nats, [event("key-1", 10)])
        await until(lambda: len(things.effects()) == 11)
    assert not inbox.belongs("another", 1000)


async def test_a_copy_knows_the_stream_that_it_was_made_beside(nats: Nats, things: Things, caplog: pytest.LogCaptureFixture) -> None:
    await publish(nats, [event("key-1", number) for number in range(3)])
    which, last = await streams.end(Stream((nats.url,)))
    assert last == 3
    inbox = things.inbox()
    with things.stores[-1].transaction() as execute:
        begin_anew(execute, "things", "number:0", dict.fromkeys(range(PARTITIONS), last), stream=which)
    assert inbox.belongs(which, 3)

    async def lose(stream: JetStreamContext) -> None:
        await stream.delete_stream(STREAM)

    await asyncio.to_thread(nats.ask, lose)
    await publish(nats, [event("key-1", number) for number in range(9)])
    async with running(nats, inbox):
        await until(lambda: "not the one that was followed here" in caplog.text)
    assert things.effects() == []


async def test_two_stores_of_one_name_do_not_take_from_each_other(nats: Nats, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    both = Things(tmp_path / "a"), Things(tmp_path / "b")
    events = [event(f"key-{number % 9}", number) for number in range(300)]
    try:
        async with running(nats, both[0].inbox()) as one, running(nats, both[1].inbox()) as other:
            for number in range(0, 300, 50):
                await publish(nats, events[number : number + 50])
            await until(lambda: all(len(one.effects()) == 300 for one in both))
            assert [value(metrics, "failures_total") for metrics in (one, other)] == [None, None]
    finally:
        for things in both:
            for store in things.stores:
                store.close()
    for things in both:
        assert all(of(things.effects(), f"key-{key}") == list(range(key, 300, 9)) for key in range(9))
    names = await asyncio.to_thread(nats.ask, _durables)
    assert len(set(names)) == 2 * PARTITIONS


async def _durables(stream: JetStreamContext) -> list[str]:
    return [str(info.name) for info in await stream.consumers_info(STREAM)]


def test_a_store_is_the_same_one_whoever_asks_and_after_a_copy(things: Things) -> None:
    first = things.inbox().identity()
    with things.stores[-1].transaction() as execute:
        begin_anew(execute, "things", "number:0", {}, stream="a")
    assert things.inbox().identity() == first
