"""TLS to clients and to upstreams, on real sockets with real certificates."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
import uvloop

from demo.processes import ROOT, listen, python
from flags.decisions import Decisions
from gateway import build
from gateway.access import AccessLog
from gateway.cli.run import ENGINES
from gateway.config import load
from gateway.net.edge import Edge
from gateway.net.listener import Listener
from gateway.tls import Certificates
from tests.support.certificates import Authority
from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
tls = [{{ certificate = "shop.pem", key = "shop.key" }}, {{ certificate = "other.pem", key = "other.key" }}]
[gateway.limits]
body_bytes = "16MiB"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
"""
GET = b"GET /orders HTTP/1.1\r\nHost: shop.test\r\n\r\n"
UPGRADE = b"GET /live HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"


class World:
    """A gateway whose clients come over TLS, before an upstream of ours."""

    def __init__(self, gateway: Gateway, legacy: Upstream, authority: Authority) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.authority = authority

    async def connect(self, name: str = "shop.test") -> Client:
        return await self.gateway.connect(self.authority.client(), name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("tls")
    async with _world(folder) as world:
        yield world


@asynccontextmanager
async def _world(folder: Path, workers: int = 1) -> AsyncIterator[World]:
    authority = Authority(folder)
    authority.issue("shop", "shop.test", "*.shop.test")
    authority.issue("other", "other.test")
    legacy = Upstream(ok)
    await legacy.start()
    try:
        async with gateway(folder, TOML.format(folder=folder, legacy=legacy.port), workers=workers) as started:
            yield World(started, legacy, authority)
    finally:
        await legacy.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    await running.legacy.forget()
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.02)


# Clients


async def test_requests_over_one_connection(world: World) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.answer(b"seen: " + exchange.body)

    world.legacy.handler = echo
    client = await world.connect()
    assert (await client.request(GET)).body == b"seen: "
    answer = await client.request(b"POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello")
    assert (answer.status, answer.body) == (200, b"seen: hello")
    assert answer.header("Banyan-Route") == "-; served-by=legacy; reason=unrouted"
    chunked = b"POST /x HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert (await client.request(chunked)).body == b"seen: abcde"
    assert (await client.request(b"HEAD /x HTTP/1.1\r\nHost: shop.test\r\n\r\n")).header("Content-Length") == "6"
    assert {each.header("X-Forwarded-Proto")[0] for each in world.legacy.requests} == {"https"}
    assert world.legacy.connections == 1
    tls = client.writer.get_extra_info("ssl_object")
    assert tls.version() == "TLSv1.3"
    for _ in range(60):
        if 'banyan_requests_total{route="none",served_by="legacy",status="200"} ' in await asyncio.to_thread(world.gateway.metrics):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("nothing was counted")


async def test_pipelined_requests_and_a_bad_one(world: World) -> None:
    async def name(exchange: Exchange) -> None:
        await exchange.answer(exchange.line.split()[1])

    world.legacy.handler = name
    client = await world.connect()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(1, 6)) + b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\n")
    assert [(await client.response()).body for _ in range(5)] == [b"/1", b"/2", b"/3", b"/4", b"/5"]
    last = await client.response()
    assert (last.status, last.header("Connection")) == (400, "close")
    assert await client.rest() == b""


async def test_large_bodies_both_ways(world: World) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.answer(exchange.body)

    world.legacy.handler = echo
    body = os.urandom(9_000_001)
    client = await world.connect()
    for _ in range(2):
        answer = await client.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert answer.body == body


