"""An upstream that fails is not asked for a while: legacy answers at once, or the gateway does, and one request at a time tries it."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.support.gateway import Client, Exchange, Gateway, Held, Response, Upstream, gateway, ok

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
MINIMUM = 5
TOML = """
[gateway]
expose_decision = true
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
breaker = {{ minimum = 5, open = "{open}" }}
[upstreams.new]
url = "http://127.0.0.1:{new}"
response_timeout = "2s"
breaker = {{ minimum = 5, open = "{open}" }}
[[routes]]
name = "jobs"
match = "/jobs/*"
candidate = "new"
[[routes]]
name = "alone"
match = "/alone/*"
candidate = "new"
fallback = false
"""


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def broken(exchange: Exchange) -> None:
    await exchange.answer(b"no", "500 Internal Server Error")


@dataclass
class World:
    gateway: Gateway
    legacy: Upstream
    new: Upstream
    folder: Path

    async def ask(self, raw: bytes, times: int = 1) -> list[Response]:
        client = await self.gateway.connect()
        return [await client.request(raw) for _ in range(times)]

    async def opened(self, raw: bytes = GET % b"alone/x") -> None:
        """The candidate has failed so often that it is not asked now."""
        before = len(self.new.requests)
        await self.ask(raw, MINIMUM)
        assert len(self.new.requests) == before + MINIMUM

    async def until(self, answer: str, raw: bytes = GET % b"alone/x") -> None:
        """Asks until this is the answer."""
        for _ in range(200):
            (found,) = await self.ask(raw)
            if told(found) == answer:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"it is still {told(found)}")

    async def address(self, upstream: str, **wanted: Any) -> dict[str, Any]:
        """What GET /upstreams has of its one address, when the worker has reported what is `wanted` of it."""
        for _ in range(60):
            state = await asyncio.to_thread(self.gateway.get, "/upstreams")
            (address,) = next(each for each in state["upstreams"] if each["name"] == upstream)["addresses"]
            (found,) = address["workers"].values() or ({},)
            if all({**found, **address}.get(key) == value for key, value in wanted.items()):
                return {**found, **address}
            await asyncio.sleep(0.1)
        raise AssertionError(f"{wanted} is not to be seen: {address}")


@asynccontextmanager
async def served(folder: Path, open_for: str, **flags: bool) -> AsyncIterator[World]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(folder, TOML.format(legacy=legacy.port, new=new.port, open=open_for), jobs=True, alone=True, **flags) as running:
            yield World(running, legacy, new, folder)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Where a breaker that is open stays so, however slow this machine is."""
    async with served(tmp_path, "60s") as running:
        yield running


@pytest_asyncio.fixture
async def quick(tmp_path: Path) -> AsyncIterator[World]:
    """Where it is tried again after a second."""
    async with served(tmp_path, "1s") as running:
        yield running


def told(response: Response) -> str:
    return f"{response.status} {response.header('Banyan-Error')}"


async def test_47_open_it_is_503_with_retry_after_and_the_connection_goes_on(world: World) -> None:
    world.new.handler = reset
    client = await world.gateway.connect()
    raw = GET % b"alone/x"
    assert [told(await client.request(raw)) for _ in range(MINIMUM)] == ["502 upstream-reset"] * MINIMUM
    refused = [await client.request(raw) for _ in range(20)]
    assert {told(each) for each in refused} == {"503 breaker-open"}
    assert {0 < int(each.header("Retry-After") or "0") <= 60 for each in refused} == {True}
    assert {each.header("Connection") for each in refused} == {None}
    assert len(world.new.requests) == MINIMUM, "no byte of them reaches it"
    assert (await client.request(GET % b"elsewhere")).status == 200
    found = await world.address("new", breaker="open")
    assert (found["opened"], found["failures"]) == (1, {"reset": MINIMUM})
    metrics = await asyncio.to_thread(world.gateway.metrics)
    label = f'{{address="127.0.0.1:{world.new.port}",upstream="new"}}'
    assert f"banyan_upstream_breaker_opened_total{label} 1.0" in metrics
    assert f"banyan_upstream_breakers_open{label} 1.0" in metrics
    assert 'banyan_problems_total{code="breaker-open"} 20.0' in metrics
    assert re.search(r"upstream new at 127\.0\.0\.1:\d+ is not asked for 60\.0 s: of 5 requests 5 failed, the last by reset", log(world))


async def test_an_explanation_says_so(world: World) -> None:
    assert "breaker" not in str(await asyncio.to_thread(explained, world.gateway.admin))
    world.new.handler = reset
    await world.opened()
    await world.address("new", breaker="open")
    notes = (await asyncio.to_thread(explained, world.gateway.admin))["notes"]
    address = f"127.0.0.1:{world.new.port}"
    assert f"the breaker of new at {address} is open in 1 of 1 worker: it is hardly asked (GET /upstreams)" in notes


