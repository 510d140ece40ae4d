"""The outbox in a real PostgreSQL, polled and by its log, and in SQLite: nothing skipped, order per key, one relay a partition."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from events.__main__ import main as relay
from events.__main__ import name_of
from events.address import require_postgres
from events.envelope import PARTITIONS
from events.outbox import Backlog, Outbox, OutboxError, open_outbox
from events.outbox.log import SLOT, LogOutbox
from events.outbox.postgres import PostgresOutbox
from events.position import POSTGRES_QUERY, read
from services.shop import ShopError, open_shop
from tests.support.outbox import write

ALL = tuple(range(PARTITIONS))
ways = pytest.mark.parametrize("open_it", [open_outbox, LogOutbox], ids=["table", "log"])
type Open = Callable[[str], Outbox]


def publish_all(outbox: Outbox) -> list[tuple[str, int]]:
    """(key, n) of all that is there, in the order in which a relay would have it."""
    found = []
    held = outbox.hold(ALL)
    for _ in range(50):
        events = outbox.waiting(held, 3)
        found += [(event.key, event.data["n"]) for event in events]
        outbox.published(events)
        if not events:
            break
    return found


@ways
def test_what_commits_late_is_not_skipped(postgres: str, open_it: Open) -> None:
    outbox = open_it(postgres)
    with closing(outbox), psycopg.connect(postgres) as late, psycopg.connect(postgres, autocommit=True) as others:
        assert publish_all(outbox) == []
        write(late, "slow-1", 1)
        for number in range(2, 9):
            write(others, f"quick-{number}", number)
        assert [number for _, number in publish_all(outbox)] == list(range(2, 9))
        late.commit()
        assert publish_all(outbox) == [("slow-1", 1)]
        assert publish_all(outbox) == []


@ways
def test_what_is_undone_is_never_told(postgres: str, open_it: Open) -> None:
    outbox = open_it(postgres)
    with closing(outbox), psycopg.connect(postgres) as connection:
        assert publish_all(outbox) == []
        write(connection, "a-1", 1)
        connection.rollback()
        write(connection, "a-1", 2)
        connection.commit()
        assert publish_all(outbox) == [("a-1", 2)]


@ways
def test_a_key_keeps_its_order_though_transactions_began_in_another(postgres: str, open_it: Open) -> None:
    """The case in which a position by transaction numbers up to pg_snapshot_xmin breaks the order: of three that are numbered first, second
    and third, the third changes a key and commits, then the first does, and the second runs on, so that the first is below the xmin and the
    third is not."""
    outbox = open_it(postgres)
    with (
        closing(outbox),
        psycopg.connect(postgres) as first,
        psycopg.connect(postgres) as second,
        psycopg.connect(postgres) as third,
    ):
        assert publish_all(outbox) == []
        numbers = [connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()[0] for connection in (first, second, third)]  # type: ignore[index]
        assert numbers == sorted(numbers)
        write(third, "key-1", 1)
        third.commit()
        write(first, "key-1", 2)
        first.commit()
        with psycopg.connect(postgres) as looking:
            [xmin] = looking.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").fetchone() or [0]
        assert numbers[0] < xmin <= numbers[2], "not the case that this is about"
        assert publish_all(outbox) == [("key-1", 1), ("key-1", 2)]
        second.rollback()


@ways
def test_a_relay_that_died_reads_the_same_again(postgres: str, open_it: Open) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        first = open_it(postgres)
        with closing(first):
            assert publish_all(first) == []
            for number in range(6):
                write(connection, f"key-{number}", number)
            there = first.waiting(first.hold(ALL), 100)
            assert [event.data["n"] for event in there] == list(range(6))
            first.published(there[:2])  # and the rest was in the stream already, or not: it died
        second = open_it(postgres)
        with closing(second):
            assert [number for _, number in publish_all(second)] == [2, 3, 4, 5]


@ways
def test_a_partition_is_one_relay_s(postgres: str, open_it: Open) -> None:
    first, second = open_it(postgres), open_it(postgres)
    with closing(second):
        with closing(first):
            assert first.hold(ALL) == frozenset(ALL)
            assert second.hold(ALL) == frozenset()
        taken_over(second)


def taken_over(outbox: Outbox) -> None:
    """PostgreSQL gives locks back when it has noticed that their connection has ended."""
    deadline = time.monotonic() + 10
    while outbox.hold(ALL) != frozenset(ALL):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_relay_of_the_log_keeps_no_half(postgres: str) -> None:
    table, first, second = open_outbox(postgres), LogOutbox(postgres), LogOutbox(postgres)
    with closing(first), closing(second):
        with closing(table):
            assert table.hold((2,)) == {2}
            assert first.hold(ALL) == frozenset()
            assert table.hold(ALL) == frozenset(ALL), "it has given back what it had of them"
        taken_over(second)


def test_relays_share_the_partitions_of_a_table(postgres: str) -> None:
    first, second = open_outbox(postgres), open_outbox(postgres)
    with closing(first), closing(second), psycopg.connect(postgres, autocommit=True) as connection:
        assert first.hold((0, 1)) == {0, 1}
        assert second.hold(ALL) == {2, 3}
        for number in range(40):
            write(connection, f"key-{number}", number)
        mine, others = first.waiting(frozenset({0, 1}), 100), second.waiting(frozenset({2, 3}), 100)
        assert {event.partition for event in mine} == {0, 1}
        assert {event.partition for event in others} == {2, 3}
        assert len(mine) + len(others) == 40


def test_the_log_begins_with_what_the_table_held_before_the_slot(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection, psycopg.connect(postgres) as late:
        for number in range(5):
            write(connection, f"old-{number}", number)
        outbox = LogOutbox(postgres)
        with closing(outbox):
            assert outbox.hold(ALL)
            write(late, "late-1", 5)
            write(connection, "new-1", 6)
            late.commit()
            assert sorted(number for _, number in publish_all(outbox)) == list(range(7))


def test_the_slot_does_not_keep_what_others_wrote(postgres: str) -> None:
    outbox = LogOutbox(postgres)
    with closing(outbox), psycopg.connect(postgres, autocommit=True) as connection:
        assert publish_all(outbox) == []

        def behind() -> int:
            found = connection.execute(
                "SELECT pg_current_wal_flush_lsn() - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", (SLOT,)
            ).fetchone()
            assert found is not None
            return int(found[0])

        connection.execute("CREATE TABLE other AS SELECT generate_series(1, 20000) AS n")
        connection.execute("DROP TABLE other")
        assert behind() > 100_000
        assert publish_all(outbox) == []
        assert behind() < 100_000


def test_a_whole_transaction_comes_at_once_and_the_slot_waits_for_all_of_it(postgres: str) -> None:
    outbox = LogOutbox(postgres)
    with psycopg.connect(postgres) as connection:
        with closing(outbox):
            assert publish_all(outbox) == []
            for number in range(50):
                write(connection, f"key-{number}", number)
            connection.commit()
            events = outbox.waiting(outbox.hold(ALL), 1)
            assert [event.data["n"] for event in events] == list(range(50))
            outbox.published(events[:49])
        again = LogOutbox(postgres)
        with closing(again):
            assert [number for _, number in publish_all(again)] == [49]


def test_a_look_that_finds_nothing_left_goes_no_farther_than_it_has_seen(postgres: str) -> None:
    """A relay that dies between taking rows out and moving the slot: the next one reads them all again, and what came since behind them."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        outbox = LogOutbox(postgres)
        with closing(outbox):
            assert publish_all(outbox) == []
            for number in range(40):
                write(connection, "key-1", number)
        again = LogOutbox(postgres)
        with closing(again):
            held = again.hold(ALL)
            for _ in range(14):
                events = again.waiting(held, 3)  # from the table: the slot stands before all of them
                PostgresOutbox.published(again, events)
            for number in range(40, 43):
                write(connection, "key-1", number)
            found = []
            for _ in range(50):
                events = again.waiting(held, 3)
                found += [event.data["n"] for event in events]
                again.published(events)
            assert found == [40, 41, 42]