async def narrow(port: int) -> Client:
    """A client that takes little before it reads: what it does not take waits on the other side."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return Client(*await asyncio.open_connection(sock=sock, limit=2**14))


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "clear"])
async def test_a_slow_client_gets_the_whole_of_its_last_answer(tmp_path: Path, tls: bool) -> None:
    """An answer that ends with its connection, and that waits in the gateway for longer than the connection lingers."""
    body = os.urandom(110_000)

    def ask(port: int, context: ssl.SSLContext | None) -> bytes:
        # Not uvloop's TLS, which reads ahead of who uses it.
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", port))
            with context.wrap_socket(sock, server_hostname="shop.test", suppress_ragged_eofs=False) if context else sock as client:
                client.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
                time.sleep(4.5)
                return b"".join(iter(lambda: client.recv(65536), b""))

    async def main() -> None:
        authority = Authority(tmp_path)
        authority.issue("shop", "shop.test")
        legacy = Upstream(lambda exchange: exchange.answer(body))
        await legacy.start()
        front = '[gateway]\ntls = { certificate = "shop.pem", key = "shop.key" }\n' if tls else ""
        async with engine(tmp_path, front + f'[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n') as (port, edge):
            asked = asyncio.create_task(asyncio.to_thread(ask, port, authority.client() if tls else None))
            await asyncio.sleep(1)
            done = len(legacy.requests) == 1 and edge.in_flight == 0
            answer = await asked
        await legacy.stop()
        assert done, "the gateway has passed it on, and waits"
        assert answer.partition(b"\r\n\r\n")[2] == body

    await asyncio.to_thread(lambda: uvloop.run(main()))


async def test_a_refusal_survives_a_body_that_is_still_being_sent(world: World) -> None:
    client = await world.connect()
    size = 40_000_000
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    client.writer.write(os.urandom(3_000_000))
    answer = await client.response()
    assert (answer.status, answer.header("Connection")) == (413, "close")
    assert await client.rest() == b""
    assert world.legacy.raw == b""


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ],
    ids=["length", "chunked", "until close"],
)
async def test_an_answer_that_is_cut_off_never_looks_whole(world: World, request_: bytes, answer: bytes) -> None:
    async def die(exchange: Exchange) -> None:
        await exchange.send(answer)
        await asyncio.sleep(0.1)
        exchange.reset()

    world.legacy.handler = die
    client = await world.connect()
    await client.send(request_)
    await client.reader.readuntil(b"\r\n\r\n")
    with pytest.raises(OSError):  # noqa: PT011 - a reset, or TLS saying the same
        await client.rest()


async def test_a_client_that_says_goodbye_is_gone(world: World) -> None:
    """Over TLS a client that ends its half ends the whole: the upstream's request is cancelled."""
    gone = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        try:
            await exchange.reader.read()
        finally:
            gone.set()

    world.legacy.handler = slow
    client = await world.connect()
    await client.send(GET)
    await asyncio.sleep(0.2)
    client.close()
    async with asyncio.timeout(2):
        await gone.wait()
    assert "has no effect" not in world.gateway.process.log.read_text()


# Other protocols


async def test_an_upgrade(world: World) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(SWITCH + b"HELLO.")
        while data := await exchange.reader.read(65536):
            await exchange.send(data.upper())
            if data.endswith(b"bye"):
                break
        exchange.writer.close()

    world.legacy.handler = echo
    client = await world.connect()
    await client.send(UPGRADE + b"glued ")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    sent = b"then" * 300_000 + b"bye"
    await client.send(sent)
    assert await client.rest() == b"HELLO.GLUED " + sent.upper()


async def test_the_last_words_of_a_tunnels_client_arrive(world: World) -> None:
    heard = bytearray()
    over = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        await asyncio.sleep(0.5)
        try:
            while data := await exchange.reader.read(65536):
                heard.extend(data)
                await asyncio.sleep(0.005)
        finally:
            over.set()

    world.legacy.handler = slow
    assert world.legacy._server is not None
    world.legacy._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)  # the rest waits in the gateway
    client = await world.connect()
    await client.send(UPGRADE)
    await client.reader.readuntil(b"\r\n\r\n")
    words = os.urandom(8_000_000)
    client.writer.write(words)
    client.close()
    async with asyncio.timeout(20):
        await over.wait()
    assert heard == words


