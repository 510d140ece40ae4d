"""A disk that is full: what cannot be written costs no client its answer, and no payment is sent that could not be written down first.

The disk is the system's own word: every process of the gateway may write no file any further (RLIMIT_FSIZE; setrlimit(2), EFBIG). Sockets
and pipes are no files.
"""

# ruff: noqa: ASYNC110, ASYNC240 - what the gateway has written has no event to wait for, and the files are tiny
from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, Upstream, gateway, ok
from tests.support.payments import keys_of, till

pytestmark = pytest.mark.asyncio

GET = b"GET /x?%d HTTP/1.1\r\nHost: a\r\n\r\n"
TOML = """
[gateway]
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "r"
match = "/x"
candidate = "new"
"""


def processes(pid: int) -> list[int]:
    """A process and all that it has started, and these."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += processes(int(child))
    return found


@contextmanager
def full(running: Gateway) -> Iterator[None]:
    """No process of the gateway can write a byte to a file."""
    every = processes(running.process.pid)
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1])) for pid in every]
    try:
        yield
    finally:
        for pid, limit in zip(every, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


async def lines(path: Path, count: int) -> list[str]:
    """The access log's, once there are so many."""
    async with asyncio.timeout(15):
        while len(found := path.read_text().splitlines()) < count:
            await asyncio.sleep(0.05)
    return found


async def lost(running: Gateway, count: int) -> None:
    """Waits until so many lines of the access log are counted as lost."""
    async with asyncio.timeout(15):
        while f'banyan_events_total{{event="access-log-dropped"}} {count}.0' not in await asyncio.to_thread(running.metrics):
            await asyncio.sleep(0.1)


async def compared(folder: Path, count: int) -> None:
    """Waits until so many exchanges were captured and compared, and no more."""
    async with asyncio.timeout(30):
        while True:
            found: dict[str, int] = {}
            with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3")) as database, suppress(sqlite3.OperationalError):
                # It is made when the shipper has started.
                found = dict(database.execute("SELECT name, SUM(count) FROM shadow_tally GROUP BY name").fetchall())
            if (found.get("captured"), found.get("matched")) == (count, count):
                return
            assert found.get("captured", 0) <= count, found
            await asyncio.sleep(0.1)


async def test_every_client_is_answered_and_what_is_not_written_is_counted(tmp_path: Path) -> None:
    legacy, new = Upstream(ok), Upstream(ok)
    for upstream in (legacy, new):
        await upstream.start()
    log = tmp_path / "access.log"
    try:
        toml = TOML.format(folder=tmp_path, legacy=legacy.port, new=new.port)
        async with gateway(tmp_path, toml, r=False, r__shadow=True) as running:
            client = await running.connect()
            assert (await client.request(GET % 0)).status == 200
            await lines(log, 1)
            await compared(tmp_path, 1)
            with full(running):
                answers = [await client.request(GET % number) for number in range(1, 201)]
                assert {(answer.status, answer.body) for answer in answers} == {(200, b"ok")}
                await lost(running, 200)
                assert (await asyncio.to_thread(running.get, "/flags"))["error"] == ""
                await running.current(r=True, r__shadow=True)  # flags are read, and decide, as ever
                before = len(new.requests)
                assert (await client.request(GET % 201)).status == 200
                assert len(new.requests) == before + 1
            assert (await client.request(GET % 202)).status == 200
            written = await lines(log, 2)
            assert [json.loads(line)["target"] for line in written[:1]] == ["/x?0"]
            assert json.loads(written[-1])["target"] == "/x?202", "it is written again, and whole lines"
            await compared(tmp_path, 203)  # counts waited in memory
    finally:
        for upstream in (legacy, new):
            await upstream.stop()


async def test_no_payment_is_sent_that_cannot_be_written_down_first(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        first, *keys = keys_of("psp-a")
        assert (await shop.pay(first)).status == 201
        before = shop.charged()
        with full(shop.gateway):
            refused = [await shop.pay(key) for key in keys]
            assert {(answer.status, answer.header("Banyan-Error")) for answer in refused} == {(503, "ledger-unavailable")}
            assert {answer.header("Retry-After") for answer in refused} == {"1"}
            assert shop.charged() == before, "nothing was sent"
            carts = await shop.pay(path="/carts/1", method="GET")
            assert carts.status == 201, "what changes nothing needs no ledger"
        async with asyncio.timeout(20):
            while (answer := await shop.pay(keys[0])).status == 503:
                await asyncio.sleep(0.1)
        assert answer.status == 201
        again = await shop.pay(first)
        assert (again.status, again.header("Banyan-Replayed")) == (201, "true"), "what was written stays"
        assert sum(shop.charged().values()) == sum(before.values()) + 1
        assert not shop.doubts()