def explained(admin: int) -> dict[str, Any]:
    body = json.dumps({"method": "GET", "target": "/jobs/x"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/explain", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - http, always
        found: dict[str, Any] = json.loads(answer.read())
    return found


def log(world: World) -> str:
    return world.gateway.process.log.read_text()


async def test_47_with_a_fallback_legacy_answers_at_once_writes_too(world: World) -> None:
    world.new.handler = broken
    await world.opened()
    for raw in (GET % b"jobs/x", POST % b"jobs/x"):
        (answer,) = await world.ask(raw)
        assert answer.status == 200
        assert answer.header("Banyan-Route") == "jobs; served-by=legacy; reason=fallback-breaker-open"
    assert [each.line for each in world.legacy.requests] == [b"GET /jobs/x HTTP/1.1", b"POST /jobs/x HTTP/1.1"]
    assert world.legacy.requests[1].body == b"hi"
    assert len(world.new.requests) == MINIMUM
    assert await fallbacks(world, 2.0)


async def fallbacks(world: World, count: float) -> bool:
    for _ in range(40):
        if f'banyan_fallbacks_total{{reason="breaker-open",route="jobs"}} {count}' in await asyncio.to_thread(world.gateway.metrics):
            return True
        await asyncio.sleep(0.1)
    return False


async def test_47_one_probe_at_a_time_finds_out_that_it_is_back(quick: World) -> None:
    quick.new.handler = reset
    await quick.opened()
    held = quick.new.handler = Held()
    raw = GET % b"alone/x"
    probe: asyncio.Task[Response] | None = None
    while probe is None:  # until the time is over for which it is open
        first = asyncio.create_task(quick.gateway.request(raw))
        await asyncio.sleep(0.1)
        if first.done():
            assert told(await first) == "503 breaker-open"
        else:
            probe = first
    others = await asyncio.gather(*(quick.gateway.request(raw) for _ in range(10)))
    assert {told(each) for each in others} == {"503 breaker-open"}
    assert len(quick.new.requests) == MINIMUM + 1
    held.go.set()
    assert (await probe).status == 200
    assert {each.status for each in await quick.ask(raw, 10)} == {200}
    await quick.address("new", breaker="closed", opened=1)
    assert "answers again: it is asked again" in log(quick)


async def test_47_a_probe_that_fails_opens_it_anew(quick: World) -> None:
    quick.new.handler = reset
    await quick.opened()
    answers: list[str] = []
    async with asyncio.timeout(20):
        while len(quick.new.requests) < MINIMUM + 3:
            answers += [told(each) for each in await quick.ask(GET % b"alone/x")]
            await asyncio.sleep(0.02)
    # However slow this machine is: whatever reached the upstream was a probe, and each of them has opened it once more.
    assert set(answers) == {"502 upstream-reset", "503 breaker-open"}
    assert answers.count("502 upstream-reset") == 3
    await quick.address("new", opened=4)


async def test_47_a_probe_whose_client_leaves_makes_room_for_the_next(quick: World) -> None:
    quick.new.handler = reset
    await quick.opened()
    held = quick.new.handler = Held()
    await asyncio.sleep(1.1)
    client: Client = await quick.gateway.connect()
    await client.send(GET % b"alone/x")
    async with asyncio.timeout(10):
        while len(quick.new.requests) == MINIMUM:  # noqa: ASYNC110 - the upstream's count is what is waited for
            await asyncio.sleep(0.02)
    client.reset()
    held.go.set()
    await quick.until("200 None")


UPLOAD = b"POST /alone/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"


async def test_47_an_upload_that_takes_its_time_is_nobody_elses_wait(quick: World) -> None:
    """As the one probe it would keep all others from an upstream that is well, for as long as its client likes."""
    quick.new.handler = reset
    await quick.opened()
    quick.new.handler = ok
    await asyncio.sleep(1.1)
    slow = await quick.gateway.connect()
    await slow.send(UPLOAD)
    await asyncio.sleep(0.2)
    answers = await quick.ask(GET % b"alone/x", 3)
    assert [told(each) for each in answers] == ["200 None"] * 3
    await quick.address("new", breaker="closed", opened=1)


async def test_47_an_upstream_that_gets_nothing_but_uploads_is_tried_by_one(quick: World) -> None:
    quick.new.handler = reset
    await quick.opened()
    quick.new.handler = ok
    await asyncio.sleep(2.2)  # for as long as it was open nobody came who was there as a whole
    slow = await quick.gateway.connect()
    await slow.send(UPLOAD)
    await asyncio.sleep(0.2)
    other = await quick.gateway.connect()
    await other.send(UPLOAD)
    assert told(await other.response()) == "503 breaker-open", "one at a time, these too"
    await slow.send(b"0\r\n\r\n")
    assert told(await slow.response()) == "200 None"
    await quick.address("new", breaker="closed", opened=1)


async def test_an_upstream_that_hangs_is_found_out_though_no_client_waits_for_it(world: World) -> None:
    """response_timeout is 2 s, and these clients leave after 1.2."""
    world.new.handler = Held()
    clients = [await world.gateway.connect() for _ in range(MINIMUM)]
    for client in clients:
        await client.send(GET % b"alone/x")
    await asyncio.sleep(1.2)
    for client in clients:
        client.reset()
    await world.until("503 breaker-open")


async def test_legacy_goes_on_being_asked_while_a_part_of_it_answers(world: World) -> None:
    """Half of its requests are reset, and all of its answers are 500: better than none."""

    async def every_other(exchange: Exchange) -> None:
        if len(world.legacy.requests) % 2:
            exchange.reset()
        else:
            await exchange.answer(b"no", "500 Internal Server Error", b"Connection: close\r\n")

    world.legacy.handler = every_other
    answers = await world.ask(GET % b"x", 40)
    assert {told(each) for each in answers} == {"502 upstream-reset", "500 None"}
    assert len(world.legacy.requests) == 40


async def test_legacy_that_is_gone_is_503(world: World) -> None:
    await world.legacy.stop()
    answers = await world.ask(GET % b"x", 2 * MINIMUM)
    assert [told(each) for each in answers] == ["502 upstream-unreachable"] * MINIMUM + ["503 breaker-open"] * MINIMUM


async def test_legacy_that_was_gone_comes_back(quick: World) -> None:
    port = quick.legacy.port
    await quick.legacy.stop()
    await quick.until("503 breaker-open", GET % b"x")
    await quick.legacy.start(port)
    await quick.until("200 None", GET % b"x")


async def test_both_are_gone(world: World) -> None:
    await world.legacy.stop()
    await world.new.stop()
    answers = await world.ask(GET % b"jobs/x", 2 * MINIMUM)
    assert told(answers[-1]) == "503 breaker-open"
    assert 0 < int(answers[-1].header("Retry-After") or "0") <= 60
    assert (await world.ask(POST % b"jobs/x"))[0].status == 503


async def test_a_reload_forgets_nothing_of_an_upstream_that_stays_as_it_was(world: World) -> None:
    world.new.handler = reset
    await world.opened()
    config = world.folder / "banyan.toml"
    config.write_text(config.read_text().replace('breaker = { minimum = 5, open = "60s" }', "breaker = false", 1))
    reloaded = await asyncio.to_thread(post, world.gateway.admin)
    assert reloaded == 200
    assert told((await world.ask(GET % b"alone/x"))[0]) == "503 breaker-open"
    config.write_text(re.sub(r"breaker = \{.*\}", "breaker = false", config.read_text()))
    assert await asyncio.to_thread(post, world.gateway.admin) == 200
    assert told((await world.ask(GET % b"alone/x"))[0]) == "502 upstream-reset"
    answers = await world.ask(GET % b"alone/x", 4 * MINIMUM)
    assert {told(each) for each in answers} == {"502 upstream-reset"}, "breaker = false"


def post(admin: int) -> int:
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{admin}/reload", method="POST"), timeout=20) as answer:
        return int(answer.status)


async def test_legacy_is_not_asked_twice_where_it_answers_in_the_place_of_who_is_compared(tmp_path: Path) -> None:
    """After the switch legacy is asked beside the candidate. While the breaker is open it answers: once."""
    async with served(tmp_path, "60s", jobs__shadow=True) as world:
        (before,) = await world.ask(GET % b"jobs/x")
        assert before.header("Banyan-Route") == "jobs; served-by=candidate; reason=flag"
        for _ in range(100):
            if len(world.legacy.requests) == 1:
                break
            await asyncio.sleep(0.05)
        assert world.legacy.requests[0].header("Banyan-Shadow") == ["1"]
        world.new.handler = reset
        await world.opened()
        await world.ask(GET % b"jobs/x", 10)
        await asyncio.sleep(1.3)
        assert [each.header("Banyan-Shadow") for each in world.legacy.requests[1:]] == [[]] * 10
        assert 'banyan_shadow_skipped_total{reason="fallback",route="jobs"} 10.0' in await asyncio.to_thread(world.gateway.metrics)


async def test_what_is_gathered_is_answered_in_one_way(world: World) -> None:
    """A body in chunks that is still arriving when nobody may be asked: an answer, and the end of the connection."""
    world.new.handler = reset
    await world.opened()
    client = await world.gateway.connect()
    await client.send(b"POST /alone/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    answer = await client.response()
    assert (told(answer), answer.header("Connection")) == ("503 breaker-open", "close")
    assert len(world.new.requests) == MINIMUM
