"""[upstreams.NAME] health: addresses are asked how they are, beside the clients' requests."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
HEALTH = 'health = { path = "/up?deep=1", interval = "100ms", timeout = "500ms", rise = 2, fall = 2 }'


@dataclass
class Service:
    """Says how it is, and answers."""

    name: bytes
    status: str = "200 OK"
    asked: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.line == b"GET /up?deep=1 HTTP/1.1":
            self.heads.append(exchange.head)
            await exchange.answer(b"", self.status)
        else:
            self.asked += 1
            await exchange.answer(self.name)


@dataclass
class World:
    gateway: Gateway
    services: list[Service]
    upstreams: list[Upstream]

    async def ask(self, path: bytes, times: int = 1) -> list[Response]:
        return [await self.gateway.request(GET % path) for _ in range(times)]

    async def unwell(self, upstream: str, *wanted: bool) -> None:
        """Waits until GET /upstreams says so of its addresses."""
        found: list[Any] = []
        for _ in range(100):
            state = await asyncio.to_thread(self.gateway.get, "/upstreams")
            (named,) = (each for each in state["upstreams"] if each["name"] == upstream)
            found = [worker["unwell"] for address in named["addresses"] for worker in address["workers"].values()]
            if found == list(wanted):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(found)


@asynccontextmanager
async def served(folder: Path, toml: Callable[[list[int]], str], count: int) -> AsyncIterator[World]:
    services = [Service(b"%d" % number) for number in range(count)]
    upstreams = [Upstream(service) for service in services]
    for upstream in upstreams:
        await upstream.start()
    try:
        async with gateway(folder, toml([upstream.port for upstream in upstreams]), work=True, alone=True) as running:
            yield World(running, services, upstreams)
    finally:
        for upstream in upstreams:
            await upstream.stop()


def two_addresses(ports: list[int]) -> str:
    return f'[upstreams.legacy]\nurls = ["http://127.0.0.1:{ports[0]}", "http://127.0.0.1:{ports[1]}"]\n{HEALTH}\n'


def candidate(ports: list[int]) -> str:
    return f"""
[gateway]
expose_decision = true
[upstreams]
legacy = "http://127.0.0.1:{ports[0]}"
[upstreams.new]
url = "http://127.0.0.1:{ports[1]}"
{HEALTH}
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


async def test_an_address_that_is_not_well_is_not_asked_until_it_is(tmp_path: Path) -> None:
    async with served(tmp_path, two_addresses, 2) as world:
        await world.unwell("legacy", False, False)
        world.services[0].status = "503 Service Unavailable"
        await world.unwell("legacy", True, False)
        before = world.services[0].asked
        assert {answer.body for answer in await world.ask(b"x", 20)} == {b"1"}
        assert world.services[0].asked == before
        world.services[0].status = "204 No Content"
        await world.unwell("legacy", False, False)
        assert {answer.body for answer in await world.ask(b"x", 20)} == {b"0", b"1"}
        head = world.services[0].heads[-1]
        assert b"\r\nHost: 127.0.0.1:%d\r\n" % world.upstreams[0].port in head
        assert b"\r\nUser-Agent: banyan-health\r\n" in head
        assert b"\r\nConnection: close\r\n" in head
        metrics = await asyncio.to_thread(world.gateway.metrics)
        assert f'banyan_upstream_unwell{{address="127.0.0.1:{world.upstreams[0].port}",upstream="legacy"}} 0.0' in metrics


async def test_where_none_is_well_all_are_asked(tmp_path: Path) -> None:
    async with served(tmp_path, two_addresses, 2) as world:
        for service in world.services:
            service.status = "500 Internal Server Error"
        await world.unwell("legacy", True, True)
        assert {answer.body for answer in await world.ask(b"x", 20)} == {b"0", b"1"}


async def test_one_that_does_not_answer_is_not_well(tmp_path: Path) -> None:
    async with served(tmp_path, two_addresses, 2) as world:
        await world.upstreams[1].stop()
        await world.unwell("legacy", False, True)
        await world.upstreams[1].start(world.upstreams[1].port)
        await world.unwell("legacy", False, False)

        async def silence(exchange: Exchange) -> None:
            await asyncio.sleep(60)

        world.upstreams[1].handler = silence
        await world.unwell("legacy", False, True)


async def test_legacy_answers_for_a_candidate_that_is_not_well(tmp_path: Path) -> None:
    async with served(tmp_path, candidate, 2) as world:
        assert (await world.ask(b"jobs/x"))[0].body == b"1"
        world.services[1].status = "503 Service Unavailable"
        await world.unwell("new", True)
        (answer,) = await world.ask(b"jobs/x")
        assert answer.body == b"0"
        assert answer.header("Banyan-Route") == "work; served-by=legacy; reason=fallback-unhealthy"
        # Nobody is there in its place: then what its health says is no reason to answer nothing.
        assert (await world.ask(b"alone/x"))[0].body == b"1"
        world.services[1].status = "200 OK"
        await world.unwell("new", False)
        assert (await world.ask(b"jobs/x"))[0].body == b"1"


async def test_a_reload_ends_the_asking(tmp_path: Path) -> None:
    async with served(tmp_path, candidate, 2) as world:
        await world.unwell("new", False)
        config = tmp_path / "banyan.toml"
        config.write_text(config.read_text().replace(HEALTH, ""))
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(world.gateway.get, "/config"))["number"] == 0:  # noqa: ASYNC110 - the gateway's own state
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        asked = len(world.services[1].heads)
        await asyncio.sleep(1.0)
        assert len(world.services[1].heads) == asked
        assert "Task" not in world.gateway.process.log.read_text()


def first_free(pid: int) -> int:
    """The number that the next file which it opens will have."""
    used = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(used) + 1)) - used)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # a name is looked up first, which takes a file as well
async def test_that_this_process_has_no_more_files_says_nothing_about_an_address(tmp_path: Path, host: str) -> None:
    def toml(ports: list[int]) -> str:
        return candidate(ports).replace(f"127.0.0.1:{ports[1]}", f"{host}:{ports[1]}")

    async with served(tmp_path, toml, 2) as world:
        await world.unwell("new", False)
        service = world.services[1]
        (worker,) = world.gateway.workers()
        free: list[int] = []
        for _ in range(20):  # between its questions, too: each takes the first one
            free.append(first_free(worker))
            await asyncio.sleep(0.03)
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (min(free), before[1]))
        try:
            await asyncio.sleep(0.6)  # what was under way is over
            asked = len(service.heads)
            await asyncio.sleep(2.7)  # so often it would have been found unwell a dozen times, and the worker has said how it finds it
            assert len(service.heads) == asked, "it could not be asked"
            await world.unwell("new", False)
        finally:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        async with asyncio.timeout(15):
            while len(service.heads) == asked:  # noqa: ASYNC110 - the upstream's count is what is waited for
                await asyncio.sleep(0.05)
        await world.unwell("new", False)
        assert "is not well" not in world.gateway.process.log.read_text()
