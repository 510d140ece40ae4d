"""Who is let in, and on whose word: legacy's, asked once, forgotten when it ends a session, and believed for a while when it is away."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway, ok

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[identity]
source = "introspection"
path = "/who"
host = "shop.internal"
scheme = "Token"
cache = "400ms"
negative_cache = "100ms"
grace = "1s"
timeout = "1s"
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
identity = "required"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[[routes]]
name = "pages"
match = "/pages/*"
candidate = "new"
identity = "required"
credential = {{ cookie = "sessionid" }}
[[routes]]
name = "public"
match = "/public/*"
candidate = "new"
identity = "ignored"
[[routes]]
name = "app"
match = "/app/*"
candidate = "new"
identity = "required"
credential = {{ cookie = "appsession" }}
"""


class Legacy(Upstream):
    """Knows sessions and tokens by name, counts the questions, and ends sessions by Set-Cookie."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.asked: list[Exchange] = []
        self.users = {"alice": 7}
        self.trouble = ""
        self.hold: asyncio.Event | None = None
        self.renews = b""
        self.was_asked = asyncio.Event()

    async def serve(self, exchange: Exchange) -> None:
        if not exchange.line.startswith(b"GET /who "):
            ends = b"/logout" in exchange.line
            extra = b'Set-Cookie: sessionid=""; Max-Age=0; Path=/\r\n' if ends else b""
            await exchange.answer(b"legacy", extra=extra + b"Cache-Control: private\r\n")
            return
        self.asked.append(exchange)
        self.was_asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.trouble:
            if self.trouble == "reset":
                exchange.reset()
            elif self.trouble == "silent":
                await asyncio.sleep(5)
            else:
                await exchange.answer(b"no", status=self.trouble)
            return
        cookies = re.findall(r"(?:sessionid|appsession)=(\w+)", ";".join(exchange.header("Cookie")))
        tokens = re.findall(r"Token (\w+)", ";".join(exchange.header("Authorization")))
        user = next((self.users[name] for name in (*tokens, *cookies) if name in self.users), None)
        body = {"authenticated": user is not None, "user_id": user, "session_id": None, "expires_in": 60}
        await exchange.answer(json.dumps(body).encode(), extra=self.renews)


class World:
    def __init__(self, running: Gateway, legacy: Legacy, new: Upstream) -> None:
        self.gateway = running
        self.legacy = legacy
        self.new = new

    async def get(self, path: str, *fields: str, method: str = "GET") -> Response:
        lines = "".join(f"{field}\r\n" for field in fields)
        return await self.gateway.request(f"{method} {path} HTTP/1.1\r\nHost: shop.test\r\n{lines}\r\n".encode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("identity")
    legacy, new = Legacy(), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(folder=folder, legacy=legacy.port, new=new.port)
        async with gateway(folder, toml, engine=engine, account=True, reviews=True, public=True, app=True, pages=True) as started:
            yield World(started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


_sessions = iter(range(10_000))


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    """With nothing left of the test before but what the gateway remembers: so each test has a session of its own."""
    legacy = running.legacy
    legacy.requests.clear()
    running.new.requests.clear()
    legacy.asked, legacy.trouble, legacy.hold, legacy.renews = [], "", None, b""
    legacy.was_asked.clear()
    yield running


@pytest.fixture
def alice(world: World) -> str:
    """The name of a new session of a user."""
    name = f"session{next(_sessions)}"
    world.legacy.users[name] = 7
    return name


def upstream_bytes(world: World) -> list[bytes]:
    """The lines of what reached an upstream for a client."""
    return [each.line for each in (*world.legacy.requests, *world.new.requests) if b" /who " not in each.line]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Cookie: theme=dark",),
        ("Cookie: sessionid=stranger",),
        ("Cookie: sessionid=alice; sessionid=other",),
        ("Authorization: Token alice", "Authorization: Token alice"),
        ("Authorization: Basic alice",),
        ("Cookie: sessionid=" + "a" * 9000,),
        ("X_Forwarded_User: 7", "X-Forwarded-User: 7", "Banyan-Identity: 7", "Banyan_Identity: 7"),
    ],
    ids=["nothing", "another cookie", "stranger", "two cookies", "two tokens", "scheme", "oversized", "forged"],
)
async def test_who_is_not_logged_in_is_told_so_and_no_upstream_is_asked(world: World, fields: tuple[str, ...]) -> None:
    answer = await world.get("/account/1", *fields)
    assert (answer.status, answer.header("Banyan-Error")) == (401, "unauthenticated")
    assert answer.header("WWW-Authenticate") == 'Token realm="banyan"'
    assert answer.header("Content-Type") == "application/problem+json"
    assert upstream_bytes(world) == []


async def test_a_browsers_question_before_a_request_to_another_origin_goes_on(world: World) -> None:
    fields = ("Origin: https://app.test", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
    assert (await world.get("/account/1", *fields, method="OPTIONS")).status == 200
    assert upstream_bytes(world) == [b"OPTIONS /account/1 HTTP/1.1"]


async def test_the_challenge_of_a_route_with_a_cookie_only(world: World) -> None:
    answer = await world.get("/app/1", "Cookie: sessionid=alice", "Authorization: Token alice")
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, 'Cookie realm="banyan"')
    assert (await world.get("/app/1", "Cookie: appsession=alice")).status == 200


async def test_a_refused_request_with_a_body_ends_its_connection_in_order(world: World) -> None:
    client = await world.gateway.connect()
    await client.send(b"POST /account/1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello")
    answer = await client.response()
    assert answer.status == 401
    if answer.header("Connection") != "close":
        await client.send(b"GET /public/1 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert (await client.response()).status == 200
    assert b"POST" not in b"".join(upstream_bytes(world))


LARGE = b"x" * 300_000
"""More than is held for a second upstream (replay_buffer)."""


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (b"Content-Length: 300000", LARGE),
        (b"Content-Length: 300000", b"x"),
        (b"Transfer-Encoding: chunked", b"493e0\r\n" + LARGE + b"\r\n0\r\n\r\n"),
        (b"Content-Length: 5\r\nExpect: 100-continue", b""),
    ],
    ids=["large", "unfinished", "chunked", "not sent yet"],
)
async def test_who_is_refused_hears_of_it_whatever_body_he_sends(world: World, field: bytes, body: bytes) -> None:
    client = await world.gateway.connect()
    await client.send(b"POST /account/1 HTTP/1.1\r\nHost: shop.test\r\n" + field + b"\r\n\r\n" + body)
    answer = await asyncio.wait_for(client.response(), 10)
    assert (answer.status, answer.header("Banyan-Error"), answer.header("Connection")) == (401, "unauthenticated", "close")
    assert upstream_bytes(world) == []


@pytest.mark.parametrize("credential", ["Cookie: sessionid={}", "Authorization: Token {}", "authorization: token {}"])
async def test_whom_legacy_knows_is_let_in_by_either_credential(world: World, alice: str, credential: str) -> None:
    for _ in range(3):
        assert (await world.get("/account/1", credential.format(alice))).status == 200
    (asked,) = world.legacy.asked
    assert asked.header("Host") == ["shop.internal"]
    assert asked.header("Cookie" if "Cookie" in credential else "Authorization") != []
    assert len(asked.head.split(b"\r\n")) < 10, "the credential, and nothing else of the client's"


async def test_where_nobody_has_to_be_known_nobody_is_asked_or_everybody_let_in(world: World, alice: str) -> None:
    assert (await world.get("/public/1", f"Cookie: sessionid={alice}")).status == 200
    assert (await world.get("/elsewhere", f"Cookie: sessionid={alice}")).status == 200
    assert world.legacy.asked == []
    world.legacy.trouble = "500 No"
    for fields in ((), (f"Cookie: sessionid={alice}",), ("Cookie: sessionid=1; sessionid=2",)):
        assert (await world.get("/reviews/1", *fields)).status == 200


@pytest.mark.parametrize("trouble", ["500 No", "302 Found", "reset", "silent", "200 OK"])
async def test_while_nobody_can_say_nobody_is_let_in(world: World, alice: str, trouble: str) -> None:
    world.legacy.trouble = trouble
    answer = await world.get("/account/1", f"Cookie: sessionid={alice}")
    assert (answer.status, answer.header("Banyan-Error")) == (503, "identity-unavailable")
    assert answer.header("Retry-After") is not None
    assert upstream_bytes(world) == []


@pytest.mark.parametrize("trouble", ["500 No", "reset", "dead"])
async def test_whom_legacy_knew_is_let_in_for_a_while_without_it(world: World, alice: str, trouble: str) -> None:
    cookie = f"Cookie: sessionid={alice}"
    assert (await world.get("/account/1", cookie)).status == 200
    if trouble == "dead":
        await world.legacy.stop()
    world.legacy.trouble = trouble
    try:
        began = asyncio.get_running_loop().time()
        statuses = []
        while (answer := await world.get("/account/1", cookie)).status == 200:
            statuses.append(asyncio.get_running_loop().time() - began)
            assert statuses[-1] < 10
            await asyncio.sleep(0.05)
        assert (answer.status, answer.header("Banyan-Error")) == (503, "identity-unavailable")
        assert statuses[-1] > 0.5, "longer than the cache alone"
    finally:
        if trouble == "dead":
            await world.legacy.start(world.legacy.port)
    world.legacy.trouble = ""
    async with asyncio.timeout(5):
        while True:
            await asyncio.sleep(0.05)
            if (await world.get("/account/1", cookie)).status == 200:
                break


@pytest.mark.parametrize("route", ["/logout", "/reviews/logout"])
async def test_a_logout_that_passes_is_in_force_at_once(world: World, alice: str, route: str) -> None:
    cookie = f"Cookie: sessionid={alice}"
    assert (await world.get("/account/1", cookie)).status == 200
    await world.gateway.current(account=True, reviews=False, public=True, app=True, pages=True)
    world.legacy.users.pop(alice)
    answer = await world.get(route, cookie)
    assert b"sessionid" in answer.head
    assert (await world.get("/account/1", cookie)).status == 401
    await world.gateway.current(account=True, reviews=True, public=True, app=True, pages=True)


async def test_a_logout_ends_the_cookie_wherever_it_is_a_credential(world: World, alice: str) -> None:
    cookie = f"Cookie: sessionid={alice}"
    ways = [("/account/1", cookie), ("/pages/1", cookie), ("/account/1", cookie, "Authorization: Token stranger")]
    assert [(await world.get(*way)).status for way in ways] == [200] * 3
    world.legacy.users.pop(alice)
    await world.get("/logout", cookie)
    assert [(await world.get(*way)).status for way in ways] == [401] * 3


async def test_a_logout_while_legacy_is_asked_is_not_undone_by_its_answer(world: World, alice: str) -> None:
    cookie = f"Cookie: sessionid={alice}"
    hold = world.legacy.hold = asyncio.Event()
    first = asyncio.create_task(world.get("/account/1", cookie))
    await asyncio.wait_for(world.legacy.was_asked.wait(), 5)
    assert (await world.get("/logout", cookie)).status == 200
    hold.set()
    assert (await first).status == 200, "it was asked before the end"
    world.legacy.users.pop(alice)
    assert (await world.get("/account/1", cookie)).status == 401


async def test_a_candidate_ends_no_session(world: World, alice: str) -> None:
    async def sets(exchange: Exchange) -> None:
        await exchange.answer(extra=b"Set-Cookie: sessionid=other\r\n")

    world.new.handler = sets
    try:
        cookie = f"Cookie: sessionid={alice}"
        for _ in range(3):
            assert (await world.get("/account/1", cookie)).status == 200
        assert len(world.legacy.asked) == 1
    finally:
        world.new.handler = ok


async def test_a_session_that_was_renewed_when_it_was_asked_about_is_renewed_at_the_client(world: World, alice: str) -> None:
    async def private(exchange: Exchange) -> None:
        await exchange.answer(extra=b"Cache-Control: private\r\n")

    async def shared(exchange: Exchange) -> None:
        await exchange.answer(extra=b"Cache-Control: public, max-age=60\r\n")

    cookie = f"Cookie: sessionid={alice}"
    world.legacy.renews = f"Set-Cookie: other=1\r\nSet-Cookie: sessionid={alice}; Max-Age=1209600; Path=/; HttpOnly\r\n".encode()
    try:
        world.new.handler = private
        first, second = await world.get("/account/1", cookie), await world.get("/account/1", cookie)
        assert first.header("Set-Cookie") == f"sessionid={alice}; Max-Age=1209600; Path=/; HttpOnly"
        assert b"other=1" not in first.head
        assert second.header("Set-Cookie") is None
        await asyncio.sleep(0.45)
        world.new.handler = shared
        assert (await world.get("/account/1", cookie)).header("Set-Cookie") is None, "a shared cache would hand it to all"
    finally:
        world.new.handler = ok


async def test_upgrades_are_let_in_by_the_same_rule(world: World, alice: str) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert (await world.get("/account/ws", *upgrade)).status == 401
    assert upstream_bytes(world) == []
    assert (await world.get("/account/ws", *upgrade, f"Cookie: sessionid={alice}")).status == 200


async def test_what_is_decided_is_decided_on_the_real_path(world: World) -> None:
    assert (await world.get("/account/%2e%2e/account/1")).status == 401, "the same route, however it is read"
    for path in ("/public/../account/1", "/account%2f1", "//account/1"):
        assert (await world.get(path)).status == 200, "to legacy, which decides for itself"
    assert world.new.requests == []


async def test_it_is_counted(world: World, alice: str) -> None:
    await world.get("/account/1", f"Cookie: sessionid={alice}")
    await world.get("/account/1")
    async with asyncio.timeout(5):
        while True:
            text = await asyncio.to_thread(world.gateway.metrics)
            standings = set(re.findall(r'banyan_identity_callers_total\{standing="(\w+)"\} [1-9]', text))
            outcomes = set(re.findall(r'banyan_identity_questions_total\{outcome="([\w-]+)"\} [1-9]', text))
            if standings == {"known", "nobody", "refused", "unsaid"} and {"answered", "status-500", "timeout"} <= outcomes:
                break
            await asyncio.sleep(0.2)
    assert re.search(r'banyan_requests_total\{route="account",served_by="gateway",status="401"\} [1-9]', text)
