"""One of several addresses fails: what it was asked goes to another where nothing can happen twice, and it is left out for a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.policy.budget import LEAST, SECONDS
from gateway.policy.ejection import IN_A_ROW
from tests.support.gateway import Exchange, Gateway, Handler, Response, Upstream, gateway, ok

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
KEYED = b"POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k1\r\nContent-Length: 2\r\n\r\nhi"


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def hang(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def unavailable(exchange: Exchange) -> None:
    await exchange.answer(b"no", "503 Service Unavailable")


@dataclass
class World:
    gateway: Gateway
    upstreams: list[Upstream]

    async def ask(self, raw: bytes, times: int = 1) -> list[Response]:
        """One after the other, each on a connection of its own."""
        return [await self.gateway.request(raw) for _ in range(times)]

    async def named(self) -> dict[str, Any]:
        """GET /upstreams, when the worker has reported all that has happened."""
        await asyncio.sleep(1.3)
        state = await asyncio.to_thread(self.gateway.get, "/upstreams")
        found: dict[str, Any] = state["upstreams"][0]
        return found

    @property
    def asked(self) -> list[int]:
        return [len(upstream.requests) for upstream in self.upstreams]


@asynccontextmanager
async def several(folder: Path, *handlers: Handler, more: str = "breaker = false") -> AsyncIterator[World]:
    """Legacy, at several addresses."""
    upstreams = [Upstream(handler) for handler in handlers]
    for upstream in upstreams:
        await upstream.start()
    urls = ", ".join(f'"http://127.0.0.1:{upstream.port}"' for upstream in upstreams)
    try:
        async with gateway(folder, f"[upstreams.legacy]\nurls = [{urls}]\n{more}\n") as running:
            yield World(running, upstreams)
    finally:
        for upstream in upstreams:
            await upstream.stop()


async def test_46_what_may_be_repeated_goes_to_another_address(tmp_path: Path) -> None:
    async with several(tmp_path, reset, ok) as world:
        for raw in (GET, PUT):
            assert {answer.status for answer in await world.ask(raw, 2)} == {200}
        assert world.asked[0] > 0, "it was asked first at least once"
        found = await world.named()
        assert (found["repeated"], found["not_repeated"]) == (world.asked[0], 0)


async def test_46_a_post_that_was_sent_does_not(tmp_path: Path) -> None:
    async with several(tmp_path, reset, ok) as world:
        answers = await world.ask(POST, 4)
        assert Counter(answer.status for answer in answers) == {200: 2, 502: 2}
        assert {answer.header("Banyan-Error") for answer in answers} == {None, "outcome-unknown"}
        assert sum(world.asked) == 4
        # The key alone changes nothing: who knows what this upstream makes of it.
        answers = await world.ask(KEYED, 4)
        assert sum(world.asked) == 8


async def test_46_one_with_a_key_does_where_the_upstream_executes_it_once(tmp_path: Path) -> None:
    async with several(tmp_path, reset, ok, more="idempotent = true\nbreaker = false") as world:
        assert {answer.status for answer in await world.ask(KEYED, 4)} == {200}
        assert world.asked[0] > 0
        assert 502 in {answer.status for answer in await world.ask(POST, 4)}


async def test_46_one_that_hangs_costs_its_timeout_and_no_answer(tmp_path: Path) -> None:
    async with several(tmp_path, hang, ok, more='response_timeout = "300ms"\nbreaker = false') as world:
        assert {answer.status for answer in await world.ask(GET, 4)} == {200}
        assert world.asked[0] > 0


async def test_46_no_more_than_three_times_in_all(tmp_path: Path) -> None:
    async with several(tmp_path, reset, reset, reset, reset, reset) as world:
        (answer,) = await world.ask(GET)
        assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-reset")
        assert sorted(world.asked) == [0, 0, 1, 1, 1]


async def test_46_the_budget_bounds_it(tmp_path: Path) -> None:
    """Everything fails, everywhere: three times as many requests reach nobody."""
    async with several(tmp_path, reset, reset, reset) as world:
        count = 150
        answers = await world.ask(GET, count)
        assert {answer.status for answer in answers} == {502}
        again = sum(world.asked) - count
        found = await world.named()
        assert found["repeated"] == again
        assert found["not_repeated"] > 0
        # What it holds at first, and what has come to it since: this many requests take some seconds at most.
        assert LEAST * SECONDS <= again < 2 * count


async def test_one_that_alone_fails_is_left_out(tmp_path: Path) -> None:
    async with several(tmp_path, unavailable, ok, ok) as world:
        answers = await world.ask(GET, 30)
        # An answer is an answer, and passed on; but who only says that somebody behind him does not answer is not asked any more.
        assert Counter(answer.status for answer in answers) == {503: IN_A_ROW, 200: 30 - IN_A_ROW}
        address, *others = (await world.named())["addresses"]
        assert (address["ejections"], address["workers"]["0"]["left_out"]) == (1, True)
        assert [other["ejections"] for other in others] == [0, 0]


async def test_never_more_than_half_are_left_out(tmp_path: Path) -> None:
    async with several(tmp_path, unavailable, unavailable, unavailable) as world:
        answers = await world.ask(GET, 60)
        assert {answer.status for answer in answers} == {503}
        assert {answer.header("Banyan-Error") for answer in answers} == {None}, "they are the upstream's own"
        assert sorted(world.asked)[1] > 10, "two go on being asked"
        assert sum(address["ejections"] for address in (await world.named())["addresses"]) == 1


async def test_an_address_whose_breaker_is_open_is_not_asked_and_the_others_are(tmp_path: Path) -> None:
    more = 'breaker = { minimum = 2, open = "60s", errors = 0.5 }'
    async with several(tmp_path, reset, ok, more=more) as world:
        assert {answer.status for answer in await world.ask(GET, 40)} == {200}
        asked = world.asked
        assert asked[0] <= 4
        assert {answer.status for answer in await world.ask(POST, 10)} == {200}
        assert world.asked[0] == asked[0]


async def test_an_address_that_is_tried_is_tried_with_what_may_be_repeated(tmp_path: Path) -> None:
    more = 'breaker = { minimum = 2, open = "300ms", errors = 0.5 }'
    async with several(tmp_path, reset, ok, more=more) as world:
        await world.ask(GET, 10)
        await asyncio.sleep(0.4)
        before = world.asked[0]
        assert {answer.status for answer in await world.ask(POST, 10)} == {200}
        assert world.asked[0] == before, "a write is no probe while another address is well"
        world.upstreams[0].handler = ok
        assert {answer.status for answer in await world.ask(GET, 10)} == {200}
        assert world.asked[0] > before
