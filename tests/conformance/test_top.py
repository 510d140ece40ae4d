"""What is asked for, as the admin port lists it: whichever engine does it, every request counts once and under its template."""

from __future__ import annotations

import asyncio
import time
import urllib.error
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Gateway, Upstream, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
"""
SECRET = "dGhpc2lzYXNlY3JldA"


async def shop(exchange: Exchange) -> None:
    path = exchange.line.split(b" ")[1]
    if path.startswith(b"/api/v1/slow"):
        await asyncio.sleep(0.3)
    if path.startswith(b"/nowhere"):
        await exchange.answer(status="404 Not Found")
    elif path.startswith(b"/api/v1/broken"):
        await exchange.answer(status="500 Oops")
    elif path.startswith(b"/api/v1/items"):
        await exchange.answer(extra=b"Cache-Control: public, max-age=60\r\n")
    else:
        await exchange.answer(extra=b"Set-Cookie: a=b\r\n")


class World:
    def __init__(self, running: Gateway) -> None:
        self.gateway = running
        self.sent = 0

    async def ask(self, path: str, times: int = 1, method: str = "GET") -> None:
        client = await self.gateway.connect()
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        for _ in range(times):
            await client.request(f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\n{length}\r\n".encode())
            self.sent += 1
        client.close()

    async def top(self, query: str = "") -> dict[str, Any]:
        """Once everything that was asked for is told."""
        deadline = time.monotonic() + 15
        while True:
            found: dict[str, Any] = await asyncio.to_thread(self.gateway.get, f"/top{query}")
            if found["total"]["requests"] >= self.sent:
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["edge", "mitmproxy"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    legacy, new = Upstream(shop), Upstream(shop)
    await legacy.start()
    await new.start()
    text = TOML.format(legacy=legacy.port, new=new.port)
    try:
        async with gateway(tmp_path_factory.mktemp("top"), text, engine=request.param, workers=2, reviews=True) as running:
            started = World(running)
            for number in range(6):
                await started.ask(f"/api/v1/items/{number}?token={SECRET}", 4)
                await started.ask(f"/api/v1/reviews/{number}", 2)
                await started.ask("/api/v1/broken")
                await started.ask(f"/nowhere/{'abcdef'[number]}")
                await started.ask(f"/reset/{SECRET}")
            await started.ask("/api/v1/slow", 7)
            await started.ask("/api/v1/items/1", 2, "POST")
            await started.ask("/api/v1/items/1", 1, "HEAD")
            yield started
    finally:
        await legacy.stop()
        await new.stop()


async def test_every_request_counts_once(world: World) -> None:
    found = await world.top()
    counted = found["endpoints"]
    assert sum(one["requests"] for one in counted) == found["total"]["requests"] == world.sent == found["told"]
    assert found["stood_for"] == found["rest"]["requests"] == 0
    assert found["minutes"] == 15


async def test_endpoints_have_their_figures(world: World) -> None:
    found = {(one["method"], one["template"]): one for one in (await world.top())["endpoints"]}
    items = found["GET", "/api/v1/items/{id}"]
    # All but what it was learned by; the route names /api/v1 already.
    assert items["requests"] == 25 - 2
    assert (items["served_by"], items["statuses"], items["route"], items["safe"]) == ({"legacy": 23}, {"200": 23}, None, True)
    assert (items["methods"], items["cacheable"]) == (["GET", "POST"], 1.0)
    assert found["POST", "/api/v1/items/{id}"]["safe"] is False
    reviews = found["GET", "/api/v1/reviews/{id}"]
    assert (reviews["requests"], reviews["served_by"], reviews["route"]) == (12, {"candidate": 12}, "reviews")
    assert (reviews["legacy_seconds"], reviews["cacheable"]) == (0.0, 0.0)
    broken = found["GET", "/api/v1/broken"]
    assert (broken["requests"], broken["errors_5xx"], broken["errors_4xx"]) == (4, 1.0, 0.0)
    assert found["GET", "/*"]["errors_4xx"] == 1.0, "what answers 404 has no name"
    slow = found["GET", "/api/v1/slow"]
    assert slow["p50"] == pytest.approx(0.3, rel=0.5)
    assert slow["legacy_seconds"] >= 0.3 * slow["requests"] * 0.95


async def test_the_order_is_what_was_asked_for(world: World) -> None:
    assert (await world.top())["endpoints"][0]["template"] == "/api/v1/slow"
    assert (await world.top("?sort=requests"))["endpoints"][0]["template"] == "/api/v1/items/{id}"
    assert (await world.top("?sort=errors"))["endpoints"][0]["template"] == "/api/v1/broken"
    one = await world.top("?limit=1&minutes=1")
    assert (len(one["endpoints"]), one["rest"]["requests"]) == (1, one["total"]["requests"] - one["endpoints"][0]["requests"])


async def test_no_secret_and_no_query_is_anywhere(world: World) -> None:
    await world.top()
    for path in ("/top?limit=500", "/top/minutes"):
        said = str(await asyncio.to_thread(world.gateway.get, path))
        assert SECRET not in said
        assert "token=" not in said
    assert SECRET not in world.gateway.metrics()


async def test_minutes_are_told_for_keeping(world: World) -> None:
    await world.top()
    found = await asyncio.to_thread(world.gateway.get, "/top/minutes")
    assert sum(figures["count"] for minute in found["minutes"] for _, _, figures in minute["endpoints"]) == world.sent
    newest = found["minutes"][-1]
    assert newest["at"] % 60 == 0
    again = await asyncio.to_thread(world.gateway.get, f"/top/minutes?after={newest['at']}")
    assert [minute["at"] for minute in again["minutes"]] == [newest["at"]]
    assert again["gateway"] == (await world.top())["gateway"]


@pytest.mark.parametrize("path", ["/top?minutes=0", "/top?minutes=x", "/top?limit=501", "/top?sort=name", "/top/minutes?after=-1"])
async def test_what_cannot_be_listed_is_said(world: World, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        await asyncio.to_thread(world.gateway.get, path)
    assert caught.value.code == 422
    caught.value.close()


async def test_how_much_is_known_is_measured(world: World) -> None:
    found = await world.top()
    metrics = world.gateway.metrics()
    assert f'banyan_top_requests_total{{how="told"}} {found["told"]:.1f}' in metrics
    assert 'banyan_top_displaced_total{reason="entries"} 0.0' in metrics
    assert "banyan_top_words " in metrics
