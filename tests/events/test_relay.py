"""Relays between a real store and a real nats-server, in this process and as processes that are killed."""

from __future__ import annotations

import asyncio
import math
import re
import sqlite3
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest
from nats.errors import MaxPayloadError
from nats.js.errors import APIError

from demo.processes import Running, python, start
from events.address import AddressError, addresses
from events.envelope import Event
from events.metrics import RelayMetrics
from events.outbox import Outbox
from events.relay import Relay, waves
from events.stream import Stream
from tests.support.nats import Nats
from tests.support.outbox import event, in_stream, write


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start_relay(folder: Path, store: str, nats: Nats, *more: str, name: str = "relay") -> tuple[Running, Callable[[str], float]]:
    """The process, and what it says of a metric."""
    command = python("-m", "events", "relay", "--store", store, "--nats", nats.url, "--metrics", "127.0.0.1:0", *more)
    log = folder / f"{name}.log"
    log.unlink(missing_ok=True)
    running = start(name, command, log_dir=folder, ready=lambda running: "running" in log.read_text())
    found = re.search(r"metrics on (\S+)", log.read_text())
    assert found

    def metric(metric: str) -> float:
        text = urllib.request.urlopen(found[1], timeout=5).read().decode()  # noqa: S310 - its own address
        value = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
        assert value or "{" in metric, metric  # a counter with labels is there from the first time that it counts
        return float(value[1]) if value else 0.0

    return running, metric


def by_key(events: list[Event]) -> dict[str, list[int]]:
    found = defaultdict(list)
    for one in events:
        found[one.key].append(one.data["n"])
    return found


def test_a_wave_has_one_event_of_a_key() -> None:
    events = [event(key, number) for number, key in enumerate("abacaab", 1)]
    found = waves(events)
    assert [[one.key for one in wave] for wave in found] == [["a", "b", "c"], ["a", "b"], ["a"], ["a"]]
    assert [one.data["n"] for wave in found for one in wave if one.key == "a"] == [1, 3, 5, 6]
    assert waves([]) == []


@pytest.mark.parametrize("way", ["table", "log", "sqlite"])
def test_each_is_in_the_stream_once_and_in_order_though_relays_are_killed(
    way: str, tmp_path: Path, nats: Nats, request: pytest.FixtureRequest
) -> None:
    if way == "sqlite":
        path = request.getfixturevalue("sqlite_outbox")
        store, more = f"sqlite:///{path}", ()
        connect: Callable[[], psycopg.Connection | sqlite3.Connection] = lambda: sqlite3.connect(path, isolation_level=None, timeout=10)  # noqa: E731
    else:
        store = request.getfixturevalue("postgres")
        more = ("--from", way)
        connect = lambda: psycopg.connect(store, autocommit=True)  # noqa: E731
    with closing(connect()) as connection:
        number = 0
        for _ in range(4):
            running, _ = start_relay(tmp_path, store, nats, *more)
            try:
                for _ in range(150):
                    number += 1
                    write(connection, f"key-{number % 7}", number)
                time.sleep(0.15)
            finally:
                running.kill()
        running, metric = start_relay(tmp_path, store, nats, *more)
        try:
            until(lambda: connection.execute("SELECT count(*) FROM outbox_event").fetchone()[0] == 0)  # type: ignore[index]
            until(lambda: metric("banyan_outbox_backlog") == 0)
            until(lambda: metric("banyan_relay_nats_connected") == 1)
        finally:
            assert running.stop() == 0
    events = asyncio.run(in_stream(nats.url))
    assert sorted(one.data["n"] for one in events) == list(range(1, 601))
    assert all(numbers == sorted(numbers) for numbers in by_key(events).values())


def test_a_broker_that_is_away_loses_nothing_and_blocks_nobody(tmp_path: Path, nats: Nats, sqlite_outbox: Path) -> None:
    running, metric = start_relay(tmp_path, f"sqlite:///{sqlite_outbox}", nats)
    try:
        with closing(sqlite3.connect(sqlite_outbox, isolation_level=None, timeout=10)) as connection:
            write(connection, "key-1", 1)
            until(lambda: metric("banyan_relay_published_total") == 1)
            nats.kill()
            for number in range(2, 202):
                write(connection, f"key-{number % 3}", number)
            until(lambda: metric("banyan_outbox_backlog") == 200)
            until(lambda: metric("banyan_outbox_oldest_seconds") > 0)
            assert metric("banyan_relay_nats_connected") == 0
            nats.restart()
            until(lambda: metric("banyan_outbox_backlog") == 0)
            assert metric("banyan_outbox_oldest_seconds") == 0
    finally:
        running.stop()
    events = asyncio.run(in_stream(nats.url))
    assert sorted(one.data["n"] for one in events) == list(range(1, 202))
    assert all(numbers == sorted(numbers) for numbers in by_key(events).values())


