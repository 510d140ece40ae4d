"""Tokens at a real gateway, with a real key server: who is let in, and that a key server in trouble lets nobody in and keeps nobody out."""

# ruff: noqa: ASYNC110 - what other processes have done has no event to wait for
from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flags.snapshot import Snapshot
from gateway.config import parse
from gateway.explain import Question, explain
from tests.support.gateway import Gateway, Response, Upstream, gateway, ok
from tests.support.key_server import SECRET_QUERY, KeyServer, key_server
from tests.support.tokens import AUDIENCE, ISSUER, LASTING, b64, claims, confused, jwk, key, pem, signed, token, unsigned

ENGINES = ["edge", "mitmproxy"]

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "private"
match = "/private/*"
candidate = "new"
identity = "required"
[[routes]]
name = "open"
match = "/open/*"
candidate = "new"
[identity]
source = "jwt"
[identity.jwt]
issuer = "{issuer}"
audience = "{audience}"
"""


class World:
    """A gateway between two upstreams of ours, and a key server."""

    def __init__(self, running: Gateway, server: KeyServer, legacy: Upstream, new: Upstream, toml: str) -> None:
        self.gateway = running
        self.server = server
        self.legacy = legacy
        self.new = new
        self.toml = toml

    async def get(self, *tokens: str, path: str = "/private/1", extra: str = "") -> Response:
        lines = "".join(f"Authorization: Bearer {each}\r\n" for each in tokens)
        return await self.gateway.request(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{lines}{extra}\r\n".encode())

    async def status(self, *tokens: str, path: str = "/private/1") -> int:
        return (await self.get(*tokens, path=path)).status

    async def until(self, wanted: int, *tokens: str) -> None:
        """Waits until each of many connections, to whichever worker, is answered so."""
        async with asyncio.timeout(30):
            while {await self.status(*tokens) for _ in range(12)} != {wanted}:
                await asyncio.sleep(0.05)

    async def everywhere(self, wanted: int, *tokens: str) -> None:
        found = await asyncio.gather(*(self.status(*tokens) for _ in range(24)))
        assert set(found) == {wanted}

    def write(self, *changes: tuple[str, str]) -> None:
        path = self.gateway.folder / "banyan.toml"
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)

    async def post(self, path: str, body: object = None) -> Any:
        """The admin port's JSON."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.gateway.admin}{path}", data, method="POST")

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own gateway
                return json.loads(answer.read())

        return await asyncio.to_thread(ask)

    async def reload(self) -> None:
        assert (await self.post("/reload"))["status"] == "ok"

    async def jwks(self) -> dict[str, Any]:
        config = await asyncio.to_thread(self.gateway.get, "/config")
        assert isinstance(config["jwks"], dict)
        return config["jwks"]

    def written(self) -> str:
        """Everything that was logged."""
        return self.gateway.process.log.read_text() + "".join(each.read_text() for each in self.gateway.folder.glob("*.log"))


@asynccontextmanager
async def world(
    folder: Path, jwt: str = "", *, engine: str = "edge", workers: int = 1, server: KeyServer | None = None, **flags: bool
) -> AsyncIterator[World]:
    """`jwt`: more of [identity.jwt]; by default with the key server, which is asked often."""
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    async with key_server() as own:
        keys = server or own
        toml = TOML.format(folder=folder, legacy=legacy.port, new=new.port, issuer=ISSUER, audience=AUDIENCE)
        toml += jwt or jwks(keys)
        try:
            async with gateway(folder, toml, engine=engine, workers=workers, **flags) as running:
                yield World(running, keys, legacy, new, toml)
        finally:
            await legacy.stop()
            await new.stop()


def jwks(server: KeyServer, **more: str) -> str:
    settings = {"jwks_url": server.url + SECRET_QUERY, "jwks_refresh": "1h", "jwks_timeout": "2s", "jwks_pause": "1h", **more}
    return 'algorithms = ["RS256"]\n' + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())


