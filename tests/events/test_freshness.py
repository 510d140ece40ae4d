"""The product view in the shadow of the shop's own: what is on its way is counted as stale, then matches; what is wrong is a mismatch."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx

from demo.processes import ROOT, Running, python, start
from demo.shop import Shop, start_product_view, start_shop
from legacy_django.accounts.seeded import token
from tests.support.gateway import Gateway, gateway
from tests.support.nats import Nats

VIEW = "/api/v1/product-view/"
TOML = """
[upstreams]
legacy = "{legacy}"
product_view = "{view}"
[[routes]]
name = "view"
match = "/api/v1/product-view/{{id}}"
candidate = "product_view"
[routes.shadow.compare]
ignore = ["$.as_of"]
[routes.shadow.compare.freshness]
max_age = "10m"
as_of = "Age"
[routes.shadow.compare.freshness.last_modified]
"$" = "$.as_of.product"
"$.options" = "$.as_of.stock"
"$.stock" = "$.as_of.stock"
"$.reviews" = "$.as_of.reviews"
"""
"""As docs/guide/events.md has it; the tolerance is wide, for how long this takes is nothing to the test."""


class World:
    def __init__(self, folder: Path, shop: Shop, view: Running, nats: Nats, running: Gateway) -> None:
        self.folder = folder
        self.shop = shop
        self.view = view
        self.gateway = running
        self.relay = self._start(
            "relay", python("-m", "events", "relay", "--store", shop.database, "--nats", nats.url), lambda log: "running" in log
        )
        self._nats = nats
        self.follower = self.follow("follower")

    def follow(self, name: str) -> Running:
        return self._start(name, python("-m", "services.product_view", "follow", "--nats", self._nats.url), lambda log: "running" in log)

    def _start(self, name: str, command: list[str], ready: Callable[[str], bool]) -> Running:
        environment = {"BANYAN_PRODUCT_VIEW_DB": str(self.folder / "product_view.sqlite3")}
        return start(name, command, log_dir=self.folder, env=environment, ready=lambda running: ready(running.log.read_text()))

    async def ask(self, item: int) -> None:
        answer = await self.gateway.request(f"GET {VIEW}{item} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert answer.status == 200

    def shown(self, item: int) -> httpx.Response:
        return httpx.get(f"{self.view.url}{VIEW}{item}")

    def review(self, item: int, user: str) -> None:
        answer = httpx.post(
            f"{self.shop.url}/api/v1/reviews/",
            json={"item": item, "rating": 5, "title": "t", "body": "b"},
            headers={"Authorization": f"Token {token(user)}"},
        )
        assert answer.status_code == 201, answer.text

    def change(self, statement: str, *arguments: object) -> None:
        """Of the view's own store, past all that keeps it right."""
        with closing(sqlite3.connect(self.folder / "product_view.sqlite3", timeout=10)) as connection:
            assert connection.execute(statement, arguments).rowcount > 0
            connection.commit()

    def counted(self) -> dict[str, int]:
        """What the comparison came to."""
        return {
            name: count
            for name, count in self._asked("SELECT name, SUM(count) FROM shadow_tally GROUP BY name")
            if name in ("matched", "mismatched") or name.startswith("skipped.")
        }

    def signatures(self) -> dict[str, int]:
        return dict(self._asked("SELECT path, count FROM shadow_signature"))

    def _asked(self, query: str) -> list[tuple[str, int]]:
        try:
            with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []  # not made yet

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await asyncio.to_thread(true):  # noqa: ASYNC110 - what is waited for happens in other processes
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"it did not happen in time: {self.counted()} {self.signatures()}") from None

    def report(self) -> dict[str, object]:
        command = python("-m", "gateway.cli", "report", "view", "--json", "--config", str(self.folder / "banyan.toml"))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        found: dict[str, object] = json.loads(done.stdout)
        return found


