"""A route with several providers, on both engines: who answers, that he stays the one, and that nobody else is asked when he fails."""

# ruff: noqa: ASYNC110 - what the gateway has counted has no event to wait for
from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.support.gateway import Exchange
from tests.support.providers import Shop, shop

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with shop(tmp_path_factory.mktemp("split"), engine) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def running(shared: Shop) -> AsyncIterator[Shop]:
    """The one of this engine, with nothing left of the test before."""
    yield shared
    await shared.forget()


@pytest_asyncio.fixture(loop_scope="module")
async def own(engine: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """For a test that reads what was counted."""
    async with shop(tmp_path, engine) as started:
        yield started


async def test_a_user_keeps_his_provider_and_weights_move_only_whom_they_must(running: Shop) -> None:
    users = [str(user) for user in range(60)]
    first = {user: await running.provider(user) for user in users}
    assert set(first.values()) == {"psp-a", "psp-b"}
    assert Counter(first.values())["psp-a"] > Counter(first.values())["psp-b"]
    assert {user: await running.provider(user) for user in users[:10]} == {user: first[user] for user in users[:10]}
    await running.flag(psp_a=400, psp_b=600)
    second = {user: await running.provider(user) for user in users}
    assert {(first[user], second[user]) for user in users if first[user] != second[user]} == {("psp-a", "psp-b")}
    await running.flag(psp_a=0, psp_b=1000)
    assert {await running.provider(user) for user in users[:10]} == {"psp-b"}
    await running.flag(psp_a=0, psp_x=1000)
    assert {user: await running.provider(user) for user in users} == first  # nobody is sent to what is no provider
    (problem,) = running.gateway.get("/flags")["problems"]
    assert problem["flag"] == "payments.split"
    assert "'psp-x' is none of the providers of payments (psp-a, psp-b)" in problem["problem"]
    await running.flag(enabled=False, psp_b=1000)
    assert {user: await running.provider(user) for user in users[:10]} == {user: first[user] for user in users[:10]}
    assert not any(exchange.line.startswith(b"POST") for exchange in running.legacy.requests)


async def test_what_a_provider_gets_and_what_is_said_of_it(own: Shop) -> None:
    answer = await own.pay("7", "/payments/3?x=1", head="Idempotency-Key: k\r\n")
    shown = answer.header("Banyan-Route") or ""
    assert shown.startswith("payments; served-by=candidate; reason=split")
    (exchange,) = own.providers[answer.body.decode()].requests
    assert (exchange.line, exchange.body, exchange.header("Host")) == (b"POST /payments/3?x=1 HTTP/1.1", b"body", ["a"])
    assert exchange.header("Idempotency-Key") == ["k"]
    async with asyncio.timeout(10):
        while not (await asyncio.to_thread(own.gateway.get, "/routes"))["routes"][0]["answered"].get("candidate 200"):
            await asyncio.sleep(0.1)


async def test_who_has_no_account_is_kept_by_the_visitor_cookie(running: Shop) -> None:
    met = set()
    for _ in range(12):
        first = await running.pay()
        cookie = (first.header("Set-Cookie") or "").partition(";")[0]
        assert cookie
        again = [await running.pay(head=f"Cookie: {cookie}\r\n") for _ in range(2)]
        assert {answer.body for answer in again} == {first.body}
        assert all(answer.header("Set-Cookie") is None for answer in again)
        met.add(first.body)
    assert met == {b"psp-a", b"psp-b"}  # twelve alike: 1 in 70


async def test_by_chance_nobody_is_kept(running: Shop) -> None:
    answers = [await running.pay("7", "/dice", "GET") for _ in range(40)]
    assert {answer.body for answer in answers} == {b"psp-a", b"psp-b"}  # 40 alike: 1 in a million
    assert not any(answer.header("Set-Cookie") for answer in answers)


async def test_a_provider_that_fails_is_answered_for_by_nobody_else(running: Shop) -> None:
    async def failing(exchange: Exchange) -> None:
        if exchange.line.startswith(b"POST"):
            exchange.reset()
        else:
            await exchange.answer(b"broken", "500 Internal Server Error")

    await running.flag(psp_b=1000)
    running.providers["psp-b"].handler = failing
    lost = await running.pay("7")
    assert (lost.status, lost.header("Banyan-Error")) == (502, "outcome-unknown")
    assert len(running.providers["psp-b"].requests) == 1
    broken = await running.pay("7", method="PUT")
    assert (broken.status, broken.body) == (500, b"broken")
    await running.providers["psp-b"].stop()
    refused = await running.pay("7")
    assert (refused.status, refused.header("Banyan-Error")) == (502, "upstream-unreachable")
    assert running.providers["psp-a"].requests == []
    assert not any(not exchange.line.startswith(b"GET /who") for exchange in running.legacy.requests)


async def test_an_answer_without_an_end_comes_piece_by_piece(running: Shop) -> None:
    going = asyncio.Event()

    async def stream(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await going.wait()
        await exchange.send(b"4\r\nlast\r\n0\r\n\r\n")

    for provider in running.providers.values():
        provider.handler = stream
    client = await running.gateway.connect()
    await client.send(b"POST /payments/3 HTTP/1.1\r\nHost: a\r\nCookie: sessionid=7\r\nContent-Length: 4\r\n\r\nbody")
    async with asyncio.timeout(10):
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert re.match(rb"HTTP/1.1 200 ", head)
        assert b"first" in await client.reader.readuntil(b"first")
        going.set()
        assert b"last" in await client.reader.readuntil(b"0\r\n\r\n")


async def test_an_override_turns_the_flags_weights_off(running: Shop) -> None:
    await running.flag(psp_b=1000)
    users = [str(user) for user in range(12)]
    assert {await running.provider(user) for user in users} == {"psp-b"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.gateway.admin}") as client:
        body = {"enabled": False, "seconds": 60, "by": "ana", "why": "psp-b is down"}
        done = await client.put("/flags/overrides/payments.split", json=body)
        assert done.status_code == 200, done.text
    answers = [await running.pay(user) for user in users]
    assert {answer.body for answer in answers} == {b"psp-a", b"psp-b"}
    assert all("reason=override" in (answer.header("Banyan-Route") or "") for answer in answers)
    route = running.gateway.get("/routes")["routes"][0]
    assert route["split"] == {
        "configured": {"psp-a": 70, "psp-b": 30},
        "weights": {"psp-a": 70, "psp-b": 30},
        "from": "configuration",
        "sticky": "user",
        "failover": "never",
        "ledger": False,
        "require_key": False,
        "in_doubt": None,
    }
    assert (route["candidate"], route["shadow_flag"], route["fallback"]) == (None, None, False)
    assert route["flag"] == {"name": "payments.split", "enabled": True}
