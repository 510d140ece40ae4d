"""The real shop under the demo's traffic: which endpoints are hot, and how a migration begins by what the console says."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.shop import PASSWORD, USERS, start_shop
from demo.traffic import Traffic
from gateway.endpoints.templates import SEEN
from tests.support.console import log_in, running_console
from tests.support.gateway import Gateway, gateway

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

TOML = """
[upstreams]
legacy = "{shop}"
reviews = "{shop}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
methods = ["GET", "HEAD"]
candidate = "reviews"
"""
PEOPLE = 8
REQUESTS = 400


class World:
    def __init__(self, running: Gateway, log: Path) -> None:
        self.gateway = running
        self._log = log

    def true(self) -> Counter[tuple[str, str]]:
        """What the shop itself answered, by the pattern of its URLconf."""
        found: Counter[tuple[str, str]] = Counter()
        for line in self._log.read_text().splitlines():
            method, path, _ = line.split(" ")
            if path not in ("/healthz", "/_banyan/whoami"):
                found[method, re.sub(r"/\d+(?=/|$)", "/{id}", path)] += 1
        return found

    async def top(self, query: str = "") -> dict[str, Any]:
        """Once all that the shop answered is told."""
        deadline = time.monotonic() + 20
        while True:
            found: dict[str, Any] = await asyncio.to_thread(self.gateway.get, f"/top?limit=200{query}")
            if found["total"]["requests"] >= self.true().total():
                return found
            assert time.monotonic() < deadline, (found["total"], self.true())
            await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("top")
    log = folder / "shop-access.log"
    shop = await asyncio.to_thread(start_shop, folder / "shop", 2, access_log=log)
    try:
        async with gateway(folder, TOML.format(shop=shop.url), workers=2) as running:
            traffic = Traffic(running.port, USERS[:PEOPLE], PASSWORD, 60.0)
            try:
                await asyncio.to_thread(traffic.start)
                traffic.resume()
                deadline = time.monotonic() + 90
                while traffic.counts.answered < REQUESTS:
                    assert time.monotonic() < deadline, traffic.counts
                    await asyncio.sleep(0.1)
                await asyncio.to_thread(traffic.pause)
            finally:
                await asyncio.to_thread(traffic.stop)
            assert traffic.counts.failed == 0, traffic.counts.last_failure
            yield World(running, log)
    finally:
        await asyncio.to_thread(shop.stop)


async def test_the_shops_endpoints_come_out_as_its_urlconf_has_them(world: World) -> None:
    found = await world.top()
    templates = {(one["method"], one["template"]) for one in found["endpoints"]}
    assert templates >= {
        ("GET", "/api/v1/reviews/"),
        ("GET", "/api/v1/reviews/{id}"),
        ("GET", "/api/v1/reviews/summary/{id}"),
        ("GET", "/api/v1/recommendations/"),
        ("GET", "/api/v1/recommendations/{id}"),
        ("GET", "/api/v1/items/"),
        ("GET", "/api/v1/items/{id}"),
        ("GET", "/items/{id}/"),
        ("GET", "/api/v1/users/me"),
        ("GET", "/"),
    }
    values = {template for _, template in templates if "{" in template.replace("{id}", "")}
    assert all("{…}" in template for template in values), "nothing in this shop is any other value"
    odd = sum(one["requests"] for one in found["endpoints"] if one["template"] in values or "*" in one["template"])
    assert odd <= 2 * (SEEN - 1) * len(world.true()), "all that has no name is what the names were learned by"


async def test_the_hottest_are_right_by_count(world: World) -> None:
    found = await world.top("&sort=requests")
    true = world.true()
    assert found["total"]["requests"] == true.total()
    counted = {(one["method"], one["template"]): one["requests"] for one in found["endpoints"]}
    for endpoint, count in true.items():
        assert count - (SEEN - 1) <= counted.get(endpoint, 0) <= count, endpoint
    named = [one for one in found["endpoints"] if "{…}" not in one["template"]][:4]
    fourth = sorted(true.values())[-4]
    assert all(true[one["method"], one["template"]] >= fourth - (SEEN - 1) for one in named)


async def test_what_is_said_of_them_is_right(world: World) -> None:
    found = await world.top()
    by_name = {(one["method"], one["template"]): one for one in found["endpoints"]}
    reviews = by_name["GET", "/api/v1/reviews/"]
    assert (reviews["route"], reviews["served_by"]) == ("reviews", {"legacy": reviews["requests"]})
    assert by_name["GET", "/api/v1/recommendations/{id}"]["route"] is None
    assert sum(one["legacy_share"] for one in found["endpoints"]) == pytest.approx(1.0, abs=0.01)
    assert found["total"]["errors_5xx"] == 0.0
    assert by_name["GET", "/api/v1/recommendations/{id}"]["errors_4xx"] > 0.0, "the traffic asks for some that there are not"


async def test_a_migration_begins_by_what_the_console_says(world: World) -> None:
    await asyncio.to_thread(_begin, world)
    listed = await asyncio.to_thread(world.gateway.get, "/routes")
    assert [route["name"] for route in listed["routes"]] == ["reviews", "recommendations-detail"]
    await world.gateway.request(b"GET /api/v1/recommendations/1 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
    deadline = time.monotonic() + 15
    while True:
        found = await asyncio.to_thread(world.gateway.get, "/top")
        one = next(one for one in found["endpoints"] if one["template"] == "/api/v1/recommendations/{id}")
        if one["routes"]:
            break
        assert time.monotonic() < deadline, one
        await asyncio.sleep(0.2)
    assert one["routes"] == {"recommendations-detail": 1}


def _begin(world: World) -> None:
    """Puts at the end of banyan.toml what the console says, and waits until the gateway goes by it."""
    config = world.gateway.folder / "banyan.toml"
    with running_console(config, BANYAN_CONSOLE_ADMIN=f"127.0.0.1:{world.gateway.admin}") as running:
        client = log_in(running)
        deadline = time.monotonic() + 20
        while "/api/v1/recommendations/{id}" not in (page := client.get("/endpoints/?sort=next").text):
            assert time.monotonic() < deadline, page
            time.sleep(0.2)
        start = client.get("/endpoints/start/", params={"method": "GET", "template": "/api/v1/recommendations/{id}"})
        client.close()
    toml = re.findall(r'<pre id="toml"[^>]*>(.*?)</pre>', start.text, re.DOTALL)
    with config.open("a") as file:
        file.write("\n" + html.unescape(toml[0]))
    deadline = time.monotonic() + 20
    while world.gateway.get("/config")["number"] == 0:
        assert time.monotonic() < deadline, world.gateway.get("/config")["last_reload"]
        time.sleep(0.2)
