"""What relays and consumers say of themselves beside their metrics: what waits, how old it is, what is parked, and what is not known."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from events.__main__ import name_of
from events.consumer import Consumer
from events.envelope import Event
from events.inbox import Execute
from events.metrics import ConsumerMetrics, served
from events.running import run
from events.standing import MOST_PARKED, service_command
from events.stream import Stream
from tests.events.test_consumer import Things, publish, until
from tests.events.test_relay import start_relay
from tests.support.nats import Nats
from tests.support.outbox import event, write


class Held(Things):
    """An effect that waits until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go = threading.Event()

    def apply(self, execute: Execute, event: Event) -> None:
        assert self.go.wait(30)
        super().apply(execute, event)


@asynccontextmanager
async def told(nats: Nats, things: Things) -> AsyncIterator[Callable[[], dict[str, Any]]]:
    """A consumer that runs, and its one entry as it tells it over HTTP now."""
    metrics = ConsumerMetrics()
    inbox = things.inbox()
    with ThreadPoolExecutor(1) as thread:
        consumer = Consumer(inbox, "shop", Stream((nats.url,)), metrics, thread, lambda event: f"again {event}")
        with served(metrics.registry, "127.0.0.1:0", consumer.standing.plain) as address, httpx.Client(trust_env=False) as client:

            def ask() -> dict[str, Any]:
                assert "banyan_consumer_lag" in client.get(f"http://{address}/metrics").text
                answer = client.get(f"http://{address}/standing")
                assert answer.headers["content-type"] == "application/json"
                [found] = answer.json()["consumers"]
                return dict(found)

            before = ask()
            assert (before["nats"], before["parked"]) == (False, None)
            assert {part["lag"] for part in before["partitions"]} == {None}
            task = asyncio.create_task(consumer.run())
            try:
                yield ask
            finally:
                assert not task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for store in things.stores:
                    store.close()


async def test_what_is_parked_is_told_with_its_reason_and_what_drives_it_on(nats: Nats, tmp_path: Path) -> None:
    things = Things(tmp_path)
    things.refused = {3}
    await publish(nats, [event(f"key-{number % 2}", number) for number in range(10)])
    async with told(nats, things) as ask:
        await until(lambda: ask()["parked"] == 4)
        found = ask()
        assert (found["name"], found["store"], found["nats"]) == ("things", "shop", True)
        first, *behind = found["first_parked"]
        assert (first["key"], first["reason"], first["redrive"]) == ("key-1", "ValueError: 3 is not wanted", f"again {first['event']}")
        assert abs(time.time() - first["at"]) < 60
        assert [one["redrive"] for one in behind] == ["", "", ""], "they come with it"
        assert {part["lag"] for part in found["partitions"]} == {0}
        assert {part["oldest"] for part in found["partitions"]} == {None}
        assert any(part["last"] for part in found["partitions"])
        # The command is another process: that what was parked is gone is seen after a while.
        things.refused = set()
        assert await asyncio.to_thread(things.inbox().redrive) == (4, 0)
        await until(lambda: ask()["parked"] == 0)
        assert ask()["first_parked"] == []


async def test_of_very_many_the_first_are_told_and_their_number(nats: Nats, tmp_path: Path) -> None:
    things = Things(tmp_path)
    things.refused = {0}
    await publish(nats, [event("key-1", number) for number in range(MOST_PARKED + 7)])
    async with told(nats, things) as ask:
        await until(lambda: ask()["parked"] == MOST_PARKED + 7)
        assert len(ask()["first_parked"]) == MOST_PARKED


