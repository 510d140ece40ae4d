"""How long a request may still take: upstreams are told, and a trusted peer's word is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Gateway, Held, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
trusted_proxies = ["unix"]
[upstreams]
legacy = {{ url = "http://127.0.0.1:{legacy}", response_timeout = "20s" }}
new = {{ url = "http://127.0.0.1:{new}", response_timeout = "7s" }}
[[routes]]
name = "jobs"
match = "/jobs/*"
candidate = "new"
"""


@dataclass
class World:
    gateway: Gateway
    legacy: Upstream
    new: Upstream
    folder: Path

    async def trusted(self, raw: bytes) -> tuple[bytes, bytes]:
        """Over the unix socket, as a proxy in front does: the answer's head and the rest."""
        reader, writer = await asyncio.open_unix_connection(self.folder / "socket")
        writer.write(raw)
        async with asyncio.timeout(15):
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
        return head, body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("deadlines")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    also = f"unix:{folder / 'socket'}"
    try:
        async with gateway(folder, TOML.format(legacy=legacy.port, new=new.port), also=also, jobs=True) as started:
            yield World(started, legacy, new, folder)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> World:
    """The one gateway of this module, with nothing left of the test before."""
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    return running


def request(method: bytes, path: bytes, *said: bytes) -> bytes:
    fields = b"".join(b"Banyan-Timeout-Ms: %b\r\n" % each for each in said)
    return b"%b %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%b\r\n" % (method, path, fields)


def left(exchange: Exchange) -> list[int]:
    return [int(value) for value in exchange.header("Banyan-Timeout-Ms")]


async def test_an_upstream_is_told_how_long_it_is_waited_for(world: World) -> None:
    await world.gateway.request(request(b"GET", b"/x"))
    await world.gateway.request(request(b"GET", b"/jobs/x"))
    assert (left(world.legacy.requests[0]), left(world.new.requests[0])) == ([20_000], [7_000])


async def test_who_is_not_trusted_says_nothing(world: World) -> None:
    world.legacy.handler = slowly
    answer = await world.gateway.request(request(b"GET", b"/x", b"1"))
    assert answer.status == 200
    assert left(world.legacy.requests[0]) == [20_000]


async def slowly(exchange: Exchange) -> None:
    await asyncio.sleep(0.2)
    await exchange.answer()


async def test_a_trusted_peers_time_goes_on_less_what_was_used_up(world: World) -> None:
    await world.trusted(request(b"GET", b"/x", b"5000"))
    await world.trusted(request(b"GET", b"/x", b"90000"))
    await world.trusted(request(b"GET", b"/x", b"6000", b"5000"))
    told = [left(exchange) for exchange in world.legacy.requests]
    assert [len(each) for each in told] == [1, 1, 1]
    assert 3000 < told[0][0] <= 5000
    assert told[1] == [20_000]
    assert 3000 < told[2][0] <= 5000


@pytest.mark.parametrize("said", [b"-5", b"1.5", b"soon", b"123456789", b"5,6"])
async def test_what_is_no_time_is_nothing(world: World, said: bytes) -> None:
    head, _ = await world.trusted(request(b"GET", b"/x", said))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert left(world.legacy.requests[0]) == [20_000]


@pytest.mark.parametrize(("method", "code"), [(b"GET", b"upstream-timeout"), (b"DELETE", b"outcome-unknown-timeout")])
async def test_when_it_is_over_the_client_is_told_and_the_upstream_is_left(world: World, method: bytes, code: bytes) -> None:
    gone = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        await exchange.reader.read()
        gone.set()

    world.legacy.handler = hang
    head, _ = await world.trusted(request(method, b"/x", b"300"))
    assert head.startswith(b"HTTP/1.1 504 ")
    assert b"\r\nBanyan-Error: %b\r\n" % code in head
    async with asyncio.timeout(5):
        await gone.wait()


async def test_nobody_else_is_asked_then(world: World) -> None:
    world.new.handler = Held()
    head, _ = await world.trusted(request(b"GET", b"/jobs/x", b"300"))
    assert head.startswith(b"HTTP/1.1 504 ")
    assert world.legacy.requests == []


async def test_time_is_shared_with_the_fallback(world: World) -> None:
    async def broken(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await exchange.answer(b"", "500 Internal Server Error")

    world.new.handler = broken
    head, _ = await world.trusted(request(b"GET", b"/jobs/x", b"6000"))
    assert head.startswith(b"HTTP/1.1 200 ")
    (first,), (second,) = left(world.new.requests[0]), left(world.legacy.requests[0])
    assert second <= first - 300


async def test_an_answer_that_has_begun_in_time_is_not_cut_off(world: World) -> None:
    async def in_parts(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await asyncio.sleep(2.5)
        await exchange.send(b"cd")

    world.legacy.handler = in_parts
    head, body = await world.trusted(request(b"GET", b"/x", b"2000"))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"abcd"


async def test_none_left_at_all(world: World) -> None:
    head, _ = await world.trusted(request(b"GET", b"/x", b"0"))
    assert head.startswith(b"HTTP/1.1 504 ")
    assert world.legacy.requests == []
