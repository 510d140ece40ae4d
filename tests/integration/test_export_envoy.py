"""The exported configuration, run by a real Envoy before the same upstreams as a real gateway: both answer alike."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from demo.processes import python
from tests.support.certificates import Authority
from tests.support.envoy import binary, envoy
from tests.support.gateway import Client, Exchange, Gateway, Response, Upstream, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("legacy", "new", "psp-a", "psp-b")
TOML = """
[gateway]
access_log = ""
trusted_proxies = []
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
psp-a = "http://127.0.0.1:{psp-a}"
psp-b = "http://127.0.0.1:{psp-b}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
rewrite = "/reviews/*"
fallback = false
[[routes]]
name = "summary"
match = "/api/v1/reviews/summary"
candidate = "new"
[[routes]]
name = "write"
match = "/api/v1/reviews/{{id}}"
methods = ["POST", "PUT"]
candidate = "new"
fallback = false
[[routes]]
name = "photo"
match = "/api/v1/items/{{id}}/photos/{{photo}}"
methods = ["GET", "HEAD"]
candidate = "new"
rewrite = "/of/{{photo}}/{{id}}"
host = "photos.internal"
fallback = false
[[routes]]
name = "quarter"
match = "/api/v1/quarter/*"
candidate = "new"
rewrite = "/q/*"
fallback = false
[[routes]]
name = "copied"
match = "/api/v1/copied/*"
candidate = "new"
fallback = false
[[routes]]
name = "half"
match = "/api/v1/half/{{id}}"
candidate = "new"
fallback = false
[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = {{ psp-a = 70, psp-b = 30 }}
sticky = "random"
"""
HANDED = ["reviews", "write", "photo", "quarter", "copied", "half", "payments"]


def rollout(share: int, stickiness: str = "random") -> dict[str, Any]:
    return {"name": "flexibleRollout", "parameters": {"rollout": str(share), "stickiness": stickiness, "groupId": "g"}}


FLAGS = {
    "reviews": rollout(100),
    "write": rollout(100, "default"),
    "photo": {"name": "default"},
    "quarter": rollout(25),
    "copied.shadow": rollout(100),
    "half.shadow": rollout(50),
    "summary": rollout(50, "userId"),
}

TOLD = ("Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "X_Odd", "Accept", "tracestate")
TOLD += ("Banyan-Identity", "Banyan-Shadow", "Banyan-Timeout-Ms")
"""What an upstream is told, and answers with."""


def answering(name: str) -> Callable[[Exchange], Any]:
    """An upstream that says who it is, and what it was asked."""

    async def handler(exchange: Exchange) -> None:
        method, target, _ = exchange.line.decode("latin-1").split(" ")
        if exchange.header("Upgrade"):
            await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            await exchange.send(f"{name} {await exchange.reader.readexactly(4)!r}".encode())
            exchange.writer.close()
            return
        fields = {field: exchange.header(field) for field in TOLD}
        said = {
            "name": name,
            "method": method,
            "target": target,
            "body": exchange.body.decode("latin-1"),
            "fields": fields,
            "via": exchange.header("Via"),
            "ids": exchange.header("X-Request-ID"),
            "trace": exchange.header("traceparent"),
        }
        body = orjson.dumps(said)
        # As the gateway does not, no proxy may believe what an upstream says in Banyan's name.
        extra = b"Server: upstream\r\nX-Answer: 1\r\nBanyan-Error: forged\r\n"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n".encode()
        await exchange.send(head + extra + b"\r\n" + (b"" if method == "HEAD" else body))

    return handler


@dataclass
class Pair:
    """Both before the same upstreams."""

    gateway: Gateway
    upstreams: dict[str, Upstream]
    envoy: int

    async def ask(self, port: int, raw: bytes) -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        try:
            return await client.request(raw)
        finally:
            client.close()

    async def both(self, raw: bytes) -> tuple[Response, Response]:
        return await self.ask(self.gateway.port, raw), await self.ask(self.envoy, raw)


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "export", "envoy", "--config", str(folder / "banyan.toml"), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    binary()
    async with AsyncExitStack() as stack:
        upstreams = {name: Upstream(answering(name)) for name in NAMES}
        for each in upstreams.values():
            await each.start()
            stack.push_async_callback(each.stop)
        toml = TOML.format(**{name: each.port for name, each in upstreams.items()})
        running = await stack.enter_async_context(gateway(folder, toml))
        features = [{"name": name, "enabled": True, "strategies": [strategy]} for name, strategy in FLAGS.items()]
        running.flags.write_text(json.dumps({"version": 1, "features": features}))
        await running.decided(**dict.fromkeys(FLAGS, True))
        done = await asyncio.to_thread(export, folder, "--json", "--gateway", f"127.0.0.1:{running.port}", "--listen", "127.0.0.1:0")
        assert done.returncode == 1, done.stderr  # summary stays
        told = json.loads(done.stdout)
        assert sorted(each["route"] for each in told["handed"]) == sorted(HANDED)
        (refused,) = told["refused"]
        assert (refused["route"], {each["code"] for each in refused["reasons"]}) == ("summary", {"flag-stickiness"})
        port = await stack.enter_async_context(envoy(folder, told["documents"][0]))
        yield Pair(running, upstreams, port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with pair(tmp_path_factory.mktemp("exported")) as found:
        yield found


def request(line: str, *fields: str, body: str = "") -> bytes:
    lines = ["Host: shop.test", *fields] if not any(field.lower().startswith("host:") for field in fields) else list(fields)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return f"{line} HTTP/1.1\r\n{''.join(f'{each}\r\n' for each in lines)}\r\n{body}".encode("latin-1")


FORGED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DIRECT = [
    request("GET /api/v1/reviews/"),
    request("GET /api/v1/reviews/3"),
    request("HEAD /api/v1/reviews/3"),
    request("GET /api/v1/reviews/3?page=2&x=/api/v1/reviews/summary"),
    request("GET /api/v1/reviews/3?x=%2f..&y=;//"),
    request("GET /api/v1/reviews/3/photos/1/"),
    request("GET /api/v1/reviews/summary/9"),
    request("POST /api/v1/reviews/3", body="rating=4"),
    request("PUT /api/v1/reviews/3", "Content-Type: application/json", body='{"rating": 4}'),
    request("DELETE /api/v1/reviews/3"),
    request("PATCH /api/v1/reviews/3", body="x"),
    request("BREW /api/v1/reviews/3"),
    request("OPTIONS /api/v1/reviews/3"),
    request("GET /api/v1/reviews/a.b~c!$&'()*+,=:@"),
    request('GET /api/v1/reviews/"<>[]^_`{|}-'),
    request("GET /api/v1/items/4/photos/1"),
    request("GET /api/v1/items/4/photos/1?size=small"),
    # What a client says of itself.
    request("GET /api/v1/reviews/3", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https"),
    request("GET /api/v1/reviews/3", "Forwarded: for=192.0.2.9", "X-Real-IP: 192.0.2.9", "Banyan-Identity: forged", "X_Odd: 1"),
    request("GET /api/v1/reviews/3", "Banyan-Shadow: 1", "Banyan-Timeout-Ms: 1", "X-Request-ID: me"),
    request("GET /api/v1/reviews/3", "x-envoy-expected-rq-timeout-ms: 1", "x-envoy-upstream-rq-timeout-ms: 1"),
    request("GET /api/v1/reviews/3", f"traceparent: {FORGED}", "tracestate: a=b"),
    request("GET /api/v1/items/4/photos/1", "Host: other.test:8443"),
    request("GET /api/v1/reviews/3", "Accept: text/html, */*;q=0.1"),
]
"""The upstream gets these from Envoy."""
PASSED_ON = [
    request("GET /api/v1/reviews/summary"),
    request("GET /api/v1/reviews"),
    request("GET /api/v1/reviewsx/3"),
    request("GET /API/v1/reviews/3"),
    request("GET /api/v1/items//photos/1"),
    request("GET /api/v1/items/4/photos/"),
    request("POST /api/v1/items/4/photos/1", body="x"),
    request("GET /"),
    request("GET /elsewhere?x=%2f"),
    # What could mean another path: the gateway says what becomes of it, and Envoy hands it on as it came.
    request("GET /api/v1/reviews/%33"),
    request("GET /api/v1/reviews/caf%C3%A9"),
    request("GET /api/v1/reviews/a%2Fb"),
    request("GET /api/v1/reviews/%2e%2e/orders"),
    request("GET /api/v1/x/../reviews/3"),
    request("GET /api/v1/reviews/../orders"),
    request("GET /api/v1/./reviews/3"),
    request("GET /api/v1//reviews/3"),
    request("GET //api/v1/reviews/3"),
    request("GET /api/v1/%72eviews/3"),
    request("GET /api/v1/reviews/3;x=1"),
    request("GET /api/v1/reviews/summary;x"),
    request("GET /api/v1/reviews/.hidden"),
]
"""These from the gateway, which has them from Envoy."""
REFUSED = [
    (request("TRACE /api/v1/reviews/3"), 405),
    (request("GET /api/v1/reviews/3#top"), 400),
    (b"GET /api/v1/reviews/3 HTTP/1.1\r\n\r\n", 400),
    (b"GET /api/v1/reviews/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET /api/v1/reviews/3 HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
]


@pytest.mark.parametrize("raw", [*DIRECT, *PASSED_ON], ids=lambda raw: raw.split(b" HTTP/")[0].decode())
async def test_both_ask_the_same_upstream_for_the_same(running: Pair, raw: bytes) -> None:
    ours, theirs = await running.both(raw)
    assert (ours.status, theirs.status) == (200, 200)
    for name in ("X-Answer", "Content-Type", "Server", "Banyan-Error", "x-envoy-upstream-service-time"):
        assert theirs.header(name) == ours.header(name), name
    if raw.startswith(b"HEAD"):
        return
    said, heard = orjson.loads(ours.body), orjson.loads(theirs.body)
    assert (said.pop("via"), heard.pop("via")) == (["1.1 banyan"], [] if raw in DIRECT else ["1.1 banyan"])
    for each in (said, heard):
        (number,) = each.pop("ids")
        assert number not in ("", "me")
        assert not any(FORGED[3:35] in trace for trace in each.pop("trace"))
    assert heard == said


async def test_both_change_protocols(running: Pair) -> None:
    raw = request("GET /api/v1/reviews/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    for port in (running.gateway.port, running.envoy):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        try:
            assert (await client.request(raw)).status == 101
            await client.send(b"ping")
            assert await client.rest() == b"new b'ping'"
        finally:
            client.close()


@pytest.mark.parametrize(("raw", "status"), REFUSED, ids=lambda part: part.split(b"\r\n")[0].decode() if isinstance(part, bytes) else "")
async def test_both_refuse_the_same(running: Pair, raw: bytes, status: int) -> None:
    before = [len(each.requests) for each in running.upstreams.values()]
    ours, theirs = await running.both(raw)
    assert (ours.status, theirs.status) == (status, status)
    assert [len(each.requests) for each in running.upstreams.values()] == before


def bounds(trials: int, share: float, risk: float = 1e-9) -> tuple[int, int]:
    """Between which a count falls but for `risk`: half of it on either side, exactly."""
    chances = [comb(trials, hits) * share**hits * (1 - share) ** (trials - hits) for hits in range(trials + 1)]
    low, left = 0, risk / 2
    while (left := left - chances[low]) > 0:
        low += 1
    high, left = trials, risk / 2
    while (left := left - chances[high]) > 0:
        high -= 1
    return low, high


async def test_the_bounds_are_the_binomials() -> None:
    low, high = bounds(600, 0.25)
    assert 80 < low < 95
    assert 215 < high < 230
    chances = [comb(600, hits) * 0.25**hits * 0.75 ** (600 - hits) for hits in range(601)]
    assert 1 - sum(chances[low : high + 1]) < 1e-9


TRIALS = 600


async def counted(port: int, raw: bytes) -> Counter[str]:
    """Who answered TRIALS of one request, on four connections."""

    async def quarter() -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        try:
            return [orjson.loads((await client.request(raw)).body)["name"] for _ in range(TRIALS // 4)]
        finally:
            client.close()

    return Counter(name for part in await asyncio.gather(*(quarter() for _ in range(4))) for name in part)


@pytest.mark.parametrize(("path", "name", "share"), [("/api/v1/quarter/3", "new", 0.25), ("/api/v1/payments/3", "psp-a", 0.7)])
async def test_both_give_each_its_share(running: Pair, path: str, name: str, share: float) -> None:
    low, high = bounds(TRIALS, share)
    for port in (running.gateway.port, running.envoy):
        found = await counted(port, request(f"GET {path}"))
        assert found.total() == TRIALS
        assert low <= found[name] <= high, found


async def test_each_side_of_a_share_is_asked_for_its_own_path(running: Pair) -> None:
    wanted = {"new": "/q/3?x=1", "legacy": "/api/v1/quarter/3?x=1"}
    seen = set()
    for _ in range(200):  # one side is never met in these once in 1e25
        told = orjson.loads((await running.ask(running.envoy, request("GET /api/v1/quarter/3?x=1"))).body)
        assert told["target"] == wanted[told["name"]]
        seen.add(told["name"])
        if len(seen) == 2:
            break
    assert seen == set(wanted)


async def settled(upstream: Upstream, count: int) -> None:
    """Waits until it has got so many requests; copies come when they come."""
    async with asyncio.timeout(15):
        while len(upstream.requests) < count:  # noqa: ASYNC110 - the upstream tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("which", ["gateway", "envoy"])
async def test_reading_requests_are_copied_and_marked(running: Pair, which: str) -> None:
    port = running.gateway.port if which == "gateway" else running.envoy
    new = running.upstreams["new"]
    before = len(new.requests)
    for number in range(10):
        answer = await running.ask(port, request(f"GET /api/v1/copied/{number}?x=1", "Banyan-Shadow: forged"))
        assert orjson.loads(answer.body)["name"] == "legacy"
        # A write is not, and neither is it there: what comes next would be behind it.
        await running.ask(port, request(f"POST /api/v1/copied/{number}", body="x"))
    await settled(new, before + 10)
    copies = new.requests[before:]
    assert sorted(copy.line for copy in copies) == [f"GET /api/v1/copied/{number}?x=1 HTTP/1.1".encode() for number in range(10)]
    assert {tuple(copy.header("Banyan-Shadow")) for copy in copies} == {("1",)}
    assert {tuple(copy.header("Host")) for copy in copies} == {("shop.test",)}


async def test_half_of_them_are_copied_where_half_are_compared(running: Pair) -> None:
    low, high = bounds(TRIALS, 0.5)
    new = running.upstreams["new"]
    for port in (running.gateway.port, running.envoy):
        before = len(new.requests)
        assert await counted(port, request("GET /api/v1/half/3")) == {"legacy": TRIALS}
        await settled(new, before + low)
        await asyncio.sleep(0.3)  # what is more would fail below, and what is late would count for the other: it may only be less then
        assert low <= len(new.requests) - before <= high


async def test_a_refused_candidate_is_an_error_on_both_sides_without_fallback(running: Pair) -> None:
    new = running.upstreams["new"]
    await new.stop()
    try:
        ours, theirs = await running.both(request("GET /api/v1/reviews/3"))
        assert (ours.status, theirs.status) == (502, 503)  # docs/guide/handing-over.md: the mesh's own
    finally:
        await new.start(new.port)


EVERYTHING = """
[upstreams]
legacy = "http://127.0.0.1:8001"
plain = {{ url = "http://plain.test:8101", health = {{ path = "/healthz", host = "plain.test" }} }}
[upstreams.secure]
urls = ["https://127.0.0.1:8443", "https://127.0.0.2:8443"]
tls = {{ ca = "{ca}", certificate = "{certificate}", key = "{key}", server_name = "secure.test" }}
[upstreams.socket]
url = "unix:/run/banyan-test.sock"
[[routes]]
name = "a"
match = "/a/{{x}}/*"
candidate = "secure"
rewrite = "/b/{{x}}/*"
host = "secure.test"
[[routes]]
name = "b"
match = "/b/*"
methods = ["GET", "POST", "PUT"]
candidate = "plain"
[[routes]]
name = "c"
match = "/c"
candidate = "socket"
"""


async def test_envoy_takes_all_that_can_be_said(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("own", "own.test")
    toml = EVERYTHING.format(ca=tmp_path / "authority.pem", certificate=certificate, key=key)
    (tmp_path / "banyan.toml").write_text(toml)
    states = {"a": 100, "b": 5, "b.shadow": 100, "c": 100, "c.shadow": 3}
    features = [{"name": name, "enabled": True, "strategies": [rollout(share)]} for name, share in states.items()]
    (tmp_path / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    for more in ([], ["--rest", "legacy", "--give-up", "encoded-paths"]):
        done = await asyncio.to_thread(export, tmp_path, "--give-up", "fallback", *more)
        assert done.returncode == 0, done.stderr
        config = tmp_path / "envoy.yaml"
        config.write_text(done.stdout)
        command = [binary(), "--mode", "validate", "-c", str(config)]
        checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stderr[-2000:]
        assert "deprecated" not in checked.stderr.lower()
