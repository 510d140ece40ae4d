"""Breaker and guard together: the breaker acts at once and for a while, the guard if it persists, and a person turns the flag on again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.guarding import World, asking, changes, is_off, running, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

FELL_BACK = "200 served-by=legacy; reason=fallback-breaker-open"


def new(world: World) -> dict[str, Any]:
    """What GET /upstreams says of the candidate's address."""
    upstreams = world.gateway.get("/upstreams")["upstreams"]
    address: dict[str, Any] = next(each for each in upstreams if each["name"] == "new")["addresses"][0]
    return address


async def test_the_breaker_acts_at_once_the_guard_if_it_persists_and_a_person_ends_it(tmp_path: Path) -> None:
    async with running(tmp_path, reviews=True, reviews__shadow=False) as world, asking(world):
        await world.candidate_serves()
        world.candidate.status = "500 Oh"
        await until(lambda: world.answers.get(FELL_BACK, 0) > 0)
        assert world.flag(), "the flag is not the breaker's to turn"
        met = world.candidate.count
        await is_off(world)
        (trip,) = world.guard()["trips"]
        assert (trip["reason"], trip["outcome"]) == ("errors", "switched-off")
        # Hardly any of its errors are answers of the candidate's: each that met the open breaker is one.
        seen = trip["figures"]["candidate"]["errors"]
        assert seen > 3 * (world.candidate.count - met) > 0 or world.candidate.count == met, (seen, met, world.candidate.count)
        assert not [key for key in world.answers if not key.startswith("200")], "no client has noticed"
        # The candidate is well again, and for as long as a breaker is open nothing happens, nor afterwards.
        world.candidate.status = "200 OK"
        asked, opened = world.candidate.count, new(world)["opened"]
        await asyncio.sleep(7)
        assert world.candidate.count == asked, "nobody tries it: the flag is off"
        assert new(world)["opened"] == opened
        assert not world.flag()
        # A person turns it on again.
        await world.gateway.current(reviews=True)
        before = world.answers.get("200 served-by=candidate; reason=flag", 0)
        await until(lambda: world.answers.get("200 served-by=candidate; reason=flag", 0) > before + 50)
        await asyncio.sleep(3)
        assert world.flag()
        assert len(world.guard()["trips"]) == 1
        assert [on for on, _, _ in changes(world)] == [False, True]
        assert new(world)["opened"] == opened


async def test_a_short_outage_opens_the_breaker_and_leaves_the_flag_where_little_is_at_stake(tmp_path: Path) -> None:
    """A tenth of the callers meet a candidate that fails for a moment; the guard wants to see more of it than that."""
    async with running(tmp_path, more="minimum = 100000", reviews=True, reviews__shadow=False) as world, asking(world):
        await world.candidate_serves()
        world.candidate.status = "500 Oh"
        await until(lambda: world.answers.get(FELL_BACK, 0) > 0)
        world.candidate.status = "200 OK"
        before = world.answers.get("200 served-by=candidate; reason=flag", 0)
        await until(lambda: world.answers.get("200 served-by=candidate; reason=flag", 0) > before + 100)
        await until(lambda: all(worker["breaker"] == "closed" for worker in new(world)["workers"].values()))
        assert world.flag()
        assert world.guard()["trips"] == []
        assert new(world)["opened"] <= 4, "once or twice in each worker"
