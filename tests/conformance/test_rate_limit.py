"""A route that may be asked for so often, and no oftener: by a client, by a user, by all."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Rates so low that nothing comes back within a test.
TOML = """
[gateway]
trusted_proxies = ["127.0.0.0/8"]
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[identity]
source = "introspection"
path = "/who"
[[routes]]
name = "client"
match = "/client/*"
candidate = "new"
rate_limit = {{ rate = 0.01, burst = 7 }}
[[routes]]
name = "user"
match = "/user/*"
candidate = "new"
rate_limit = {{ per = "user", rate = 0.01, burst = 3 }}
[[routes]]
name = "members"
match = "/members/*"
candidate = "new"
identity = "required"
rate_limit = {{ per = "user", rate = 0.01, burst = 2 }}
[[routes]]
name = "all"
match = "/all/*"
candidate = "new"
rate_limit = {{ per = "route", rate = 0.01, burst = 5 }}
"""
WORKERS = 2


async def who(exchange: Exchange) -> None:
    """Legacy: knows every session by its cookie's value."""
    if not exchange.line.startswith(b"GET /who "):
        await ok(exchange)
        return
    user = exchange.header("Cookie")[0].partition("=")[2]
    await exchange.answer(json.dumps({"authenticated": True, "user_id": user, "session_id": user}).encode())


def reload(running: Gateway) -> None:
    """Waits until every worker goes by what the file says now."""
    request = urllib.request.Request(f"http://127.0.0.1:{running.admin}/reload", method="POST", data=b"")
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - the gateway that was just started
        assert response.status == 200


class World:
    def __init__(self, running: Gateway, legacy: Upstream) -> None:
        self.gateway = running
        self.legacy = legacy

    async def ask(self, path: str, client: str, user: str = "", method: str = "GET", body: bytes = b"") -> Response:
        """Over a connection of its own, so that any worker may have it."""
        cookie = f"Cookie: sessionid={user}\r\n" if user else ""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        raw = f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: {client}\r\n{cookie}{length}Connection: close\r\n\r\n"
        return await self.gateway.request(raw.encode() + body)

    async def statuses(self, path: str, client: str, user: str = "", count: int = 10) -> list[int]:
        """Of that many at once, in order of size."""
        return sorted([answer.status for answer in await asyncio.gather(*[self.ask(path, client, user) for _ in range(count)])])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["edge", "mitmproxy"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("limits")
    legacy, new = Upstream(who), Upstream(ok)
    await legacy.start()
    await new.start()
    text = TOML.format(legacy=legacy.port, new=new.port, folder=folder)
    try:
        async with gateway(folder, text, engine=request.param, workers=WORKERS) as running:
            yield World(running, legacy)
    finally:
        await legacy.stop()
        await new.stop()


async def test_a_client_has_his_burst_over_all_workers_and_no_more(world: World) -> None:
    statuses = await world.statuses("/client/1", "192.0.2.1", count=30)
    # Two workers that count in the same instant may let one more through, each time that this happens.
    assert 7 <= statuses.count(200) <= 9
    assert statuses.count(429) == 30 - statuses.count(200)
    assert (await world.ask("/client/1", "192.0.2.2")).status == 200
    assert (await world.ask("/elsewhere", "192.0.2.1")).status == 200, "no route"


async def test_who_is_refused_is_told_when_and_by_whom(world: World) -> None:
    await world.statuses("/client/1", "192.0.2.3")
    asked = len(world.legacy.requests)
    answer = await world.ask("/client/1", "192.0.2.3", "somebody-new")
    assert answer.status == 429
    assert answer.header("Banyan-Error") == "rate-limited"
    assert answer.header("Content-Type") == "application/problem+json"
    assert 90 <= int(answer.header("Retry-After") or 0) <= 100
    document = json.loads(answer.body)
    assert (document["status"], document["type"]) == (429, "urn:banyan:problem:rate-limited")
    assert len(world.legacy.requests) == asked, "nobody was asked who that is"
    posted = await world.ask("/client/1", "192.0.2.3", method="POST", body=b"x" * 2000)
    assert posted.status == 429


async def test_a_user_is_one_wherever_he_comes_from(world: World) -> None:
    first = [(await world.ask("/user/1", f"192.0.2.{number}", "alice")).status for number in range(10, 15)]
    assert first == [200, 200, 200, 429, 429]
    assert (await world.ask("/user/1", "192.0.2.10", "bob")).status == 200
    assert [(await world.ask("/user/1", "192.0.2.20")).status for _ in range(4)] == [200, 200, 200, 429], "nobody's user: by the address"


async def test_whoever_is_not_let_in_is_counted_too(world: World) -> None:
    assert [(await world.ask("/members/1", "192.0.2.30")).status for _ in range(3)] == [401, 401, 429]
    assert (await world.ask("/members/1", "192.0.2.30", "carol")).status == 200


async def test_a_route_is_limited_for_all_together(world: World) -> None:
    assert [(await world.ask("/all/1", f"192.0.2.{number}")).status for number in range(40, 47)] == [200] * 5 + [429] * 2


async def test_a_reload_forgets_nobody_and_another_limit_is_in_force(world: World) -> None:
    await world.statuses("/client/1", "192.0.2.50", count=12)
    assert (await world.ask("/client/1", "192.0.2.50")).status == 429
    file = world.gateway.folder / "banyan.toml"
    file.write_text(file.read_text().replace("burst = 7", "burst = 9"))
    await asyncio.to_thread(reload, world.gateway)
    statuses = await world.statuses("/client/1", "192.0.2.50", count=6)
    assert 1 <= statuses.count(200) <= 4
    assert 429 in statuses


async def test_it_is_counted_and_logged(world: World) -> None:
    assert 429 in await world.statuses("/client/log", "192.0.2.60")
    log = world.gateway.folder / "access.log"
    metrics, refused = "", list[dict[str, object]]()
    async with asyncio.timeout(10):
        while 'banyan_problems_total{code="rate-limited"}' not in metrics or not refused:
            await asyncio.sleep(0.1)  # both come once a second
            metrics = await asyncio.to_thread(world.gateway.metrics)
            refused = [line for line in map(json.loads, log.read_text().splitlines()) if _refused(line)]
    assert {(line["route"], line["served_by"], line["client"]) for line in refused} == {("client", "gateway", "192.0.2.60")}


def _refused(line: dict[str, object]) -> bool:
    return line["target"] == "/client/log" and line["status"] == 429
