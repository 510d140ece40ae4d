"""Ten thousand requests through a real gateway, and what the real Unleash has counted of them: all, once, on the side that answered."""

# ruff: noqa: ASYNC110 - what Unleash has counted has no event to wait for
from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from demo.unleash import RunningUnleash
from flags.admin import UnleashAdmin
from tests.support.gateway import Exchange, Gateway, Upstream, gateway

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

REQUESTS, CLIENTS, USERS = 10_000, 50, 1_000

TOML = """
[gateway]
access_log = ""
[flags]
source = "unleash"
url = "{url}"
token = "{token}"
[identity]
source = "introspection"
path = "/who"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "counted-route"
match = "/api/v1/reviews/*"
candidate = "new"
flag = "counted-exactly"
"""


async def legacy_answers(exchange: Exchange) -> None:
    if exchange.line.startswith(b"GET /who"):
        user = exchange.header("Cookie")[0].partition("=")[2]
        await exchange.answer(json.dumps({"authenticated": True, "user_id": user}).encode())
    else:
        await exchange.answer(b"legacy")


async def candidate_answers(exchange: Exchange) -> None:
    await exchange.answer(b"candidate")


async def client(running: Gateway, number: int, answers: dict[int, Counter[bytes]]) -> None:
    """One connection that is kept: its share of the requests, each for another user."""
    connection = await running.connect()
    for request in range(number, REQUESTS, CLIENTS):
        user = request % USERS
        head = f"GET /api/v1/reviews/{request} HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid={user}\r\n\r\n"
        response = await connection.request(head.encode())
        assert response.status == 200
        answers[user][response.body] += 1


async def test_ten_thousand_requests_are_counted_exactly(unleash: RunningUnleash, tmp_path: Path) -> None:
    def make() -> None:
        with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
            admin.ensure_flag("counted-exactly")
            admin.set("counted-exactly", True, 25)

    await asyncio.to_thread(make)
    old, new = Upstream(legacy_answers), Upstream(candidate_answers)
    await old.start()
    await new.start()
    answers: dict[int, Counter[bytes]] = {user: Counter() for user in range(USERS)}
    toml = TOML.format(url=unleash.api_url, token=unleash.client_token, legacy=old.port, new=new.port)
    headers = {"Authorization": unleash.admin_token}
    try:
        async with httpx.AsyncClient(base_url=unleash.api_url, headers=headers, timeout=5) as api:

            async def counted() -> tuple[int, int]:
                answer = await api.get("/admin/client-metrics/features/counted-exactly/raw")
                rows = answer.raise_for_status().json()["data"]
                return sum(row["yes"] for row in rows), sum(row["no"] for row in rows)

            async with gateway(tmp_path, toml, workers=2) as running:
                await running.decided(**{"counted-exactly": True})
                began = time.monotonic()
                await asyncio.gather(*(client(running, number, answers) for number in range(CLIENTS)))
                took = time.monotonic() - began
                async with asyncio.timeout(60):
                    while sum(await counted()) < REQUESTS:
                        await asyncio.sleep(0.5)
                served = sum((each for each in answers.values()), Counter[bytes]())
                assert await counted() == (served[b"candidate"], served[b"legacy"])
            # Its end reports what is left, which is nothing.
            await asyncio.sleep(2)
            yes, no = await counted()
    finally:
        await old.stop()
        await new.stop()
    print(f"{REQUESTS} requests in {took:.1f} s, Unleash counts {yes} yes and {no} no, seen {dict(served)}")
    assert (yes, no) == (served[b"candidate"], served[b"legacy"])
    assert yes + no == REQUESTS
    assert all(len(each) == 1 for each in answers.values())  # nobody saw both sides
    share = sum(b"candidate" in each for each in answers.values()) / USERS
    assert 0.20 < share < 0.30
