"""HTTP/2 to clients, on both engines: chosen by ALPN, and carried like any other request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok
from tests.support.http2 import Client, get

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
http2 = true
expose_decision = true
tls = {{ certificate = "shop.pem", key = "shop.key" }}
[gateway.limits]
body_bytes = "4MiB"
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
breaker = false
response_timeout = "1s"
[upstreams.new]
url = "http://127.0.0.1:{new}"
breaker = false
[identity]
source = "introspection"
path = "/who"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
identity = "required"
"""


class World:
    """A gateway that speaks HTTP/2, before two upstreams of ours."""

    def __init__(self, engine: str, gateway: Gateway, legacy: Upstream, new: Upstream, authority: Authority) -> None:
        self.engine = engine
        self.gateway = gateway
        self.legacy = legacy
        self.new = new
        self.authority = authority
        self.clients: list[Client] = []

    def tls(self, *protocols: str) -> ssl.SSLContext:
        context = self.authority.client()
        context.set_alpn_protocols(protocols)
        return context

    async def client(self, *, acknowledge: bool = True) -> Client:
        client = await Client.connect(self.gateway.port, self.tls("h2"), acknowledge=acknowledge, server_name="shop.test")
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self.clients.append(client)
        return client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("http2")
    authority = Authority(folder)
    authority.issue("shop", "shop.test", "localhost")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = TOML.format(legacy=legacy.port, new=new.port)
    try:
        async with gateway(folder, toml, engine=engine, moved=True) as started:
            yield World(engine, started, legacy, new, authority)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    yield running
    for client in running.clients:
        client.close()
    running.clients.clear()


async def echo(exchange: Exchange) -> None:
    await exchange.answer(exchange.line + b"|" + exchange.body)


