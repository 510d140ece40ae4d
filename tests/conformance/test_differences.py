"""What mitmproxy cannot do (docs/reference/engines.md), held to be so: the day one of these fails, the page is to be shortened."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import mitmproxy_rs
import pytest
from mitmproxy.proxy.server import UDP_TIMEOUT

from tests.support.gateway import Exchange, Held, ok

if TYPE_CHECKING:
    from tests.conformance.conftest import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_interim_answers(world: World) -> None:
    async def hints(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        await exchange.answer()

    world.legacy.handler = hints
    client = await world.gateway.connect()
    first = await client.request(GET)
    if world.engine == "edge":
        assert (first.status, (await client.response()).status) == (103, 200)
    else:
        assert (first.status, first.header("Banyan-Error")) == (502, "upstream-bad-answer")


async def test_expect(world: World) -> None:
    async def patient(exchange: Exchange) -> None:
        if exchange.header("Expect"):
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            exchange.body = await exchange.reader.readexactly(5)
        await exchange.answer(exchange.body)

    world.legacy.handler = patient
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.response()).status == 100
    await client.send(b"hello")
    assert (await client.response()).body == b"hello"
    # mitmproxy says 100 by itself, before the upstream was asked.
    assert world.legacy.requests[0].header("Expect") == (["100-continue"] if world.engine == "edge" else [])


async def test_a_bad_chunk(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400 ") if world.engine == "edge" else answer == b""
    assert world.legacy.requests == []


async def test_a_chunked_body_over_the_limit(world: World) -> None:
    body = b"80000\r\n" + b"x" * 0x80000 + b"\r\n"
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body * 3 + b"0\r\n\r\n")
    assert (await client.response()).status == (413 if world.engine == "edge" else 200)


async def test_a_head_that_does_not_end(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"GET / HTTP/1.1\r\nHos")
    if world.engine == "edge":
        assert (await client.response()).status == 408
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await client.rest()


async def test_a_half_closed_client(world: World) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await exchange.answer(b"late")

    world.legacy.handler = slow
    client = await world.gateway.connect()
    await client.send(GET)
    client.writer.write_eof()
    answer = await client.rest()
    assert answer.endswith(b"late") if world.engine == "edge" else answer == b""


async def test_a_client_that_leaves_while_the_candidate_is_asked(world: World) -> None:
    async def slow(exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(20 if world.engine == "edge" else 0.5):
                cancelled.set_result(await exchange.reader.read(1) == b"")
        except TimeoutError:
            cancelled.set_result(False)
            await exchange.answer()

    cancelled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    world.new.handler = slow
    await world.gateway.current(reviews=True)
    client = await world.gateway.connect()
    await client.send(GET)
    await asyncio.sleep(0.2)
    client.reset()
    assert await cancelled == (world.engine == "edge")


async def test_legacys_failure_and_the_clients_connection(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        exchange.reset()

    world.legacy.handler = die
    client = await world.gateway.connect()
    response = await client.request(GET)
    assert (response.status, response.header("Connection")) == (502, None if world.engine == "edge" else "close")


async def test_a_large_answer_of_the_candidate(world: World) -> None:
    async def large(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 5_000_000)

    world.new.handler = large
    await world.gateway.current(reviews=True)
    client = await world.gateway.connect()
    assert len((await client.request(GET)).body) == 5_000_000
    assert len(world.new.requests) == (1 if world.engine == "edge" else 2)
    post = await client.request(b"POST /reviews/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert post.header("Banyan-Error") == (None if world.engine == "edge" else "outcome-unknown")


async def test_the_trailers_of_legacys_answer(world: World) -> None:
    async def trailers(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n")

    world.legacy.handler = trailers
    client = await world.gateway.connect()
    if world.engine == "edge":
        assert (await client.request(GET)).body == b"ok"
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.request(GET)
    world.legacy.handler = ok
    assert (await world.gateway.request(GET)).body == b"ok"


async def test_blanks_around_a_fields_value(world: World) -> None:
    await world.gateway.request(b"GET / HTTP/1.1\r\nHost: a\r\nX-Own:  \t y \r\n\r\n")
    wanted = b"\r\nX-Own:  \t y \r\n" if world.engine == "edge" else b"\r\nX-Own: y\r\n"
    assert wanted in world.legacy.requests[0].head


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\nY: z\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET / \rHTTP/1.1\r\nHost: a\r\n\r\n",
        b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_read_as_white_space(world: World, raw: bytes) -> None:
    assert (await world.gateway.request(raw)).status == (400 if world.engine == "edge" else 200)


async def test_a_folded_line_in_the_candidate_s_answer(world: World) -> None:
    async def folds(exchange: Exchange) -> None:
        await exchange.answer(extra=b"X: a\r\n b\r\n")

    world.legacy.handler = world.new.handler = folds
    await world.gateway.current(reviews=True)
    response = await world.gateway.request(GET)
    assert (response.status, response.header("X")) == ((502, None) if world.engine == "edge" else (200, "a b"))


async def test_a_connection_to_legacy_that_has_died_meanwhile(world: World) -> None:
    async def once(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            exchange.reset()
        else:
            await exchange.answer()

    asked = 0
    world.legacy.handler = once
    client = await world.gateway.connect()
    assert (await client.request(GET)).status == 200
    response = await client.request(GET)
    assert (response.status, asked) == ((200, 3) if world.engine == "edge" else (502, 2))
    assert response.header("Banyan-Error") == (None if world.engine == "edge" else "upstream-reset")


async def test_the_end_of_one_side_after_an_upgrade(world: World) -> None:
    async def last_word(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await exchange.reader.read()
        await exchange.send(b"BYE")
        exchange.writer.close()

    world.legacy.handler = last_word
    client = await world.gateway.connect()
    await client.send(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    client.writer.write_eof()
    assert await client.rest() == (b"BYE" if world.engine == "edge" else b"")


async def test_an_upgraded_connection_that_breaks_off(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        exchange.reset()

    world.legacy.handler = die
    client = await world.gateway.connect()
    await client.send(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    if world.engine == "edge":
        with pytest.raises(ConnectionResetError):
            await client.rest()
    else:
        assert await client.rest() == b"half"


async def test_http_3_is_one_worker_s() -> None:
    """mitmproxy binds the socket itself, from a host and a port: it takes neither a socket nor an option to share one."""
    assert list(inspect.signature(mitmproxy_rs.udp.start_udp_server).parameters) == ["host", "port", "handle_udp_stream"]
    assert UDP_TIMEOUT == 20


async def test_an_http_1_0_client(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"GET /old HTTP/1.0\r\nHost: a\r\n\r\n")
    await client.rest()
    assert world.legacy.requests[0].line == (b"GET /old HTTP/1.1" if world.engine == "edge" else b"GET /old HTTP/1.0")


async def test_connections_to_legacy(world: World) -> None:
    for _ in range(3):
        assert (await world.gateway.request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    assert world.legacy.connections == (1 if world.engine == "edge" else 3)


async def test_an_answer_that_is_cut_off(world: World) -> None:
    async def half(exchange: Exchange) -> None:
        # More than the edge holds back until it is whole.
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await asyncio.sleep(0.1)
        exchange.writer.close()

    world.legacy.handler = half
    client = await world.gateway.connect()
    await client.send(GET)
    if world.engine == "edge":
        with pytest.raises(ConnectionResetError):
            await client.rest()
    else:
        assert (await client.rest()).endswith(b"x" * 100_000)


async def test_a_candidate_that_pauses(world: World) -> None:
    async def pauses(exchange: Exchange) -> None:
        # More than the edge holds back until it is whole.
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100004\r\n\r\n" + b"x" * 100_000)
        await asyncio.sleep(1.1)  # longer than response_timeout
        await exchange.send(b"last")

    world.new.handler = pauses
    await world.gateway.current(reviews=True)
    response = await world.gateway.request(GET)
    assert (response.status, response.body[-4:]) == (200, b"last" if world.engine == "edge" else b"ok")


async def test_how_long_is_waited(world: World) -> None:
    await world.gateway.request(GET)
    assert bool(world.legacy.requests[0].header("Banyan-Timeout-Ms")) == (world.engine == "edge")


async def test_what_is_read_ahead(world: World) -> None:
    held = Held()
    world.legacy.handler = held
    client = await world.gateway.connect()
    await client.send(GET)
    try:
        async with asyncio.timeout(3):
            await client.send(GET * 800_000)  # more than sockets hold
        assert world.engine == "mitmproxy"
    except TimeoutError:
        assert world.engine == "edge"
    client.reset()
    held.go.set()
