"""What the corpus cannot say in one request and one answer: time, several connections, slow sides, and connections that die."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from flags.decisions import Decisions
from gateway import build
from gateway.access import AccessLog
from gateway.config import parse
from gateway.net import listener as listening
from gateway.net.edge import Edge
from gateway.net.listener import Listener
from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway, ok
from tests.support.recording import Recorder, Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
access_log = ""
trusted_proxies = [{trusted}]
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
[upstreams.new]
url = "http://127.0.0.1:{new}"
connect_timeout = "300ms"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
fallback = false
[[routes]]
name = "tried"
match = "/tried/*"
candidate = "new"
"""
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
MOVED = GET.replace(b"/x", b"/moved/x")
TRIED = GET.replace(b"/x", b"/tried/x")
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class World:
    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, trusted="")
        async with gateway(tmp_path_factory.mktemp("connections"), toml, moved=True, tried=True) as started:
            yield World(started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


class Callee:
    """A worker's engine within this process, whose long patience is short here."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    @asynccontextmanager
    async def __call__(self, **seconds: float) -> AsyncIterator[tuple[Client, Recorder]]:
        for name, value in seconds.items():
            assert isinstance(getattr(listening, name), float)
            self._monkeypatch.setattr(listening, name, value)
        legacy = Recorder()
        await legacy.start()
        config = parse(self._folder / "banyan.toml", TOML.format(legacy=legacy.port, new=legacy.port, trusted=""))
        access = AccessLog("")
        policy = build.policy(config, Decisions(app_name="test", environment="test"))
        edge = Edge(asyncio.get_running_loop(), config, policy, access=access, shipper=None)
        engine = Listener(edge)
        sock = socket.create_server(("127.0.0.1", 0))
        await engine.start([sock])
        client = Client(*await asyncio.open_connection(*sock.getsockname(), limit=2**22))
        try:
            yield client, legacy
        finally:
            client.close()
            engine.stop_accepting()
            edge.close()
            await legacy.stop()
            access.close()


@pytest.fixture
def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callee:
    return Callee(tmp_path, monkeypatch)


async def thrown_away(legacy: Recorder) -> None:
    """UC: waits until the connection over which the last request came is closed."""
    for _ in range(100):
        if legacy.requests and not legacy.connections:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the upstream's connection is still open")


async def test_30_a_gateway_that_takes_no_bodies(tmp_path: Path, world: World) -> None:
    toml = f'[gateway.limits]\nbody_bytes = 0\n[upstreams]\nlegacy = "http://127.0.0.1:{world.legacy.port}"\n'
    async with gateway(tmp_path, toml) as closed:
        statuses = [
            (await closed.request(raw)).status for raw in (GET, POST.replace(b"5\r\n\r\nhello", b"0\r\n\r\n"), CHUNKED + b"0\r\n\r\n")
        ]
        assert statuses == [200, 200, 200]
        world.legacy.requests.clear()
        assert [(await closed.request(raw)).status for raw in (POST, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")] == [413, 413]
        assert world.legacy.requests == []


async def test_09_a_bad_chunk_after_the_answer_began_cuts_both_off(edge: Callee) -> None:
    async with edge() as (client, legacy):
        legacy.script = Script(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nbegun", early=True)
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        assert (await client.reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200 ")
        await client.send(b"zz\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await thrown_away(legacy)
        assert legacy.raw.endswith(b"hello\r\n"), "no last chunk"


async def test_17_reading_pauses_while_an_answer_is_awaited(world: World) -> None:
    """Requests are answered one at a time, and of those that wait the gateway holds 64 KiB and what one read brings."""
    hold = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await hold.wait()
        await exchange.answer()

    world.legacy.handler = slow
    client = await world.gateway.connect()
    client.writer.transport.set_write_buffer_limits(65536)
    offered = GET * 1000
    sent = 0

    async def push() -> None:
        nonlocal sent
        while True:
            await client.send(offered)
            sent += len(offered)

    pushing = asyncio.create_task(push(), name="pipelining")
    previous = -1
    while sent != previous:
        previous = sent
        await asyncio.sleep(0.3)
    pushing.cancel()
    assert 0 < sent < 32 * 2**20, "what was taken fits the sockets' buffers"
    assert len(world.legacy.requests) == 1
    hold.set()
    for _ in range(100):
        assert (await client.response()).status == 200
    client.reset()


async def test_27_what_a_trusted_proxy_says_stays_and_underscores_are_counted(world: World, tmp_path: Path) -> None:
    toml = TOML.format(legacy=world.legacy.port, new=world.new.port, trusted='"127.0.0.0/8"')
    async with gateway(tmp_path, toml) as trusting:
        said = (
            b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=9.9.9.9\r\nX-Request-ID: theirs\r\n"
            b"X_Forwarded_For: 6.6.6.6\r\nBanyan-Identity: forged\r\n\r\n"
        )
        await trusting.request(GET[:-2] + said)
        (seen,) = world.legacy.requests
        assert seen.header("X-Forwarded-For") == ["9.9.9.9", "127.0.0.1"]
        assert (seen.header("X-Forwarded-Proto"), seen.header("Forwarded")) == (["https"], ["for=9.9.9.9"])
        assert seen.header("X-Request-ID") == ["theirs"]
        assert seen.header("X_Forwarded_For") == seen.header("Banyan-Identity") == []
        for _ in range(60):  # a worker reports once a second
            metrics = await asyncio.to_thread(trusting.metrics)
            if "underscored-header" in metrics:
                break
            await asyncio.sleep(0.05)
        assert 'banyan_events_total{event="underscored-header"} 1.0' in metrics


async def test_32_a_body_that_stalls_is_given_up(edge: Callee) -> None:
    async with edge(BODY_STALL_SECONDS=0.3) as (client, legacy):
        await client.send(CHUNKED + b"2\r\nhe\r\n")
        answer = await client.response()
        assert (answer.status, answer.header("Banyan-Error"), answer.header("Connection")) == (408, "request-timeout", "close")
        assert await client.rest() == b""
        await thrown_away(legacy)
        assert not legacy.requests[-1].complete


async def test_32_nobody_is_asked_before_a_small_body_is_whole(edge: Callee) -> None:
    async with edge(BODY_STALL_SECONDS=1.0) as (client, legacy):
        await client.send(POST[:-4])
        await asyncio.sleep(0.3)
        await client.send(b"el")
        await asyncio.sleep(0.3)
        assert (legacy.opened, bytes(legacy.raw)) == (0, b"")
        await client.send(b"lo" + GET)
        assert (await client.response()).body == b"POST /x hello"
        assert (await client.response()).body == b"GET /x "
        legacy.forget()
        await client.send(POST[:-4])
        answer = await client.response()
        assert (answer.status, answer.header("Banyan-Error"), answer.header("Connection")) == (408, "request-timeout", "close")
        assert await client.rest() == b""
        assert bytes(legacy.raw) == b""


@pytest.mark.parametrize(
    "begun",
    [
        CHUNKED + b"1\r\nh\r\n",
        POST[:-4].replace(b"Length: 5", b"Length: 65537"),
        POST[:-4].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    ],
)
async def test_32_but_before_another_is(edge: Callee, begun: bytes) -> None:
    async with edge() as (client, legacy):
        await client.send(begun)
        for _ in range(100):
            if legacy.raw.endswith((b"h", b"h\r\n")):
                break
            await asyncio.sleep(0.02)
        assert legacy.raw.startswith(b"POST /x ")
        assert legacy.raw.endswith((b"h", b"h\r\n"))


async def test_32_a_body_that_goes_on_slowly_is_not(edge: Callee) -> None:
    async with edge(BODY_STALL_SECONDS=1.5) as (client, legacy):
        await client.send(CHUNKED)
        for _ in range(4):
            await client.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.5)
        await client.send(b"0\r\n\r\n")
        assert (await client.response()).status == 200
        assert legacy.requests[-1].body == b"xxxx"


async def test_33_a_slow_reader_holds_the_upstream_back(world: World) -> None:
    offered = 64 * 2**20
    sent = 0

    async def large(exchange: Exchange) -> None:
        nonlocal sent
        piece = b"x" * 65536
        exchange.writer.transport.set_write_buffer_limits(65536)
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % offered)
        while sent < offered:
            await exchange.send(piece)
            sent += len(piece)

    world.legacy.handler = large
    client = await world.gateway.connect()
    await client.send(GET)
    # A StreamReader reads twice its limit ahead: this one must not read at all.
    client.writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's transport reads too; typeshed has a WriteTransport here
    previous = -1
    while sent != previous or not sent:
        previous = sent
        await asyncio.sleep(0.4)
    assert sent < offered / 2, "what was taken fits the sockets' buffers"
    client.writer.transport.resume_reading()  # type: ignore[attr-defined] # a socket's transport reads too; typeshed has a WriteTransport here
    assert len((await client.response()).body) == offered


async def test_33_a_reader_that_stalls_is_cut_off(edge: Callee) -> None:
    body = b"x" * (32 * 2**20)
    async with edge(SLOW_READER_SECONDS=0.5) as (client, legacy):
        legacy.script = Script(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's transport reads too; typeshed has a WriteTransport here
        await client.send(GET)
        await thrown_away(legacy)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined] # a socket's transport reads too; typeshed has a WriteTransport here
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.response()


async def test_37_a_client_that_is_gone_takes_its_request_along(world: World) -> None:
    gone = asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        try:
            await exchange.reader.read()
        finally:
            gone.set()

    world.legacy.handler = stream
    client = await world.gateway.connect()
    await client.send(GET)
    await client.reader.readuntil(b"hello\r\n")
    client.reset()
    async with asyncio.timeout(1):
        await gone.wait()


async def test_39_an_error_survives_an_unread_body(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
    for _ in range(50):
        await client.send(b"x" * 65536)
    answer = await client.response()
    assert (answer.status, answer.header("Banyan-Error")) == (413, "body-too-large")
    assert await client.rest() == b""


async def test_39_but_not_for_long(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
    assert (await client.response()).status == 413
    async with asyncio.timeout(10):  # 2 s, on an idle machine
        with pytest.raises(ConnectionError):
            await send_for_ever(client)


async def send_for_ever(client: Client) -> None:
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.1)


async def test_40_a_stale_connection_is_tried_once_more_for_a_get_only(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        exchange.reset()

    for raw, status, error, times in ((GET, 200, None, 2), (POST, 502, "outcome-unknown", 1)):
        await world.legacy.forget()
        assert (await world.gateway.request(GET)).status == 200  # its connection lies in the pool now, and is about to die
        world.legacy.requests.clear()

        async def die_once(exchange: Exchange) -> None:
            world.legacy.handler = ok
            exchange.reset()

        world.legacy.handler = die_once
        answer = await world.gateway.request(raw)
        assert (answer.status, answer.header("Banyan-Error")) == (status, error)
        assert len(world.legacy.requests) == times
    await world.legacy.forget()
    world.legacy.handler = die
    assert (await world.gateway.request(GET)).status == 502, "and not for ever"
    assert len(world.legacy.requests) <= 2


async def test_41_events_come_one_by_one(world: World) -> None:
    go = asyncio.Queue[bytes]()

    async def events(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := await go.get():
            await exchange.send(b"%x\r\n%b\r\n" % (len(data), data))
        await exchange.send(b"0\r\n\r\n")

    world.legacy.handler = events
    client = await world.gateway.connect()
    await client.send(GET)
    await client.reader.readuntil(b"\r\n\r\n")
    loop, waits = asyncio.get_running_loop(), []
    for number in range(20):
        event = b"data: %d\n\n" % number
        began = loop.time()
        go.put_nowait(event)
        assert await client.reader.readuntil(event + b"\r\n") == b"%x\r\n%b\r\n" % (len(event), event)
        waits.append(loop.time() - began)
        await asyncio.sleep(0.02)
    assert sorted(waits)[10] < 0.05
    go.put_nowait(b"")
    assert await client.reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_43_a_refused_connection(world: World) -> None:
    await world.new.stop()
    client = await world.gateway.connect()
    answer = await client.request(MOVED)
    assert (answer.status, answer.header("Banyan-Error"), answer.header("Connection")) == (502, "upstream-unreachable", None)
    assert (await client.request(GET)).status == 200, "K"


async def test_43_a_connection_that_is_never_accepted(world: World, tmp_path: Path) -> None:
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(4):  # more than the backlog takes: whoever comes now is not answered at all
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        toml = TOML.format(legacy=world.legacy.port, new=port, trusted="")
        async with gateway(tmp_path, toml, moved=True, tried=True) as before:
            client = await before.connect()
            answer = await client.request(MOVED)
            assert (answer.status, answer.header("Banyan-Error")) == (504, "upstream-connect-timeout")
            assert (await client.request(GET)).status == 200


async def test_46_no_request_is_sent_more_than_three_times(world: World) -> None:
    async def die(exchange: Exchange) -> None:
        exchange.reset()

    for raw, most in ((GET, 3), (POST, 1)):
        await world.legacy.forget()
        assert (await world.gateway.request(GET)).status == 200
        world.legacy.requests.clear()
        world.legacy.handler = die
        assert (await world.gateway.request(raw)).status == 502
        assert 1 <= len(world.legacy.requests) <= most


@pytest.mark.parametrize("fresh", [200, 502])
@pytest.mark.parametrize("method", [b"GET", b"PUT"])
async def test_46_nor_with_a_fallback_whose_pool_is_dead_too(world: World, method: bytes, fresh: int) -> None:
    """Both pools hold a connection that is about to die. `fresh`: what a connection to legacy that comes from no pool leads to."""
    pooled = []

    async def remember(exchange: Exchange) -> None:
        pooled.append(exchange.writer)
        await exchange.answer()

    async def die(exchange: Exchange) -> None:
        exchange.reset()

    async def die_if_pooled(exchange: Exchange) -> None:
        await (die if fresh == 502 or exchange.writer in pooled else ok)(exchange)

    world.legacy.handler = world.new.handler = remember
    for raw in (GET, TRIED):
        assert (await world.gateway.request(raw)).status == 200
    assert [len(world.new.requests), len(world.legacy.requests)] == [1, 1]
    world.new.requests.clear()
    world.legacy.requests.clear()
    world.new.handler, world.legacy.handler = die, die_if_pooled
    raw = TRIED.replace(b"GET", method).replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")
    assert (await world.gateway.request(raw)).status == fresh
    # The candidate's pool, the candidate, and legacy by a connection that cannot be a dead one.
    assert [len(world.new.requests), len(world.legacy.requests)] == [2, 1]