def test_a_commit_that_is_written_and_not_over_is_waited_for(postgres: str) -> None:
    """The log has it before anybody can see its rows, which look as if they were published. Here it waits for a standby that is none."""
    outbox = LogOutbox(postgres)
    connect = partial(psycopg.connect, postgres)
    with closing(outbox), connect(autocommit=True) as others, connect(autocommit=True) as probe, connect() as slow:
        assert publish_all(outbox) == []
        others.execute("SET synchronous_commit = local")
        others.execute("CREATE TABLE probe (n integer)")

        enough = threading.Event()

        def probe_on() -> None:
            while not enough.is_set():
                probe.execute("INSERT INTO probe VALUES (1)")

        def waits(connection: psycopg.Connection[Any]) -> bool:
            query = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s"
            return others.execute(query, (connection.info.backend_pid,)).fetchone() == (True,)

        def until(said: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 20
            while not said():
                assert time.monotonic() < deadline
                time.sleep(0.02)

        with ThreadPoolExecutor(2) as threads:
            try:
                others.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                others.execute("SELECT pg_reload_conf()")
                # It is in force when somebody waits by it.
                probing = threads.submit(probe_on)
                until(lambda: waits(probe))
                enough.set()
                write(others, "key-1", 0)
                write(slow, "key-2", 1)
                committing = threads.submit(slow.commit)
                until(lambda: waits(slow))
                write(others, "key-3", 2)
                for _ in range(2):
                    assert [event.data["n"] for event in outbox.waiting(outbox.hold(ALL), 10)] == [0]
            finally:
                enough.set()
                others.execute("ALTER SYSTEM RESET synchronous_standby_names")
                others.execute("SELECT pg_reload_conf()")
            committing.result(20)
            probing.result(20)
        others.execute("DROP TABLE probe")
        assert publish_all(outbox) == [("key-1", 0), ("key-2", 1), ("key-3", 2)]


def test_a_transaction_s_number_says_whether_a_copy_has_it(postgres: str) -> None:
    outbox = open_outbox(postgres)
    with closing(outbox), psycopg.connect(postgres, autocommit=True) as quick, psycopg.connect(postgres) as slow:
        write(slow, "slow-1", 1)
        write(quick, "quick-1", 2)
        [text] = quick.execute(POSTGRES_QUERY.encode()).fetchone() or [""]
        write(quick, "quick-1", 3)
        slow.commit()
        copied = read(text)
        seen = {event.data["n"]: copied.covers(event) for event in outbox.waiting(outbox.hold(ALL), 10)}
        assert seen == {1: False, 2: True, 3: False}


def test_sqlite_keeps_its_order_and_has_one_relay(sqlite_outbox: Path) -> None:
    url = f"sqlite:///{sqlite_outbox}"
    first, second = open_outbox(url), open_outbox(url)
    with closing(second):
        with closing(first), closing(sqlite3.connect(sqlite_outbox)) as connection:
            assert first.hold(ALL) == frozenset(ALL)
            assert second.hold(ALL) == frozenset()
            for number in range(10):
                write(connection, "key-1", number)
            assert first.waiting(frozenset(ALL), 100) == [], "not committed yet"
            connection.commit()
            assert first.backlog().rows == 10
            assert [number for _, number in publish_all(first)] == list(range(10))
            assert first.backlog() == Backlog(0, None)
        assert second.hold(ALL) == frozenset(ALL)


def test_what_is_no_outbox_is_told_without_its_password(tmp_path: Path) -> None:
    for url in ("mysql://x", f"sqlite:///{tmp_path}/none.sqlite3", "postgres://shop:hush@127.0.0.1:1/shop"):
        with pytest.raises(OutboxError) as caught:
            open_outbox(url)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://shop:50%hush@127.0.0.1:1/shop",
        "postgres://shop:to hush@127.0.0.1:1/shop",
        "postgres://shop:to%00hush@127.0.0.1:1/shop",
        "postgres://shop:to@hush@127.0.0.1:1/shop",
        "postgres://shop:hush/more@127.0.0.1:1/shop",
        "postgres://shop:5432/hush@127.0.0.1:1/shop",
        "postgres://shop:[hush@127.0.0.1:1/shop",
        "postgres://shop:to\u2100hush@127.0.0.1:1/shop",
        "postgres://127.0.0.1:1/shop?hush=1&password=hush",
        "postgres:shop:hush@127.0.0.1:1/shop",
    ],
)
@ways
def test_a_password_that_is_not_escaped_is_in_no_message(open_it: Open, url: str) -> None:
    with pytest.raises(OutboxError) as caught:
        open_it(url)
    with pytest.raises(ShopError) as again, open_shop(url):
        pass
    for error in (caught.value, again.value):
        told = (error, error.__cause__, None if error.__suppress_context__ else error.__context__)
        assert not any("hush" in str(one) for one in told), "a traceback tells them all"
    assert "hush" not in name_of(url)


