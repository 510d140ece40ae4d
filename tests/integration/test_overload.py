"""edge.md 49 and 50: more requests than an upstream is good for. A real gateway, and an upstream that answers when the test says so."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway, ok

TOML = """
[gateway]
trusted_proxies = ["127.0.0.1/32"]
replay_buffer = "64KiB"
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
response_timeout = "{timeout}"
concurrency = {{ {concurrency} }}
[upstreams.reviews]
url = "http://127.0.0.1:{candidate}"
{candidate_settings}
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "reviews"
[[routes]]
name = "checkout"
match = "/checkout"
candidate = "reviews"
priority = "critical"
[[routes]]
name = "banners"
match = "/banners"
candidate = "reviews"
priority = "sheddable"
"""


@dataclass
class Gate:
    """An upstream's handler: each request waits until it is let go."""

    waiting: asyncio.Queue[tuple[Exchange, asyncio.Event]] = field(default_factory=asyncio.Queue)
    inside: int = 0
    most: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        go = asyncio.Event()
        self.waiting.put_nowait((exchange, go))
        try:
            await go.wait()
        finally:
            self.inside -= 1
        await exchange.answer()

    async def next(self) -> tuple[str, asyncio.Event]:
        """The next request that arrives: its path, and what lets it go."""
        async with asyncio.timeout(10):
            exchange, go = await self.waiting.get()
        return exchange.line.split(b" ")[1].decode(), go


@dataclass
class Served:
    running: Gateway
    legacy: Upstream
    candidate: Upstream

    async def ask(self, path: str, client: str = "10.0.0.1", more: str = "", method: str = "GET") -> asyncio.Task[Response]:
        """Sends a request, as a trusted proxy that has it from `client`."""
        connection = await self.running.connect()
        raw = f"{method} {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n{more}\r\n".encode()
        await connection.send(raw)
        return asyncio.create_task(connection.response())

    async def upstream(self, name: str) -> dict[str, Any]:
        listed = (await asyncio.to_thread(self.running.get, "/upstreams"))["upstreams"]
        found: dict[str, Any] = next(each for each in listed if each["name"] == name)["concurrency"]
        return found

    async def settled(self, name: str, **wanted: int) -> dict[str, Any]:
        """The upstream's state, once its gauges are these."""
        for _ in range(100):
            state = await self.upstream(name)
            totals = {key: sum(worker[key] for worker in state["workers"].values()) for key in wanted}
            if state["workers"] and totals == wanted:
                return state
            await asyncio.sleep(0.05)
        raise AssertionError(f"{state} never had {wanted}")


@asynccontextmanager
async def served(
    folder: Path,
    concurrency: str,
    *,
    candidate_settings: str = "",
    patience: str = "5s",
    workers: int = 1,
    **flags: bool,
) -> AsyncIterator[Served]:
    legacy, candidate = Upstream(ok), Upstream(ok)
    await legacy.start()
    await candidate.start()
    toml = TOML.format(
        legacy=legacy.port,
        candidate=candidate.port,
        concurrency=concurrency,
        candidate_settings=candidate_settings,
        timeout=patience,
    )
    try:
        async with gateway(folder, toml, workers=workers, **flags) as running:
            yield Served(running, legacy, candidate)
    finally:
        await legacy.stop()
        await candidate.stop()


def is_shed(response: Response) -> bool:
    return response.status == 503 and response.header("Banyan-Error") == "shed"