async def test_how_old_is_what_is_not_applied(nats: Nats, tmp_path: Path) -> None:
    things = Held(tmp_path)
    [one, other] = [event("key-1", 1), event("key-1", 2)]
    await publish(nats, [one, other])
    async with told(nats, things) as ask:
        try:
            await until(lambda: ask()["partitions"][one.partition]["oldest"] is not None)
            part = ask()["partitions"][one.partition]
            assert part["oldest"] == pytest.approx(one.time.timestamp(), abs=0.001)
            assert (part["lag"], part["last"]) == (2, None)
        finally:
            things.go.set()
        await until(lambda: len(things.effects()) == 2)
        await until(lambda: ask()["partitions"][one.partition]["oldest"] is None)
        nats.kill()
        await until(lambda: not ask()["nats"])
        await until(lambda: {part["lag"] for part in ask()["partitions"]} == {None})
        await asyncio.to_thread(nats.restart)
        await until(lambda: {part["lag"] for part in ask()["partitions"]} == {0})
        assert {part["trouble"] for part in ask()["partitions"]} == {""}
        assert ask()["partitions"][one.partition]["last"] == pytest.approx(other.time.timestamp(), abs=0.001)


def test_a_relay_tells_its_backlog_and_what_it_does_not_know(tmp_path: Path, nats: Nats, sqlite_outbox: Path) -> None:
    running, _ = start_relay(tmp_path, f"sqlite:///{sqlite_outbox}", nats)
    address = running.log.read_text().partition("metrics on ")[2].split("/metrics")[0]

    def ask() -> dict[str, Any]:
        [found] = httpx.get(f"{address}/standing", trust_env=False).json()["relays"]
        return dict(found)

    def wait_for(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, ask()
            time.sleep(0.05)

    try:
        wait_for(lambda: ask()["nats"] and ask()["partitions"] == 4)
        assert (ask()["store"], ask()["backlog"], ask()["oldest"], ask()["of"]) == ("store.sqlite3", 0, None, 4)
        with closing(sqlite3.connect(sqlite_outbox, isolation_level=None, timeout=10)) as connection:
            nats.kill()
            for number in range(5):
                write(connection, "key-1", number)
            wait_for(lambda: ask()["backlog"] == 5)
            wait_for(lambda: not ask()["nats"])
            assert abs(time.time() - ask()["oldest"]) < 60
            connection.execute("ALTER TABLE outbox_event RENAME TO elsewhere")
            wait_for(lambda: ask()["backlog"] is None)
            assert "outbox" in ask()["trouble"]
            assert (ask()["oldest"], ask()["partitions"]) == (None, 0)
            connection.execute("ALTER TABLE elsewhere RENAME TO outbox_event")
            nats.restart()
            wait_for(lambda: ask()["backlog"] == 0 and ask()["trouble"] == "")
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize("address", ["abc", "127.0.0.1:99999", "127.0.0.1:" + "9" * 5000, "127.0.0.1:", "a..b:0", "no.such.invalid:0"])
def test_where_nobody_can_listen_nothing_begins(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        raise AssertionError("it began")

    assert run("relay", [work()], CollectorRegistry(), address) == 2
    said = capfd.readouterr().err
    assert said.startswith(("relay: --metrics: ", "relay: can't listen on "))
    assert "Traceback" not in said
    gc.collect()  # else it is told later, of another test


@pytest.mark.parametrize("address", ["[::1]:0", "127.0.0.1:0", ":0"])
def test_they_listen_where_they_are_told_to(address: str) -> None:
    with served(CollectorRegistry(), address, dict) as where, httpx.Client(trust_env=False) as client:
        assert where.startswith("[::1]:" if "[" in address else "127.0.0.1:")
        assert client.get(f"http://{where}/standing").json() == {}


def test_the_name_of_a_store_is_no_password() -> None:
    assert name_of("postgres://shop:hush@db.internal/shop?password=hush") == "shop"
    assert name_of("postgresql:///shop?host=%2Ftmp%2Fx") == "shop"
    assert name_of("sqlite:////srv/var/reviews.sqlite3") == "reviews.sqlite3"


def test_what_came_in_an_event_is_no_part_of_a_command() -> None:
    assert service_command("reviews")("a; rm -r x") == "python -m services.reviews redrive --event 'a; rm -r x'"
