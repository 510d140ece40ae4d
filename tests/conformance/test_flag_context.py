"""What a strategy may ask about: who is calling, and of what the request is. And visitors without an account stay on one side."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from flags.features import normalised, revision
from tests.support.gateway import Exchange

if TYPE_CHECKING:
    from tests.conformance.conftest import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(world: World, *strategies: dict[str, Any], **more: object) -> None:
    """The flag `reviews`, on by these strategies alone, and every worker decides by it."""
    features = [{"name": "reviews", "enabled": True, "strategies": list(strategies), **more}]
    temporary = world.gateway.flags.with_suffix(".new")
    data = json.dumps({"version": 1, "features": features}).encode()
    temporary.write_bytes(data)
    wanted = revision(normalised(data))  # any other than before may be that of what was put there before
    temporary.replace(world.gateway.flags)
    async with asyncio.timeout(5):
        while True:
            state = await asyncio.to_thread(world.gateway.get, "/flags")
            if state["revision"] == wanted and all(state["workers"].values()):
                return
            await asyncio.sleep(0.02)


def only(field: str, *values: str) -> dict[str, Any]:
    return {"name": "default", "constraints": [{"contextName": field, "operator": "IN", "values": list(values)}]}


async def side(world: World, path: str = "/reviews/3", method: str = "GET", head: str = "") -> str:
    answer = await world.gateway.request(f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\n{head}\r\n".encode())
    found = re.search(r"served-by=(\w+)", answer.header("Banyan-Route") or "")
    assert found is not None
    return found[1]


async def who(exchange: Exchange) -> None:
    if exchange.line.startswith(b"GET /who"):
        body = {"authenticated": True, "user_id": 7, "session_id": "abc", "claims": {"plan": "pro", "secret": "x"}}
        await exchange.answer(json.dumps(body).encode())
    else:
        await exchange.answer()


async def test_by_method_and_route(world: World) -> None:
    await put(world, only("method", "DELETE"))
    assert [await side(world, method=method) for method in ("GET", "DELETE")] == ["legacy", "candidate"]
    await put(world, only("route", "reviews"))
    assert await side(world) == "candidate"
    await put(world, only("route", "moved"))
    assert await side(world) == "legacy"


async def test_by_a_configured_header_on_one_connection(world: World) -> None:
    await put(world, only("x-app-version", "4.2"))
    client = await world.gateway.connect()
    sides = []
    for line in (
        "X-App-Version: 4.2\r\n",
        "x-app-version:  4.2\r\n",
        "X-App-Version: 4.1\r\n",
        "",
        "X-Other: 4.2\r\n",
        "X-App-Version: 4.2\r\n",
    ):
        answer = await client.request(f"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{line}\r\n".encode())
        sides.append("candidate" in (answer.header("Banyan-Route") or ""))
    assert sides == [True, True, False, False, False, True]


async def test_by_a_claim_that_legacy_makes(world: World) -> None:
    world.legacy.handler = who
    cookie = "Cookie: sessionid=by-claim\r\n"
    await put(world, only("plan", "pro"))
    assert [await side(world, head=head) for head in (cookie, "", "plan: pro\r\n")] == ["candidate", "legacy", "legacy"]
    await put(world, only("secret", "x"))  # which is not among identity.claims
    assert await side(world, head=cookie) == "legacy"


async def test_by_the_clients_address(world: World) -> None:
    await put(world, only("remoteAddress", "127.0.0.1"))
    assert await side(world) == "candidate"
    await put(world, only("remoteAddress", "192.0.2.1"))
    assert await side(world, head="X-Forwarded-For: 192.0.2.1\r\n") == "legacy"


HALF = {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "default", "groupId": "reviews"}}


async def test_a_visitor_stays_on_a_side(world: World) -> None:
    await put(world, HALF)
    sides = set()
    for _ in range(16):
        first = await world.gateway.request(b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        given = first.header("Set-Cookie")
        assert given is not None
        assert given.endswith("; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax")
        cookie = f"Cookie: theme=dark; {given.partition(';')[0]}\r\n"
        own = (first.header("Banyan-Route") or "").split("; ")[1]
        sides.add(own)
        for _ in range(4):
            again = await world.gateway.request(f"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{cookie}\r\n".encode())
            assert own in (again.header("Banyan-Route") or "")
            assert again.header("Set-Cookie") is None
    assert sides == {"served-by=legacy", "served-by=candidate"}  # all alike: 1 in 32,768


async def test_no_cookie_where_it_would_not_matter(world: World) -> None:
    async def shared(exchange: Exchange) -> None:
        await exchange.answer(extra=b"Cache-Control: public, max-age=60\r\n")

    get = b"GET %b HTTP/1.1\r\nHost: shop.test\r\n%b\r\n"
    await put(world, HALF)
    assert (await world.gateway.request(get % (b"/elsewhere", b""))).header("Set-Cookie") is None
    world.legacy.handler = world.new.handler = shared
    assert (await world.gateway.request(get % (b"/reviews/3", b""))).header("Set-Cookie") is None
    world.legacy.handler = world.new.handler = who
    assert (await world.gateway.request(get % (b"/reviews/3", b"Cookie: sessionid=visits\r\n"))).header("Set-Cookie") is None
    await put(world, only("method", "GET"))
    assert (await world.gateway.request(get % (b"/reviews/3", b""))).header("Set-Cookie") is None


async def test_no_cookie_where_a_cache_would_hand_it_to_all(world: World) -> None:
    def not_set() -> int:
        found = re.search(r'^banyan_events_total\{event="visitor-cookie-not-set"\} (\d+)', world.gateway.metrics(), re.MULTILINE)
        return int(found[1]) if found is not None else 0

    await put(world, HALF)
    before = -1
    while (count := await asyncio.to_thread(not_set)) != before:  # what the tests before have counted is told within a second
        before = count
        await asyncio.sleep(1.5)
    for line in (b"Cache-Control: max-age=60", b"CDN-Cache-Control: max-age=60", b"Cache-Control: private"):

        async def cached(exchange: Exchange, line: bytes = line) -> None:
            await exchange.answer(extra=line + b"\r\n")

        world.legacy.handler = world.new.handler = cached
        answer = await world.gateway.request(b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert (answer.header("Set-Cookie") is not None) is line.endswith(b"private"), line
    for _ in range(100):
        if await asyncio.to_thread(not_set) >= before + 2:
            break
        await asyncio.sleep(0.05)
    assert await asyncio.to_thread(not_set) == before + 2


async def test_whose_session_has_ended_becomes_a_visitor(world: World) -> None:
    async def ended(exchange: Exchange) -> None:
        if exchange.line.startswith(b"GET /who"):
            await exchange.answer(b'{"authenticated": false, "user_id": null, "session_id": null}')
        else:
            await exchange.answer()

    world.legacy.handler = ended
    await put(world, HALF)
    old = "Cookie: sessionid=ended-long-ago"
    first = await world.gateway.request(f"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{old}\r\n\r\n".encode())
    given = first.header("Set-Cookie")
    assert given is not None
    own = (first.header("Banyan-Route") or "").split("; ")[1].removeprefix("served-by=")
    for _ in range(8):
        assert await side(world, head=f"{old}; {given.partition(';')[0]}\r\n") == own


async def test_impressions_where_the_flag_asks_for_them(world: World) -> None:
    path = world.gateway.folder / "impressions.log"
    before = len(path.read_text().splitlines())
    await put(world, only("x-app-version", "4.2"))
    await side(world)
    await put(world, only("x-app-version", "4.2"), impressionData=True)
    for head in ("X-App-Version: 4.2\r\n", "", ""):
        await side(world, head=head)
    for _ in range(100):
        lines = path.read_text().splitlines()[before:]
        if len(lines) == 3:
            break
        await asyncio.sleep(0.05)
    events = [json.loads(line) for line in lines]
    assert [(event["event_type"], event["feature_name"], event["enabled"]) for event in events] == [
        ("isEnabled", "reviews", True),
        ("isEnabled", "reviews", False),
        ("isEnabled", "reviews", False),
    ]
    assert len({event["event_id"] for event in events}) == 3
    about = events[0]["context"]
    assert about.pop("sessionId") is None
    assert about == {
        "appName": "banyan",
        "environment": "development",
        "userId": None,
        "remoteAddress": "127.0.0.1",
        "properties": {"route": "reviews", "method": "GET", "x-app-version": "4.2"},
    }