async def test_what_is_on_its_way_is_stale_and_then_matches_and_what_is_wrong_is_a_mismatch(tmp_path: Path, nats: Nats) -> None:
    shop = await asyncio.to_thread(start_shop, tmp_path, 1)
    parts: list[Running] = [shop]
    try:
        view = await asyncio.to_thread(start_product_view, tmp_path, shop)
        parts.append(view)
        async with gateway(tmp_path, TOML.format(legacy=shop.url, view=view.url), view=False, view__shadow=True) as running:
            world = await asyncio.to_thread(World, tmp_path, shop, view, nats, running)
            try:
                await _story(world)
            finally:
                parts += [world.relay, world.follower]
    finally:
        for part in reversed(parts):
            await asyncio.to_thread(part.stop)


async def _story(world: World) -> None:
    await world.ask(200)
    await world.until(lambda: world.counted() == {"matched": 1})
    assert int(world.shown(200).headers["age"]) >= 2

    # Nobody follows, the shop is changed: the view does not know, and says so. Item 200 has no reviews yet.
    world.follower.kill()
    await asyncio.to_thread(world.review, 200, "user01")
    await world.ask(200)
    await world.until(lambda: world.counted() == {"matched": 1, "skipped.stale": 1})

    # As if nobody had followed for longer than may be.
    with closing(sqlite3.connect(world.folder / "product_view.sqlite3")) as connection:
        before = dict(connection.execute("SELECT partition, moment FROM event_as_of").fetchall())
    world.change("UPDATE event_as_of SET moment = moment - 3600000")
    await world.ask(200)
    await world.until(lambda: world.counted() == {"matched": 1, "skipped.stale": 1, "mismatched": 1})
    assert "$.reviews.count" in world.signatures()

    # It goes on, and then the same question is a match.
    world.follower = await asyncio.to_thread(world.follow, "follower-again")
    await world.until(lambda: world.shown(200).json()["reviews"]["count"] == 1)
    await world.ask(200)
    await world.until(lambda: world.counted() == {"matched": 2, "skipped.stale": 1, "mismatched": 1})

    # A view that is wrong where nothing was changed lately says at once that it knows better.
    await world.until(lambda: _moments(world) >= max(before.values()))
    world.change('UPDATE documents SET body = replace(body, \'"name":"\', \'"name":"Not \') WHERE item = 7')
    await world.ask(7)
    await world.until(lambda: world.counted().get("mismatched") == 2)
    assert world.signatures()["$.name"] == 1
    assert world.counted()["skipped.stale"] == 1

    # And where something was: it may pass for what is on its way, until it is as of that change.
    await asyncio.to_thread(world.review, 199, "user01")
    await world.until(lambda: world.shown(199).json()["reviews"]["count"] == 1)
    world.change("UPDATE documents SET body = replace(body, '\"count\":1', '\"count\":2') WHERE item = 199")
    seen = world.signatures()["$.reviews.count"]
    for _ in range(120):
        await world.ask(199)
        await asyncio.sleep(0.25)
        if world.signatures()["$.reviews.count"] > seen:
            break
    assert world.signatures()["$.reviews.count"] > seen

    # Where other reasons are told, this one is.
    told = await asyncio.to_thread(world.report)
    stale = world.counted()["skipped.stale"]
    assert told["skipped"] == {"stale": stale}
    line = re.search(r'^banyan_shadow_skipped_total\{reason="stale",route="view"\} (\S+)$', world.gateway.metrics(), re.MULTILINE)
    assert line is not None
    assert float(line[1]) == stale


def test_the_guide_s_route_is_this_one() -> None:
    text = (ROOT / "docs" / "guide" / "events.md").read_text()
    [block] = [found for found in re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "freshness" in found]
    [told], [tried] = (tomllib.loads(each)["routes"] for each in (block, TOML.format(legacy="l", view="v")))
    for route in (told, tried):
        route["name"] = "view"
        route["shadow"]["compare"]["freshness"]["max_age"] = "some time"
    assert told == tried


def _moments(world: World) -> int:
    """What the view is as of at the least, in milliseconds since 1970."""
    with closing(sqlite3.connect(world.folder / "product_view.sqlite3", timeout=10)) as connection:
        found: int = connection.execute("SELECT MIN(moment) FROM event_as_of").fetchone()[0]
    return found