STATIC = f"""algorithms = ["RS256", "HS256"]
[[identity.jwt.keys]]
kid = "a"
algorithm = "RS256"
public_key = {json.dumps(pem("RS256"))}
[[identity.jwt.keys]]
kid = "s"
algorithm = "HS256"
secret = "another secret for tests, 40 bytes long!"
"""

good = token()
head, body, signature = good.split(".")
FORGED: dict[str, tuple[list[str], str]] = {
    "another key": ([token(number=1)], "signature"),
    "another user": ([f"{head}.{b64(json.dumps(claims(sub='1')).encode())}.{signature}"], "signature"),
    "no signature": ([f"{head}.{body}."], "signature"),
    "truncated": ([good[:-20]], "signature"),
    "truncated in its middle": ([good[: len(head) + 20]], "malformed"),
    "expired": ([token(exp=int(time.time()) - 60)], "expired"),
    "not yet": ([token(nbf=int(time.time()) + LASTING)], "not-yet"),
    "without an end": ([token(exp=None)], "malformed"),
    "for another audience": ([token(aud="bank")], "audience"),
    "for no audience": ([token(aud=None)], "audience"),
    "by another issuer": ([token(iss="https://evil.test")], "issuer"),
    "alg none": ([unsigned({"alg": "none", "kid": "a"})], "algorithm"),
    "alg None": ([unsigned({"alg": "None"})], "algorithm"),
    "HS by the public key": ([confused(pem("RS256").encode())], "algorithm"),
    "HS by the public key, for the HS key": ([confused(pem("RS256").encode(), kid="s")], "signature"),
    "HS by the public key, without kid": ([confused(pem("RS256").encode(), kid=None)], "signature"),
    "unknown kid": ([token(kid="b")], "unknown-key"),
    "its own key in it": ([token(number=1, header={"jwk": jwk("RS256", 1)})], "signature"),
    "where its key is in it": ([token(number=1, kid="z", header={"jku": "http://127.0.0.1:9/jwks"})], "unknown-key"),
    "critical": ([token(header={"crit": ["exp"], "exp": 1})], "malformed"),
    "nested": ([signed(good.encode())], "malformed"),
    "no JSON": ([signed(b"<html>")], "malformed"),
    "no user": ([token(sub=None)], "no-user"),
    "oversized": ([token(padding="x" * 9000)], "oversized"),
    "doubled": ([good, good], "doubled"),
    "no token": (["x"], "malformed"),
}


@pytest.mark.parametrize("engine", ENGINES)
async def test_forgeries(engine: str, tmp_path: Path) -> None:
    async with world(tmp_path, STATIC, engine=engine) as all_of:
        assert await all_of.status(good) == 200
        assert await all_of.status(token(header={"jku": "http://127.0.0.1:9/jwks", "jwk": jwk("RS256", 1)})) == 200
        served = len(all_of.legacy.requests)
        for name, (tokens, why) in FORGED.items():
            for _ in range(2):  # and once more, remembered
                answer = await all_of.get(*tokens)
                assert answer.status == 401, name
                assert f"({why})" in json.loads(answer.body)["detail"], name
                assert answer.header("WWW-Authenticate") == 'Bearer realm="banyan"'
                assert all(each not in answer.body.decode() for each in tokens if len(each) > 1)
        assert await all_of.status() == 401
        assert await all_of.status("") == 401
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        assert (await all_of.get(token(number=1), extra=upgrade)).status == 401
        assert len(all_of.legacy.requests) == served
        assert all_of.new.requests == []
        # Where nobody has to be logged in, such a caller is nobody.
        for tokens, _ in FORGED.values():
            assert await all_of.status(*tokens, path="/open/1") == 200
        written = all_of.written()
        for tokens, _ in [([good], ""), *FORGED.values()]:
            for each in tokens:
                assert len(each) < 40 or each[-40:] not in written