async def test_a_tunnels_client_that_is_gone_takes_the_upstream_along(world: World) -> None:
    ended = asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        try:
            await exchange.reader.read()
        finally:
            ended.set()

    world.legacy.handler = hold
    for leave in (Client.close, Client.reset):
        ended.clear()
        client = await world.connect()
        await client.send(UPGRADE)
        await client.reader.readuntil(b"\r\n\r\n")
        leave(client)
        async with asyncio.timeout(2):
            await ended.wait()


# Handshakes


async def test_the_certificate_fits_the_name(world: World) -> None:
    for name, expected in {"shop.test": "shop.test", "www.shop.test": "shop.test", "other.test": "other.test"}.items():
        client = await world.connect(name)
        certificate = client.writer.get_extra_info("peercert")
        assert certificate["subjectAltName"][0][1] == expected
    with pytest.raises(ssl.SSLCertVerificationError):
        await world.connect("unknown.test")


async def test_tls_1_1_is_refused(world: World) -> None:
    context = world.authority.client()
    with pytest.warns(DeprecationWarning, match="TLSVersion.TLSv1_1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSVersion.TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await world.gateway.connect(context)
    context = world.authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await world.gateway.request(GET, context)).status == 200


async def test_only_http_1_1_is_offered(world: World) -> None:
    for offered, chosen in {("h2", "http/1.1"): "http/1.1", ("h2",): None}.items():
        context = world.authority.client()
        context.set_alpn_protocols(list(offered))
        client = await world.gateway.connect(context)
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen


