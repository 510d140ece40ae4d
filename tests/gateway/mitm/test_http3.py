"""HTTP/3 to clients: mitmproxy's QUIC before the same policy."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.processes import python
from gateway.config import parse
from gateway.mitm.unfit import unfit
from gateway.usable import EDGE, INSPECTED, unserved, unusable
from tests.support.certificates import Authority
from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok, write_flags
from tests.support.http2 import get
from tests.support.http3 import Client, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
http3 = true
expose_decision = true
access_log = "{folder}/access.log"
tls = [{{ certificate = "shop.pem", key = "shop.key" }}, {{ certificate = "other.pem", key = "other.key" }}]
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
response_timeout = "1s"
[upstreams]
new = "http://127.0.0.1:{new}"
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
    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream, authority: Authority) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new
        self.authority = authority


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("http3")
    authority = Authority(folder)
    authority.issue("shop", "shop.test")
    authority.issue("other", "*.other.test")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = TOML.format(folder=folder, legacy=legacy.port, new=new.port)
    try:
        async with gateway(folder, toml, engine="mitmproxy", moved=True) as started:
            yield World(started, legacy, new, authority)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> World:
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def asking(world: World) -> AsyncIterator[Client]:
    async with client(world.gateway.port, world.authority.ca) as connected:
        yield connected


async def echo(exchange: Exchange) -> None:
    await exchange.answer(exchange.line + b"|" + exchange.body)


async def test_the_same_policy(world: World, asking: Client) -> None:
    answer = await asking.request(get("/orders?page=2", "GET", "shop.test", ("x-forwarded-for", "6.6.6.6"), ("cookie", "a=1")))
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.header("banyan-route") == "-; served-by=legacy; reason=unrouted"
    (seen,) = world.legacy.requests
    assert seen.line == b"GET /orders?page=2 HTTP/1.1"
    assert (seen.header("Host"), seen.header("X-Forwarded-Proto"), seen.header("Cookie")) == (["shop.test"], ["https"], ["a=1"])
    assert seen.header("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.header("Transfer-Encoding") == seen.header("Content-Length") == []
    assert (await asking.request(get("/moved/1", "GET", "shop.test"))).header("banyan-route") == "moved; served-by=candidate; reason=flag"

    async def failing(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    world.new.handler = failing
    answer = await asking.request(get("/moved/2", "GET", "shop.test"))
    assert answer.header("banyan-route") == "moved; served-by=legacy; reason=fallback-status-500"
    for _ in range(60):
        lines = [json.loads(line) for line in (world.gateway.folder / "access.log").read_text().splitlines()]
        if len(lines) >= 3:
            break
        await asyncio.sleep(0.05)
    assert (lines[0]["target"], lines[0]["client"], lines[0]["status"]) == ("/orders?page=2", "127.0.0.1", 200)


async def test_bodies(world: World, asking: Client) -> None:
    world.legacy.handler = world.new.handler = echo
    for path in ("/kept", "/moved/1"):
        for size in (0, 5, 50_000, 300_000):
            for length in ((), (("content-length", str(size)),)):
                answer = await asking.request(get(path, "POST", "shop.test", *length), b"x" * size)
                assert answer.body == f"POST {path} HTTP/1.1|".encode() + b"x" * size, (path, size, length)


async def test_many_at_once(world: World, asking: Client) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.05)
        await echo(exchange)

    world.legacy.handler = world.new.handler = slow
    numbers = {asking.send(get(f"/{'moved' if each % 2 else 'kept'}/{each}", "GET", "shop.test")): each for each in range(40)}
    for number, each in numbers.items():
        assert (await asking.answer(number)).body == f"GET /{'moved' if each % 2 else 'kept'}/{each} HTTP/1.1|".encode()


async def test_what_the_gateway_answers_itself(world: World, asking: Client) -> None:
    for body in (b"", b"hello"):
        answer = await asking.request(get("/account/1", "POST", "shop.test"), body)
        assert (answer.status, answer.header("banyan-error")) == (401, "unauthenticated")
    assert world.legacy.requests == world.new.requests == []
    world.legacy.handler = lambda exchange: asyncio.sleep(3)
    answer = await asking.request(get("/hangs", "GET", "shop.test"))
    assert (answer.status, answer.header("content-type")) == (504, "application/problem+json")
    await world.legacy.stop()
    try:
        answer = await asking.request(get("/gone", "GET", "shop.test"))
        assert (answer.status, answer.header("banyan-error")) == (502, "upstream-unreachable")
    finally:
        world.legacy.handler = ok
        await world.legacy.start(world.legacy.port)
    assert (await asking.request(get("/back", "GET", "shop.test"))).status == 200


async def test_a_request_that_is_taken_back(world: World, asking: Client) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        asked.set()
        await exchange.reader.read(1)
        ended.set()

    world.legacy.handler = hang
    number = asking.send(get("/long", "GET", "shop.test"))
    await asked.wait()
    asking.reset(number)
    async with asyncio.timeout(3):
        await ended.wait()
    world.legacy.handler = ok
    assert (await asking.request(get("/next", "GET", "shop.test"))).status == 200


async def test_the_certificate_is_the_name_s(world: World) -> None:
    for name in ("shop.test", "x.other.test"):
        async with client(world.gateway.port, world.authority.ca, name) as asking:
            assert (await asking.request(get("/", "GET", name))).status == 200


async def test_an_address_that_somebody_has(tmp_path: Path) -> None:
    Authority(tmp_path).issue("shop", "shop.test")
    write_flags(tmp_path / "flags.json", {})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        with socket.create_server(("127.0.0.1", 0)) as free:  # a port whose TCP half is free, as it soon is again
            port = free.getsockname()[1]
            taken.bind(("127.0.0.1", port))
        lines = f'listen = ["127.0.0.1:{port}"]\nadmin = "127.0.0.1:0"\nworkers = 1\nhttp3 = true\n'
        tls = 'tls = { certificate = "shop.pem", key = "shop.key" }\n'
        config = tmp_path / "banyan.toml"
        config.write_text(f'[gateway]\n{lines}{tls}[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
        command = python("-m", "gateway.cli", "run", "--engine", "mitmproxy", "--config", str(config))
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"gateway.http3: UDP 127.0.0.1:{port} cannot be had" in done.stderr
    assert "Traceback" not in done.stderr


async def test_who_cannot_serve_it(tmp_path: Path) -> None:
    Authority(tmp_path).issue("shop", "shop.test")
    lines = 'http3 = true\ntls = { certificate = "shop.pem", key = "shop.key" }\n'
    config = parse(tmp_path / "banyan.toml", f'[gateway]\nworkers = 2\n{lines}[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
    assert unserved(config) == ["gateway.http3: the edge engine does not speak it; run the mitmproxy engine, or remove it"]
    assert unserved(config)[0] in unusable(config, EDGE)
    (problem,) = unfit(config)
    assert problem.endswith("set workers = 1")
    assert unusable(config, INSPECTED) == []
