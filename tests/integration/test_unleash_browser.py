"""Somebody flips the reviews flag in Unleash's own UI, and the traffic moves and moves back. Nothing here asks Unleash's Admin API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import mmh3
import pytest

from demo.unleash import RunningUnleash
from tests.integration.conftest import fresh_unleash
from tests.support.chromium import required
from tests.support.gateway import Exchange, Gateway, Upstream, gateway
from tests.support.unleash_page import UnleashPage, unleash_page

pytestmark = [pytest.mark.unleash, pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def unleash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUnleash]:
    """Its own: in the one that other tests share, somebody may have made the flag before."""
    with fresh_unleash(tmp_path_factory.mktemp("unleash")) as server:
        yield server


FLIP_SECONDS = 2.0
"""From Unleash's answer to the UI until the last answer of the side that was left."""
STREAK = 60
"""Answers in a row from one side, each over a connection of its own: two workers share them by chance."""
USERS = [str(number) for number in range(1, 401)]


async def legacy_answers(exchange: Exchange) -> None:
    """Also says who is calling: the cookie holds the user's id."""
    if exchange.line.startswith(b"GET /_banyan/identity "):
        user = exchange.header("Cookie")[0].partition("=")[2]
        await exchange.answer(json.dumps({"authenticated": True, "user_id": user, "session_id": f"session-{user}"}).encode())
    else:
        await exchange.answer(b"legacy")


async def candidate_answers(exchange: Exchange) -> None:
    await exchange.answer(b"candidate")