async def test_clear_text_where_tls_is_spoken_is_closed(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.response()
    assert world.legacy.raw == b""


@asynccontextmanager
async def engine(folder: Path, toml: str, *, handshake_timeout: float = 10.0) -> AsyncIterator[tuple[int, Edge]]:
    """A worker's engine in this process, with little room for answers in its sockets."""
    path = folder / "banyan.toml"
    path.write_text(toml)
    config = load(path)
    certificates = Certificates(config)
    certificates.read()
    policy = build.policy(config, Decisions(app_name="a", environment="b"))
    edge = Edge(asyncio.get_running_loop(), config, policy, access=AccessLog(""), shipper=None)
    listener = Listener(edge, handshake_timeout=handshake_timeout)
    listener.front.take(certificates.pairs)
    sock = listen()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
    await listener.start([sock])
    try:
        yield sock.getsockname()[1], edge
    finally:
        listener.stop_accepting()
        edge.close()


async def test_a_handshake_that_never_comes_is_closed_and_counted(tmp_path: Path) -> None:
    Authority(tmp_path).issue("shop", "shop.test")
    toml = '[gateway]\ntls = { certificate = "shop.pem", key = "shop.key" }\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n'

    async def main() -> None:
        async with engine(tmp_path, toml, handshake_timeout=1.0) as (port, edge):
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            dripping, other = await asyncio.open_connection("127.0.0.1", port)
            other.write(b"\x16\x03\x01\x02")
            async with asyncio.timeout(5):
                assert await silent.read() == b""
                assert await dripping.read() == b""
                await until(lambda: edge.tally.report().events.get("tls-handshake-failed") == 2)
            for each in (writer, other):
                each.close()

    await asyncio.to_thread(lambda: uvloop.run(main()))


# Files


async def test_a_new_certificate_under_load_fails_nobody_and_a_broken_one_keeps_the_old(tmp_path: Path) -> None:
    async with _world(tmp_path, workers=2) as world:
        client_context = world.authority.client()
        kept = await world.connect()
        await kept.request(GET)
        stop = asyncio.Event()
        answered = 0
        serials: set[str] = set()

        async def load_() -> None:
            nonlocal answered
            while not stop.is_set():
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", world.gateway.port, ssl=client_context, server_hostname="shop.test"
                )
                serials.add(writer.get_extra_info("peercert")["serialNumber"])
                client = Client(reader, writer)
                for _ in range(3):
                    assert (await client.request(GET)).status == 200
                    answered += 1
                client.close()

        clients = [asyncio.create_task(load_()) for _ in range(4)]
        async with asyncio.timeout(10):
            await until(lambda: bool(serials))
        for _ in range(4):
            before = len(serials)
            world.authority.issue("shop", "shop.test")
            async with asyncio.timeout(10):
                while len(serials) <= before:
                    await asyncio.sleep(0.05)
                    assert not any(client.done() for client in clients), "a request failed"
        now = set(serials)
        key = tmp_path / "shop.key"
        good = key.read_bytes()
        key.write_text("broken")
        await asyncio.sleep(2)
        assert (await kept.request(GET)).status == 200
        assert not any(client.done() for client in clients), "a request failed"
        os.kill(world.gateway.workers()[0], 9)  # a new worker, while the file is broken
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*clients, return_exceptions=True)  # the killed worker's own requests are lost
        for _ in range(20):
            assert (await world.gateway.request(GET, client_context)).status == 200
        assert serials == now
        assert answered > 50
        log = world.gateway.process.log.read_text()
        assert log.count("gateway.tls[0].key: ") == 1
        assert log.count("The last good one goes on being used") == 1
        assert "PRIVATE" not in log
        metrics = await asyncio.to_thread(world.gateway.metrics)
        assert 'banyan_events_total{event="certificate-broken"} 1.0' in metrics
        assert 'banyan_events_total{event="certificate-reloaded"} 4.0' in metrics
        key.write_bytes(good)
        world.authority.issue("shop", "shop.test")
        async with asyncio.timeout(10):
            while serials == now:
                client = await world.connect()
                serials.add(client.writer.get_extra_info("peercert")["serialNumber"])
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_which_addresses_speak_tls(tmp_path: Path, engine: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("shop", "shop.test")
    legacy = Upstream(ok)
    await legacy.start()
    toml = f'[gateway]\ntls = {{ certificate = "shop.pem", key = "shop.key" }}\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    addresses = f'"https://127.0.0.1:0", "http://127.0.0.1:0", "unix:{tmp_path}/gateway"'
    try:
        async with gateway(tmp_path, toml, engine=engine, listen=addresses) as running:
            assert (await running.request(GET, authority.client())).status == 200
            said = running.process.log.read_text()
            assert f"serving on https://127.0.0.1:{running.port}, 127.0.0.1:" in said
            clear = int(said.partition(", 127.0.0.1:")[2].partition(",")[0])
            for opened in (asyncio.open_connection("127.0.0.1", clear), asyncio.open_unix_connection(tmp_path / "gateway")):
                client = Client(*await opened)
                assert (await client.request(GET)).status == 200
                client.close()
        assert [each.header("X-Forwarded-Proto") for each in legacy.requests] == [["https"], ["http"], ["http"]]
    finally:
        await legacy.stop()


def run(verb: str, config: Path) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", verb, "--config", str(config))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


async def test_files_that_cannot_be_used_end_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", "a.test")
    authority.issue("b", "b.test", days=(-9, -1))
    (tmp_path / "flags.json").write_text('{"version": 1, "features": []}')
    path = tmp_path / "banyan.toml"
    head = '[gateway]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nworkers = 1\n'
    upstreams = '[upstreams.legacy]\nurl = "https://127.0.0.1:1"\ntls = { verify = false }\n'
    path.write_text(head + 'tls = { certificate = "a.pem", key = "b.key" }\n' + upstreams)
    for verb in ("run", "check"):
        ended = await asyncio.to_thread(run, verb, path)
        assert ended.returncode == 2
        assert ended.stderr == f"banyan: {path}: gateway.tls.key: {tmp_path}/b.key is not the key of the certificate in {tmp_path}/a.pem\n"
    path.write_text(head + 'tls = { certificate = "b.pem", key = "b.key" }\n' + upstreams)
    ended = await asyncio.to_thread(run, "check", path)
    assert ended.returncode == 0
    assert f"warning: gateway.tls.certificate: {tmp_path}/b.pem has expired" in ended.stdout
    assert "warning: upstreams.legacy.tls.verify = false: whoever answers at https://127.0.0.1:1 is believed to be it" in ended.stdout


# Upstreams

UPSTREAMS = """
[gateway]
expose_decision = true
[identity]
source = "{identity}"
path = "/who"
[upstreams.legacy]
url = "https://localhost:{legacy}"
tls = {{ ca = "authority.pem" }}
[upstreams.new]
url = "https://127.0.0.1:{new}"
tls = {{ {tls} }}
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""
REVIEW = b"GET /reviews/1 HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid=abc\r\n\r\n"
POST = b"POST /reviews/1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def upstreams(
    folder: Path, server: ssl.SSLContext, tls: str, *, engine: str = "edge", identity: str = "none", **flags: bool
) -> AsyncIterator[tuple[Gateway, Upstream, Upstream]]:
    """A gateway before a legacy and a candidate that both speak TLS; the candidate with `server`."""
    authority = Authority(folder)
    legacy = Upstream(ok, tls=authority.server("legacy", "localhost"))
    new = Upstream(ok, tls=server)
    await legacy.start()
    await new.start()
    try:
        toml = UPSTREAMS.format(legacy=legacy.port, new=new.port, tls=tls, identity=identity)
        async with gateway(folder, toml, engine=engine, **flags) as running:
            yield running, legacy, new
    finally:
        await legacy.stop()
        await new.stop()


def trusting(authority: Authority) -> ssl.SSLContext:
    """A server that wants to know who its client is."""
    context = authority.server("new", "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    return context


def trusting_in_tls_1_2(authority: Authority) -> ssl.SSLContext:
    """The same, before its client can have sent a request."""
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


Server = Callable[[Authority], ssl.SSLContext]


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize(
    ("server", "tls"),
    [
        (lambda authority: authority.server("new", "127.0.0.1"), 'ca = "new-ca.pem"'),
        (lambda authority: authority.server("new", "new.test"), 'ca = "new-ca.pem", server_name = "new.test"'),
        (lambda authority: authority.server("new"), "verify = false"),
        (trusting, 'ca = "new-ca.pem", certificate = "us.pem", key = "us.key"'),
    ],
    ids=["address", "server_name", "verify = false", "client certificate"],
)
async def test_an_upstream_that_proves_who_it_is(tmp_path: Path, server: Server, tls: str, engine: str) -> None:
    authority = Authority(tmp_path, "new-ca")
    authority.issue("us", "gateway")
    async with upstreams(tmp_path, server(authority), tls, engine=engine, reviews=True) as (running, legacy, new):
        client = await running.connect()
        for request in (REVIEW, POST, REVIEW):
            answer = await client.request(request)
            assert (answer.status, answer.header("Banyan-Route")) == (200, "reviews; served-by=candidate; reason=flag")
        assert (await client.request(GET)).status == 200
        large = await client.request(b"POST /reviews/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        assert large.status == 200
        assert [len(each.body) for each in new.requests] == [0, 5, 0, 3_000_000]
        assert len(legacy.requests) == 1
        warned = "upstreams.new.tls.verify = false: whoever answers" in running.process.log.read_text()
        assert warned == ("verify" in tls)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize(
    ("server", "tls", "said"),
    [
        (lambda authority: authority.server("new", "127.0.0.2"), 'ca = "new-ca.pem"', "IP address mismatch"),
        (lambda authority: authority.server("new", "127.0.0.1"), 'ca = "new-ca.pem", server_name = "new.test"', "Hostname mismatch"),
        (lambda authority: authority.server("new", "127.0.0.1"), "", "unable to get local issuer certificate"),
        (lambda authority: authority.server("new", "127.0.0.1", days=(-9, -1)), 'ca = "new-ca.pem"', "certificate has expired"),
        (trusting_in_tls_1_2, 'ca = "new-ca.pem"', "it ended the connection during the handshake"),
    ],
    ids=["another address", "another name", "unknown authority", "expired", "no client certificate"],
)
async def test_a_candidate_that_does_not_is_never_asked(tmp_path: Path, server: Server, tls: str, said: str, engine: str) -> None:
    authority = Authority(tmp_path, "new-ca")
    async with upstreams(tmp_path, server(authority), tls, engine=engine, reviews=True) as (running, legacy, new):
        client = await running.connect()
        for request in (REVIEW, POST):
            answer = await client.request(request)
            assert (answer.status, answer.header("Banyan-Route")) == (200, "reviews; served-by=legacy; reason=fallback-tls")
        assert new.raw == b""
        assert [each.body for each in legacy.requests] == [b"", b"hello"]
        log = running.process.log.read_text()
        if engine == "edge":
            assert log.count("no TLS with upstream new at 127.0.0.1:") == 1
            assert said in log


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_candidate_that_wants_to_know_who_we_are_says_so_after_the_handshake(tmp_path: Path, engine: str) -> None:
    """In TLS 1.3 the request is on its way already. It was not read: so a POST goes to legacy, too."""
    authority = Authority(tmp_path, "new-ca")
    context = trusting(authority)
    over = threading.Event()

    def serve(sock: socket.socket) -> None:
        # Not asyncio's TLS, which ends such a connection without a word.
        sock.settimeout(0.1)
        while not over.is_set():
            try:
                connection, _ = sock.accept()
            except TimeoutError:
                continue
            connection.settimeout(5)
            with connection, context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secure:
                with suppress(ssl.SSLError):
                    secure.do_handshake()
                over.wait(0.3)

    sock = listen()
    thread = threading.Thread(target=serve, args=(sock,), name="candidate")
    thread.start()
    legacy = Upstream(ok)
    await legacy.start()
    toml = (
        f'[gateway]\nexpose_decision = true\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
        f'[upstreams.new]\nurl = "https://127.0.0.1:{sock.getsockname()[1]}"\ntls = {{ ca = "new-ca.pem" }}\n'
        '[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\n'
    )
    try:
        async with gateway(tmp_path, toml, engine=engine, reviews=True) as running:
            for request in (REVIEW, POST):
                answer = await running.request(request)
                assert (answer.status, answer.header("Banyan-Route")) == (200, "reviews; served-by=legacy; reason=fallback-tls")
            assert engine != "edge" or "tlsv13 alert certificate required" in running.process.log.read_text()
    finally:
        over.set()
        await asyncio.to_thread(thread.join)
        sock.close()
        await legacy.stop()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_legacy_that_does_not_is_502(tmp_path: Path, engine: str) -> None:
    authority = Authority(tmp_path, "other")
    legacy = Upstream(ok, tls=authority.server("legacy", "shop.test"))
    await legacy.start()
    toml = f'[upstreams.legacy]\nurl = "https://127.0.0.1:{legacy.port}"\ntls = {{ ca = "other.pem" }}\n'
    try:
        async with gateway(tmp_path, toml, engine=engine) as running:
            for request in (GET, POST):
                answer = await running.request(request)
                assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-tls")
                assert orjson.loads(answer.body)["detail"] == "legacy: tls"
            assert "legacy at https://127.0.0.1:" in (log := running.process.log.read_text())
            assert "cannot be reached (its certificate is not accepted: IP address mismatch" in log
        assert legacy.raw == b""
    finally:
        await legacy.stop()


async def test_a_handshake_that_does_not_end_is_a_connect_timeout(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    toml = f'[upstreams.legacy]\nurl = "https://127.0.0.1:{port}"\nconnect_timeout = "300ms"\n'
    try:
        async with gateway(tmp_path, toml) as running:
            answer = await running.request(GET)
            assert (answer.status, answer.header("Banyan-Error")) == (504, "upstream-connect-timeout")
    finally:
        server.close()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_identity_and_shadow_ask_over_tls_too(tmp_path: Path, engine: str) -> None:
    authority = Authority(tmp_path, "new-ca")

    async def who(exchange: Exchange) -> None:
        if b" /who " in exchange.line:
            await exchange.answer(json.dumps({"user": "7"}).encode(), extra=b"Content-Type: application/json\r\n")
        else:
            await exchange.answer()

    server = authority.server("new", "127.0.0.1")
    flags = {"reviews": False, "reviews.shadow": True}
    async with upstreams(tmp_path, server, 'ca = "new-ca.pem"', engine=engine, identity="introspection", **flags) as (running, legacy, new):
        legacy.handler = who
        assert (await running.request(REVIEW)).status == 200
        assert [each.line.split()[1] for each in legacy.requests] == [b"/who", b"/reviews/1"]
        async with asyncio.timeout(5):
            await until(lambda: bool(new.requests))
        assert new.requests[0].header("Banyan-Shadow") == ["1"]


@pytest.mark.parametrize("end", ["whole", "cut off"])
async def test_an_answer_that_ends_with_an_upstreams_tls_is_whole_only_if_that_says_so(tmp_path: Path, end: str) -> None:
    body = os.urandom(3_000_000)

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        if end == "whole":
            exchange.writer.close()
        else:
            async with asyncio.timeout(20):
                await until(lambda: exchange.writer.transport.get_write_buffer_size() == 0)
            exchange.writer.transport.abort()  # an orderly end of the connection, and none of TLS

    async with upstreams(tmp_path, Authority(tmp_path, "new-ca").server("new"), "verify = false") as (running, legacy, _):
        legacy.handler = answer
        for request in (GET, GET.replace(b"1.1", b"1.0")):
            client = await running.connect()
            await client.send(request)
            if end == "cut off":
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await client.response()
            else:
                assert (await client.response()).body == body


async def test_what_a_slow_client_has_not_taken_is_not_lost_when_a_tls_upstream_ends(tmp_path: Path) -> None:
    body = os.urandom(300_000)
    context = Authority(tmp_path).server("legacy", "127.0.0.1")

    def serve(sock: socket.socket) -> None:
        # Not asyncio's TLS, which waits with the end of the connection until the other side agrees.
        sock.settimeout(10)
        connection, _ = sock.accept()
        connection.settimeout(10)
        with connection, context.wrap_socket(connection, server_side=True) as secure:
            assert secure.recv(65536).startswith(b"GET ")
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    async def main(port: int) -> None:
        async with engine(tmp_path, f'[upstreams.legacy]\nurl = "https://127.0.0.1:{port}"\ntls = {{ ca = "authority.pem" }}\n') as (
            front,
            _,
        ):
            client = await narrow(front)
            await client.send(GET)
            await asyncio.sleep(1)
            assert (await client.response()).body == body
            client.close()

    with listen() as sock:
        thread = threading.Thread(target=serve, args=(sock,), name="legacy")
        thread.start()
        try:
            await asyncio.to_thread(lambda: uvloop.run(main(sock.getsockname()[1])))
        finally:
            await asyncio.to_thread(thread.join)


async def test_an_upgrade_to_an_upstream_over_tls(tmp_path: Path) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        while not (data := await exchange.reader.read(65536)).endswith(b"bye"):
            await exchange.send(data.upper())
        await exchange.send(data.upper())
        exchange.writer.close()

    async with upstreams(tmp_path, Authority(tmp_path, "new-ca").server("new"), "verify = false") as (running, legacy, _):
        legacy.handler = echo
        client = await running.connect()
        await client.send(UPGRADE)
        await client.reader.readuntil(b"\r\n\r\n")
        sent = b"then" * 300_000 + b"bye"
        await client.send(sent)
        assert await client.rest() == sent.upper()
