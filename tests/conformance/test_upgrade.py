"""WebSocket and other upgrades on both engines: nothing is switched before the upstream agrees, and what passes is nobody else's."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Pong, Request, TextMessage

from tests.support.gateway import Client, Exchange
from tests.support.websocket import websocket_server

if TYPE_CHECKING:
    from tests.conformance.conftest import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPGRADE = b"GET /reviews/live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo/1\r\nSec-Echo: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Own: y\r\n\r\n"


async def echo(exchange: Exchange) -> None:
    """Says what it hears, in capitals, until it hears no more."""
    await exchange.send(SWITCH + b"HELLO.")
    while data := await exchange.reader.read(65536):
        await exchange.send(data.upper())
    exchange.writer.close()


async def head_of(client: Client) -> bytes:
    async with asyncio.timeout(5):
        return await client.reader.readuntil(b"\r\n\r\n")


async def logged(world: World, target: str) -> dict[str, Any]:
    for _ in range(60):
        lines = [json.loads(line) for line in (world.gateway.folder / "access.log").read_text().splitlines()]
        found = [line for line in lines if line["target"] == target]
        if found:
            return found[-1]  # type: ignore[no-any-return] # it is JSON
        await asyncio.sleep(0.05)
    raise AssertionError(f"{target} is not in the access log")


async def test_bytes_pass_both_ways(world: World) -> None:
    world.legacy.handler = echo
    client = await world.gateway.connect()
    await client.send(UPGRADE.replace(b"/live", b"/live?both"))
    head = await head_of(client)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nX-Own: y\r\n" in head
    assert b"\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n" in head
    assert head.lower().count(b"\r\nconnection:") == 1
    await client.send(b"then")
    async with asyncio.timeout(5):
        assert await client.reader.readexactly(10) == b"HELLO.THEN"
    (seen,) = world.legacy.requests
    assert (seen.header("Connection"), seen.header("Upgrade"), seen.header("Sec-Echo")) == (["Upgrade"], ["echo/1"], ["x"])
    client.close()
    line = await logged(world, "/reviews/live?both")
    assert (line["status"], line["served_by"], line["bytes"]) == (101, "legacy", 10)


async def test_the_flag_decides_and_the_candidate_that_is_gone_costs_nothing(world: World) -> None:
    world.legacy.handler = world.new.handler = echo
    await world.gateway.current(reviews=True, reviews__shadow=True)
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    assert b"served-by=candidate" in await head_of(client)
    assert world.legacy.requests == [], "an upgrade is not mirrored"
    await world.new.stop()
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    assert b"reason=fallback-refused" in await head_of(client)
    await world.gateway.current(reviews=False, reviews__shadow=False)


async def test_a_refusal_is_passed_on_and_the_connection_goes_on(world: World) -> None:
    client = await world.gateway.connect()
    for side in (False, True):
        await world.gateway.current(reviews=side)
        response = await client.request(UPGRADE)
        assert (response.status, response.body) == (200, b"ok")


OTHER, H2C = UPGRADE.replace(b"echo/1", b"other"), UPGRADE.replace(b"echo/1", b"h2c")


@pytest.mark.parametrize("asked", [b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", OTHER, H2C])
async def test_a_switch_to_what_nobody_asked_for_is_no_answer(world: World, asked: bytes) -> None:
    async def switch(exchange: Exchange) -> None:
        await exchange.send(SWITCH)

    world.legacy.handler = switch
    response = await world.gateway.request(asked)
    assert (response.status, response.header("Banyan-Error")) == (502, "upstream-bad-answer")


async def test_an_http_1_0_client_cannot_upgrade(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b" 200 " in (await head_of(client)).partition(b"\r\n")[0]
    assert world.legacy.requests[0].header("Upgrade") == []


async def test_a_client_that_leaves_takes_the_upstream_connection_along(world: World) -> None:
    ended = asyncio.Event()

    async def listen(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        try:
            await exchange.reader.read()
        finally:
            ended.set()

    world.legacy.handler = listen
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    await head_of(client)
    client.writer.transport.abort()
    async with asyncio.timeout(2):
        await ended.wait()


async def test_a_slow_side_holds_the_other_back(world: World) -> None:
    """What passes is bounded by the sockets' buffers and the gateway's, however much is offered."""
    offered = 64 * 2**20
    sent = 0

    async def push(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(SWITCH)
        while sent < offered:
            await exchange.send(b"x" * 65536)
            sent += 65536
        exchange.writer.close()

    world.legacy.handler = push
    client = await world.gateway.connect()
    await client.send(UPGRADE)
    await head_of(client)
    previous = -1
    while sent != previous:  # until nothing moves any more
        previous = sent
        await asyncio.sleep(0.5)
    assert 0 < sent < offered / 2
    received = 0
    while data := await client.reader.read(2**20):
        received += len(data)
    assert received == offered


async def test_a_real_websocket_conversation(world: World) -> None:
    with websocket_server() as port:
        world.legacy.handler = lambda exchange: _relay(exchange, port)
        client = await world.gateway.connect()
        speaker = WSConnection(ConnectionType.CLIENT)
        await client.send(speaker.send(Request(host="a", target="/ws", subprotocols=["chat"])))
        heard: list[str] = []
        ponged = False
        async with asyncio.timeout(10):
            while not (ponged and len("".join(heard)) == 200_005):
                speaker.receive_data(await client.reader.read(65536))
                for event in speaker.events():
                    if isinstance(event, AcceptConnection):
                        assert event.subprotocol == "chat"
                        for each in (TextMessage("hello"), Ping(), TextMessage("x" * 200_000)):
                            await client.send(speaker.send(each))
                    elif isinstance(event, TextMessage):
                        heard.append(event.data)
                    else:
                        assert not isinstance(event, CloseConnection)
                        ponged = ponged or isinstance(event, Pong)
        assert "".join(heard) == "HELLO" + "X" * 200_000


async def _relay(exchange: Exchange, port: int) -> None:
    """This upstream is the real server's way to the gateway: its port is known only now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        finally:
            target.close()

    writer.write(exchange.head)
    await asyncio.gather(copy(reader, exchange.writer), copy(exchange.reader, writer))
