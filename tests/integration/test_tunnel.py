"""WebSocket and other upgrades, on real sockets: nothing is switched before the upstream agrees, and nothing is lost on either side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway, ok
from tests.support.websocket import websocket_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "live"
match = "/live/*"
candidate = "new"
"""
UPGRADE = b"GET /live/1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo/1\r\nSec-Echo: x\r\n\r\n"


class World:
    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.gateway.folder / "access.log").read_text().splitlines()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("tunnel")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(folder, TOML.format(folder=folder, legacy=legacy.port, new=new.port)) as started:
            yield World(started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    await running.gateway.current(live=False)
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


async def switch(exchange: Exchange, glued: bytes = b"") -> None:
    await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Own: y\r\n\r\n" + glued)


async def echo(exchange: Exchange) -> None:
    """Says what it hears, in capitals, until it hears no more; then its last word."""
    await switch(exchange, b"HELLO.")
    while data := await exchange.reader.read(65536):
        await exchange.send(data.upper())
    await exchange.send(b"BYE.")
    exchange.writer.close()


async def head_of(client: Client) -> bytes:
    async with asyncio.timeout(5):
        return await client.reader.readuntil(b"\r\n\r\n")


async def test_bytes_pass_both_ways_and_both_ends_are_passed_on(world: World) -> None:
    world.legacy.handler = echo
    client = await world.gateway.connect()
    await client.send(UPGRADE + b"glued ")  # before anybody agreed
    head = await head_of(client)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nX-Own: y\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n" in head
    await client.send(b"then")
    async with asyncio.timeout(5):
        assert await client.reader.readexactly(16) == b"HELLO.GLUED THEN"
        client.writer.write_eof()
        assert await client.reader.read() == b"BYE."
    (seen,) = world.legacy.requests
    assert (seen.header("Connection"), seen.header("Upgrade"), seen.header("Sec-Echo")) == (["Upgrade"], ["echo/1"], ["x"])
    await asyncio.sleep(0.4)
    last = world.logged()[-1]
    assert (last["status"], last["served_by"], last["bytes"]) == (101, "legacy", len(b"HELLO.GLUED THENBYE."))


async def test_the_flag_decides_and_the_candidate_that_is_gone_costs_nothing(world: World) -> None:
    world.legacy.handler = world.new.handler = echo
    await world.gateway.current(live=True, live__shadow=True)
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    assert b"served-by=candidate" in await head_of(client)
    assert world.legacy.requests == [], "an upgrade is not mirrored"
    assert 'banyan_shadow_skipped_total{reason="upgrade",route="live"} ' in await metric(world, 'reason="upgrade"')
    await world.new.stop()
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    assert b"reason=fallback-refused" in await head_of(client)


async def metric(world: World, part: str) -> str:
    for _ in range(60):
        found = [line for line in (await asyncio.to_thread(world.gateway.metrics)).splitlines() if part in line]
        if found:
            return found[0]
        await asyncio.sleep(0.05)
    return ""


async def test_a_refusal_is_passed_on_and_the_connection_goes_on(world: World) -> None:
    client = await world.gateway.connect()
    answer = await client.request(UPGRADE)
    assert (answer.status, answer.body, answer.header("Upgrade")) == (200, b"ok", None)
    assert (await client.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /live/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /live/1 HTTP/1.1\r\nHost: a\r\nUpgrade: echo/1\r\n\r\n",
        b"GET /live/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ],
    ids=["nothing", "not named by Connection", "h2c"],
)
async def test_a_switch_that_nobody_asked_for_is_no_answer(world: World, request_: bytes) -> None:
    world.legacy.handler = echo
    answer = await world.gateway.request(request_)
    assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-bad-answer")
    assert world.legacy.requests[0].header("Upgrade") == world.legacy.requests[0].header("Connection") == []


@pytest.mark.parametrize("chosen", [b"h2c", b"echo/2", b"echo/1, h2c"])
async def test_a_switch_to_what_was_not_asked_for_is_no_answer(world: World, chosen: bytes) -> None:
    async def other(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % chosen)

    world.legacy.handler = other
    answer = await world.gateway.request(UPGRADE)
    assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-bad-answer")


async def test_a_switch_to_nothing_is_no_answer_either(world: World) -> None:
    async def bare(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    world.legacy.handler = bare
    assert (await world.gateway.request(UPGRADE)).status == 502


async def test_an_http_1_0_client_cannot_upgrade(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await head_of(client)).startswith(b"HTTP/1.1 200 ")
    assert world.legacy.requests[0].header("Upgrade") == []


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_slow_side_holds_the_other_back(world: World, who: str) -> None:
    """What passes is bounded by the sockets' buffers and ours, however much is offered."""
    offered = 64 * 2**20
    sent, reading = 0, asyncio.Event()

    async def push(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        piece = b"x" * 65536
        while sent < offered:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async def upstream(exchange: Exchange) -> None:
        await switch(exchange)
        if who == "client":
            await push(exchange.writer)
        else:
            await reading.wait()
            while await exchange.reader.read(2**20):
                pass
        exchange.writer.close()

    world.legacy.handler = upstream
    client = await world.gateway.connect()
    client.writer.transport.set_write_buffer_limits(65536)
    await client.send(UPGRADE)
    await head_of(client)
    pushing = asyncio.create_task(push(client.writer) if who == "upstream" else asyncio.sleep(0))
    previous = -1
    while sent != previous:  # until nothing moves any more
        previous = sent
        await asyncio.sleep(0.5)
    assert 0 < sent < offered / 2
    assert rss(world) < 120 * 2**20
    if who == "client":
        received = 0
        while data := await client.reader.read(2**20):
            received += len(data)
        assert received == offered
    else:
        reading.set()
        async with asyncio.timeout(30):
            await pushing
        client.writer.write_eof()
        assert await client.reader.read() == b""


def rss(world: World) -> int:
    (pid,) = world.gateway.workers()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def test_a_client_that_leaves_takes_the_upstream_connection_along(world: World) -> None:
    ended = asyncio.Event()

    async def listen(exchange: Exchange) -> None:
        await switch(exchange)
        try:
            await exchange.reader.read()
        finally:
            ended.set()

    world.legacy.handler = listen
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    await head_of(client)
    client.writer.transport.abort()
    async with asyncio.timeout(1):
        await ended.wait()


async def test_an_upstream_that_dies_is_never_a_clean_end(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        await switch(exchange, b"half")
        await asyncio.sleep(0.05)
        exchange.reset()

    world.legacy.handler = die
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    await head_of(client)
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_a_real_websocket_conversation(tmp_path: Path) -> None:
    with websocket_server() as port:
        toml = f'[upstreams]\nlegacy = "http://127.0.0.1:{port}"\n'
        async with gateway(tmp_path, toml) as running:
            client = await running.connect()
            speaker = WSConnection(ConnectionType.CLIENT)
            await client.send(speaker.send(Request(host="a", target="/ws", subprotocols=["chat"])))
            heard: list[str] = []
            asked = [TextMessage("hello"), Ping(), TextMessage("x" * 200_000)]
            async with asyncio.timeout(10):
                while True:
                    speaker.receive_data(await client.reader.read(65536))
                    for event in speaker.events():
                        if isinstance(event, AcceptConnection):
                            assert event.subprotocol == "chat"
                            for each in asked:
                                await client.send(speaker.send(each))
                        elif isinstance(event, TextMessage):
                            heard.append(event.data)
                        elif isinstance(event, Pong):
                            heard.append("pong")
                        elif isinstance(event, CloseConnection):
                            break
                        else:
                            assert not isinstance(event, BytesMessage)
                    if len("".join(heard).replace("pong", "")) == 200_005:
                        break
            assert "".join(heard).replace("pong", "") == "HELLO" + "X" * 200_000
            assert "pong" in heard
            client.close()
