"""Every answer that is none: the last good state stands, what is wrong is said once, and it is over as soon as Unleash is well."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import time
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

import pytest
from apscheduler.schedulers import base  # type: ignore[import-untyped]  # it ships no types
from apscheduler.triggers import interval  # type: ignore[import-untyped]  # it ships no types

from flags import answers, unleash, usage
from flags.salvage import Salvaged
from flags.unleash import UnleashSource
from tests.support.fake_unleash import OFF, ON, TOKEN, FakeUnleash, Seen, arrived, bomb, on, running

TROUBLE = [
    ("400", "answered 400: .*ends with /api"),
    ("401", "answered 401: flags.token is not valid there"),
    ("403", "answered 403: .*client .backend. token"),
    ("404", "answered 404: .*ends with /api"),
    ("302", "answered 302: .*redirects are not followed"),
    ("429", "answered 429: it is asked too often"),
    ("500", "answered 500"),
    ("502", "answered 502: what stands before it"),
    ("503", "answered 503"),
    ("html", "something other than flags .*not JSON"),
    ("empty", "answered 200 with nothing in it"),
    ("truncated-json", "something other than flags .*not JSON"),
    ("wrong-json", "something other than flags .*not a flags document"),
    ("hang", "did not answer in time"),
    ("slow-head", "does not come to its end"),
    ("slow-body", "answered too slowly: after 0.5 s"),
    ("stall", "stopped in the middle of its answer"),
    ("truncated", "broke off in the middle of its answer"),
    ("truncated-chunked", "broke off in the middle of its answer"),
    ("reset", "can't be reached: Connection reset by peer"),
    ("reset-in-body", "broke off in the middle of its answer"),
    ("closed", "closed the connection without an answer"),
    ("declares-much", "answered with more than 1 MiB"),
    ("endless", "answered with more than 1 MiB"),
    ("bomb", "answered with more than 1 MiB"),
    ("no-gzip", "something that can't be decompressed"),
    ("no-http", "something other than HTTP"),
]


@pytest.mark.parametrize(("mode", "says"), TROUBLE, ids=[mode for mode, _ in TROUBLE])
async def test_trouble_keeps_the_last_good_state(
    server: FakeUnleash, mode: str, says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LARGEST", 1024 * 1024)
    monkeypatch.setattr(answers, "SLOWEST", 0.5)
    monkeypatch.setattr(unleash, "TOO_LONG", 1.0)
    caplog.set_level(logging.INFO)
    server.headers["Location"] = "/elsewhere"
    bomb()  # takes its time once
    async with running(server.url) as (source, seen):
        await seen.until(on)
        server.mode = mode
        await seen.until(lambda snapshot: bool(snapshot.error))
        assert on(seen[-1])
        assert seen[-1].source == "unleash"
        assert re.search(says, seen[-1].error), seen[-1].error
        if mode not in {"hang", "slow-head", "stall"}:
            await server.polled(2)  # the second is asked for after the first was dealt with
        assert len(seen) == 2
        stale = source.staleness()
        assert stale > 0.1
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, [record.getMessage() for record in warnings]
        assert "last good flags stay" in warnings[0].getMessage()
        server.features = OFF
        server.mode = "ok"
        server.hold.set()
        await seen.until(lambda snapshot: not snapshot.error and not on(snapshot))
        assert source.staleness() < 1.0
    assert server.paths == {"/api/client/features"}
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_each_new_trouble_is_said_once_and_its_end_is(server: FakeUnleash, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "banyan.flags")  # as `banyan run` does
    async with running(server.url) as (source, seen):
        await seen.until(on)
        for mode in ("401", "500", "401"):
            server.mode = mode
            for _ in range(2):
                await source.refresh()
        server.mode = "ok"
        await source.refresh()
    said = [record.getMessage() for record in caplog.records if record.name == "banyan.flags" and record.levelno >= logging.INFO]
    troubles = [text for text in said if "stay in force" in text]
    assert [("answered 401" in text, "answered 500" in text) for text in troubles] == [(True, False), (False, True)]
    assert sum("answers again" in text for text in said) == 1


async def test_what_nobody_has_thought_of_is_a_failed_poll(
    server: FakeUnleash, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: bytes) -> Salvaged:
        raise MemoryError("no room")

    async with running(server.url) as (_, seen):
        await seen.until(on)
        with monkeypatch.context() as patched:
            patched.setattr("flags.handover.salvage", broken)
            server.features = OFF
            await seen.until(lambda snapshot: "MemoryError: no room" in snapshot.error)
            await server.polled(2)
            assert on(seen[-1])
        await seen.until(lambda snapshot: not snapshot.error and not on(snapshot))
    assert "Traceback" not in caplog.text


async def test_recovery_without_a_change_clears_the_error(server: FakeUnleash) -> None:
    async with running(server.url) as (_, seen):
        await seen.until(on)
        server.mode = "500"
        await seen.until(lambda snapshot: bool(snapshot.error))
        server.mode = "ok"
        await seen.until(lambda snapshot: not snapshot.error)
        assert seen[-1].revision == seen[0].revision
        assert server.polls.count(200) == 1


async def test_polls_become_rarer_while_it_fails_and_one_success_ends_that(server: FakeUnleash) -> None:
    async with running(server.url) as (_, seen):
        await seen.until(on)
        server.mode = "500"
        await server.polled(5)
        asked = [at for at, status in zip(server.polled_at, server.polls, strict=True) if status == 500]
        waits = [later - earlier for earlier, later in pairwise(asked)]
        for failures, waited in enumerate(waits, start=1):
            longest = 0.1 * 2**failures
            assert longest / 2 <= waited <= longest + 0.3, (failures, waits)
        server.mode = "ok"
        await seen.until(lambda snapshot: not snapshot.error)
        before = len(server.polled_at)
        await server.polled(4)
        again = server.polled_at[before:]
        assert max(later - earlier for earlier, later in pairwise(again)) < 0.4


@pytest.mark.parametrize("status", ["429", "503"])
async def test_it_is_left_alone_for_as_long_as_it_asks(server: FakeUnleash, status: str) -> None:
    async with running(server.url) as (_, seen):
        await seen.until(on)
        server.headers["Retry-After"] = "2"
        server.mode = status
        await seen.until(lambda snapshot: bool(snapshot.error))
        server.mode = "ok"
        server.headers.clear()
        await seen.until(lambda snapshot: not snapshot.error)
        asked = [at for at, answered in zip(server.polled_at, server.polls, strict=True) if answered == int(status)]
        assert len(asked) == 1
        assert 2.0 <= next(at for at in server.polled_at if at > asked[0]) - asked[0] <= 3.5


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_stops_neither_polls_nor_usage(server: FakeUnleash, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, off_by = time.time, 0.0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # what the scheduler asks
            return datetime.now(tz) + timedelta(seconds=off_by)

    for module in (base, interval, unleash):
        monkeypatch.setattr(module, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: real() + off_by)
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 0.0)
    async with running(server.url, metrics_interval=0.2) as (source, seen):
        await seen.until(on)
        await server.polled(2)
        off_by = hours * 3600.0
        server.features = OFF
        source.report({"f": (7, 1)})
        await seen.until(lambda snapshot: not on(snapshot))
        await server.polled(2)
        await arrived(server, "f", (7, 1))


async def test_who_asks_for_a_look_has_one_at_once_though_it_fails(server: FakeUnleash) -> None:
    async with running(server.url) as (source, seen):
        await seen.until(on)
        server.headers["Retry-After"] = "25"
        server.mode = "503"
        await seen.until(lambda snapshot: bool(snapshot.error))
        server.mode = "ok"
        server.features = OFF
        asked = time.monotonic()
        await source.refresh()
        assert time.monotonic() - asked < 1.0
        assert not on(seen[-1])
        assert not seen[-1].error


async def test_a_header_that_never_ends_does_not_hold_up_the_end(server: FakeUnleash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unleash, "TOO_LONG", 0.3)
    monkeypatch.setattr(unleash, "CLOSE", 0.5)
    server.mode = "slow-head"
    seen = Seen()
    source = UnleashSource(server.url, TOKEN, refresh=0.1)
    task = asyncio.create_task(source.run(seen.append), name="source")
    await seen.until(lambda snapshot: "does not come to its end" in snapshot.error)
    before = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert time.monotonic() - before < 2.0
    server.hold.set()


@pytest.mark.parametrize("etag", ['"the same for everything"', '"' + "x" * 5000 + '"'])
async def test_an_etag_that_is_wrong(server: FakeUnleash, etag: str) -> None:
    server.etag = etag
    async with running(server.url) as (source, seen):
        await seen.until(on)
        await server.polled(2)
        assert set(server.asked_with[1:]) == ({etag} if len(etag) < 1024 else {None})  # what is too long is not sent back
        assert len(seen) == 1
        server.mode = "412"
        await seen.until(lambda snapshot: bool(snapshot.error))
        server.features = OFF
        server.mode = "ok"
        await seen.until(lambda snapshot: not snapshot.error and not on(snapshot))  # asked for without it
        assert source.staleness() < 1.0


async def test_the_etag_of_a_304_is_not_that_of_what_is_known(server: FakeUnleash) -> None:
    async with running(server.url) as (_, seen):
        await seen.until(on)
        server.etag_of_304 = '"of something newer"'
        await server.polled(3)
        assert '"of something newer"' not in server.asked_with
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))


async def test_a_server_without_etags_publishes_only_what_changed(server: FakeUnleash) -> None:
    server.mode = "no-etag"
    async with running(server.url) as (_, seen):
        await seen.until(on)
        await server.polled(3)
        assert len(seen) == 1
        server.features = OFF
        await seen.until(lambda snapshot: not on(snapshot))
        server.features = ON
        await seen.until(on)
        assert len(seen) == 3


MEMORY = """
import asyncio, re, sys
from pathlib import Path
from flags.unleash import UnleashSource

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])  # ru_maxrss begins with the parent's

async def main():
    seen = []
    source = UnleashSource(sys.argv[1], "a-token", refresh=30)
    before = peak()
    task = asyncio.create_task(source.run(seen.append))
    while not seen or "MiB" not in seen[-1].error:
        await asyncio.sleep(0.01)
    print(peak() - before)
    task.cancel()

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["declares-much", "endless", "bomb"])
async def test_what_is_too_large_does_not_take_the_memory(server: FakeUnleash, mode: str) -> None:
    """In a process of its own, with the real bound: the peak is that of the whole process."""
    server.mode = mode
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", MEMORY, server.url], capture_output=True, text=True, timeout=60, check=True
    )
    taken = int(child.stdout) // 1024
    print(f"{mode}: {taken} MiB")
    assert taken < 2.5 * answers.LARGEST // 1024 // 1024  # a buffer that grows is copied