async def test_it_is_chosen_in_the_handshake(world: World) -> None:
    for offered, chosen in ((("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), (("spdy/3",), None)):
        _, writer = await asyncio.open_connection("127.0.0.1", world.gateway.port, ssl=world.tls(*offered), server_hostname="shop.test")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
        writer.transport.abort()
    plain = await world.gateway.request(b"GET /x HTTP/1.1\r\nHost: shop.test\r\n\r\n", world.tls("http/1.1"))
    assert plain.status == 200


async def test_legacy_is_told_the_same_as_in_http_1(world: World) -> None:
    client = await world.client()
    cookies = (("cookie", "a=1"), ("cookie", "b=2"))
    answer = await client.request(get("/orders?page=2", "GET", "shop.test", ("x-forwarded-for", "6.6.6.6"), *cookies))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("banyan-route") == "-; served-by=legacy; reason=unrouted"
    assert answer.header("connection") is None
    await world.gateway.request(
        b"GET /orders?page=2 HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=1; b=2\r\n\r\n", world.tls("http/1.1")
    )
    second, first = world.legacy.requests

    def told(exchange: Exchange) -> list[bytes]:
        lines = [line.lower() for line in exchange.head.split(b"\r\n")]
        return sorted(line for line in lines if line.split(b":")[0] not in (b"x-request-id", b"traceparent"))

    assert told(first) == told(second)
    assert first.header("X-Forwarded-Proto") == ["https"]


async def test_a_candidate_serves_and_legacy_takes_its_place(world: World) -> None:
    async def failing(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    client = await world.client()
    answer = await client.request(get("/moved/1", "GET", "shop.test"))
    assert answer.header("banyan-route") == "moved; served-by=candidate; reason=flag"
    world.new.handler = failing
    answer = await client.request(get("/moved/2", "GET", "shop.test"))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("banyan-route") == "moved; served-by=legacy; reason=fallback-status-500"
    answer = await client.request(get("/moved/3", "POST", "shop.test"), b"paid")
    assert answer.status == 500
    assert [each.line for each in world.legacy.requests] == [b"GET /moved/2 HTTP/1.1"]


async def test_bodies_with_and_without_a_length(world: World) -> None:
    world.legacy.handler = world.new.handler = echo
    client = await world.client()
    for path in ("/kept", "/moved/1"):
        for size in (0, 5, 50_000, 300_000):
            for length in ((), (("content-length", str(size)),)):
                answer = await client.request(get(path, "POST", "shop.test", *length), b"x" * size)
                assert answer.body == f"POST {path} HTTP/1.1|".encode() + b"x" * size
    answer = await client.request(get("/kept", "HEAD", "shop.test"))
    assert (answer.status, answer.body) == (200, b"")


async def test_many_streams_at_once(world: World) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.01 + (len(exchange.head) % 7) / 100)
        await echo(exchange)

    world.legacy.handler = world.new.handler = slow
    client = await world.client()
    numbers = {}
    for each in range(60):
        path = f"/{'moved' if each % 2 else 'kept'}/{each}"
        numbers[await client.send(get(path, "POST", "shop.test"), path.encode() * each)] = path, each
    for number, (path, each) in numbers.items():
        answer = await client.answer(number, 60)
        assert answer.body == f"POST {path} HTTP/1.1|".encode() + path.encode() * each


async def test_what_the_gateway_answers_itself(world: World) -> None:
    client = await world.client()
    answer = await client.request(get("/account/1", "GET", "shop.test"))
    assert (answer.status, answer.header("banyan-error")) == (401, "unauthenticated")
    answer = await client.request(get("/account/1", "POST", "shop.test"), b"hello")
    assert (answer.status, answer.header("banyan-error")) == (401, "unauthenticated")
    answer = await client.request(get("/x", "POST", "shop.test", ("content-length", "5000000")), end=False)
    assert (answer.status, answer.header("banyan-error")) == (413, "body-too-large")
    assert world.legacy.requests == world.new.requests == []
    world.legacy.handler = lambda exchange: asyncio.sleep(3)
    answer = await client.request(get("/hangs", "GET", "shop.test"))
    assert (answer.status, answer.header("content-type")) == (504, "application/problem+json")
    await world.legacy.stop()
    try:
        answer = await client.request(get("/gone", "GET", "shop.test"))
        assert (answer.status, answer.header("banyan-error")) == (502, "upstream-unreachable")
    finally:
        world.legacy.handler = ok
        await world.legacy.start(world.legacy.port)
    assert (await client.request(get("/back", "GET", "shop.test"))).status == 200, "the connection has gone on"


async def test_one_stream_that_hangs_ends_no_other(world: World) -> None:
    hanging = asyncio.Event()

    async def some(exchange: Exchange) -> None:
        if b"/hangs" in exchange.line:
            hanging.set()
            await asyncio.sleep(3)
        else:
            await asyncio.sleep(0.7)  # on its way when the other's time is over
            await exchange.answer(b"slow")

    world.legacy.handler = some
    client = await world.client()
    late = await client.send(get("/hangs", "GET", "shop.test"))
    await hanging.wait()
    await asyncio.sleep(0.5)
    fine = await client.send(get("/slow", "GET", "shop.test"))
    assert (await client.answer(late)).status == 504
    answer = await client.answer(fine)
    assert (answer.status, answer.body) == (200, b"slow")


async def test_a_stream_that_its_client_takes_back_is_counted_as_that(world: World) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        asked.set()
        await exchange.reader.read(1)
        ended.set()

    world.legacy.handler = hang
    client = await world.client()
    number = await client.send(get("/long", "GET", "shop.test"))
    await asked.wait()
    client.reset(number)
    await client.flush()
    async with asyncio.timeout(2):
        await ended.wait()
    world.legacy.handler = ok
    assert (await client.request(get("/next", "GET", "shop.test"))).status == 200


async def test_another_maker_s_client(world: World) -> None:
    world.legacy.handler = echo
    async with httpx.AsyncClient(http2=True, verify=world.authority.client(), base_url=f"https://localhost:{world.gateway.port}") as client:
        answers = await asyncio.gather(*[client.post(f"/{number}", content=b"%d" % number * 1000) for number in range(30)])
        for number, answer in enumerate(answers):
            assert answer.http_version == "HTTP/2"
            assert answer.content == b"POST /%d HTTP/1.1|" % number + b"%d" % number * 1000


async def test_a_client_that_takes_nothing(world: World) -> None:
    """A difference: mitmproxy holds all of an answer that a client's window does not let through (docs/reference/engines.md)."""
    size, sent = 32 * 2**20, 0

    async def big(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**16):
            await exchange.send(bytes(2**16))
            sent += 2**16

    world.legacy.handler = big
    client = await world.client(acknowledge=False)
    number = await client.send(get("/big", "GET", "shop.test"))
    await client.until(lambda: client.answers[number].status != 0)
    previous = -1
    while sent != previous:
        previous = sent
        await asyncio.sleep(0.5)
    assert sent < size / 2 if world.engine == "edge" else sent == size


async def test_a_connection_that_stays_takes_no_more_memory(world: World) -> None:
    """Nothing is kept of what is answered, whether by an upstream or by the gateway."""
    (pid,) = world.gateway.workers()

    def resident() -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    client = await world.client()

    async def ask(count: int) -> None:
        for _ in range(count // 40):
            numbers = [await client.send(get("/kept", "GET", "shop.test")) for _ in range(20)]
            numbers += [await client.send(get("/account/1", "POST", "shop.test"), b"hello") for _ in range(20)]
            assert {(await client.answer(number)).status for number in numbers} == {200, 401}
            client.answers.clear()

    await ask(400)
    before = resident()
    await ask(1600)
    assert resident() - before < 12 * 2**20