def test_what_waits_in_an_outbox_that_cannot_be_read_is_not_known(tmp_path: Path, nats: Nats, sqlite_outbox: Path) -> None:
    """0 would say that nothing waits, and no alert would fire."""
    away = sqlite_outbox.rename(tmp_path / "away.sqlite3")
    running, metric = start_relay(tmp_path, f"sqlite:///{sqlite_outbox}", nats)

    def known() -> list[bool]:
        return [not math.isnan(metric(name)) for name in ("banyan_outbox_backlog", "banyan_outbox_oldest_seconds")]

    try:
        until(lambda: metric('banyan_relay_failures_total{what="outbox"}') >= 1)
        assert known() == [False, False]
        away.rename(sqlite_outbox)
        until(lambda: all(known()))
        with closing(sqlite3.connect(sqlite_outbox, isolation_level=None, timeout=10)) as connection:
            connection.execute("DROP TABLE outbox_event")
        until(lambda: not any(known()))
    finally:
        running.stop()


class Waiting:
    """An outbox that is never empty."""

    def waiting(self, held: frozenset[int], most: int) -> list[Event]:
        return [event("key-1", 1)]

    def published(self, events: Sequence[Event]) -> None:
        pass


async def test_whatever_keeps_an_event_from_being_published_is_told_and_over_at_the_next_whole_round(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.relay.RETRY_SECONDS", 0.0)
    answers: list[object] = []

    async def publish(*anything: object, **more: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    usable = asyncio.Event()
    usable.set()
    broker = SimpleNamespace(usable=usable, stream=SimpleNamespace(publish=publish), doubt=lambda: None)
    relay = Relay(lambda: cast(Outbox, Waiting()), Stream(("nats://127.0.0.1:1",)), RelayMetrics())
    monkeypatch.setattr(relay, "_broker", broker)
    monkeypatch.setattr(relay, "_held", frozenset({0}))
    for failure, said in (
        (MaxPayloadError(), "NATS: nats: maximum payload exceeded"),
        (APIError(503, description="no room"), "the stream takes nothing; trying on: no room"),
        (asyncio.CancelledError(), "NATS: CancelledError"),
    ):
        answers[:] = [failure, failure, SimpleNamespace(duplicate=None)]
        for _ in range(2):
            assert not await relay._round(cast(Outbox, Waiting()))
            assert relay.standing.trouble == said
        assert caplog.text.count(said) == 1, "once"
        await relay._round(cast(Outbox, Waiting()))
        assert relay.standing.trouble == "", "it is not empty, and all of it goes out"
    assert caplog.text.count("the outbox is relayed again") == 3


def test_before_the_first_look_nothing_is_known() -> None:
    metrics = RelayMetrics()
    for name in ("banyan_outbox_backlog", "banyan_outbox_oldest_seconds"):
        assert math.isnan(metrics.registry.get_sample_value(name) or 0.0), name


def test_a_second_relay_takes_over(tmp_path: Path, nats: Nats, postgres: str) -> None:
    first, of_first = start_relay(tmp_path, postgres, nats, name="first")
    second, of_second = start_relay(tmp_path, postgres, nats, name="second")
    try:
        until(lambda: of_first("banyan_relay_partitions") + of_second("banyan_relay_partitions") == 4)
        one, other = (first, of_second) if of_first("banyan_relay_partitions") else (second, of_first)
        one.kill()
        until(lambda: other("banyan_relay_partitions") == 4)
        with psycopg.connect(postgres, autocommit=True) as connection:
            for number in range(20):
                write(connection, f"key-{number}", number)
        until(lambda: other("banyan_relay_published_total") == 20)
    finally:
        first.stop()
        second.stop()


def test_wrong_use_is_told(tmp_path: Path) -> None:
    import subprocess

    def said(*more: str) -> tuple[int, str]:
        command = python("-m", "events", "relay", "--nats", "nats://127.0.0.1:1", *more)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": ""})
        return done.returncode, done.stderr

    def status(*more: str) -> int:
        return said(*more)[0]

    log = said("--store", "postgres://127.0.0.1:1/shop", "--from", "log", "--partitions", "0,1")
    assert log == (2, "relay: --from log publishes all partitions: one slot has them all, and --partitions is for --from table\n")
    for store in ("postgres://u:a[b@h/db", "mysql://u:a[b]@h/db", "mysql://u:hush@h/db", "shop.sqlite3", "sqlite://"):
        number, words = said("--store", store)
        assert (number, words.count("\n")) == (2, 1), store
        assert words.startswith("relay: --store or DATABASE_URL: expected the store's DATABASE_URL, sqlite:///path or postgres://")
        assert "a[b" not in words
        assert "hush" not in words
    assert status() == 2
    assert status("--store", "sqlite:///x", "--from", "log") == 2
    assert status("--store", "sqlite:///x", "--partitions", "9") == 2
    assert status("--store", "sqlite:///x", "--nats", "nats://shop:hush@127.0.0.1:1") == 2


@pytest.mark.parametrize("text", ["", "127.0.0.1:4222", "http://x:1", "nats://", "nats://a:b@c:1", "nats://a:1,b:2", "nats://a:x"])
def test_what_is_no_address_of_nats_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        addresses(text)
    assert "a:b" not in str(caught.value)
    assert addresses("nats://a:1, tls://b:2") == ("nats://a:1", "tls://b:2")
