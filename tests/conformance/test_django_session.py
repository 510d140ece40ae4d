"""A real shop whose sessions are signed cookies: the edge knows who is signed in there without asking it. And its tokens, by asking."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from demo.client import Client
from demo.shop import PASSWORD, Shop, start_shop
from legacy_django.accounts.seeded import token
from tests.support.gateway import Gateway, Response, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the shop's own key, for this test alone"
TOML = """
[gateway]
expose_decision = true
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[identity]
{identity}
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
identity = "required"
[[routes]]
name = "items"
match = "/api/v1/items/*"
candidate = "new"
"""
SESSIONS = 'source = "django-session"\ndjango_session = {{ secret_key = "{key}", max_age = "{max_age}" }}'
CHECKED = SESSIONS.format(key=KEY, max_age="14d")
ASKED = 'source = "introspection"\nscheme = "Token"'
ONLY_USER_17 = """{"version": 1, "features": [{"name": "account", "enabled": true, "strategies": [{"name": "default"}]},
{"name": "items", "enabled": true, "strategies":
[{"name": "default", "constraints": [{"contextName": "userId", "operator": "IN", "values": ["17"]}]}]}]}"""

CLIENTS: list[Client] = []


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def no_clients_are_left() -> AsyncIterator[None]:
    yield
    for client in CLIENTS:
        client.close()
    CLIENTS.clear()


@dataclass
class World:
    gateway: Gateway
    shop: Shop
    log: Path
    """What the shop was asked, a line for each."""

    async def get(self, path: str, *fields: str) -> Response:
        lines = "".join(f"{field}\r\n" for field in fields)
        return await self.gateway.request(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.gateway.port}\r\n{lines}\r\n".encode())

    async def let_in(self, session: str) -> bool:
        answer = await self.get("/account/1", f"Cookie: sessionid={session}")
        assert answer.status in (200, 401)
        return answer.status == 200

    def client(self, cookies: Mapping[str, str]) -> Client:
        client = Client(self.gateway.port, cookies)
        CLIENTS.append(client)
        return client

    async def signed_in(self, user: str) -> Client:
        client = self.client({})
        await client.sign_in(user, PASSWORD)
        return client

    async def only_user_17(self) -> None:
        before = await asyncio.to_thread(self.gateway.get, "/flags")
        temporary = self.gateway.flags.with_suffix(".new")
        temporary.write_text(ONLY_USER_17)
        temporary.replace(self.gateway.flags)

        async def decided() -> bool:
            state = await asyncio.to_thread(self.gateway.get, "/flags")
            return bool(state["revision"] != before["revision"] and all(state["workers"].values()))

        await until(decided)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


def side(answer: Response) -> str:
    found = re.search(r"served-by=(\w+)", answer.header("Banyan-Route") or "")
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def shop(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Path]]:
    folder = tmp_path_factory.mktemp("shop")
    env = {"BANYAN_SHOP_SECRET_KEY": KEY, "BANYAN_SHOP_SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"}
    running = start_shop(folder, workers=1, access_log=folder / "access.log", env=env)
    yield running, folder / "access.log"
    running.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def new() -> AsyncIterator[Upstream]:
    upstream = Upstream(ok)
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(engine: str, shop: tuple[Shop, Path], new: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    running, log = shop
    toml = TOML.format(legacy=running.port, new=new.port, identity=CHECKED)
    async with gateway(tmp_path_factory.mktemp("checked"), toml, engine=engine, account=True) as started:
        yield World(started, running, log)


async def test_who_signed_in_at_legacy_is_known_here_and_legacy_is_not_asked(world: World) -> None:
    refused = await world.get("/account/1")
    assert (refused.status, refused.header("Banyan-Error")) == (401, "unauthenticated")
    client = await world.signed_in("user17")
    session = client.cookies["sessionid"]
    assert session.count(":") == 2, "the shop's engine is signed_cookies"
    for _ in range(3):
        assert await world.let_in(session)
    await world.only_user_17()
    cookie = f"Cookie: sessionid={session}"
    assert side(await world.get("/api/v1/items/1", cookie)) == "candidate"
    other = await world.signed_in("user18")
    assert side(await world.get("/api/v1/items/1", f"Cookie: sessionid={other.cookies['sessionid']}")) == "legacy"
    assert side(await world.get("/api/v1/items/1")) == "legacy"
    assert "POST /login/ 302" in world.log.read_text()
    assert "identity" not in world.log.read_text()


async def test_what_was_made_up_altered_or_doubled_lets_nobody_in(world: World) -> None:
    session = (await world.signed_in("user17")).cookies["sessionid"]
    other = (await world.signed_in("user18")).cookies["sessionid"]
    payload, stamp, signature = session.split(":")
    for wrong in (
        "",
        "x",
        session[:-1],
        session + "A",
        session.swapcase(),
        f"{other.split(':')[0]}:{stamp}:{signature}",
        f"{payload}:{stamp[:-1]}z:{signature}",
        f"{payload}:{stamp}:",
        f"{payload}:{stamp}",
        f"{session}; sessionid={other}",
        session + "A" * 9000,
    ):
        assert not await world.let_in(wrong), wrong
    both = await world.get("/account/1", f"Cookie: sessionid={session}", f"Cookie: sessionid={other}")
    assert both.status == 401
    assert await world.let_in(session)


async def test_signing_out_takes_the_cookie_away_and_a_kept_copy_lives_on_as_it_does_at_legacy(world: World) -> None:
    client = await world.signed_in("user19")
    session = client.cookies["sessionid"]
    form = f"csrfmiddlewaretoken={client.cookies['csrftoken']}".encode()
    out = await client.request("POST", "/logout/", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert out.status == 302
    assert not client.cookies.get("sessionid", "").strip('"')
    copy = world.client({"sessionid": session})
    assert (await copy.request("GET", "/api/v1/users/me")).status == 200, "Django knows no better"
    assert await world.let_in(session)


async def test_a_changed_password_is_seen_by_legacy_alone(world: World) -> None:
    old = await world.signed_in("user20")
    session = old.cookies["sessionid"]
    here = await world.signed_in("user20")
    page = await here.request("GET", "/password/")
    found = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
    assert found is not None
    new = "another+one+for+this+test"
    form = f"csrfmiddlewaretoken={found[1].decode()}&old_password={PASSWORD}&new_password1={new}&new_password2={new}"
    changed = await here.request("POST", "/password/", form.encode(), {"Content-Type": "application/x-www-form-urlencoded"})
    assert changed.status == 302
    assert await world.let_in(session), "which is why max_age should be short"
    assert (await old.request("GET", "/api/v1/users/me")).status == 401
    assert not old.cookies.get("sessionid", "").strip('"'), "legacy, once it is asked, takes the cookie away"
    assert await world.let_in(session), "but not a copy of it"


async def test_legacy_dead_and_a_session_too_old_for_the_edge(
    world: World, engine: str, new: Upstream, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    session = (await world.signed_in("user17")).cookies["sessionid"]
    dead = TOML.format(legacy=1, new=new.port, identity=CHECKED)
    async with gateway(tmp_path, dead, engine=engine, account=True) as started:
        alone = World(started, world.shop, world.log)
        assert await alone.let_in(session)
        assert not await alone.let_in(session + "x")
    await asyncio.sleep(1.2)  # a signature's time has whole seconds
    strict = TOML.format(legacy=1, new=new.port, identity=SESSIONS.format(key=KEY, max_age="1s"))
    async with gateway(tmp_path_factory.mktemp("strict"), strict, engine=engine, account=True) as started:
        assert not await World(started, world.shop, world.log).let_in(session)


async def test_a_key_is_rotated_without_a_gap(world: World, engine: str, new: Upstream, tmp_path: Path) -> None:
    session = (await world.signed_in("user17")).cookies["sessionid"]
    toml = TOML.format(legacy=world.shop.port, new=new.port, identity=CHECKED)
    async with gateway(tmp_path, toml, engine=engine, account=True) as started:
        reloaded = World(started, world.shop, world.log)
        assert await reloaded.let_in(session)
        path = tmp_path / "banyan.toml"
        written = path.read_text()
        for fallbacks, good in ((f'["{KEY}"]', True), ("[]", False)):
            before = (await asyncio.to_thread(started.get, "/config"))["config"]["identity"]["django_session"]
            section = f'django_session = {{ secret_key = "the next key of the shop", secret_key_fallbacks = {fallbacks} }}'
            path.write_text(re.sub(r"django_session = .*", section, written))

            async def in_force(before: object = before, good: bool = good) -> bool:
                now = (await asyncio.to_thread(started.get, "/config"))["config"]["identity"]["django_session"]
                return now != before and await reloaded.let_in(session) is good

            await until(in_force)
            assert KEY not in str(await asyncio.to_thread(started.get, "/config"))


async def test_a_token_is_checked_by_legacys_own_middleware(world: World, engine: str, new: Upstream, tmp_path: Path) -> None:
    toml = TOML.format(legacy=world.shop.port, new=new.port, identity=ASKED)
    async with gateway(tmp_path, toml, engine=engine, account=True) as started:
        asking = World(started, world.shop, world.log)
        answers = {}
        for name in ("user17", "user18", "nobody"):
            answers[name] = (await asking.get("/account/1", f"Authorization: Token {token(name)}")).status
        assert answers == {"user17": 200, "user18": 200, "nobody": 401}
        session = (await asking.signed_in("user17")).cookies["sessionid"]
        assert await asking.let_in(session), "the monolith's own engine, whichever it is"
        await asking.only_user_17()
        sides = [side(await asking.get("/api/v1/items/1", f"Authorization: token {token(name)}")) for name in ("user17", "user18")]
        assert sides == ["candidate", "legacy"]
        assert "GET /_banyan/identity 200" in world.log.read_text()
