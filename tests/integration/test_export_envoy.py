"""The exported configuration, run by a real Envoy before the same upstreams as a real gateway: both answer alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from math import comb

import orjson
import pytest
import pytest_asyncio

from tests.support.exported import Pair, pair, request
from tests.support.gateway import Client, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with pair(tmp_path_factory.mktemp("exported")) as found:
        yield found


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
