"""Exactly one Banyan-Identity reaches an upstream: the gateway's, for that upstream, whatever the client has sent (edge.md 25, 27, 53)."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.stamp import FixedKeys, Stamped, StampError, parse, verify
from tests.conformance.conftest import World
from tests.support.gateway import Exchange, Upstream, gateway, ok
from tests.support.stamp_keys import OTHER_SECRET, SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
[upstreams.new]
url = "http://127.0.0.1:{new}"
connect_timeout = "500ms"
[identity]
source = "introspection"
path = "/who"
claims = ["plan"]
[identity.stamp]
keys = ["{secret}", "{other}"]
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow]
noise = 1.0
[[routes]]
name = "orders"
match = "/orders"
candidate = "new"
identity = "required"
[[routes]]
name = "pictures"
match = "/pictures"
candidate = "new"
identity = "ignored"
"""
KEYS = FixedKeys(parse(SECRET))
ALICE = Stamped("7", "abc", {"plan": "pro"})
COOKIE = "Cookie: sessionid=alice\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """As the other modules', with stamps."""
    folder = tmp_path_factory.mktemp("stamp")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    toml = TOML.format(legacy=legacy.port, new=new.port, secret=SECRET, other=OTHER_SECRET)
    try:
        async with gateway(folder, toml, engine=engine) as started:
            yield World(engine, started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


async def shop(exchange: Exchange) -> None:
    """Legacy, which knows Alice's session."""
    if exchange.line.startswith(b"GET /who"):
        cookie = "".join(exchange.header("Cookie"))
        known = "sessionid=alice" in cookie or "sessionid=leaving" in cookie
        said = {"authenticated": True, "user_id": 7, "session_id": "abc", "claims": {"plan": "pro", "staff": True}}
        said["expires_in"] = 7 if "leaving" in cookie else 1209600
        await exchange.answer(json.dumps(said if known else {"authenticated": False}).encode())
    else:
        await exchange.answer()


async def ask(world: World, path: str = "/reviews/3", head: str = COOKIE, method: str = "GET") -> int:
    world.legacy.handler = shop
    answer = await world.gateway.request(f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\n{head}\r\n".encode())
    return answer.status


def asked(upstream: Upstream) -> list[Exchange]:
    """What an upstream got, but for the questions of who calls."""
    return [each for each in upstream.requests if not each.line.startswith(b"GET /who")]


def stamped(exchange: Exchange, audience: str) -> Stamped:
    """Who calls, by the one stamp in it."""
    [token] = exchange.header("Banyan-Identity")
    return verify(token, KEYS, audience)


async def served(world: World, **flags: bool) -> None:
    await world.gateway.current(**({"reviews": False, "reviews.shadow": False, "orders": False, "pictures": False} | flags))


async def test_the_one_that_serves_learns_who_calls(world: World) -> None:
    await served(world, reviews=True)
    assert await ask(world) == 200
    [got] = asked(world.new)
    assert stamped(got, "new") == ALICE
    with pytest.raises(StampError) as refused:
        stamped(got, "legacy")
    assert refused.value.code == "audience"


async def test_legacy_gets_its_own(world: World) -> None:
    await served(world)
    await ask(world)
    [got] = asked(world.legacy)
    assert stamped(got, "legacy") == ALICE


async def test_it_is_good_for_no_longer_than_the_session(world: World) -> None:
    await served(world)
    await ask(world, head="Cookie: sessionid=leaving\r\n")
    await ask(world)
    lives = []
    for got in asked(world.legacy):
        [token] = got.header("Banyan-Identity")
        body = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        lives.append(claims["exp"] - claims["iat"])
    assert lives[0] <= 7 < lives[1] == 60


async def test_the_question_who_calls_carries_none(world: World) -> None:
    await served(world)
    await ask(world, head="Cookie: sessionid=asked-anew\r\nBanyan-Identity: forged\r\n")
    questions = [each for each in world.legacy.requests if each.line.startswith(b"GET /who")]
    assert questions
    assert not any(each.header("Banyan-Identity") for each in questions)


@pytest.mark.parametrize(
    "head",
    [
        "Banyan-Identity: forged\r\n",
        "banyan-identity: forged\r\nBANYAN-IDENTITY: forged\r\nBanyan-Identity: forged\r\n",
        "Banyan-Identity:forged\r\nBanyan-Identity:\tforged\r\nBanyan-Identity:\r\n",
        "Banyan_Identity: forged\r\nBANYAN_IDENTITY: forged\r\nbanyan-identity: forged\r\n",
        "X_Forwarded_User: admin\r\nX-Forwarded-User: admin\r\nX_Banyan_Identity: forged\r\n",
        "Connection: Banyan-Identity, X-Forwarded-For\r\nBanyan-Identity: forged\r\n",
        "Connection: keep-alive, banyan-identity\r\nConnection: Banyan_Identity\r\n",
        "Connection: close, Via, X-Request-ID, Banyan-Identity\r\n",
        "X-Padding: a\r\nBanyan-Identity: forged\r\nX-Padding: b\r\nBanyan-Shadow: 1\r\n",
    ],
)
@pytest.mark.parametrize("candidate", [True, False])
async def test_nothing_that_a_client_sends_changes_it(world: World, head: str, candidate: bool) -> None:
    await served(world, reviews=candidate)
    assert await ask(world, head=COOKIE + head) == 200
    [got] = asked(world.new if candidate else world.legacy)
    assert stamped(got, "new" if candidate else "legacy") == ALICE
    lower = got.head.lower()
    assert lower.count(b"banyan-identity") == 1
    for forged in (b"forged", b"admin", b"banyan_identity", b"forwarded_user", b"forwarded-user", b"banyan-shadow"):
        assert forged not in lower
    assert got.header("X-Forwarded-For") == ["127.0.0.1"]


@pytest.mark.parametrize(("path", "head"), [("/pictures", COOKIE), ("/elsewhere", COOKIE), ("/pictures/%2e./orders", COOKIE)])
async def test_where_nobody_asks_who_calls_there_is_none_and_no_forged_one_either(world: World, path: str, head: str) -> None:
    await served(world)
    await ask(world, path, f"{head}Banyan-Identity: forged\r\nBanyan_Identity: forged\r\n")
    [got] = asked(world.legacy)
    assert b"banyan" not in got.head.lower().replace(b"via: 1.1 banyan", b"").replace(b"banyan-timeout-ms: 5000", b"")


@pytest.mark.parametrize("head", ["", "Cookie: sessionid=nobodys\r\n", "Cookie: sessionid=alice; sessionid=other\r\n"])
async def test_nobody_is_stamped_as_anonymous(world: World, head: str) -> None:
    await served(world, reviews=True)
    assert await ask(world, head=head) == 200
    [got] = asked(world.new)
    assert stamped(got, "new") == Stamped(None, None)


async def test_where_a_login_is_required_nobody_else_reaches_an_upstream_with_a_forged_one(world: World) -> None:
    await served(world, orders=True)
    assert await ask(world, "/orders", "Banyan-Identity: forged\r\n") == 401
    assert asked(world.new) == asked(world.legacy) == []
    assert await ask(world, "/orders") == 200
    [got] = asked(world.new)
    assert stamped(got, "new") == ALICE


@pytest.mark.parametrize("how", ["500", "dead"])
async def test_whoever_takes_over_gets_his_own_not_the_candidate_s(world: World, how: str) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.answer(status="500 Broken")

    await served(world, reviews=True)
    world.new.handler = broken
    if how == "dead":
        await world.new.stop()
    assert await ask(world) == 200
    [got] = asked(world.legacy)
    assert stamped(got, "legacy") == ALICE
    if how == "500":
        assert stamped(asked(world.new)[0], "new") == ALICE


async def test_the_shadow_and_the_noise_request_carry_the_same_caller_each_for_its_own_upstream(world: World) -> None:
    await served(world, **{"reviews.shadow": True})
    assert await ask(world, head=COOKIE + "Banyan-Identity: forged\r\nBanyan-Shadow: forged\r\n") == 200
    async with asyncio.timeout(5):
        while len(asked(world.new)) < 1 or len(asked(world.legacy)) < 2:  # noqa: ASYNC110 - sockets have no event for it
            await asyncio.sleep(0.02)
    [mirrored] = asked(world.new)
    assert mirrored.header("Banyan-Shadow") == ["1"]
    assert stamped(mirrored, "new") == ALICE
    assert [stamped(each, "legacy") for each in asked(world.legacy)] == [ALICE, ALICE]


async def test_a_body_changes_nothing_of_it(world: World) -> None:
    await served(world, reviews=True)
    world.legacy.handler = shop
    for framing in ("Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nBanyan-Identity: forged\r\n\r\n"):
        raw = f"POST /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{COOKIE}{framing}"
        assert (await world.gateway.request(raw.encode())).status == 200
    assert [stamped(each, "new") for each in asked(world.new)] == [ALICE, ALICE]


async def test_one_connection_does_not_mix_up_two_callers(world: World) -> None:
    await served(world, reviews=True)
    world.legacy.handler = shop
    client = await world.gateway.connect()
    for head in (COOKIE, "", COOKIE, "Cookie: sessionid=nobodys\r\n"):
        await client.request(f"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{head}\r\n".encode())
    assert [stamped(each, "new").user for each in asked(world.new)] == ["7", None, "7", None]


async def test_no_client_sees_one(world: World) -> None:
    async def telling(exchange: Exchange) -> None:
        await exchange.answer(extra=b"Banyan-Identity: " + exchange.header("Banyan-Identity")[0].encode() + b"\r\n")

    await served(world, reviews=True)
    world.new.handler = telling
    world.legacy.handler = shop
    answer = await world.gateway.request(f"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n{COOKIE}\r\n".encode())
    assert answer.status == 200
    assert b"banyan-identity" not in answer.head.lower()
