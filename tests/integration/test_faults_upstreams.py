"""Faults of an upstream with several addresses, and of the machine, under load, reconciled from three ledgers (tests/support/ledgers.py).

Nothing is ever lost, doubled or crossed, and of GETs at least 99.99 % are answered. The load is an open loop: so many requests a second
come, whatever becomes of them. The suite runs it short and at 100; whole, as long and at the rate that is promised, with `BANYAN_SOAK=1`
(`make soak`), which shows its figures at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty import FAULTS
from tests.support.gateway import Gateway, gateway
from tests.support.ledgers import Asked, Logged, Outcome, Verdict, reconcile
from tests.support.load import Plan, load
from tests.support.recorded import Process
from tests.support.soak import RATE, SOAK, note, record

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300 if SOAK else 120)]

KILLS = 12 if SOAK else 2
BETWEEN = 5.0 if SOAK else 3.0
"""Seconds from one kill to the next."""
DOWN = 1.5
STOPPED = 30.0 if SOAK else 5.0
NAMES = ("one", "two", "three")

TOML = """
[gateway]
access_log = "{folder}/access.log"
trusted_proxies = ["127.0.0.0/8"]
[upstreams.legacy]
urls = [{urls}]
response_timeout = "{response_timeout}"
"""


@dataclass
class World:
    folder: Path
    upstreams: list[Process]
    gateway: Gateway

    async def judge(self, asked: list[Asked]) -> Verdict:
        """Reconciles, when the access log has been written."""
        wanted = {each.id for each in asked if each.outcome is not Outcome.SILENCE}
        logged: list[Logged] = []
        for _ in range(100):
            lines = (self.folder / "access.log").read_text().splitlines()
            logged = [Logged(line["id"], line["status"]) for line in map(json.loads, lines)]
            if wanted <= {line.id for line in logged}:
                break
            await asyncio.sleep(0.05)
        assert asked
        return reconcile(asked, logged, [each for upstream in self.upstreams for each in upstream.executed()])

    async def addresses(self) -> list[dict[str, Any]]:
        """GET /upstreams, when the workers have reported what has happened."""
        await asyncio.sleep(1.3)
        state = await asyncio.to_thread(self.gateway.get, "/upstreams")
        found: list[dict[str, Any]] = state["upstreams"][0]["addresses"]
        return found


@asynccontextmanager
async def served(
    folder: Path, names: tuple[str, ...] = NAMES, *, slow: str = "", response_timeout: str = "5s", workers: int = 2
) -> AsyncIterator[World]:
    upstreams = [Process(name, folder, wait=0.5 if name == slow else 0.0) for name in names]
    try:
        for upstream in upstreams:
            await upstream.start()
        urls = ", ".join(f'"http://127.0.0.1:{upstream.port}"' for upstream in upstreams)
        toml = TOML.format(folder=folder, urls=urls, response_timeout=response_timeout)
        async with gateway(folder, toml, workers=workers) as running:
            yield World(folder, upstreams, running)
    finally:
        for upstream in upstreams:
            await upstream.stop()


def mixed(rng: random.Random) -> Plan:
    """Nine GETs for each POST; answers of a few lines, which go out at once."""
    fields = {"X-Lines": rng.choice(("1", "1", "50")), "X-Wait": rng.choice(("0", "0.002", "0.02"))}
    return Plan("POST", fields=fields, lines=5) if rng.random() < 0.1 else Plan(fields=fields)


def answered(asked: list[Asked]) -> float:
    """The share of GETs that were."""
    gets = [each for each in asked if each.method == "GET"]
    assert len(gets) > 100
    return sum(each.outcome is Outcome.ANSWERED for each in gets) / len(gets)


def other_than_answered(asked: list[Asked]) -> list[Asked]:
    return [each for each in asked if each.outcome is not Outcome.ANSWERED]


async def test_one_of_three_is_killed_again_and_again(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        async with load(world.gateway.port, mixed, rate=RATE, prefix="killx") as running:
            for number in range(KILLS):
                victim = world.upstreams[number % len(world.upstreams)]
                before = len(victim.lines())
                await running.until(20)
                victim.kill()
                await asyncio.sleep(DOWN)
                await victim.start()
                await asyncio.sleep(BETWEEN - DOWN)
                assert len(victim.lines()) >= before
            await asyncio.sleep(6.0)  # by now the one that was killed last is asked again
            back = len(victim.lines())
            await running.until(100)
        verdict = await world.judge(running.asked)
        record(f"one of three is killed every {BETWEEN:g} s", running, verdict)
        assert verdict.clean, verdict
        assert verdict.unheard == {}
        assert answered(running.asked) >= 0.9999, other_than_answered(running.asked)
        for asked in other_than_answered(running.asked):
            assert (asked.method, asked.status) == ("POST", 502), asked
        assert len(victim.lines()) > back


async def test_one_of_three_stands_still(tmp_path: Path) -> None:
    """SIGSTOP: it accepts connections, or the kernel does for it, and says nothing."""
    async with served(tmp_path, response_timeout="1s") as world:
        async with load(world.gateway.port, mixed, rate=RATE, prefix="stopx") as running:
            await running.until(100)
            victim = world.upstreams[1].running
            assert victim is not None
            os.kill(victim.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(STOPPED)
            finally:
                os.kill(victim.pid, signal.SIGCONT)
            stopped = len(running.asked)
            await running.until(100)
        verdict = await world.judge(running.asked)
        record(f"one of three stands still for {STOPPED:g} s", running, verdict)
        assert verdict.clean, verdict
        assert verdict.unheard == {}
        assert answered(running.asked) >= 0.9999, other_than_answered(running.asked)
        failed = other_than_answered(running.asked)
        for asked in failed:
            assert (asked.method, asked.status) == ("POST", 504), asked
        # Most never came near it: who has requests pending is asked last, and whoever fails five in a row, in one worker, is left out.
        assert sum(asked.seconds > 0.9 for asked in running.asked[:stopped]) < stopped / 5
        stopped_one = (await world.addresses())[1]
        assert stopped_one["failures"].get("timeout", 0) > 0
        assert stopped_one["ejections"] >= 1 or not SOAK, "in the short run a worker may have met it fewer than five times"


async def test_half_of_the_addresses_are_slow(tmp_path: Path) -> None:
    """500 ms more than the other: no failure, so nobody is left out, and the least busy is asked more."""
    async with served(tmp_path, ("one", "two"), slow="two") as world:
        async with load(world.gateway.port, mixed, rate=RATE, prefix="slowx") as running:
            await running.until(18_000 if SOAK else 300, seconds=90)
        verdict = await world.judge(running.asked)
        record("one of two takes 500 ms longer", running, verdict)
        assert verdict.clean, verdict
        assert verdict.counts == {"ANSWERED": len(running.asked)}
        assert 0 < len(world.upstreams[1].lines()) < len(world.upstreams[0].lines())
        for address in await world.addresses():
            assert (address["ejections"], address["opened"], address["failures"]) == (0, 0, {})


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_of_three_resets(tmp_path: Path, fault: str) -> None:
    """At every position of an exchange."""

    def plan(rng: random.Random) -> Plan:
        plan = mixed(rng)
        return Plan(plan.method, fields={**plan.fields, "X-Fault": f"two {fault}"}, lines=plan.lines)

    async with served(tmp_path) as world:
        async with load(world.gateway.port, plan, rate=RATE, prefix="resetx") as running:
            await running.until(3000 if SOAK else 300, seconds=60)
        verdict = await world.judge(running.asked)
        record(f"one of three resets: {fault}", running, verdict)
        assert verdict.clean, verdict
        assert verdict.unheard == {}
        begun = fault in ("head sent", "mid body", "before the end")
        failed = other_than_answered(running.asked)
        for asked in failed:
            if begun:
                assert asked.outcome is Outcome.CUT, asked
            else:
                assert (asked.method, asked.status) == ("POST", 502), asked
        (_, two, _) = await world.addresses()
        assert two["failures"].keys() == {"reset"}
        assert two["ejections"] >= 1
        # Two workers, each of which may be failed five times in a row before it looks away, and once each time that it looks back.
        assert len(failed) <= 2 * (5 + 8), Counter(asked.method for asked in failed)


async def test_file_descriptors_are_exhausted(tmp_path: Path) -> None:
    """No connection can be opened any more, to anybody. That says nothing about the upstreams, and passes."""
    async with served(tmp_path, workers=1) as world:
        async with load(world.gateway.port, mixed, clients=4, pause=0.02, prefix="filesx") as running:
            await running.until(100)
            (worker,) = world.gateway.workers()
            before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            used = open_files(worker)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (used, before[1]))
            try:
                async with load(world.gateway.port, mixed, clients=20, pause=0.02, prefix="morex") as more:
                    await running.until(200)
                    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
                    await more.until(100)
            finally:
                resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
            after = len(running.asked)
            await running.until(100)
        everybody = running.asked + more.asked
        verdict = await world.judge(everybody)
        assert verdict.clean, verdict
        told = sum(asked.outcome is Outcome.REFUSED for asked in everybody)
        note(f"file descriptors exhausted: of {len(everybody):,} requests {told} were told so, {len(verdict.unheard)} were not read")
        # What nobody could be asked for is said so, or was not even read; and afterwards it is as if nothing had been.
        failed = other_than_answered(everybody)
        assert failed
        for asked in failed:
            assert asked.status == 502 or asked.id in verdict.unheard, asked
        assert other_than_answered(running.asked[after + 4 :]) == []
        for address in await world.addresses():
            assert (address["ejections"], address["opened"], address["failures"]) == (0, 0, {})


def open_files(pid: int) -> int:
    """One more than the highest that it has."""
    return max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()) + 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, for a clock that can be set")
async def test_the_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour forth, and by two back, while one of three is down."""
    library, clock = tmp_path / "clock.so", tmp_path / "clock"
    source = Path(__file__).parents[1] / "support" / "clock.c"
    await asyncio.to_thread(subprocess.run, ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    clock.touch()
    monkeypatch.setenv("BANYAN_TEST_CLOCK", str(clock))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    async with served(tmp_path) as world:
        monkeypatch.delenv("LD_PRELOAD")
        async with load(world.gateway.port, mixed, rate=RATE, prefix="clockx") as running:
            await running.until(50)
            world.upstreams[0].kill()
            for jump in (b"+" * 3600, b"-" * 3600, b""):
                clock.write_bytes(jump)
                await running.until(150)
            await world.upstreams[0].start()
            await asyncio.sleep(6.0)
            back = len(world.upstreams[0].lines())
            await running.until(100)
        verdict = await world.judge(running.asked)
        record("the clock is set, by an hour forth and two back", running, verdict)
        assert verdict.clean, verdict
        assert answered(running.asked) >= 0.9999, other_than_answered(running.asked)
        assert len(world.upstreams[0].lines()) > back
        times = [json.loads(line)["time"] for line in (tmp_path / "access.log").read_text().splitlines()]
        assert max(times) - min(times) > 7000, "the gateway has seen the clock jump"