@pytest.mark.parametrize("engine", ENGINES)
async def test_flags_are_told_who_it_is_and_what_the_token_says(engine: str, tmp_path: Path) -> None:
    plan = 'claims = ["plan"]\n[identity.jwt]'
    async with world(tmp_path, engine=engine) as all_of:
        all_of.write(("[identity.jwt]", plan))
        await all_of.reload()
        constraint = {"contextName": "plan", "operator": "IN", "values": ["pro"]}
        strategy = {"name": "userWithId", "parameters": {"userIds": "7"}, "constraints": [constraint]}
        features = [{"name": "private", "enabled": True, "strategies": [strategy]}]
        all_of.gateway.flags.write_text(json.dumps({"version": 1, "features": features}))
        async with asyncio.timeout(20):
            while (await all_of.get(token(plan="pro"))).header("Banyan-Route") != "private; served-by=candidate; reason=flag":
                await asyncio.sleep(0.05)
        assert len(all_of.new.requests) == 1
        for other in (token(plan="free"), token(), token(plan="pro", sub="8")):
            assert await all_of.status(other) == 200
        assert len(all_of.new.requests) == 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_rotation_under_traffic_without_a_refused_request(engine: str, tmp_path: Path) -> None:
    async with key_server() as server, world(tmp_path, jwks(server, jwks_pause="1s"), engine=engine, workers=2, server=server) as all_of:
        server.has(k0=0)
        await all_of.reload()
        current = token(kid="k0")
        server.has(k0=0, k1=1)
        statuses: list[int] = []
        stop = asyncio.Event()

        async def client() -> None:
            while not stop.is_set():
                statuses.append(await all_of.status(current))

        clients = [asyncio.create_task(client(), name="client") for _ in range(4)]
        for number in range(1, 4):
            # The issuer publishes its new key, and signs by it in the same moment; and the old one is gone with the next rotation.
            server.has(**{f"k{each}": each for each in (number - 1, number)})
            current = token(kid=f"k{number}", number=number)
            served = len(statuses)
            async with asyncio.timeout(30):
                while len(statuses) < served + 20:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1.1)  # jwks_pause
        stop.set()
        await asyncio.gather(*clients)
        assert set(statuses) == {200}
        assert {each["kid"] for each in (await all_of.jwks())["keys"]} == {"k2", "k3"}
        await all_of.everywhere(401, token(kid="k1", number=1))


@pytest.mark.parametrize("engine", ENGINES)
async def test_unknown_keys_are_asked_for_once_and_then_not_before_the_pause_is_over(engine: str, tmp_path: Path) -> None:
    async with world(tmp_path, engine=engine, workers=2) as all_of:
        assert await all_of.status(token()) == 200
        assert all_of.server.asked == 1
        found = await asyncio.gather(*(all_of.status(token(number=1, kid=f"made up {each}")) for each in range(40)))
        assert set(found) == {401}
        await all_of.everywhere(401, token(number=1, kid="made up again"))
        assert all_of.server.asked == 2
        await all_of.everywhere(200, token())
        assert 'banyan_identity_jwks_fetches_total{result="ok"} 2.0' in await asyncio.to_thread(all_of.gateway.metrics)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_key_server_that_is_away_at_start(engine: str, tmp_path: Path) -> None:
    async with key_server() as server:
        port = await server.stop()
        settings = jwks(server)
        async with world(tmp_path, settings, engine=engine, server=server) as all_of:
            answer = await all_of.get(token())
            assert answer.status == 503
            assert "(no-keys)" in json.loads(answer.body)["detail"]
            assert await all_of.status() == 401, "who shows nothing is nobody, whoever is away"
            assert await all_of.status(token(), path="/open/1") == 200
            assert all_of.new.requests == []
            assert len(all_of.legacy.requests) == 1
            metrics = await asyncio.to_thread(all_of.gateway.metrics)
            assert "banyan_identity_jwks_age_seconds +Inf" in metrics
            assert "banyan_identity_jwks_keys 0.0" in metrics
            await server.start(port)
            await all_of.until(200, token())
            assert "banyan_identity_jwks_keys 1.0" in await asyncio.to_thread(all_of.gateway.metrics)


