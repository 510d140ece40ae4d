"""Calls between domains over a running gateway: a service passes on the stamp that it was sent, and is known by it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from demo.processes import python
from services.stamp import FixedKeys, Stamped, parse, verify
from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway, ok
from tests.support.stamp_keys import OTHER_SECRET, SECRET

TOML = """
[gateway]
access_log = "access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{reviews}"
items = "http://127.0.0.1:{items}"
[identity]
source = "introspection"
path = "/who"
stamp = {{ key = "{key}" }}
[domains]
order = ["users", "items", "reviews"]
enforce = "{enforce}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[[routes]]
name = "items"
match = "/catalogue/*"
candidate = "items"
domain = "items"
"""
REVIEWS, ITEMS, USERS = "/api/v1/reviews/3", "/catalogue/3", "/api/v1/users/7"


async def shop(exchange: Exchange) -> None:
    """Legacy, to which every session is Alice's."""
    said = {"authenticated": True, "user_id": 7, "session_id": "abc"}
    await exchange.answer(json.dumps(said).encode() if exchange.line.startswith(b"GET /who") else b"legacy")


@dataclass
class World:
    gateway: Gateway
    legacy: Upstream
    reviews: Upstream
    items: Upstream

    async def ask(self, path: str, *stamps: str) -> Response:
        """As a service does that passes on the stamp that it was sent; without one, as anybody outside."""
        fields = "".join(f"Banyan-Identity: {stamp}\r\n" for stamp in stamps)
        return await self.gateway.request(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid=alice\r\n{fields}\r\n".encode())

    async def stamp(self, path: str, service: Upstream) -> str:
        """What the service behind `path` is sent."""
        assert (await self.ask(path)).status == 200
        [token] = service.requests[-1].header("Banyan-Identity")
        return token

    async def calls(self, count: int) -> dict[tuple[str, str], tuple[str, int]]:
        """(caller, called) → (verdict, how often), once so many are known."""
        for _ in range(100):
            told = await asyncio.to_thread(self.gateway.get, "/domains")
            found = {(call["caller"], call["domain"]): (call["verdict"], call["calls"]) for call in told["calls"]}
            if sum(calls for _, calls in found.values()) >= count:
                break
            await asyncio.sleep(0.05)
        return found

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """So many lines of the access log."""
        path = self.gateway.folder / "access.log"
        for _ in range(100):
            lines = [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
            if len(lines) >= count:
                return lines
            await asyncio.sleep(0.05)
        raise AssertionError(f"{len(lines)} lines in the access log, not {count}")


@asynccontextmanager
async def served(folder: Path, enforce: str, **flags: bool) -> AsyncIterator[World]:
    upstreams = [Upstream(shop), Upstream(ok), Upstream(ok)]
    for upstream in upstreams:
        await upstream.start()
    legacy, reviews, items = upstreams
    toml = TOML.format(legacy=legacy.port, reviews=reviews.port, items=items.port, key=SECRET, enforce=enforce)
    try:
        async with gateway(folder, toml, **(flags or {"reviews": True, "items": True})) as running:
            yield World(running, legacy, reviews, items)
    finally:
        for upstream in upstreams:
            await upstream.stop()


async def test_calls_are_told_and_none_is_stopped(tmp_path: Path) -> None:
    async with served(tmp_path, "report") as world:
        review, item = await world.stamp(REVIEWS, world.reviews), await world.stamp(ITEMS, world.items)
        assert [(await world.ask(path, review)).status for path in (ITEMS, USERS, REVIEWS, "/export")] == [200] * 4
        assert (await world.ask(REVIEWS, item)).status == 200
        assert await world.calls(5) == {
            ("reviews", "items"): ("with", 1),
            ("reviews", "users"): ("with", 1),
            ("reviews", "reviews"): ("own", 1),
            ("reviews", "other"): ("unlisted", 1),
            ("items", "reviews"): ("against", 1),
        }
        metrics = await asyncio.to_thread(world.gateway.metrics)
        assert 'banyan_domain_calls_total{caller="items",domain="reviews",verdict="against"} 1.0' in metrics
        lines = await world.logged(7)
        assert [line.get("direction") for line in lines] == [None, None, "with", "with", "own", "unlisted", "against"]
        assert {key: lines[2][key] for key in ("caller_domain", "domain", "status")} == {
            "caller_domain": "reviews",
            "domain": "items",
            "status": 200,
        }


async def test_what_goes_against_the_order_meets_no_upstream(tmp_path: Path) -> None:
    async with served(tmp_path, "block") as world:
        review, item = await world.stamp(REVIEWS, world.reviews), await world.stamp(ITEMS, world.items)
        before = len(world.reviews.requests)
        answer = await world.ask(REVIEWS, item)
        assert (answer.status, answer.header("Banyan-Error")) == (403, "domain-direction")
        told = orjson.loads(answer.body)
        assert (told["type"], told["status"]) == ("urn:banyan:problem:domain-direction", 403)
        assert "items may not call reviews" in told["detail"]
        assert len(world.reviews.requests) == before
        assert (await world.ask(ITEMS, review)).status == 200
        assert (await world.ask(REVIEWS)).status == 200, "who comes from outside comes from no domain"
        (line,) = [line for line in await world.logged(5) if line.get("direction") == "against"]
        assert (line["status"], line["served_by"], line["upstream"]) == (403, "gateway", "")


async def test_a_stamp_names_the_domain_of_what_was_asked_also_where_legacy_answers(tmp_path: Path) -> None:
    async with served(tmp_path, "report", reviews=False, items=False) as world:
        await world.ask(REVIEWS)
        await world.ask(ITEMS)
        stamps = [exchange.header("Banyan-Identity")[0] for exchange in world.legacy.requests if b" /who" not in exchange.line]
        for stamp in stamps:
            await world.ask(USERS, stamp)
        assert await world.calls(2) == {("reviews", "users"): ("with", 1), ("items", "users"): ("with", 1)}
        # To the service it is the stamp that it was before.
        assert verify(stamps[0], FixedKeys(parse(SECRET)), "legacy") == Stamped("7", "abc", {})


@pytest.mark.parametrize("stamps", [["x.y.z"], ["two", "of them"]], ids=["forged", "doubled"])
async def test_what_is_no_stamp_of_ours_is_nobodys_call_and_goes_no_further(tmp_path: Path, stamps: list[str]) -> None:
    async with served(tmp_path, "block") as world:
        assert (await world.ask(REVIEWS, *stamps)).status == 200
        [passed] = world.reviews.requests[-1].header("Banyan-Identity")
        assert passed not in stamps
        assert await world.calls(0) == {}
        assert all("direction" not in line for line in await world.logged(1))


async def test_another_gateways_stamp_says_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, "block") as world:
        item = await world.stamp(ITEMS, world.items)
        file = tmp_path / "banyan.toml"
        file.write_text(file.read_text().replace(SECRET, OTHER_SECRET))
        for _ in range(200):
            if (await asyncio.to_thread(world.gateway.get, "/config"))["number"] > 1:
                break
            await asyncio.sleep(0.05)
        assert (await world.ask(REVIEWS, item)).status == 200
        for _ in range(100):
            metrics = await asyncio.to_thread(world.gateway.metrics)
            if 'banyan_events_total{event="domain-stamp-refused"} 1.0' in metrics:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the stamp that was not read is not counted")


async def test_switched_off_nobody_looks_and_stamps_name_no_domain(tmp_path: Path) -> None:
    async with served(tmp_path, "off") as world:
        item = await world.stamp(ITEMS, world.items)
        assert (await world.ask(REVIEWS, item)).status == 200
        assert await world.calls(0) == {}
        assert all("direction" not in line for line in await world.logged(2))


async def test_banyan_domains_draws_what_a_gateway_has_seen(tmp_path: Path) -> None:
    async with served(tmp_path, "report") as world:
        review, item = await world.stamp(REVIEWS, world.reviews), await world.stamp(ITEMS, world.items)
        await world.ask(ITEMS, review)
        await world.calls(1)
        where = ["--admin", f"127.0.0.1:{world.gateway.admin}", "--config", str(tmp_path / "banyan.toml"), "--json"]

        async def domains() -> tuple[int, dict[str, Any]]:
            command = python("-m", "gateway.cli", "domains", *where)
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
            return done.returncode, orjson.loads(done.stdout)

        status, told = await domains()
        assert (status, told["ok"], told["cycles"]) == (0, True, [])
        await world.ask(REVIEWS, item)
        await world.calls(2)
        status, told = await domains()
        assert (status, told["ok"], told["cycles"]) == (1, False, [["items", "reviews"]])
