"""An upstream with several addresses: the least busy is asked, a dead one costs nobody an answer, and a name is asked anew in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from demo.processes import listen
from tests.support.gateway import Exchange, Gateway, Handler, Upstream, gateway

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


def named(name: bytes, seconds: float = 0.0) -> Handler:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.answer(name)

    return answer


@asynccontextmanager
async def two(folder: Path, one: Handler, other: Handler) -> AsyncIterator[tuple[Gateway, Upstream, Upstream]]:
    upstreams = Upstream(one), Upstream(other)
    for upstream in upstreams:
        await upstream.start()
    urls = ", ".join(f'"http://127.0.0.1:{upstream.port}"' for upstream in upstreams)
    try:
        async with gateway(folder, f"[upstreams.legacy]\nurls = [{urls}]\n") as running:
            yield running, *upstreams
    finally:
        for upstream in upstreams:
            await upstream.stop()


async def ask(running: Gateway, count: int, raw: Callable[[int], bytes] = lambda _: GET) -> Counter[bytes]:
    answers = await asyncio.gather(*(running.request(raw(number)) for number in range(count)))
    assert {answer.status for answer in answers} == {200}
    return Counter(answer.body for answer in answers)


async def test_equals_share(tmp_path: Path) -> None:
    async with two(tmp_path, named(b"one"), named(b"other")) as (running, _, _):
        counted = Counter[bytes]()
        for _ in range(40):
            counted += await ask(running, 1)
        assert counted == {b"one": 20, b"other": 20}


async def test_the_slower_gets_less(tmp_path: Path) -> None:
    async with two(tmp_path, named(b"slow", 0.5), named(b"quick", 0.01)) as (running, _, _):
        counted = Counter[bytes]()
        client_tasks = 6

        async def one_client() -> None:
            client = await running.connect()
            for _ in range(20):
                counted[(await client.request(GET)).body] += 1

        await asyncio.gather(*(one_client() for _ in range(client_tasks)))
        assert counted[b"quick"] > 2 * counted[b"slow"] > 0


async def test_a_dead_one_costs_nobody_an_answer_and_is_asked_again_later(tmp_path: Path) -> None:
    async with two(tmp_path, named(b"one"), named(b"other")) as (running, one, _):
        port = one.port
        await ask(running, 8)
        await one.stop()
        # Not even a POST, as long as none of it was sent.
        assert await ask(running, 60, lambda number: POST if number % 2 else GET) == {b"other": 60}
        await one.start(port)
        async with asyncio.timeout(20):
            while b"one" not in await ask(running, 2):  # noqa: ASYNC110 - the gateway's own clock is what is waited for
                await asyncio.sleep(0.3)


async def test_none_can_be_reached(tmp_path: Path) -> None:
    async with two(tmp_path, named(b"one"), named(b"other")) as (running, one, other):
        await one.stop()
        await other.stop()
        answer = await running.request(GET)
        assert (answer.status, answer.header("Banyan-Error")) == (502, "upstream-unreachable")


async def test_one_that_does_not_accept_is_waited_for_once(tmp_path: Path) -> None:
    silent = listen()
    silent.listen(0)
    full = [await asyncio.open_connection(*silent.getsockname()) for _ in range(1)]  # its queue is full now: nobody else gets in
    upstream = Upstream(named(b"up"))
    await upstream.start()
    port = silent.getsockname()[1]
    toml = f'[upstreams.legacy]\nurls = ["http://127.0.0.1:{port}", "http://127.0.0.1:{upstream.port}"]\nconnect_timeout = "300ms"\n'
    try:
        async with gateway(tmp_path, toml) as running:
            for _ in range(4):
                assert (await running.request(POST)).body == b"up"
    finally:
        for _, writer in full:
            writer.close()
        silent.close()
        await upstream.stop()


async def test_one_whose_breaker_opened_is_asked_again_though_there_is_nothing_but_posts(tmp_path: Path) -> None:
    """None of them can be sent twice, and the other address is fine: still somebody has to find out that this one is back."""

    async def broken(exchange: Exchange) -> None:
        await exchange.answer(b"no", "500 Internal Server Error")

    upstreams = legacy, one, other = Upstream(named(b"legacy")), Upstream(broken), Upstream(named(b"other"))
    for upstream in upstreams:
        await upstream.start()
    toml = f"""
[upstreams]
legacy = "http://127.0.0.1:{legacy.port}"
[upstreams.new]
urls = ["http://127.0.0.1:{one.port}", "http://127.0.0.1:{other.port}"]
breaker = {{ minimum = 5, open = "1s" }}
[[routes]]
name = "jobs"
match = "/a"
candidate = "new"
fallback = false
"""
    try:
        async with gateway(tmp_path, toml, jobs=True) as running:
            await running.decided(jobs=True)
            answers = [await running.request(POST) for _ in range(30)]
            assert 5 <= sum(answer.body == b"no" for answer in answers) < 10, "its breaker is open"
            one.handler = named(b"one")
            async with asyncio.timeout(20):
                while b"one" not in await ask(running, 2, lambda _: POST):  # noqa: ASYNC110 - the gateway's own clock is what is waited for
                    await asyncio.sleep(0.3)
            counted = await ask(running, 40, lambda _: POST)
            assert counted[b"one"] > 5, "its breaker is closed"
    finally:
        for upstream in upstreams:
            await upstream.stop()
