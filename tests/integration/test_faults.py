"""Faults under load, reconciled from three ledgers by request id (tests/support/ledgers.py): nothing is ever lost, doubled or crossed.

The gateway, its upstreams and what happens to them are real processes. `make soak` runs the long versions: 20 SIGTERMs, 100 reloads.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import descriptors
from tests.support.faulty import FAULTS
from tests.support.gateway import Client, Gateway, gateway
from tests.support.ledgers import Asked, Logged, Outcome, Verdict, reconcile
from tests.support.load import LONG, Person, Plan, load, reads_and_writes
from tests.support.recorded import Process
from tests.support.soak import SOAK, note

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERMS = 20 if SOAK else 2
RELOADS = 100 if SOAK else 10
SLOW_HEADS = 2000
HEADER_TIMEOUT = 3.0
DRAIN_TIMEOUT = 12.0
"""From here on a whole 3 s of it are for what comes after the last answer: enough on a machine that has much else to do."""

TOML = """
[gateway]
access_log = "{folder}/access.log"
trusted_proxies = ["127.0.0.0/8"]
[gateway.limits]
header_timeout = "{header_timeout}s"
drain_timeout = "{drain_timeout}s"
[upstreams]
legacy = {{ url = "http://127.0.0.1:{legacy}", response_timeout = "20s", breaker = false }}
new = {{ url = "http://127.0.0.1:{new}", breaker = false }}
[[routes]]
name = "work"
match = "/jobs/*"
candidate = "new"
[[routes]]
name = "alone"
match = "/alone/*"
candidate = "new"
fallback = false
"""


@dataclass
class World:
    folder: Path
    legacy: Process
    new: Process
    gateway: Gateway

    async def judge(self, asked: list[Asked], *, killed: frozenset[str] = frozenset()) -> Verdict:
        """Reconciles, when the access log has been written."""
        wanted = {each.id for each in asked if each.outcome is not Outcome.SILENCE} - killed
        for _ in range(40):
            logged = self.logged()
            if wanted <= {line.id for line in logged}:
                break
            await asyncio.sleep(0.05)
        assert asked
        return reconcile(asked, logged, [*self.legacy.executed(), *self.new.executed()], killed=killed)

    def logged(self) -> list[Logged]:
        lines = (self.folder / "access.log").read_text().splitlines()
        return [Logged(line["id"], line["status"]) for line in map(json.loads, lines)]


@asynccontextmanager
async def upstreams(folder: Path) -> AsyncIterator[tuple[Process, Process]]:
    legacy, new = Process("legacy", folder), Process("new", folder)
    try:
        await legacy.start()
        await new.start()
        yield legacy, new
    finally:
        await legacy.stop()
        await new.stop()


@asynccontextmanager
async def served(folder: Path, legacy: Process, new: Process) -> AsyncIterator[World]:
    toml = TOML.format(folder=folder, legacy=legacy.port, new=new.port, header_timeout=HEADER_TIMEOUT, drain_timeout=DRAIN_TIMEOUT)
    async with gateway(folder, toml, workers=2, work=True, alone=True) as running:
        yield World(folder, legacy, new, running)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One gateway for the tests that leave it as it was."""
    descriptors.allow_all()
    folder = tmp_path_factory.mktemp("faults")
    async with upstreams(folder) as (legacy, new), served(folder, legacy, new) as running:
        yield running


def somewhere(rng: random.Random) -> Plan:
    """With a fallback, without one, or legacy's own."""
    plan = reads_and_writes(rng)
    return Plan(plan.method, rng.choice(("/jobs", "/alone", "/legacy")), plan.fields, plan.lines)


