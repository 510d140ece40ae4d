"""edge.md 36: more connections than gateway.limits.connections."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.gateway import Client, Gateway, Held, Upstream, gateway, ok

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LIMIT = 4


@asynccontextmanager
async def served(folder: Path, upstream: Upstream, front: str = "") -> AsyncIterator[Gateway]:
    await upstream.start()
    toml = f'{front}[gateway.limits]\nconnections = {LIMIT}\n[upstreams]\nlegacy = "http://127.0.0.1:{upstream.port}"\n'
    try:
        async with gateway(folder, toml) as running:
            yield running
    finally:
        await upstream.stop()


async def metric(running: Gateway, name: str, default: float | None = None) -> float:
    """As soon as a worker has reported it; at once, if there is a default."""
    for _ in range(60):
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", await asyncio.to_thread(running.metrics))
        if found:
            return float(found[1])
        if default is not None:
            return default
        await asyncio.sleep(0.05)
    raise AssertionError(f"there is no {name}")


@pytest.fixture
def held() -> Held:
    return Held()


async def busy(running: Gateway, legacy: Upstream) -> list[Client]:
    """As many connections as are allowed, each with a request in flight."""
    clients = [await running.connect() for _ in range(LIMIT)]
    for client in clients:
        await client.send(GET)
    for _ in range(200):
        if len(legacy.requests) == LIMIT:
            break
        await asyncio.sleep(0.02)
    assert len(legacy.requests) == LIMIT
    return clients


async def test_one_too_many_is_told_so_and_no_upstream_hears_of_it(tmp_path: Path, held: Held) -> None:
    legacy = Upstream(held)
    async with served(tmp_path, legacy) as running:
        clients = await busy(running, legacy)
        one_more = await running.connect()
        answer = await one_more.request(GET)
        assert (answer.status, answer.header("Banyan-Error")) == (503, "too-many-connections")
        assert (answer.header("Retry-After"), answer.header("Connection")) == ("1", "close")
        assert await one_more.rest() == b""
        one_more.close()  # else it is open for 2 s more, in case its answer is still on the way
        assert len(legacy.requests) == LIMIT, "U0"
        waiting = await running.connect()
        await asyncio.sleep(0.2)
        held.go.set()
        assert [(await client.response()).status for client in clients] == [200] * LIMIT, "nobody else notices"
        clients.pop().close()
        await asyncio.sleep(0.2)
        assert (await waiting.request(GET)).status == 200, "there is room now"
        assert (await waiting.request(GET)).status == 200, "and it is a connection like any other"
        assert await metric(running, 'banyan_problems_total{code="too-many-connections"}') == 1.0


async def test_the_connection_that_is_idle_longest_makes_room(tmp_path: Path) -> None:
    async with served(tmp_path, Upstream(ok)) as running:
        clients = []
        for _ in range(LIMIT):
            clients.append(await running.connect())
            assert (await clients[-1].request(GET)).status == 200
        assert (await clients[0].request(GET)).status == 200, "the first is not the one that is idle longest"
        await asyncio.sleep(1.3)
        assert (await running.request(GET)).status == 200
        await asyncio.sleep(0.2)  # its connection is closed
        assert (await running.request(GET)).status == 200, "there is room"
        assert await clients[1].rest() == b""
        for client in (clients[0], clients[2], clients[3]):
            assert (await client.request(GET)).status == 200
        assert await metric(running, 'banyan_events_total{event="idle-connection-made-room"}') == 1.0


async def say_nothing(running: Gateway) -> None:
    client = await running.connect()
    try:
        await client.rest()
    finally:
        client.close()


async def test_a_crowd_that_says_nothing_is_bounded(tmp_path: Path, held: Held) -> None:
    legacy = Upstream(held)
    async with served(tmp_path, legacy) as running:
        clients = await busy(running, legacy)
        ended = [asyncio.create_task(say_nothing(running)) for _ in range(100)]
        for _ in range(200):
            if sum(each.done() for each in ended) >= 84:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        # 16 are let in to be told why they are not served.
        assert sum(each.done() for each in ended) == 84
        assert all(isinstance(each.exception(), ConnectionResetError) for each in ended if each.done())
        held.go.set()
        assert [(await client.response()).status for client in clients] == [200] * LIMIT
        assert await metric(running, 'banyan_events_total{event="connection-reset-over-limit"}') == 84.0
        assert await metric(running, 'banyan_connections{worker="0"}') == LIMIT + 16
        for each in ended:
            each.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


async def test_handshakes_are_bounded_too_and_old_ones_make_way(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("shop", "shop.test")
    front = '[gateway]\ntls = { certificate = "shop.pem", key = "shop.key" }\n'
    async with served(tmp_path, Upstream(ok), front) as running:
        for _ in range(100):
            (await running.connect()).writer.transport.abort()
            await asyncio.sleep(0.005)
        assert await metric(running, 'banyan_connections{worker="0"}') == 0.0
        for _ in range(3):
            client = await running.connect()
            await client.send(b"no handshake\r\n\r\n")
            await client.rest()
        assert (await running.request(GET, authority.client())).status == 200, "what has failed takes no place"
        reset = await metric(running, 'banyan_events_total{event="connection-reset-over-limit"}', 0.0)
        ended = [asyncio.create_task(say_nothing(running)) for _ in range(100)]
        most = LIMIT + 16
        for _ in range(100):
            if sum(each.done() for each in ended) >= 100 - most:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert sum(each.done() for each in ended) == 100 - most, "at once, and not when their time is up"
        assert all(isinstance(each.exception(), ConnectionResetError) for each in ended if each.done())
        assert await metric(running, 'banyan_connections{worker="0"}') == most
        for _ in range(60):  # the gauge is as of the last report, and what is counted since comes with the next
            counted = await metric(running, 'banyan_events_total{event="connection-reset-over-limit"}', 0.0) - reset
            if counted == 100 - most:
                break
            await asyncio.sleep(0.05)
        assert counted == 100 - most
        await asyncio.sleep(0.8)
        assert (await running.request(GET, authority.client())).status == 200, "who speaks gets in"
        assert sum(each.done() for each in ended) == 100 - most + 1, "instead of one that has said nothing for a second"
        for each in ended:
            each.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
