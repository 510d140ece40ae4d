"""The guard: a candidate that gets worse under traffic loses its flag, where the flag lives, once, and no client notices."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from demo.processes import python
from tests.support.gateway import Exchange
from tests.support.guarding import World, asking, changes, is_off, running, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]


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


def pending(folder: Path) -> list[tuple[str, bool, str]]:
    with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3")) as database:
        return database.execute("SELECT outcome, overridden, error FROM shadow_guardtrip").fetchall()


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


async def test_one_that_hangs_for_longer_than_clients_wait_is_seen(tmp_path: Path) -> None:
    """Nobody gets an error, and nothing runs into a timeout of the gateway's."""
    async with running(tmp_path, reviews=50, reviews__shadow=False) as world, asking(world, clients=16):
        await world.state("healthy")
        world.patience, world.candidate.wait = 1.3, 3.0
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["figures"]["candidate"]["errors"], world.left > 8) == ("latency", 0, True)
        assert trip["figures"]["candidate"]["p95"] > 1.2


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


async def test_without_the_database_everything_but_mismatches_is_watched(tmp_path: Path) -> None:
    nowhere = 'mismatch = 0.05\n[shadow]\ndatabase = "postgres://banyan:secret@127.0.0.1:1/banyan"'
    async with running(tmp_path, nowhere, reviews=50, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        await until(lambda: world.guard()["clerk"]["error"] != "")
        assert (world.guard()["clerk"]["answers"], "secret" in str(world.guard())) == (False, False)
        world.candidate.status = "500 Oh"
        await is_off(world)
        assert [(trip["reason"], trip["outcome"]) for trip in world.guard()["trips"]] == [("errors", "switched-off")]


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


@pytest.mark.parametrize("broken", ["{", None])
async def test_a_file_that_cannot_be_changed_is_overridden_here_and_tried_again(tmp_path: Path, broken: str | None) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        good = world.gateway.flags.read_text()
        if broken is None:  # away for a moment, as while it is deployed
            world.gateway.flags.unlink()
        else:
            world.gateway.flags.write_text(broken)
        # The gateway goes on with the last good flags.
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
        assert world.gateway.flags.exists() == (broken is not None)
        await until(lambda: pending(tmp_path) == [("pending", 1, trip["error"])])
        world.gateway.flags.write_text(good)
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["outcome"], trip["error"]) == ("switched-off", "")
        await until(lambda: not world.gateway.get("/flags")["overrides"])


async def test_whoever_turns_it_off_while_the_guard_cannot_is_not_taken_for_it(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        world.gateway.flags.write_text("{")
        world.candidate.status = "500 Oh"
        await until(lambda: "reviews" in world.gateway.get("/flags")["overrides"])
        world.gateway.set_flags(reviews=False, reviews__shadow=False)
        await is_off(world)
        assert [trip["outcome"] for trip in world.guard()["trips"]] == ["already-off"]
        assert changes(world) == [(False, "", "")]


async def test_whoever_ends_its_override_has_decided(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await world.state("healthy")
        world.gateway.flags.write_text("{")
        world.candidate.status = "500 Oh"
        await until(lambda: "reviews" in world.gateway.get("/flags")["overrides"])
        world.candidate.status = "200 OK"
        await asyncio.to_thread(override, world, None)
        await until(lambda: world.guard()["trips"][0]["outcome"] == "on-again")
        assert (await world.state("healthy"))["figures"]["candidate"]["errors"] == 0
        assert (len(world.guard()["trips"]), world.gateway.get("/flags")["overrides"]) == (1, {})


async def test_a_restart_goes_on_with_what_was_begun(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "var").mkdir()
    begun = {"enabled": False, "since": now - 60, "until": now + 3600, "by": "banyan guard", "why": "errors: all of them"}
    (tmp_path / "var" / "flag-overrides.json").write_text(json.dumps({"reviews": begun, "search": begun}))
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await is_off(world)
        await until(lambda: list(world.gateway.get("/flags")["overrides"]) == ["search"])  # whose guard is no more: somebody has to know
        assert "banyan flags override search --clear" in world.gateway.process.log.read_text()
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["why"], trip["outcome"]) == ("restart", "errors: all of them", "switched-off")
        assert changes(world) == [(False, "banyan guard", "errors: all of them")]
        assert world.candidate.count == 0


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


def override(world: World, on: bool | None) -> None:
    """As a person does; None ends it."""
    url, said = f"http://127.0.0.1:{world.gateway.admin}/flags/overrides/reviews", {"by": "ana", "why": "a try"}
    body = said if on is None else {"enabled": on, "seconds": 600, **said}
    httpx.request("DELETE" if on is None else "PUT", url, json=body, timeout=10).raise_for_status()


async def test_two_gateways_turn_it_off_once(tmp_path: Path) -> None:
    """Both have the same flag file, and traffic of their own."""
    (tmp_path / "other").mkdir()
    async with (
        running(tmp_path, reviews=True, reviews__shadow=False) as world,
        running(tmp_path / "other", where=f'path = "{tmp_path}/flags.json"') as other,
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
