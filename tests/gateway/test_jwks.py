"""The key server, asked: bounded whatever it does, and what it said last that was good holds."""

# ruff: noqa: ASYNC110 - what a worker was told has no event to wait for
from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.control import Keys
from gateway.identity import keyring
from gateway.jwks import KeyServer as Asking
from gateway.jwks import shown
from gateway.jwks_fetch import FetchError, fetch
from tests.support.key_server import SECRET_QUERY, KeyServer, key_server
from tests.support.tokens import jwk, key, weak


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("500", "status"),
        ("garbage", "broken"),
        ("hang", "timeout"),
        ("drip", "timeout"),
        ("drip-head", "timeout"),
        ("oversized", "oversized"),
        ("endless", "oversized"),
        ("redirect", "redirect"),
        ("gzip", "encoded"),
        ("cut", "broken"),
        ("reset", "broken"),
    ],
)
async def test_whatever_it_does_it_is_bounded(mode: str, code: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with key_server() as server:
        server.mode = mode
        with pytest.raises(FetchError) as failed:
            await fetch(server.url + SECRET_QUERY, 0.6 if code == "timeout" else 10.0)
        assert failed.value.code == code
        assert "secret" not in str(failed.value) + caplog.text
        assert server.asked == 1, "nothing is followed, and nothing is tried twice"


async def test_a_good_answer_is_what_was_sent() -> None:
    async with key_server() as server:
        assert json.loads(await fetch(server.url + SECRET_QUERY, 10.0)) == {"keys": server.keys}
        assert server.targets == {b"/jwks" + SECRET_QUERY.encode()}
        await server.stop()
        with pytest.raises(FetchError) as failed:
            await fetch(server.url, 10.0)
        assert failed.value.code == "refused"


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with key_server() as server:
        assert await fetch(server.url, 10.0)


class Worker:
    """Hears what the supervisor says."""

    def __init__(self) -> None:
        self.heard: list[Keys] = []

    def send(self, message: Keys) -> None:
        self.heard.append(message)

    @property
    def kids(self) -> list[str | None]:
        return [each.kid for each in keyring.loaded(self.heard[-1].keys)]


class World:
    """The supervisor's part, with a worker that listens."""

    def __init__(self, folder: Path, server: KeyServer) -> None:
        self.folder = folder
        self.server = server
        self.worker = Worker()
        self.tasks: set[asyncio.Task[object]] = set()
        self.asking = Asking(self.config(), [self.worker], self.keep)  # type: ignore[list-item]  # all that it needs of one

    def config(self, **changes: Any) -> Config:
        jwt = {
            "jwks_url": self.server.url,
            "algorithms": ["RS256"],
            "jwks_pause": "1h",
            "jwks_refresh": "1h",
            "jwks_timeout": "1s",
            **changes,
        }
        table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in jwt.items())
        text = f'[upstreams]\nlegacy = "http://127.0.0.1:1"\n[identity]\nsource = "jwt"\n[identity.jwt]\n{table}\n'
        return parse(self.folder / "banyan.toml", text)

    def keep(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        return task

    async def begin(self) -> None:
        self.asking.begin()
        await self.asking.first(asyncio.Event())

    async def heard(self, times: int) -> None:
        """Waits until the worker was told something that many times."""
        async with asyncio.timeout(20):
            while len(self.worker.heard) < times:
                await asyncio.sleep(0.01)

    def missing(self) -> None:
        self.asking.missing(self.worker, self.asking._origin)  # type: ignore[arg-type]  # all that it needs of one

    async def again(self) -> None:
        """Has it ask once more, as time would."""
        times = len(self.worker.heard)
        self.asking._start(at_once=True)
        await self.heard(times + 1)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with key_server() as server:
        made = World(folder, server)
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_workers_get_the_public_keys_and_who_is_started_later_too(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        await all_of.begin()
        assert all_of.worker.kids == ["a"]
        (told,) = all_of.asking.told()
        assert told.keys == all_of.worker.heard[-1].keys
        assert not keyring.PRIVATE & json.loads(told.keys)[0].keys()
        assert all_of.asking.results == {"ok": 1}
        assert all_of.asking.age() < 60


@pytest.mark.parametrize(
    "mode",
    ["500", "hang", "drip", "oversized", "html", "garbage", "redirect", b'{"keys": 7}', b"[]", b'{"keys": [' + b"{}," * 101 + b"{}]}"],
)
async def test_what_was_good_holds_through_anything(tmp_path: Path, mode: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as all_of:
        await all_of.begin()
        all_of.server.mode = mode
        await all_of.again()
        assert all_of.worker.kids == ["a"]
        assert all_of.asking.count == 1
        state = all_of.asking.state()
        assert state is not None
        assert state["last"]["result"] != "ok"
        assert len(all_of.worker.heard) == 2
        assert "the 1 keys of before hold" in caplog.text
        all_of.server.mode = "ok"
        all_of.server.has(b=1)
        await all_of.again()
        assert all_of.worker.kids == ["b"], "and what is not in a good answer is gone"


async def test_an_answer_without_keys_is_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as all_of:
        await all_of.begin()
        all_of.server.keys = []
        await all_of.again()
        assert all_of.worker.kids == []
        assert "no key that can be used" in caplog.text


async def test_keys_that_nobody_should_trust_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as all_of:
        private = {**key("RS256", 1).as_dict(private=True), "kid": "leaked"}
        secret = {"kty": "oct", "kid": "hs", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}
        small = {**weak().as_dict(private=False), "kid": "weak"}
        twice = [jwk("RS256", 2, kid="twice"), jwk("RS256", 3, kid="twice")]
        all_of.server.keys += [private, secret, small, *twice]
        await all_of.begin()
        assert all_of.worker.kids == ["a"]
        for kid in ("leaked", "hs", "weak", "twice"):
            assert f"'{kid}'" in caplog.text
        assert str(private["d"])[:12] not in caplog.text
        assert secret["k"] not in caplog.text
        lines = len(caplog.records)
        await all_of.again()
        assert len(caplog.records) == lines, "it is said once"


async def test_start_does_not_wait_for_longer_than_it_may(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        all_of.server.mode = "hang"
        began = time.monotonic()
        await all_of.begin()
        assert time.monotonic() - began < 10
        assert all_of.asking.count == 0
        assert all_of.asking.age() == float("inf")
        all_of.server.mode = "ok"
        await all_of.heard(2)  # without keys it tries again soon, whatever jwks_refresh says
        assert all_of.worker.kids == ["a"]


async def test_a_missing_key_is_asked_for_once_and_then_not_before_its_time(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        await all_of.begin()
        assert all_of.worker.heard[-1].quiet_until == 0.0
        all_of.server.has(a=0, b=1)
        for _ in range(10):
            all_of.missing()
        await all_of.heard(2)
        assert all_of.worker.kids == ["a", "b"]
        assert all_of.server.asked == 2
        assert all_of.worker.heard[-1].quiet_until > time.time() + 3000
        for _ in range(10):
            all_of.missing()
        await all_of.heard(12)  # each has its answer, at once
        assert all_of.server.asked == 2
        all_of.asking.missing(all_of.worker, "of another place")  # type: ignore[arg-type]  # all that it needs of one
        assert len(all_of.worker.heard) == 12


async def test_another_place_takes_the_keys_of_the_old_one_away(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of, key_server() as other:
        await all_of.begin()
        old = all_of.worker.heard[-1].origin
        other.has(z=5)
        await all_of.asking.take(all_of.config(jwks_url=other.url))
        assert all_of.worker.kids == ["z"]
        assert all_of.worker.heard[-1].origin != old
        await other.stop()
        await all_of.asking.take(all_of.config(jwks_url=other.url + "?x"))
        assert all_of.worker.kids == []
        asked = all_of.server.asked
        await all_of.asking.take(parse(tmp_path / "banyan.toml", '[upstreams]\nlegacy = "http://127.0.0.1:1"\n'))
        assert not all_of.asking.active
        assert all_of.asking.told() == []
        assert all_of.asking.state() is None
        assert all_of.server.asked == asked


async def test_the_same_place_with_other_times_keeps_its_keys_and_is_not_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of:
        await all_of.begin()
        await all_of.asking.take(all_of.config(jwks_refresh="1s", issuer="https://login.test"))
        assert all_of.asking.count == 1
        await all_of.heard(3)  # and its new times hold
        assert all_of.server.asked >= 3


async def test_an_answer_that_comes_after_a_reload_to_another_place_is_nobodys(tmp_path: Path) -> None:
    async with world(tmp_path) as all_of, key_server() as other:
        all_of.server.mode = "drip"
        all_of.asking.begin()
        await all_of.server.asked_again()
        other.has(z=5)
        await all_of.asking.take(all_of.config(jwks_url=other.url))
        all_of.server.mode = "ok"
        await asyncio.sleep(1.2)  # the old question's time would be over
        assert [each.kid for each in all_of.asking._keys] == ["z"]
        assert {message.origin for message in all_of.worker.heard} == {all_of.asking._origin}


def test_an_address_is_shown_without_its_query() -> None:
    assert shown("https://login.test:8443/a/jwks?key=geheim") == "https://login.test:8443/a/jwks"
