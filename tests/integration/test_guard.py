"""The guard: a candidate that gets worse under traffic loses its flag, where the flag lives, once, and no client notices."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import python
from tests.support.gateway import Client, Exchange, Gateway, Upstream, gateway, ok

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: shop.test\r\n\r\n"
TOML = """
[gateway]
expose_decision = true
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
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
    answers: dict[str, int] = field(default_factory=dict)
    """By status, who answered, and why."""
    stopping: bool = False

    async def client(self, pause: float) -> None:
        """Asks, on one connection after the other, so that both workers take part."""
        while not self.stopping:
            client: Client = await self.gateway.connect()
            for _ in range(20):
                if self.stopping:
                    break
                answer = await client.request(GET)
                said = (answer.header("Banyan-Route") or "").partition("; ")[2]
                key = f"{answer.status} {said}"
                self.answers[key] = self.answers.get(key, 0) + 1
                await asyncio.sleep(pause)
            client.close()
            self.gateway.clients.remove(client)

    def guard(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.get("/guard")
        return found

    def flag(self, name: str = "reviews") -> bool:
        """As the file has it."""
        features = json.loads(self.gateway.flags.read_text())["features"]
        return next(bool(feature["enabled"]) for feature in features if feature["name"] == name)

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
    folder: Path, more: str = "", engine: str = "edge", shared: Path | None = None, **flags: bool | int
) -> AsyncIterator[World]:
    """`shared`: the flag file of another gateway, which is this one's too."""
    candidate = Candidate()
    legacy, new = Upstream(ok), Upstream(candidate)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, more=more)
        if shared is not None:
            toml += f'[flags]\npath = "{shared}"\n'
        async with gateway(folder, toml, workers=2, engine=engine, **flags) as started:
            yield World(started, candidate, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


async def banyan(folder: Path, *arguments: str) -> tuple[int, str]:
    """(exit status, what it printed) of a command."""
    command = python("-m", "gateway.cli", *arguments, "--config", str(folder / "banyan.toml"))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def kept(folder: Path) -> list[tuple[str, ...]]:
    """What of trips is in the database."""
    with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3")) as database:
        return database.execute("SELECT route, reason, outcome, why FROM shadow_guardtrip ORDER BY number").fetchall()


def changes(world: World, flag: str = "reviews") -> list[tuple[bool, str, str]]:
    """(on, by, why) of every change of the flag."""
    found = world.gateway.get("/flags/changes?after=0")["changes"]
    return [(change["new"]["enabled"], change["by"], change["why"]) for change in found if change["flag"] == flag and change["new"]]


async def is_off(world: World) -> None:
    """Waits until the flag is off in the file, and everybody goes by that; then all that clients get is legacy's."""
    await until(lambda: not world.flag())
    await world.state("off")
    await world.gateway.decided(reviews=False)
    before = world.answers.copy()
    await asyncio.sleep(0.5)  # what was under way
    after = world.answers.copy()
    await until(lambda: sum(world.answers.values()) > sum(after.values()) + 50)
    assert {key for key, count in world.answers.items() if count > after.get(key, 0)} == {"200 served-by=legacy; reason=flag-off"}
    assert not [key for key in before if not key.startswith("200")]


@pytest.mark.parametrize("engine", ["edge", "mitmproxy"])
async def test_a_candidate_that_fails_loses_its_flag_and_every_client_is_answered(tmp_path: Path, engine: str) -> None:
    async with running(tmp_path, engine=engine, reviews=50, reviews__shadow=False) as world, asking(world):
        await world.candidate_serves()
        assert (await world.state("healthy"))["figures"]["basis"] == "served"
        world.candidate.status = "500 Oh"
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["route"], trip["reason"], trip["outcome"], trip["overridden"]) == ("reviews", "errors", "switched-off", False)
        assert trip["figures"]["candidate"]["errors"] > 0
        assert trip["figures"]["legacy"]["errors"] == 0
        assert changes(world) == [(False, "banyan guard", trip["why"])]
        assert "errors: candidate" in trip["why"]
        log = world.gateway.process.log.read_text()
        assert log.count("guard: reviews is turned off: errors: candidate") == 1
        assert not world.gateway.get("/flags")["overrides"]


async def test_a_candidate_that_is_slow_loses_its_flag(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=50, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        world.candidate.wait = 0.15
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["outcome"]) == ("latency", "switched-off")
        assert trip["figures"]["candidate"]["p95"] > 0.13


async def test_answers_that_differ_cost_the_flag_and_legacy_is_measured_beside(tmp_path: Path) -> None:
    """The candidate has every request, and legacy none but those that it is asked in the shadow."""
    async with running(tmp_path, "mismatch = 0.05", reviews=True, reviews__shadow=True) as world, asking(world):
        found = await world.state("healthy")
        await until(lambda: (world.guard()["routes"][0]["figures"]["compared"] or {}).get("pairs", 0) > 50)
        assert found["figures"]["basis"] == "shadow"
        status, said = await banyan(tmp_path, "guard", "reviews", "--admin", f"127.0.0.1:{world.gateway.admin}")
        assert (status, "healthy" in said, "asked beside the candidate" in said, " pairs, 0 differ" in said) == (0, True, True, True), said
        world.candidate.body = b"something else"
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["outcome"]) == ("mismatch", "switched-off")
        assert trip["figures"]["compared"]["mismatched"] > 0
        await until(lambda: kept(tmp_path) == [("reviews", "mismatch", "switched-off", trip["why"])])
        status, said = await banyan(tmp_path, "guard", "reviews", "--admin", f"127.0.0.1:{world.gateway.admin}", "--json")
        told = json.loads(said)
        assert (status, told["state"], told["trips"][0]["why"]) == (0, "off", trip["why"])
        metrics = world.gateway.metrics()
        assert 'banyan_guard_trips_total{outcome="switched-off",reason="mismatch",route="reviews"} 1.0' in metrics
        assert 'banyan_guard_state{route="reviews",state="off"} 1.0' in metrics