async def test_a_start_does_not_wait_for_longer_than_jwks_timeout(tmp_path: Path) -> None:
    async with key_server() as server:
        server.mode = "drip"
        async with world(tmp_path, jwks(server, jwks_timeout="1s"), server=server) as all_of:
            assert await all_of.status(token()) == 503
            server.mode = "ok"
            await all_of.until(200, token())


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_key_server_that_goes_away_later(engine: str, tmp_path: Path) -> None:
    async with key_server() as server, world(tmp_path, jwks(server, jwks_refresh="1s"), engine=engine, workers=2, server=server) as all_of:
        await all_of.everywhere(200, token())
        port = await server.stop()
        async with asyncio.timeout(20):
            while (await all_of.jwks())["last"]["result"] != "refused":
                await asyncio.sleep(0.05)
        await all_of.everywhere(200, token(jti="never seen before"))
        await all_of.everywhere(401, token(number=1, kid="b"))
        # A worker that is started meanwhile is told what is known.
        workers = all_of.gateway.workers()
        os.kill(workers[0], signal.SIGKILL)
        async with asyncio.timeout(30):
            while len(new := all_of.gateway.workers()) < 2 or workers[0] in new:
                await asyncio.sleep(0.05)
        await all_of.until(200, token(jti="nor this"))
        server.has(b=1)
        await server.start(port)
        await all_of.until(401, token())
        await all_of.everywhere(200, token(number=1, kid="b"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_key_server_that_hangs_holds_up_only_those_who_need_it(engine: str, tmp_path: Path) -> None:
    async with world(tmp_path, engine=engine) as all_of:
        assert await all_of.status(token()) == 200
        all_of.server.mode = "hang"
        new = f"GET /private/1 HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {token(number=1, kid='b')}\r\n\r\n".encode()
        waiting, leaving = await all_of.gateway.connect(), await all_of.gateway.connect()
        await waiting.send(new)
        await leaving.send(new)
        await all_of.server.asked_again()
        leaving.reset()
        # Behind the one that waits, on a connection of its own and on the same.
        assert await all_of.status(token(jti="never seen before")) == 200
        await waiting.send(new.replace(b"Authorization", b"X"))
        assert (await waiting.response()).status == 401
        assert (await waiting.response()).status == 401
        assert await all_of.status(token()) == 200
        assert all_of.server.asked == 2


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_body_that_comes_while_its_request_waits_arrives_whole(engine: str, tmp_path: Path) -> None:
    async with key_server() as server, world(tmp_path, jwks(server, jwks_timeout="20s"), engine=engine, server=server) as all_of:
        server.mode = "held"
        client = await all_of.gateway.connect()
        head = f"POST /private/1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 20\r\nAuthorization: Bearer {token(number=1, kid='b')}"
        await client.send(head.encode() + b"\r\n\r\n0123456789")
        await server.asked_again()
        server.has(a=0, b=1)
        await client.send(b"0123456789")
        server.go.set()
        assert (await client.response()).status == 200
        assert [each.body for each in all_of.legacy.requests] == [b"0123456789" * 2]


async def test_explain_knows_what_the_gateway_knows(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        for sent, standing, why in (
            (token(), "known", ""),
            (token(number=1), "refused", "signature"),
            (token(kid="b"), "refused", "unknown-key"),
        ):
            question = {"target": "/private/1", "headers": [["Authorization", f"Bearer {sent}"]]}
            found = await all_of.post("/explain", question)
            assert (found["identity"]["standing"], found["identity"]["why"]) == (standing, why)
            assert sent not in json.dumps(found)
        assert all_of.server.asked == 1


async def test_explain_away_from_the_gateway_says_that_nobody_was_asked(tmp_path: Path) -> None:
    async with key_server() as server:
        path = tmp_path / "banyan.toml"
        path.write_text(TOML.format(folder=tmp_path, legacy=1, new=2, issuer=ISSUER, audience=AUDIENCE) + jwks(server))
        config = parse(path, path.read_text())
        question = Question("/private/1", headers=[("Authorization", f"Bearer {token()}")])
        found = explain(config, Snapshot("", b'{"version":1,"features":[]}', "none", 0.0, ""), {}, question)
        assert found["refused"] is None
        assert found["identity"]["standing"] == "not-asked"
        assert "the key server is not asked whose credential that is" in "\n".join(found["notes"])
        assert server.asked == 0


async def test_hostile_answers_change_nothing(tmp_path: Path) -> None:
    modes: list[str | bytes] = ["500", "garbage", "html", "oversized", "endless", "redirect", "cut", "reset", "drip", b"{}", b"[" * 9999]
    async with (
        key_server() as server,
        world(tmp_path, jwks(server, jwks_refresh="1s", jwks_pause="1s", jwks_timeout="1s"), server=server) as all_of,
    ):
        for mode in modes:
            server.mode = mode
            await server.asked_again()
            assert await all_of.status(token(jti=str(mode)[:9])) == 200
            assert await all_of.status(token(number=1, kid="b")) == 401
        secret = {"kty": "oct", "kid": "hs", "alg": "HS256", "k": b64(b"x" * 40)}
        leaked = {**key("RS256", 1).as_dict(private=True), "kid": "leaked"}
        server.keys += [secret, leaked]
        server.mode = "ok"
        await server.asked_again(2)
        await all_of.until(200, token())
        assert await all_of.status(token(number=1, kid="leaked")) == 401
        assert await all_of.status(confused(b"x" * 40, kid="hs")) == 401
        assert len((await all_of.jwks())["left_out"]) == 2
        written = all_of.written()
        assert "'leaked'" in written
        assert str(leaked["d"])[:12] not in written
        assert secret["k"] not in written


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_reload_to_another_place_takes_the_old_keys_away_at_once(engine: str, tmp_path: Path) -> None:
    async with key_server() as other, world(tmp_path, engine=engine, workers=2) as all_of:
        await all_of.everywhere(200, token())
        other.has(z=5)
        all_of.write((all_of.server.url, other.url))
        await all_of.reload()
        await all_of.everywhere(200, token(number=5, kid="z"))
        await all_of.everywhere(401, token())
        state = await all_of.jwks()
        assert state["url"] == other.url
        assert state["keys"] == [{"kid": "z", "algorithm": "RS256"}]
        # One that is away: nobody is known, and nobody by the keys of the one before.
        port = await other.stop()
        all_of.write((f"{port}/jwks", f"{port}/moved"))
        await all_of.reload()
        await all_of.everywhere(503, token(number=5, kid="z"))
        assert SECRET_QUERY[5:] not in all_of.written()
        assert SECRET_QUERY[5:] not in json.dumps(await asyncio.to_thread(all_of.gateway.get, "/config"))
        # Another algorithm, from the first again.
        all_of.server.keys = [jwk("RS256", kid="a"), jwk("ES256", kid="e")]
        all_of.write((f"{port}/moved", f"{all_of.server.url.split(':')[2]}"), ('["RS256"]', '["ES256"]'))
        await all_of.reload()
        await all_of.everywhere(200, token("ES256", kid="e"))
        await all_of.everywhere(401, token())


async def test_a_reload_that_leaves_the_place_alone_refuses_nobody(tmp_path: Path) -> None:
    async with world(tmp_path, workers=2) as all_of:
        statuses: list[int] = []
        stop = asyncio.Event()

        async def client() -> None:
            while not stop.is_set():
                statuses.append(await all_of.status(token(jti=str(len(statuses)))))

        clients = [asyncio.create_task(client(), name="client") for _ in range(3)]
        before = "[identity.jwt]\n"
        for leeway in ("10s", "20s", "40s"):
            after = f'[identity.jwt]\nleeway = "{leeway}"\n'
            all_of.write((before, after))
            before = after
            await all_of.reload()
        stop.set()
        await asyncio.gather(*clients)
        assert statuses
        assert set(statuses) == {200}
        assert all_of.server.asked == 1