def p95(asked: list[Asked]) -> float:
    """Seconds."""
    times = sorted(each.seconds for each in asked)
    return times[len(times) * 95 // 100]


# Upstreams


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_upstream_that_resets(world: World, fault: str) -> None:
    def plan(rng: random.Random) -> Plan:
        plan = somewhere(rng)
        if rng.random() < 0.5:
            return plan
        return Plan(
            plan.method, plan.path, {**plan.fields, "X-Fault": f"{'legacy' if plan.path == '/legacy' else 'new'} {fault}"}, plan.lines
        )

    async with load(world.gateway.port, plan, prefix=f"reset{FAULTS.index(fault)}x") as running:
        await running.until(300)
    verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    assert verdict.unheard == {}
    faulted = 0
    for asked in running.asked:
        plan_ = running.plans[asked.id]
        if "X-Fault" not in plan_.fields:
            assert asked.outcome is Outcome.ANSWERED, (asked, plan_)
            continue
        faulted += 1
        held = "X-Coding" not in plan_.fields and int(plan_.fields["X-Lines"]) < LONG
        begun = fault in ("head sent", "mid body", "before the end")
        if plan_.path == "/jobs" and plan_.method == "GET" and (held or not begun):
            assert asked.outcome is Outcome.ANSWERED, (asked, plan_)
        elif not begun:
            assert (asked.outcome, asked.status) == (Outcome.REFUSED, 502), (asked, plan_)
        else:
            assert asked.outcome is Outcome.CUT, (asked, plan_)
    assert faulted > 100


@pytest.mark.parametrize("who", ["new", "legacy"])
async def test_an_upstream_that_is_killed_and_comes_back(world: World, who: str) -> None:
    victim = world.new if who == "new" else world.legacy
    async with load(world.gateway.port, somewhere, prefix=f"kill{who}x") as running:
        await running.until(200)
        victim.kill()
        await running.until(200)
        before = len(victim.lines())
        await victim.start()
        await running.until(200)
    verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    assert verdict.unheard == {}
    assert verdict.counts["ANSWERED"] > 300, verdict.counts
    assert len(victim.lines()) > before + 20, "it is asked again"
    failed = [asked for asked in running.asked if asked.outcome is not Outcome.ANSWERED]
    assert failed
    for asked in failed:
        path, method = running.plans[asked.id].path, asked.method
        if who == "new":
            assert path != "/legacy", "who is somebody else's notices nothing"
            # Of what may be repeated only an answer that had gone out in part could not be replaced by legacy's.
            assert path == "/alone" or method == "POST" or asked.outcome is Outcome.CUT, (asked, path)
        else:
            assert path == "/legacy", (asked, path)


# Workers


def clients_of(pid: int, port: int) -> set[int]:
    """The clients' ports of the connections that a process has accepted on `port`."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(fd.readlink())):
                inodes.add(found[1])
        except FileNotFoundError:
            pass  # closed meanwhile
    found_ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].split(":")[1], 16) == port and fields[3] != "0A":  # not the listening one
            found_ports.add(int(fields[2].split(":")[1], 16))
    return found_ports


@dataclass
class Kill:
    """One worker's."""

    at: float
    theirs: set[int]
    """The ports of its clients."""
    others: set[int]
    replaced: float
    """Seconds until another had accepted its first client."""


async def kill_a_worker(running: Gateway) -> Kill:
    victim, other = running.workers()
    os.kill(victim, signal.SIGSTOP)  # so that what it has accepted is exactly known
    theirs, others = clients_of(victim, running.port), clients_of(other, running.port)
    os.kill(victim, signal.SIGKILL)
    at = time.monotonic()
    with ExitStack() as knocking:
        while time.monotonic() < at + 15:
            # Which worker a connection is for is the kernel's choice: some of these are for the new one.
            knocking.enter_context(socket.create_connection(("127.0.0.1", running.port), 5))
            for pid in set(running.workers()) - {victim, other}:
                with suppress(FileNotFoundError):
                    if clients_of(pid, running.port):
                        return Kill(at, theirs, others, time.monotonic() - at)
            await asyncio.sleep(0.02)
    raise AssertionError("nobody has taken its place")


async def test_a_worker_that_is_killed(world: World) -> None:
    async with load(world.gateway.port, somewhere, clients=12, prefix="workerx", pause=0.005) as running:
        kills = []
        for _ in range(3):
            await running.until(200)
            kills.append(await kill_a_worker(world.gateway))
        await running.until(200)
    killed = {asked.id: kill for kill in kills for asked in running.asked if asked.port in kill.theirs and asked.at > kill.at - 0.5}
    verdict = await world.judge(running.asked, killed=frozenset(killed))
    assert verdict.clean, verdict
    assert verdict.unheard == {}
    failed = [asked for asked in running.asked if asked.outcome is not Outcome.ANSWERED]
    assert failed
    assert {asked.id for asked in failed} <= set(killed), "only what was in flight in that worker fails"
    assert len(failed) <= sum(len(kill.theirs) for kill in kills)
    # A start takes as long as a busy machine lets it.
    assert min(kill.replaced for kill in kills) < 2.0, kills
    unaffected = [asked for kill in kills for asked in running.asked if asked.port in kill.others and kill.at < asked.at < kill.at + 1]
    assert unaffected
    assert max(asked.seconds for asked in unaffected) < 1.0


# Clients that are slow


def resident(world: World) -> int:
    """Bytes, of all workers."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") for pid in world.gateway.workers())


async def test_slow_readers_beside_fast_ones(world: World) -> None:
    """40 clients are offered 20 MB each and read none of it."""
    readers, lines = 40, 2_000_000

    async with load(world.gateway.port, clients=4, prefix="fastx", pause=0.002) as running:
        await running.until(300)
        alone, before = p95(running.asked), resident(world)
        with_them = len(running.asked)
        socks = []
        try:
            for number in range(readers):
                sock = socket.socket()
                socks.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect(("127.0.0.1", world.gateway.port))
                sock.sendall(b"GET /legacy/slow HTTP/1.1\r\nHost: a\r\nX-Request-ID: slow%d\r\nX-Lines: %d\r\n\r\n" % (number, lines))
                await asyncio.sleep(0)
            await running.until(600)
            grown = resident(world) - before
            beside = p95(running.asked[with_them:])
        finally:
            for sock in socks:
                sock.close()
        await running.until(50)
    verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    assert verdict.counts == {"ANSWERED": len(running.asked)}
    assert beside < 2 * alone + 0.05, (beside, alone)
    # 64 KiB, and what one read brought (256 KiB), for each.
    assert grown < readers * 512 * 1024 + 16 * 2**20, f"{grown / 2**20:.1f} MiB"


async def test_slow_heads_beside_ordinary_traffic(world: World) -> None:
    """2,000 clients send a byte of their head each second."""

    async def drip() -> tuple[float, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.gateway.port)
        ended = asyncio.create_task(reader.read())
        began = time.monotonic()
        try:
            for byte in b"GET /a HTTP/1.1\r\n":
                writer.write(bytes([byte]))
                done, _ = await asyncio.wait([ended], timeout=1.0)
                if done:
                    break
            return time.monotonic() - began, await ended
        finally:
            ended.cancel()
            writer.close()

    async with load(world.gateway.port, clients=4, prefix="besidex", pause=0.01) as running:
        drips = []
        for _ in range(SLOW_HEADS):
            drips.append(asyncio.create_task(drip()))
            if len(drips) % 100 == 0:
                await asyncio.sleep(0.02)  # each listening socket's queue has room for 1,024
        ended = await asyncio.gather(*drips)
    assert [data[:13] for _, data in ended] == [b"HTTP/1.1 408 "] * SLOW_HEADS
    assert all(b"\r\nConnection: close\r\n" in data for _, data in ended)
    assert min(seconds for seconds, _ in ended) > HEADER_TIMEOUT - 0.2
    assert max(seconds for seconds, _ in ended) < HEADER_TIMEOUT + 2.0
    verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    assert verdict.counts == {"ANSWERED": len(running.asked)}
    assert len(running.asked) > 100
    assert p95(running.asked) < 0.5


# Conversations that go on while something happens


@dataclass
class Talk:
    """An upgraded connection, over which a line is sent now and then and its echo awaited."""

    name: str
    client: Client
    heard: int = 0
    why: str = ""
    """How it ended."""

    async def run(self) -> None:
        try:
            upgrade = "Connection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"
            await self.client.send(f"GET /legacy/talk HTTP/1.1\r\nHost: a\r\nX-Request-ID: {self.name}\r\n{upgrade}".encode())
            head = await self.client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            while True:
                await self.client.send(b"%d\n" % self.heard)
                assert await self.client.reader.readuntil(b"\n") == b"%b %d\n" % (self.name.encode(), self.heard)
                self.heard += 1
                await asyncio.sleep(0.02)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.why = type(error).__name__


@dataclass
class Listen:
    """A stream of events, none of which may be missing."""

    name: str
    client: Client
    heard: int = 0
    why: str = ""

    async def run(self) -> None:
        try:
            await self.client.send(f"GET /events/ HTTP/1.1\r\nHost: a\r\nX-Request-ID: {self.name}\r\n\r\n".encode())
            head = await self.client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            while True:
                size = int(await self.client.reader.readuntil(b"\r\n"), 16)
                assert size, "no last chunk: it never ends in order"
                chunk = await self.client.reader.readexactly(size + 2)
                assert chunk.endswith(b"\n\n\r\n"), chunk
                for event in chunk[:-4].split(b"\n\n"):  # several, where they came together
                    assert event == b"data: %b %d" % (self.name.encode(), self.heard)
                    self.heard += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self.why = type(error).__name__


@dataclass
class Conversations:
    """Some of both."""

    those: list[Talk | Listen] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def all_go_on(self, times: int = 3) -> None:
        """Each hears so much more."""
        before = [each.heard for each in self.those]
        for _ in range(200):
            if all(each.heard >= had + times for each, had in zip(self.those, before, strict=True)):
                return
            for task in self.tasks:
                if task.done():
                    task.result()
            assert not any(each.why for each in self.those), self.those
            await asyncio.sleep(0.02)
        raise AssertionError(f"somebody hears nothing: {self.those}")


@asynccontextmanager
async def conversations(running: Gateway, *, each: int = 5) -> AsyncIterator[Conversations]:
    held = Conversations()
    for number in range(each):
        held.those.append(Talk(f"talk{number}", await running.connect()))
        held.those.append(Listen(f"listen{number}", await running.connect()))
    held.tasks = [asyncio.create_task(each_.run(), name=each_.name) for each_ in held.those]
    try:
        await held.all_go_on()
        yield held
    finally:
        for task in held.tasks:
            task.cancel()
        await asyncio.gather(*held.tasks, return_exceptions=True)
        for each_ in held.those:
            each_.client.close()


def in_flight_too(rng: random.Random) -> Plan:
    """Some take long enough to be under way when the sockets are closed."""
    plan = somewhere(rng)
    if rng.random() < 0.2:
        return Plan(plan.method, plan.path, {**plan.fields, "X-Wait": "0.6"}, plan.lines)
    return plan


ENDLESS = (
    Plan(path="/legacy", fields={"X-Wait": "30"}),
    Plan("POST", "/legacy", {"X-Wait": "30"}, lines=1),
    Plan(path="/events", fields={}),
)


@pytest.mark.timeout(120 + 20 * TERMS)
async def test_sigterm_again_and_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        legacy, new = await stack.enter_async_context(upstreams(tmp_path))
        times = []
        for number in range(TERMS):
            folder = tmp_path / str(number)
            folder.mkdir()
            async with served(folder, legacy, new) as world:
                times.append(await _terminate(world, number))
    note(f"SIGTERM under load, {TERMS} times: nothing lost, doubled or crossed; ended within {max(times):.1f} s at the most")
    assert max(times) < DRAIN_TIMEOUT, times


async def _terminate(world: World, number: int) -> float:
    """Seconds from the signal to the process' end."""
    process = world.gateway.process.process
    async with (
        load(world.gateway.port, in_flight_too, clients=12, prefix=f"term{number}x") as running,
        conversations(world.gateway) as held,
    ):
        await running.until(200)
        persons = [Person(world.gateway.port) for _ in ENDLESS]
        endless = [
            asyncio.create_task(person.ask(f"endless{number}x{index}", plan))
            for index, (person, plan) in enumerate(zip(persons, ENDLESS, strict=True))
        ]
        os.kill(process.pid, signal.SIGTERM)
        told_at = time.monotonic()
        await _unready(world)
        await held.all_go_on(20)
        assert await asyncio.to_thread(process.wait, 15) == 0
        took = time.monotonic() - told_at
        await asyncio.gather(*held.tasks)
        assert all(each.why for each in held.those), "cut off, at last"
        unanswered = await asyncio.gather(*endless)
        for person in persons:
            person.close()
    # Who cannot be waited for is told so: what may be repeated is to be tried again, what may not has an unknown outcome.
    assert max(asked.at for asked in unanswered) < told_at + DRAIN_TIMEOUT
    assert [(asked.outcome, asked.status) for asked in unanswered] == [(Outcome.REFUSED, 503), (Outcome.REFUSED, 504), (Outcome.CUT, 200)]
    verdict = await world.judge(unanswered)
    assert verdict.clean, verdict
    verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    # When the sockets are closed, they refuse: nobody is let in and then reset.
    assert {why.partition(":")[0] for why in verdict.unheard.values()} == {"ConnectionRefusedError"}
    assert set(verdict.counts) == {"ANSWERED", "SILENCE"}
    refused_at = min(asked.at for asked in running.asked if asked.outcome is Outcome.SILENCE)
    assert refused_at - told_at > min(5.0, DRAIN_TIMEOUT / 2), "accepting goes on"
    assert len([asked for asked in running.asked if asked.outcome is Outcome.ANSWERED and asked.at > told_at]) > 100
    return took


async def _unready(world: World) -> None:
    """readyz says 503 at once."""
    for _ in range(10):
        try:
            await asyncio.to_thread(world.gateway.get, "/readyz")
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("readyz says that it is ready")
    assert status == 503


@pytest.mark.timeout(120 + 2 * RELOADS)
async def test_reloads_again_and_again(tmp_path: Path) -> None:
    """Routes come and go, a fallback is allowed and is not, limits change, and so does the upstream behind a name."""
    async with upstreams(tmp_path) as (legacy, new), served(tmp_path, legacy, new) as world:
        file = tmp_path / "banyan.toml"
        text = file.read_text()
        texts = (
            text.partition("[[routes]]")[0],
            text.replace("fallback = false", "rewrite = '/elsewhere/*'"),
            text.replace(f'header_timeout = "{HEADER_TIMEOUT}s"', 'header_timeout = "9s"\nconnections = 100\nbody_bytes = "1MiB"'),
            text.replace(f'"http://127.0.0.1:{new.port}"', f'"http://127.0.0.1:{legacy.port}"'),
            text,
        )
        assert len(set(texts)) == len(texts)
        async with (
            load(world.gateway.port, somewhere, clients=8, prefix="reloadx", pause=0.002) as running,
            conversations(world.gateway) as held,
        ):
            for number in range(RELOADS):
                file.with_suffix(".new").write_text(texts[number % len(texts)])
                file.with_suffix(".new").replace(file)
                await asyncio.to_thread(_reload, world.gateway.admin)
                await held.all_go_on()
                await running.until(20)
        verdict = await world.judge(running.asked)
    assert verdict.clean, verdict
    assert verdict.counts == {"ANSWERED": len(running.asked)}
    assert len(running.asked) > RELOADS * 20
    note(f"{RELOADS} reloads under load: {len(running.asked):,} requests, each of them answered")
    by_candidate = {executed.id for executed in new.executed()}
    paths = {running.plans[name].path for name in by_candidate}
    assert paths == {"/jobs", "/alone"}
    assert {asked.id for asked in running.asked if running.plans[asked.id].path in paths} - by_candidate, "and at times by legacy"
    ports = {asked.port for asked in running.asked}
    assert len(ports) == 8, "no connection was dropped"


def _reload(admin: int) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/reload", method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - our own gateway
        assert json.loads(response.read())["status"] == "ok"
