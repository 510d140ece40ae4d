"""HTTP/2 to a real gateway: chosen by ALPN over TLS, by clients of other makes too, and carried like any other request."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from demo.processes import ROOT
from tests.support.certificates import Authority
from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok
from tests.support.http2 import Client, get
from tests.support.required import missing

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
http2 = {http2}
expose_decision = true
access_log = "{folder}/access.log"
tls = {{ certificate = "shop.pem", key = "shop.key" }}
[gateway.limits]
{limits}
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
[[routes]]
name = "sandboxed"
match = "/sandboxed/*"
candidate = "new"
[routes.shadow]
methods = ["GET", "POST"]
sandbox = true
"""


class World:
    """A gateway that speaks HTTP/2, before two upstreams of ours."""

    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream, authority: Authority) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new
        self.authority = authority
        self.clients: list[Client] = []

    def tls(self, *protocols: str) -> ssl.SSLContext:
        context = self.authority.client()
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    async def client(self, *, acknowledge: bool = True, window: int = 0) -> Client:
        client = await Client.connect(self.gateway.port, self.tls("h2"), acknowledge=acknowledge, window=window, server_name="shop.test")
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self.clients.append(client)
        return client

    async def chosen(self, *protocols: str) -> str | None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, ssl=self.tls(*protocols), server_hostname="shop.test")
        try:
            protocol: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            return protocol
        finally:
            writer.transport.abort()

    async def offers(self, protocol: str) -> None:
        """Waits until it chooses this one."""
        for _ in range(200):
            if await self.chosen("h2", "http/1.1") == protocol:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{protocol} is not chosen")

    def memory(self) -> int:
        """Bytes of the one worker."""
        status = Path(f"/proc/{self.gateway.workers()[0]}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])

    async def counted(self, line: str) -> None:
        for _ in range(60):
            if line in await asyncio.to_thread(self.gateway.metrics):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{line} was not counted")


@asynccontextmanager
async def started(folder: Path, *, http2: bool = True, workers: int = 1, limits: str = "") -> AsyncIterator[World]:
    authority = Authority(folder)
    authority.issue("shop", "shop.test", "localhost")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = TOML.format(http2=str(http2).lower(), folder=folder, legacy=legacy.port, new=new.port, limits=limits)
    try:
        async with gateway(folder, toml, workers=workers, moved=True, sandboxed=False, sandboxed__shadow=True) as running:
            world = World(running, legacy, new, authority)
            yield world
            for client in world.clients:
                client.close()
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with started(tmp_path_factory.mktemp("http2")) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    yield running
    for client in running.clients:
        client.close()
    running.clients.clear()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def echo(exchange: Exchange) -> None:
    await exchange.answer(exchange.line + b"|" + exchange.body)


# Who speaks it


async def test_it_is_chosen_in_the_handshake(world: World) -> None:
    assert await world.chosen("h2", "http/1.1") == "h2"
    assert await world.chosen("http/1.1", "h2") == "h2"
    assert await world.chosen("http/1.1") == "http/1.1"
    assert await world.chosen("spdy/3") is None
    assert await world.chosen() is None


async def test_without_that_it_is_not_spoken(world: World) -> None:
    """edge.md 14: the preface alone is no choice."""
    for protocols in ((), ("http/1.1",)):
        client = await world.gateway.connect(world.tls(*protocols))
        answer = await client.request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (answer.status, answer.header("Connection")) == (505, "close")
        assert await client.rest() == b""
    plain = await world.gateway.request(b"GET /x HTTP/1.1\r\nHost: shop.test\r\n\r\n", world.tls("http/1.1"))
    assert plain.status == 200


async def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with started(tmp_path, http2=False) as world:
        assert await world.chosen("h2", "http/1.1") == "http/1.1"
        assert await world.chosen("h2") is None
    loaded = "import sys, gateway.worker; print([name for name in ('h2', 'hpack', 'hyperframe') if name in sys.modules])"
    found = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    assert found.stdout == "[]\n"


# The same policy


async def test_upstreams_and_the_log_are_told_the_same_as_in_http_1(world: World) -> None:
    client = await world.client()
    answer = await client.request(get("/orders?page=2", "GET", "shop.test", ("x-forwarded-for", "6.6.6.6"), ("banyan-identity", "forged")))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("banyan-route") == "-; served-by=legacy; reason=unrouted"
    http1 = await world.gateway.request(
        b"GET /orders?page=2 HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nBanyan-Identity: forged\r\n\r\n", world.tls()
    )
    assert http1.status == 200
    second, first = world.legacy.requests
    differing = ("x-request-id", "traceparent")

    def told(exchange: Exchange) -> list[bytes]:
        lines = exchange.head.split(b"\r\n")
        return [line.lower() for line in lines if line.split(b":")[0].decode().lower() not in differing]

    assert told(first) == told(second)
    assert first.header("X-Forwarded-Proto") == ["https"]
    assert first.header("X-Forwarded-For") == ["127.0.0.1"]
    client.close()
    await world.counted('banyan_events_total{event="http2-request"}')
    await world.counted('banyan_events_total{event="http2-connection"}')
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while len(found) < 2:  # lines are written together, a little later
            await asyncio.sleep(0.05)
            lines = [json.loads(line) for line in (world.gateway.folder / "access.log").read_text().splitlines()]
            found = [line for line in lines if line["target"].startswith("/orders")][-2:]
    for line in found:
        for changing in ("time", "id", "seconds"):
            line.pop(changing)
    assert found[0] == found[1]


async def test_a_candidate_serves_and_legacy_takes_its_place(world: World) -> None:
    client = await world.client()
    answer = await client.request(get("/moved/1", "GET", "shop.test"))
    assert answer.header("banyan-route") == "moved; served-by=candidate; reason=flag"

    async def failing(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    world.new.handler = failing
    answer = await client.request(get("/moved/2", "GET", "shop.test"))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("banyan-route") == "moved; served-by=legacy; reason=fallback-status-500"
    answer = await client.request(get("/moved/3", "POST", "shop.test"), b"paid")
    assert answer.status == 500
    assert [each.line for each in world.legacy.requests] == [b"GET /moved/2 HTTP/1.1"]


# Clients of other makes


def curl(world: World, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    binary = shutil.which("curl")
    if binary is None or "HTTP2" not in subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout:
        missing("no curl with HTTP/2 here")
    port = world.gateway.port
    command = [binary, "--silent", "--show-error", "--http2", "--max-time", "30", "--cacert", str(world.authority.ca)]
    command += ["--resolve", f"shop.test:{port}:127.0.0.1", *(each.replace("URL", f"https://shop.test:{port}") for each in arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)


async def test_a_sandboxed_write_is_mirrored_once_for_each_stream(world: World) -> None:
    client = await world.client()
    numbers = [await client.send(get(f"/sandboxed/{number}", "POST", "shop.test"), b"body %d" % number) for number in range(10)]
    for number in numbers:
        assert (await client.answer(number)).status == 200
    await world.counted('banyan_shadow_captured_total{route="sandboxed"} 10')
    bodies = sorted(b"body %d" % number for number in range(10))
    for upstream, marked in ((world.legacy, []), (world.new, ["1"])):
        assert sorted(request.body for request in upstream.requests) == bodies
        assert all(request.header("Banyan-Shadow") == marked for request in upstream.requests)
    ids = [sorted(request.header("X-Request-ID")[0] for request in upstream.requests) for upstream in (world.legacy, world.new)]
    assert ids[0] == ids[1]


async def test_curl(world: World) -> None:
    world.legacy.handler = echo
    version = ["--write-out", "%{http_version} %{http_code}"]
    got = await asyncio.to_thread(curl, world, *version, "URL/a?b=c")
    assert got.stdout == b"GET /a?b=c HTTP/1.1|2 200", got.stderr
    got = await asyncio.to_thread(curl, world, *version, "--data-binary", "@-", "URL/b", data=b"x" * 1_000_000)
    assert got.stdout == b"POST /b HTTP/1.1|" + b"x" * 1_000_000 + b"2 200", got.stderr
    got = await asyncio.to_thread(curl, world, *version, "--upload-file", "-", "URL/c", data=b"y" * 1_000_000)
    assert got.stdout == b"PUT /c HTTP/1.1|" + b"y" * 1_000_000 + b"2 200", got.stderr
    got = await asyncio.to_thread(curl, world, *version, "--head", "URL/d")
    assert got.stdout.splitlines()[-1] == b"2 200"
    got = await asyncio.to_thread(curl, world, "--parallel", "--parallel-max", "60", "URL/many/[1-200]")
    answers = got.stdout.decode().replace("GET ", "\nGET ").split("\n")[1:]
    assert sorted(answers) == sorted(f"GET /many/{number} HTTP/1.1|" for number in range(1, 201))


async def test_httpx(world: World) -> None:
    world.legacy.handler = echo
    port = world.gateway.port
    async with httpx.AsyncClient(http2=True, verify=world.authority.client(), base_url=f"https://localhost:{port}") as client:
        answers = await asyncio.gather(*[client.post(f"/{number}", content=b"%d" % number * 1000) for number in range(80)])
        for number, answer in enumerate(answers):
            assert answer.http_version == "HTTP/2"
            assert answer.content == b"POST /%d HTTP/1.1|" % number + b"%d" % number * 1000


# Much of it


async def test_many_clients_with_many_requests_each(tmp_path: Path) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.01 + (len(exchange.head) % 7) / 100)
        await echo(exchange)

    async with started(tmp_path, workers=2) as world:
        world.legacy.handler = world.new.handler = slow

        async def one(name: int) -> None:
            client = await world.client()
            numbers = {}
            for each in range(90):
                path = f"/{'moved' if each % 2 else 'kept'}/{name}/{each}"
                numbers[await client.send(get(path, "POST", "shop.test"), path.encode() * each)] = path, each
            for number, (path, each) in numbers.items():
                answer = await client.answer(number, 60)
                assert answer.body == f"POST {path} HTTP/1.1|".encode() + path.encode() * each

        await asyncio.gather(*[one(name) for name in range(6)])
        assert len(world.legacy.requests) + len(world.new.requests) == 6 * 90


async def test_large_bodies_take_no_memory(world: World) -> None:
    size = 150 * 2**20

    async def big(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(2**18)
        for _ in range(size // 2**18):
            await exchange.send(piece)

    world.legacy.handler = big
    client = await world.client()
    await client.request(get("/warm", "HEAD", "shop.test"))
    client.close()
    client = await world.client(window=2**20)
    before = world.memory()
    number = await client.send(get("/big", "GET", "shop.test"))
    got = most = 0
    answer = client.answers[number]
    while not answer.over:
        assert await client.read()
        got += len(answer.body)
        answer.body.clear()
        most = max(most, world.memory())
    assert got == size
    assert most - before < 20 * 2**20, f"{(most - before) >> 20} MiB"

    world.legacy.handler = ok
    client = await world.client()
    content = bytes(80 * 2**20)
    answer = await client.request(get("/up", "PUT", "shop.test", ("content-length", str(len(content)))), content)
    assert answer.status == 200
    assert world.memory() - before < 20 * 2**20
    assert len(world.legacy.requests[-1].body) == len(content)


async def test_a_client_that_does_not_read_takes_no_memory(world: World) -> None:
    async def big(exchange: Exchange) -> None:
        await exchange.answer(bytes(20_000_000))

    world.legacy.handler = big
    client = await world.client(window=2**31 - 1)
    client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
    before = world.memory()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a ReadTransport
    for number in range(20):
        await client.send(get(f"/{number}", "GET", "shop.test"))
    await until(lambda: len(world.legacy.requests) == 20)
    await asyncio.sleep(1.0)
    assert world.memory() - before < 20 * 2**20, f"{(world.memory() - before) >> 20} MiB of 400"
    client.writer.transport.resume_reading()  # type: ignore[attr-defined] # likewise
    answer = await client.answer(1, 60)
    assert len(answer.body) == 20_000_000


# Ends


@pytest.mark.parametrize("how", ["reset", "close", "abort"])
async def test_who_does_not_wait_is_not_worked_for(world: World, how: str) -> None:
    gone = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        assert await exchange.reader.read() == b""
        gone.set()

    world.legacy.handler = hang
    client = await world.client()
    number = await client.send(get("/x", "GET", "shop.test"))
    await until(lambda: len(world.legacy.requests) == 1)
    if how == "reset":
        client.reset(number)
        await client.flush()
    elif how == "close":
        client.writer.close()
    else:
        client.close()
    async with asyncio.timeout(1):
        await gone.wait()


async def test_an_answer_that_breaks_off_is_reset(world: World) -> None:
    async def dying(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
        await asyncio.sleep(0.05)
        exchange.reset()

    world.legacy.handler = dying
    client = await world.client()
    answer = await client.request(get("/x", "GET", "shop.test"))
    assert (answer.status, answer.body, answer.ended, answer.reset) == (200, b"abc", False, 2)


async def test_a_flood_over_tls(world: World) -> None:
    client = await world.client()
    for _ in range(260):
        number = await client.send(get("/x", "GET", "shop.test"))
        client.reset(number)
    await client.flush()
    await client.end()
    assert [code for code, _ in client.goaway] == [11]
    await world.counted('banyan_events_total{event="http2-rapid-reset"} 1.0')
    assert (await (await world.client()).request(get("/x", "GET", "shop.test"))).status == 200


async def test_sigterm_loses_nothing(tmp_path: Path) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await echo(exchange)

    async with started(tmp_path, workers=2) as world:
        world.legacy.handler = slow
        stop = False
        answered = 0

        async def load(name: int) -> None:
            nonlocal answered
            count = 0
            while not stop:
                try:
                    client = await world.client()
                except (ConnectionError, ssl.SSLError):
                    assert stop or signalled, "nobody listens"
                    return
                while not client.goaway and not stop:
                    paths = [f"/{name}/{count + each}" for each in range(5)]
                    count += 5
                    numbers = [await client.send(get(path, "POST", "shop.test"), b"x") for path in paths]
                    for number, path in zip(numbers, paths, strict=True):
                        answer = await client.answer(number)
                        assert answer.body == f"POST {path} HTTP/1.1|x".encode(), (answer, client.goaway)
                        answered += 1
                await client.end()
                assert client.goaway or stop

        signalled = False
        loads = [asyncio.create_task(load(name), name=f"load {name}") for name in range(6)]
        await asyncio.sleep(0.7)
        signalled = True
        os.kill(world.gateway.process.pid, signal.SIGTERM)
        async with asyncio.timeout(40):
            await until(lambda: not world.gateway.process.alive(), 40)
            stop = True
            await asyncio.gather(*loads)
        assert answered > 50
        executed = [each.line for each in world.legacy.requests]
        assert len(executed) == len(set(executed)) == answered, "none lost, none doubled"


async def test_a_reload(tmp_path: Path) -> None:
    async with started(tmp_path, limits="headers = 200") as world:
        client = await world.client()
        many = get("/x", "GET", "shop.test", *[(f"x-{number}", "") for number in range(30)])
        assert (await client.request(many)).status == 200
        config = tmp_path / "banyan.toml"
        config.write_text(config.read_text().replace("http2 = true", "http2 = false").replace("headers = 200", "headers = 20"))
        os.kill(world.gateway.process.pid, signal.SIGHUP)
        await world.offers("http/1.1")
        # Who is there already stays, and goes by the new terms.
        assert (await client.request(many)).status == 431
        assert (await client.request(get("/x", "GET", "shop.test"))).status == 200
        config.write_text(config.read_text().replace("http2 = false", "http2 = true"))
        os.kill(world.gateway.process.pid, signal.SIGHUP)
        await world.offers("h2")


async def test_over_the_limit_of_connections(tmp_path: Path) -> None:
    """edge.md 36: an idle connection makes room; where none is, the answer says why, and the connection is for nothing else."""

    async def hang(exchange: Exchange) -> None:
        await exchange.reader.read()

    async with started(tmp_path, limits="connections = 3") as world:
        idle = await world.client()
        assert (await idle.request(get("/x", "GET", "shop.test"))).status == 200
        await asyncio.sleep(1.2)  # a younger one may have its next request on the way
        world.legacy.handler = hang
        busy = [await world.client() for _ in range(3)]
        for client in busy:
            await client.send(get("/x", "GET", "shop.test"))
        await until(lambda: len(world.legacy.requests) == 4)
        await idle.end()
        assert [code for code, _ in idle.goaway] == [0]
        await world.counted('banyan_events_total{event="idle-connection-made-room"} 1.0')
        surplus = await world.client()
        answer = await surplus.request(get("/x", "GET", "shop.test"))
        assert (answer.status, answer.header("banyan-error")) == (503, "too-many-connections")
        assert answer.header("retry-after") is not None
        await surplus.end()
        assert len(world.legacy.requests) == 4


async def test_who_cannot_be_waited_for_is_told_so(tmp_path: Path) -> None:
    async def hang(exchange: Exchange) -> None:
        if exchange.line.startswith(b"GET /half"):
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await exchange.reader.read()

    async with started(tmp_path, limits='drain_timeout = "2s"') as world:
        world.legacy.handler = hang
        client = await world.client()
        safe = await client.send(get("/safe", "GET", "shop.test"))
        paid = await client.send(get("/paid", "POST", "shop.test"), b"x")
        half = await client.send(get("/half", "GET", "shop.test"))
        await until(lambda: len(world.legacy.requests) == 3)
        os.kill(world.gateway.process.pid, signal.SIGTERM)
        await client.end()
        assert (client.answers[safe].status, client.answers[safe].header("banyan-error")) == (503, "draining")
        assert (client.answers[paid].status, client.answers[paid].header("banyan-error")) == (504, "outcome-unknown-timeout")
        assert (client.answers[half].status, client.answers[half].reset) == (200, 2)
        await until(lambda: not world.gateway.process.alive(), 20)
