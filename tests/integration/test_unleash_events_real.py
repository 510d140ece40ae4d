"""Who flipped a flag, from the events of the real Unleash 8.2: a person who logged in, a token, and both at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import httpx
import orjson
import pytest

from demo.unleash import RunningUnleash
from flags.admin import UnleashAdmin
from flags.events import EventLog, EventsError, authors, behind
from flags.snapshot import Snapshot
from flags.unleash import UnleashSource

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

FLAG = "who-did-it"
PLACE = f"/admin/projects/default/features/{FLAG}/environments/development"


class Looks:
    """What the source published, and when the state before it was last confirmed."""

    def __init__(self, source: UnleashSource) -> None:
        self._source = source
        self.on: bool | None = None
        self.at = 0.0
        self.confirmed: list[float] = []

    def publish(self, snapshot: Snapshot) -> None:
        found = {flag["name"]: flag["enabled"] for flag in orjson.loads(snapshot.features)["features"]}
        if found.get(FLAG) != self.on:
            self.on, self.at = found.get(FLAG), time.time()

    async def until(self, on: bool) -> None:
        async with asyncio.timeout(10):
            while self.on is not on:
                self.confirmed.append(time.time() - self._source.staleness())
                await asyncio.sleep(0.02)

    @property
    def before(self) -> float | None:
        return max((moment for moment in self.confirmed if moment < self.at - 0.1), default=None)


@asynccontextmanager
async def looking(server: RunningUnleash) -> AsyncIterator[Looks]:
    source = UnleashSource(server.api_url, server.client_token, refresh=0.5)
    looks = Looks(source)
    task = asyncio.create_task(source.run(looks.publish), name="source")
    try:
        yield looks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_flipped_a_flag(unleash: RunningUnleash) -> None:
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        await asyncio.to_thread(admin.ensure_flag, FLAG, "whose flips are told")
        await asyncio.to_thread(admin.set, FLAG, False, 100)
    token = {"Authorization": unleash.admin_token}
    with closing(EventLog(unleash.api_url, unleash.admin_token)) as log:
        await flip_and_ask(unleash, log, token)


async def flip_and_ask(unleash: RunningUnleash, log: EventLog, token: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=unleash.api_url, timeout=5) as person, httpx.AsyncClient(timeout=5, headers=token) as machine:
        login = {"username": unleash.username, "password": unleash.password}
        assert (await person.post(f"{unleash.url}/auth/simple/login", json=login)).status_code == 200
        async with looking(unleash) as looks:

            async def who(on: bool) -> str:
                await looks.until(on)
                events = await asyncio.to_thread(log.of, [FLAG], looks.at - 60)
                made = behind(events, flag=FLAG, environment="development", before=looks.before, at=looks.at, enabled=on, taken=taken)
                taken.update(event.number for event in made)
                return authors(made)

            taken: set[int] = set()
            robot = "admin (a token)"  # a token has a name of its own, and may have a person's
            assert await who(False) == robot
            assert (await person.post(f"{PLACE}/on")).status_code == 200
            assert await who(True) == "admin"
            assert (await machine.post(f"{unleash.api_url}{PLACE}/off")).status_code == 200
            assert await who(False) == robot
            # Elsewhere, and what changes nothing for clients: not these.
            assert (await person.post(f"{PLACE.replace('/development', '/production')}/on")).status_code == 200
            assert (await person.post(f"/admin/features/{FLAG}/tags", json={"type": "simple", "value": "noise"})).status_code == 201
            await asyncio.sleep(3)
            assert (await machine.post(f"{unleash.api_url}{PLACE}/on")).status_code == 200
            assert await who(True) == robot


async def test_a_token_without_rights_is_told_so(unleash: RunningUnleash) -> None:
    with (
        closing(EventLog(unleash.api_url, unleash.client_token)) as log,
        pytest.raises(EventsError, match=r"answered 40[13] when asked for its events: flags.admin_token"),
    ):
        await asyncio.to_thread(log.of, [FLAG], time.time())
