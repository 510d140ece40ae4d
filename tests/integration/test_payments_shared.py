"""Several gateways with one ledger in PostgreSQL: a key is one key for all of them, and without the ledger none of them sends anything."""

# ruff: noqa: ASYNC110 - what the gateway has done has no event to wait for
from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from demo.postgres import RunningPostgres, start_postgres
from tests.support.gateway import Held, Upstream
from tests.support.payments import Till, charging, till

pytestmark = pytest.mark.asyncio


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[RunningPostgres]:
    server = start_postgres(tmp_path)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def shops(postgres: RunningPostgres, tmp_path: Path) -> AsyncIterator[list[Till]]:
    providers: dict[str, Upstream] = {name: charging(name) for name in ("psp-a", "psp-b")}
    async with AsyncExitStack() as stack:
        started = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            started.append(await stack.enter_async_context(till(tmp_path / name, database=postgres.url, providers=providers)))
        yield started


async def test_one_key_is_one_payment_whichever_gateway_it_meets(shops: list[Till]) -> None:
    one, two = shops
    key = one.key_of("psp-a")
    first, again = await one.pay(key), await two.pay(key)
    assert [(each.status, each.body, each.header("Banyan-Replayed")) for each in (first, again)] == [
        (201, b"psp-a 1", None),
        (201, b"psp-a 1", "true"),
    ]
    held = one.providers["psp-b"].handler = Held()
    key = one.key_of("psp-b")
    paying = asyncio.create_task(one.pay(key))
    while not one.providers["psp-b"].requests:
        await asyncio.sleep(0.01)
    assert (await two.pay(key)).header("Banyan-Error") == "key-running"
    held.go.set()
    assert (await paying).status == 200
    assert (await two.pay(key)).header("Banyan-Replayed") == "true"
    assert one.charged() == {"psp-a": 1, "psp-b": 1}


async def test_twins_at_two_gateways_at_once_are_paid_once_each(shops: list[Till]) -> None:
    keys = [f"order-{number}" for number in range(30)]
    answers = await asyncio.gather(*(shop.pay(key) for key in keys for shop in shops))
    assert {answer.status for answer in answers} <= {201, 409}
    assert sum(answer.status == 201 and answer.header("Banyan-Replayed") is None for answer in answers) == len(keys)
    assert sum(shops[0].charged().values()) == len(keys)
    paid = [each.header("Idempotency-Key")[0] for provider in shops[0].providers.values() for each in provider.requests]
    assert sorted(paid) == sorted(keys)


async def test_a_gateway_that_is_gone_leaves_its_doubts_to_the_other(shops: list[Till]) -> None:
    one, two = shops
    held = one.providers["psp-a"].handler = Held()
    key = one.key_of("psp-a")
    client = await one.gateway.connect()
    await client.send(f"POST /payments/1 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\nContent-Length: 3\r\n\r\npay".encode())
    while not one.providers["psp-a"].requests:
        await asyncio.sleep(0.01)
    for pid in (one.gateway.process.pid, *one.gateway.workers()):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while (again := await two.pay(key)).header("Banyan-Error") == "key-running":
            await asyncio.sleep(0.2)
    assert (again.status, again.header("Banyan-Error")) == (409, "in-doubt")
    held.go.set()
    assert (await two.doubt()).reason == "worker-lost"
    assert one.charged() == {"psp-a": 1, "psp-b": 0}


async def test_without_the_database_nothing_is_sent(shops: list[Till], postgres: RunningPostgres) -> None:
    assert (await shops[0].pay(shops[0].key_of("psp-a"))).status == 201
    await asyncio.to_thread(postgres.stop)
    for number in range(3):
        away = await shops[0].pay(shops[0].key_of("psp-b", number))
        assert (away.status, away.header("Banyan-Error")) == (503, "ledger-unavailable")
    assert shops[0].charged() == {"psp-a": 1, "psp-b": 0}
    async with asyncio.timeout(15):
        while 'banyan_ledger_up{worker="0"} 0.0' not in await asyncio.to_thread(shops[0].gateway.metrics):
            await asyncio.sleep(0.1)
