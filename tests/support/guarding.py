"""A gateway with a guard, a candidate that does as the test wants, and clients that never stop asking."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway, ok

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n"
TOML = """
[gateway]
expose_decision = true
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
flag = "{flag}"
match = "/reviews/*"
candidate = "new"
[routes.guard]
window = "20s"
{more}
"""


@dataclass
class Candidate:
    """What the candidate does to a share of its requests, as the test wants it."""

    status: str = "200 OK"
    wait: float = 0.0
    body: bytes = b"ok"
    count: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.count += 1
        await asyncio.sleep(self.wait)
        await exchange.answer(self.body, self.status)


@dataclass
class World:
    """A gateway with its upstreams, and clients that never stop asking."""

    gateway: Gateway
    candidate: Candidate
    legacy: Upstream
    new: Upstream
    name: str = "reviews"
    """The flag's."""
    unleash: Callable[[], bool] | None = None
    """Asks it; None: the flag is in the file."""
    answers: dict[str, int] = field(default_factory=dict)
    """By status, who answered, and why."""
    stopping: bool = False
    patience: float = 20.0
    """Seconds that a client waits for an answer, before it hangs up."""
    left: int = 0
    """How often one did."""

    async def client(self, pause: float) -> None:
        """Asks, on one connection after the other, so that both workers take part."""
        while not self.stopping:
            client: Client = await self.gateway.connect()
            for _ in range(20):
                if self.stopping:
                    break
                try:
                    async with asyncio.timeout(self.patience):
                        answer = await client.request(GET)
                except TimeoutError:
                    self.left += 1
                    break
                said = (answer.header("Banyan-Route") or "").partition("; ")[2]
                key = f"{answer.status} {said}"
                self.answers[key] = self.answers.get(key, 0) + 1
                await asyncio.sleep(pause)
            client.close()
            self.gateway.clients.remove(client)

    def guard(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.get("/guard")
        return found

    def flag(self) -> bool:
        """Whether it is on, where it lives."""
        if self.unleash is not None:
            return self.unleash()
        features = json.loads(self.gateway.flags.read_text())["features"]
        return next(bool(feature["enabled"]) for feature in features if feature["name"] == self.name)

    async def candidate_serves(self) -> None:
        await until(lambda: any("served-by=candidate" in key for key in self.answers))

    async def state(self, *states: str) -> dict[str, Any]:
        """Waits until the guard says one of these of the route, and returns all that it says of it."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            nonlocal found
            found = self.guard()["routes"][0]
            return found["state"] in states

        await until(reached)
        return found


async def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for it; `happened` may block for a moment."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(happened):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


@asynccontextmanager
async def asking(world: World, clients: int = 8, pause: float = 0.02) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(world.client(pause)) for _ in range(clients)]
    try:
        yield
    finally:
        world.stopping = True
        await asyncio.gather(*tasks)
        world.stopping = False


@asynccontextmanager
async def running(
    folder: Path,
    more: str = "",
    engine: str = "edge",
    where: str = "",
    flag: str = "reviews",
    unleash: Callable[[], bool] | None = None,
    **flags: bool | int,
) -> AsyncIterator[World]:
    """`where`: [flags], if it is not this folder's file. `unleash` says whether the flag is on there."""
    candidate = Candidate()
    legacy, new = Upstream(ok), Upstream(candidate)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, more=more, flag=flag) + (f"[flags]\n{where}\n" if where else "")
        async with gateway(folder, toml, workers=2, engine=engine, **flags) as started:
            yield World(started, candidate, legacy, new, flag, unleash)
    finally:
        await legacy.stop()
        await new.stop()


def went(change: dict[str, Any]) -> bool:
    """Whether the flag itself was turned on or off: it has other fields that change, and may be overridden."""
    return change["kind"] == "flag" and (change["old"] or {}).get("enabled") != (change["new"] or {}).get("enabled")


def changes(world: World) -> list[tuple[bool, str, str]]:
    """(on, by, why) of every change of the flag."""
    found = world.gateway.get("/flags/changes?after=0")["changes"]
    return [
        (bool(change["new"] and change["new"]["enabled"]), change["by"], change["why"])
        for change in found
        if change["flag"] == world.name and went(change)
    ]


async def is_off(world: World) -> None:
    """Waits until the flag is off in the file, and everybody goes by that; then all that clients get is legacy's."""
    await until(lambda: not world.flag())
    await world.state("off")
    await world.gateway.decided(**{world.name: False})
    before = world.answers.copy()
    await asyncio.sleep(0.5)  # what was under way
    after = world.answers.copy()
    await until(lambda: sum(world.answers.values()) > sum(after.values()) + 50)
    assert {key for key, count in world.answers.items() if count > after.get(key, 0)} == {"200 served-by=legacy; reason=flag-off"}
    assert not [key for key in before if not key.startswith("200")]