async def ask(port: int, user: str | None) -> tuple[int, str, str]:
    """Status, body and Banyan-Route of one request over a connection of its own; `user` None: an anonymous visitor."""
    cookie = f"Cookie: sessionid={user}\r\n" if user else ""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET /api/v1/reviews/7 HTTP/1.1\r\nHost: shop.test\r\n{cookie}Connection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).decode().partition("\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
    route = next((line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("banyan-route:")), "")
    return int(head.split(" ", 2)[1]), body, route


@dataclass
class Traffic:
    """People who go on asking for reviews."""

    port: int
    answers: list[tuple[float, str]] = field(default_factory=list)
    """When it was there, by time.time(), and from which side."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def walk(self, user: str) -> None:
        while True:
            status, body, _ = await ask(self.port, user)
            assert status == 200
            self.answers.append((time.time(), body))
            self.news.set()
            await asyncio.sleep(0.04)  # the pace of one person, not a wait for anything

    async def left(self, side: str, since: float) -> float:
        """Waits until STREAK answers in a row came from the other side; returns the seconds from `since` to the last one from `side`."""
        async with asyncio.timeout(15):
            while len(self.answers) < STREAK or any(body == side for _, body in self.answers[-STREAK:]):
                self.news.clear()
                await self.news.wait()
        return max((at for at, body in self.answers if body == side), default=since) - since


@asynccontextmanager
async def traffic(port: int, people: int = 4) -> AsyncIterator[Traffic]:
    """While the block runs; whoever did not get a good answer fails it."""
    running = Traffic(port)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(running.walk(f"walker-{number}"), name=f"walker {number}") for number in range(people)]
        yield running
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def shop(folder: Path, unleash: RunningUnleash) -> AsyncIterator[Gateway]:
    """`banyan run` with two workers before two upstreams, its flags in `unleash`."""
    legacy, candidate = Upstream(legacy_answers), Upstream(candidate_answers)
    await legacy.start()
    await candidate.start()
    toml = f"""
[gateway]
expose_decision = true
access_log = ""
[flags]
source = "unleash"
url = "{unleash.api_url}"
token = "{unleash.client_token}"
[identity]
source = "introspection"
[upstreams]
legacy = "http://127.0.0.1:{legacy.port}"
reviews = "http://127.0.0.1:{candidate.port}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""
    try:
        async with gateway(folder, toml, workers=2) as running:
            yield running
    finally:
        await legacy.stop()
        await candidate.stop()


async def in_force(running: Gateway, before: str) -> None:
    """Waits until every worker decides by another state than `before`."""
    async with asyncio.timeout(10):
        while True:
            state = await asyncio.to_thread(running.get, "/flags")
            if state["revision"] != before and all(state["workers"].values()):
                return
            await asyncio.sleep(0.05)


async def moved(running: Gateway, users: Iterable[str]) -> set[str]:
    """Who of the users is answered by the candidate. Each is asked twice, and must meet the same side."""
    places = asyncio.Semaphore(8)

    async def side(user: str) -> str:
        async with places:
            answers = [await ask(running.port, user) for _ in range(2)]
        assert len(set(answers)) == 1, f"user {user} met {answers}"
        status, body, route = answers[0]
        assert (status, route.partition("; reason=")[0]) == (200, f"reviews; served-by={body}")
        return body

    users = list(users)
    return {user for user, body in zip(users, await asyncio.gather(*map(side, users)), strict=True) if body == "candidate"}


def meant(users: Iterable[str], percent: int) -> set[str]:
    """Whom Unleash means by so many percent: https://docs.getunleash.io/concepts/stickiness, worked out here without its engine."""
    return {user for user in users if mmh3.hash(f"reviews:{user}", signed=False) % 100 + 1 <= percent}


async def flip(ui: UnleashPage, running: Gateway, people: Traffic, enabled: bool) -> float:
    """Flips and watches; returns the seconds until everybody had moved."""
    old = "legacy" if enabled else "candidate"
    clicked = time.time()
    change = await ui.flip("development", enabled)
    took = await people.left(old, change.answered)
    state = await asyncio.to_thread(running.get, "/flags")
    assert state["flags"]["reviews"] is enabled
    assert all(state["workers"].values())
    print(
        f"{'on' if enabled else 'off'}: the UI asked {1000 * (change.sent - clicked):.0f} ms after the click began, Unleash answered "
        f"{1000 * (change.answered - change.sent):.0f} ms later, and the last answer from {old} came {took:.2f} s after that"
    )
    return took


async def test_a_flip_in_unleashs_ui_moves_the_traffic_and_back(unleash: RunningUnleash, tmp_path: Path) -> None:
    required()
    async with (
        asyncio.timeout(300),
        shop(tmp_path, unleash) as running,
        traffic(running.port) as people,
        unleash_page(unleash, tmp_path) as ui,
    ):
        await people.left("candidate", time.time())  # a flag that does not exist: legacy
        assert any(line.startswith("kept from https://") for line in ui.log), "the UI was to do without the rest of the world"
        await ui.create_flag("reviews")
        assert await ui.page.get_by_role("switch", name="development", exact=True).is_checked() is False
        slowest = max([await flip(ui, running, people, enabled) for enabled in (True, False) * 3])
        sides = [body for _, body in people.answers]
        changes = sum(one != other for one, other in pairwise(sides))
        print(f"slowest of 6: {slowest:.2f} s; {len(sides)} answers, all 200; {changes} changes of side between one and the next")
        assert slowest <= FLIP_SECONDS

        # Off, and then for a part: nobody moves before it is on again.
        revision = (await asyncio.to_thread(running.get, "/flags"))["revision"]
        await ui.set_rollout("development", 25)
        await in_force(running, revision)
        assert await moved(running, USERS[:50]) == set()
        before = set[str]()
        for percent in (25, 50):
            revision = (await asyncio.to_thread(running.get, "/flags"))["revision"]
            if percent == 25:
                await ui.flip("development", True)
            else:
                await ui.set_rollout("development", percent)
            await in_force(running, revision)
            now = await moved(running, USERS)
            print(f"{percent} %: {len(now)} of {len(USERS)} users moved")
            assert now == meant(USERS, percent)
            assert abs(len(now) / len(USERS) - percent / 100) < 0.05
            assert before < now, "who had moved stays"
            before = now
        change = await ui.flip("development", False)
        assert await people.left("candidate", change.answered) <= FLIP_SECONDS
        assert await moved(running, USERS[:50]) == set()