def test_a_relay_does_not_begin_with_an_address_that_it_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert relay(["relay", "--store", "postgres://shop:50%hush@127.0.0.1:1/shop", "--nats", "nats://127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("relay: the address can't be read")
    assert "hush" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgres://shop:p%40%2F%25@db:5432/shop",
        "postgresql:///shop?host=/run/postgresql&password=a@b",
        "postgres://one:1,two:2/shop",
        "postgres://shop:a?b#c:d@[::1]/a%40b",
    ],
)
def test_an_address_that_libpq_reads_is_one(url: str) -> None:
    require_postgres(url)


def test_a_slot_that_was_dropped_is_made_anew_and_nothing_is_missed(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        outbox = LogOutbox(postgres)
        with closing(outbox):
            assert publish_all(outbox) == []
            write(connection, "key-1", 1)
            connection.execute("SELECT pg_drop_replication_slot(%s)", (SLOT,))
            with pytest.raises(OutboxError, match="made anew"):
                outbox.waiting(outbox.hold(ALL), 10)
        write(connection, "key-1", 2)
        again = LogOutbox(postgres)
        with closing(again):
            assert publish_all(again) == [("key-1", 1), ("key-1", 2)]


def test_a_log_that_is_longer_than_one_look_is_read_step_by_step(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.outbox.log.STEP_BYTES", 100_000)
    outbox = LogOutbox(postgres)
    with closing(outbox), psycopg.connect(postgres, autocommit=True) as connection:
        held = outbox.hold(ALL)
        assert outbox.waiting(held, 10) == []
        connection.execute("CREATE TABLE other AS SELECT generate_series(1, 20000) AS n")
        connection.execute("DROP TABLE other")
        write(connection, "key-1", 1)
        looks = 0
        while not (events := outbox.waiting(held, 10)):
            looks += 1
            assert looks < 500
        assert looks > 3
        assert [one.data["n"] for one in events] == [1]