async def test_49_over_the_limit_a_few_wait_and_the_rest_is_shed(tmp_path: Path) -> None:
    """Also on a path that no route names. Its connection goes on; health is answered all the while."""
    gate = Gate()
    async with served(tmp_path, 'limit = 2, queue = 1, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        inside = [await at.ask("/no/route", "10.0.0.1"), await at.ask("/no/route", "10.0.0.2")]
        gates = [await gate.next() for _ in inside]
        waits = await at.ask("/waits", "10.0.0.3")
        await at.settled("legacy", inside=2, waiting=1)
        client = await at.running.connect()
        refused = await client.request(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n")
        assert is_shed(refused)
        assert orjson.loads(refused.body)["type"] == "urn:banyan:problem:shed"
        assert 1 <= int(refused.header("Retry-After") or 0) <= 5
        assert (await asyncio.to_thread(at.running.get, "/healthz"))["status"] == "alive"
        assert (await asyncio.to_thread(at.running.get, "/readyz"))["status"] == "ready"
        for _, go in gates:
            go.set()
        assert [(await each).status for each in inside] == [200, 200]
        path, go = await gate.next()
        assert path == "/waits"
        go.set()
        assert (await waits).status == 200
        again = asyncio.create_task(client.request(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n"))
        (await gate.next())[1].set()
        assert (await again).status == 200
        assert gate.most == 2
        state = await at.settled("legacy", inside=0, waiting=0)
        assert state["waited"] == 1
        assert state["shed"] == {"normal queue-full": 1}
        metrics = await asyncio.to_thread(at.running.metrics)
        assert 'banyan_shed_total{priority="normal",reason="queue-full",upstream="legacy"} 1.0' in metrics
        assert 'banyan_upstream_limit{upstream="legacy",worker="0"} 2.0' in metrics


async def test_49_retry_after_is_not_the_same_for_all(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, "limit = 1, queue = 0") as at:
        at.legacy.handler = gate
        held = await at.ask("/x")
        _, go = await gate.next()
        client = await at.running.connect()
        found = {(await client.request(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n")).header("Retry-After") for _ in range(60)}
        assert found == {"1", "2", "3", "4", "5"}
        go.set()
        assert (await held).status == 200
        assert len(at.legacy.requests) == 1


async def test_49_who_waits_for_too_long_is_shed(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 4, queue_timeout = "200ms"') as at:
        at.legacy.handler = gate
        held = await at.ask("/x")
        _, go = await gate.next()
        began = time.monotonic()
        waits = [await at.ask("/y", f"10.0.0.{number}") for number in range(3)]
        assert all([is_shed(await each) for each in waits])
        assert time.monotonic() - began >= 0.2
        state = await at.settled("legacy", inside=1, waiting=0)
        assert state["shed"] == {"normal queue-timeout": 3}
        go.set()
        assert (await held).status == 200


async def test_49_critical_last_and_sheddable_first(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 2, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        held = await at.ask("/x")
        _, go = await gate.next()
        low = await at.ask("/banners", "10.0.0.2")
        await at.settled("legacy", waiting=1)
        middle = await at.ask("/y", "10.0.0.3")
        await at.settled("legacy", waiting=2)
        high = await at.ask("/checkout", "10.0.0.4")
        assert is_shed(await low)
        go.set()
        assert (await held).status == 200
        for path in ("/checkout", "/y"):
            found, go = await gate.next()
            assert found == path
            go.set()
        assert [(await each).status for each in (high, middle)] == [200, 200]
        state = await at.settled("legacy", inside=0)
        assert state["shed"] == {"sheddable displaced": 1}


async def test_49_one_client_does_not_take_the_queue(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 4, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        held = await at.ask("/x", "10.9.9.9")
        _, go = await gate.next()
        greedy = [await at.ask("/greedy", "10.0.0.1") for _ in range(8)]
        await at.settled("legacy", waiting=4)
        others = [await at.ask("/other", "10.0.0.2"), await at.ask("/other", "10.0.0.3")]
        for _ in range(100):
            if sum((await at.upstream("legacy"))["shed"].values()) == 6:
                break
            await asyncio.sleep(0.05)
        paths = Counter[str]()
        go.set()
        for _ in range(4):
            path, go = await gate.next()
            paths[path] += 1
            go.set()
        assert paths == {"/greedy": 2, "/other": 2}
        assert [(await each).status for each in others] == [200, 200]
        assert Counter([(await each).status for each in greedy]) == {200: 2, 503: 6}
        assert (await held).status == 200


@pytest.mark.parametrize("how", ["waiting", "inside"])
async def test_who_leaves_gives_his_place_back(tmp_path: Path, how: str) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 4, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        first = await at.running.connect()
        await first.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        _, go = await gate.next()
        second = await at.running.connect()
        await second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        await at.settled("legacy", inside=1, waiting=1)
        if how == "waiting":
            second.reset()
            await at.settled("legacy", inside=1, waiting=0)
            metrics = await asyncio.to_thread(at.running.metrics)
            assert 'banyan_requests_total{route="none",served_by="gateway",status="0"} 1.0' in metrics, "legacy was not asked"
            go.set()
            assert (await first.response()).status == 200
        else:
            first.reset()
            path, after = await gate.next()
            assert path == "/second"
            go.set()
            after.set()
            assert (await second.response()).status == 200
        await at.settled("legacy", inside=0, waiting=0)


async def test_every_ending_gives_the_place_back(tmp_path: Path) -> None:
    """Resets before and in an answer, timeouts, bad answers, errors, refused bodies, early answers: afterwards nobody is inside."""
    async with served(tmp_path, "limit = 3, queue = 0", patience="300ms") as at:
        endings = 0

        async def odd(exchange: Exchange) -> None:
            kind = exchange.line.split(b" ")[1].decode()
            if kind == "/reset":
                exchange.reset()
            elif kind == "/cut":
                await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                exchange.reset()
            elif kind == "/hang":
                await asyncio.sleep(1)
            elif kind == "/rubbish":
                await exchange.send(b"nonsense\r\n\r\n")
            elif kind == "/500":
                await exchange.answer(status="500 Oops")
            elif kind == "/chunks":
                await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            elif kind == "/close":
                await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
                exchange.writer.close()
            else:
                await exchange.answer()

        at.legacy.handler = odd
        for kind in ("/reset", "/cut", "/hang", "/rubbish", "/500", "/chunks", "/close", "/fine") * 2:
            client = await at.running.connect()
            await client.send(f"GET {kind} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            try:
                await client.rest()
            except ConnectionResetError:
                assert kind == "/cut"
            endings += 1
        assert endings == 16
        state = await at.settled("legacy", inside=0, waiting=0)
        assert state["shed"] == {}


async def test_streams_and_tunnels_hold_no_place(tmp_path: Path) -> None:
    """They go on for hours; the next request is let in beside them."""
    gate = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        if exchange.header("Upgrade"):
            await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            await gate.wait()
        elif exchange.line.startswith(b"GET /events"):
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            await gate.wait()
        else:
            await exchange.answer()

    async with served(tmp_path, "limit = 1, queue = 0") as at:
        at.legacy.handler = handler
        tunnel = await at.running.connect()
        upgraded = await tunnel.request(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert upgraded.status == 101
        events = await at.running.connect()
        await events.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            await events.reader.readuntil(b"data: 1")
        assert (await at.running.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        await at.settled("legacy", inside=0)
        gate.set()


async def test_a_candidate_without_room_is_legacy_s_while_that_has_room(tmp_path: Path) -> None:
    gate, legacy = Gate(), Gate()
    settings = "concurrency = { limit = 1, queue = 0 }"
    async with served(tmp_path, "limit = 1, queue = 4", candidate_settings=settings, reviews=True) as at:
        at.candidate.handler, at.legacy.handler = gate, legacy
        first = await at.ask("/reviews/1")
        _, go = await gate.next()
        second = await at.ask("/reviews/2")
        path, legacy_go = await legacy.next()
        assert path == "/reviews/2"
        third = await (await at.ask("/reviews/3"))
        assert is_shed(third), "legacy has no room for it, and its seats are its own clients'"
        go.set()
        legacy_go.set()
        assert [(await each).status for each in (first, second)] == [200, 200]
        assert "reason=fallback-no-room" in ((await second).header("Banyan-Route") or "")
        state = await at.settled("reviews", inside=0)
        assert state["shed"] == {"normal queue-full": 1}
        assert (await at.upstream("legacy"))["shed"] == {}
        metrics = await asyncio.to_thread(at.running.metrics)
        assert 'banyan_fallbacks_total{reason="no-room",route="reviews"} 1.0' in metrics


async def test_a_fallback_takes_a_place_with_legacy_and_gives_the_candidate_s_back(tmp_path: Path) -> None:
    legacy = Gate()

    async def broken(exchange: Exchange) -> None:
        exchange.reset()

    settings = "concurrency = { limit = 1, queue = 0 }"
    async with served(tmp_path, 'limit = 1, queue = 1, queue_timeout = "20s"', candidate_settings=settings, reviews=True) as at:
        at.candidate.handler, at.legacy.handler = broken, legacy
        first = await at.ask("/reviews/1")
        _, go = await legacy.next()
        second = await at.ask("/reviews/2")
        await at.settled("legacy", inside=1, waiting=1)
        await at.settled("reviews", inside=0)
        go.set()
        path, go = await legacy.next()
        assert path == "/reviews/2"
        go.set()
        assert [(await each).status for each in (first, second)] == [200, 200]
        assert legacy.most == 1


async def test_50_a_shed_answer_is_not_retried_and_no_guard_hears_of_it(tmp_path: Path) -> None:
    gate = Gate()
    settings = "concurrency = { limit = 1, queue = 0 }"
    async with served(tmp_path, "limit = 1, queue = 0", candidate_settings=settings, reviews=True) as at:
        at.candidate.handler = at.legacy.handler = gate
        held = [await at.ask("/reviews/1"), await at.ask("/x")]
        gates = [await gate.next() for _ in held]
        for number in range(5):
            assert is_shed(await (await at.ask(f"/reviews/{number}")))
        assert len(at.candidate.requests) + len(at.legacy.requests) == 2
        for _, go in gates:
            go.set()
        assert [(await each).status for each in held] == [200, 200]
        await at.settled("reviews", inside=0)
        (route,) = [each for each in (await asyncio.to_thread(at.running.get, "/routes"))["routes"] if each["name"] == "reviews"]
        assert route["answered"] == {"candidate 200": 1, "gateway 503": 5}
        assert route["fallbacks"] == {}


async def test_a_body_that_waits_arrives_whole(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 4, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        held = await at.ask("/x")
        _, go = await gate.next()
        body = b"a" * 300_000  # more than the replay buffer
        client = await at.running.connect()
        head = b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        sending = asyncio.create_task(client.request(head + body))
        await at.settled("legacy", waiting=1)
        go.set()
        assert (await held).status == 200
        (await gate.next())[1].set()
        assert (await sending).status == 200
        assert at.legacy.requests[-1].body == body


async def test_workers_have_their_shares(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, "limit = 4, queue = 0", workers=2) as at:
        at.legacy.handler = gate
        state = await at.settled("legacy", limit=4)
        assert [worker["limit"] for worker in state["workers"].values()] == [2, 2]
        asked = [await at.ask("/x") for _ in range(30)]
        await asyncio.wait(asked, timeout=1.0)  # what is shed is answered; what is inside waits
        while not gate.waiting.empty():
            gate.waiting.get_nowait()[1].set()
        done = [await each for each in asked]
        assert gate.most <= 4
        assert Counter([each.status for each in done])[200] == gate.most


async def test_a_reload_counts_on_and_changes_the_limit(tmp_path: Path) -> None:
    gate = Gate()
    async with served(tmp_path, 'limit = 1, queue = 4, queue_timeout = "20s"') as at:
        at.legacy.handler = gate
        held = await at.ask("/x")
        _, go = await gate.next()
        waits = await at.ask("/y")
        await at.settled("legacy", inside=1, waiting=1, limit=1)
        config = at.running.folder / "banyan.toml"
        config.write_text(config.read_text().replace("limit = 1", "limit = 2"))
        path, go_too = await gate.next()  # the new limit lets it in
        assert path == "/y"
        await at.settled("legacy", inside=2, waiting=0, limit=2)
        third = await at.ask("/z")
        await at.settled("legacy", inside=2, waiting=1)
        go.set()
        go_too.set()
        (await gate.next())[1].set()
        assert [(await each).status for each in (held, waits, third)] == [200, 200, 200]
        assert gate.most == 2
        config.write_text(re.sub(r"(?m)^concurrency = .*$", "", config.read_text(), count=1))
        for _ in range(100):
            if (await at.upstream("legacy")) is None:
                break
            await asyncio.sleep(0.05)
        assert await at.upstream("legacy") is None


async def test_an_adaptive_limit_finds_what_a_slow_upstream_is_good_for(tmp_path: Path) -> None:
    """A real server with four workers, and eighty clients that ask again and again: it is kept busy, and has no crowd before it."""
    workers = asyncio.Semaphore(4)
    inside = 0
    seen: list[int] = []

    async def slow(exchange: Exchange) -> None:
        nonlocal inside
        inside += 1
        seen.append(inside)
        try:
            async with workers:
                await asyncio.sleep(0.03)
        finally:
            inside -= 1
        await exchange.answer()

    async with served(tmp_path, 'limit = "adaptive", min = 2, max = 64, queue = 8, queue_timeout = "100ms"') as at:
        at.legacy.handler = slow
        end = time.monotonic() + 6
        answered = Counter[int]()

        async def again_and_again() -> None:
            client = await at.running.connect()
            while time.monotonic() < end:
                answered[(await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).status] += 1
                await asyncio.sleep(0.05)

        await asyncio.gather(*(again_and_again() for _ in range(80)))
        state = await at.upstream("legacy")
    assert answered[503]
    assert set(answered) == {200, 503}
    later = sorted(seen[len(seen) // 2 :])
    assert later[len(later) // 2] <= 24, "a crowd of eighty would be before it"
    assert state["workers"]["0"]["base_seconds"]