async def test_the_baseline_is_legacys_last_window(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=False, reviews__shadow=False) as world, asking(world):
        await until(lambda: world.answers.get("200 served-by=legacy; reason=flag-off", 0) > 500)
        await world.gateway.current(reviews=True, reviews__shadow=False)
        await until(lambda: world.guard()["routes"][0]["figures"]["basis"] == "baseline")
        found = await world.state("healthy")
        assert found["figures"]["legacy"]["requests"] > 100
        world.candidate.wait = 0.15
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["figures"]["basis"]) == ("latency", "baseline")
        assert "legacy as it was" in trip["why"]


async def test_whoever_turns_it_on_again_gets_a_fresh_window(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        assert (await world.state("healthy"))["figures"]["basis"] == "none"  # legacy was never asked
        world.candidate.status = "500 Oh"
        await is_off(world)
        world.candidate.status = "200 OK"
        await until(lambda: world.guard()["routes"][0]["state"] == "off")
        world.gateway.set_flags(reviews=True, reviews__shadow=False)
        await until(lambda: world.guard()["routes"][0]["since"] is not None)
        found = await world.state("healthy", "turning-off")
        assert found["state"] == "healthy"
        assert found["figures"]["candidate"]["errors"] == 0
        assert found["figures"]["basis"] in ("served", "baseline")
        world.candidate.status = "500 Oh"
        await is_off(world)
        assert [trip["outcome"] for trip in world.guard()["trips"]] == ["switched-off"] * 2
        assert [(on, by) for on, by, _ in changes(world)] == [(False, "banyan guard"), (True, ""), (False, "banyan guard")]


async def test_a_file_that_cannot_be_written_is_overridden_here_and_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        good = world.gateway.flags.read_text()
        world.gateway.flags.write_text("{")  # nobody can change that; the gateway goes on with the last good flags
        world.candidate.status = "500 Oh"
        await until(lambda: "reviews" in world.gateway.get("/flags")["overrides"])
        override = world.gateway.get("/flags")["overrides"]["reviews"]
        assert (override["enabled"], override["by"]) == (False, "banyan guard")
        after = world.answers.copy()
        await until(lambda: world.answers.get("200 served-by=legacy; reason=override", 0) > 50)
        assert not [key for key in after if not key.startswith("200")]
        (trip,) = world.guard()["trips"]
        assert (trip["outcome"], trip["overridden"], "flags.json" in trip["error"]) == ("pending", True, True)
        assert (await world.state("turning-off"))["state"] == "turning-off"
        world.gateway.flags.write_text(good)
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["outcome"], trip["error"]) == ("switched-off", "")
        await until(lambda: not world.gateway.get("/flags")["overrides"])


async def test_an_override_that_says_on_does_not_keep_the_guard_from_it(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=False, reviews__shadow=False) as world, asking(world):
        assert (await world.state("off"))["since"] is None
        await asyncio.to_thread(override, world, True)
        await world.state("healthy")
        world.candidate.status = "500 Oh"
        await until(lambda: len(world.guard()["trips"]) == 1 and world.guard()["trips"][0]["outcome"] != "pending")
        await is_off(world)
        assert world.guard()["trips"][0]["outcome"] == "already-off"
        assert not world.gateway.get("/flags")["overrides"]


def override(world: World, on: bool) -> None:
    body = {"enabled": on, "seconds": 600, "by": "ana", "why": "a try"}
    httpx.put(f"http://127.0.0.1:{world.gateway.admin}/flags/overrides/reviews", json=body, timeout=10).raise_for_status()


async def test_two_gateways_turn_it_off_once(tmp_path: Path) -> None:
    """Both have the same flag file, and traffic of their own."""
    (tmp_path / "other").mkdir()
    async with (
        running(tmp_path, reviews=True, reviews__shadow=False) as world,
        running(tmp_path / "other", shared=tmp_path / "flags.json") as other,
        asking(world),
        asking(other),
    ):
        await world.state("healthy")
        await other.state("healthy")
        world.candidate.status = other.candidate.status = "500 Oh"
        await is_off(world)
        await other.state("off")
        trips = [trip for each in (world, other) for trip in each.guard()["trips"]]
        assert [trip["outcome"] for trip in trips].count("switched-off") == 1
        assert {trip["outcome"] for trip in trips} <= {"switched-off", "already-off"}


async def test_a_healthy_candidate_with_some_noise_keeps_its_flag(tmp_path: Path) -> None:
    """One in ten of everybody's answers is a 500, and one in ten takes its time."""
    async with running(tmp_path, reviews=50, reviews__shadow=False) as world:
        noisy = Noisy()
        world.new.handler, world.legacy.handler = Noisy(), noisy
        async with asking(world):
            await world.candidate_serves()
            await until(lambda: noisy.count > 1000)
            found = world.guard()
            assert (found["trips"], world.flag()) == ([], True)
            assert found["routes"][0]["figures"]["candidate"]["errors"] > 10


class Noisy:
    """Fails, and is slow, now and then."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.count += 1
        if self.count % 10 == 3:
            await asyncio.sleep(0.05)
        await exchange.answer(b"ok", "500 Oh" if self.count % 10 == 7 else "200 OK")
