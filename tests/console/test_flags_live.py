"""A real console beside a real gateway: what is flipped and overridden there is on the page, by itself."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from demo.processes import Running
from tests.support.chromium import required
from tests.support.console import browser, running_console
from tests.support.gateway import Gateway, gateway

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
[shadow]
database = "sqlite:///var/console.sqlite3"
"""


def console(running: Gateway) -> AbstractContextManager[Running]:
    """Over the gateway's own banyan.toml, which leaves the admin port's number to it."""
    return running_console(running.folder / "banyan.toml", BANYAN_CONSOLE_ADMIN=f"127.0.0.1:{running.admin}")


def override(running: Gateway, method: str, body: dict[str, object]) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{running.admin}/flags/overrides/reviews", json=body, timeout=5)
    assert answer.status_code == 200, answer.text


def flips_and_overrides(url: str, running: Gateway) -> None:
    with browser(url, "/flags/") as page:
        page.get_by_text("every worker decides by it").wait_for()
        page.get_by_text("No change was seen").wait_for()
        row = page.locator("#flags tbody tr").filter(has=page.get_by_role("rowheader", name="reviews", exact=True))
        assert row.locator(".pill").inner_text() == "off"

        running.set_flags(reviews=25)
        row.get_by_text("on for 25 % of users", exact=True).wait_for()
        change = page.locator("#changes tbody tr")
        change.first.wait_for()
        assert change.count() == 1
        assert change.locator(".was").inner_text() == "off"
        assert change.locator(".is").inner_text() == "on for 25 % of users"
        assert "the file changed" in change.inner_text()

        override(running, "PUT", {"enabled": False, "seconds": 1800, "by": "ana <script>", "why": "the drill"})
        row.get_by_text("override: off", exact=True).wait_for()
        assert "by ana <script>: the drill" in row.inner_text()
        page.locator("#changes tbody tr").nth(1).wait_for()
        assert "ana <script>" in change.first.inner_text()
        assert change.first.locator(".was").inner_text() == "no override"
        assert change.first.locator(".is").inner_text().startswith("override off until ")

        page.goto("/")
        overview = page.get_by_role("row").filter(has=page.get_by_role("link", name="reviews", exact=True))
        assert "override: off" in overview.inner_text()
        override(running, "DELETE", {"by": "bob", "why": "over"})
        overview.get_by_text("override: off").wait_for(state="detached")

        running.set_flags(reviews=False)
        page.goto("/routes/reviews/")
        page.locator("table.changes tbody tr").nth(3).wait_for()
        newest = page.locator("table.changes tbody tr").first
        assert [newest.locator(".was").inner_text(), newest.locator(".is").inner_text()] == ["on for 25 % of users", "off"]
        newest.get_by_role("link", name="what changed of reviews").click()
        assert '"enabled": true' in page.locator("del").all_inner_texts()[0]


def gone(url: str) -> None:
    with browser(url, "/flags/") as page:
        page.get_by_text("tells nothing").wait_for()
        page.get_by_text("It last did").wait_for()
        answered = page.goto("/")
        assert answered is not None
        assert answered.status == 200
        assert "on for" not in page.locator("#routes").inner_text()


@pytest.mark.browser
async def test_flips_overrides_and_the_gateways_end(tmp_path: Path) -> None:
    required()
    async with gateway(tmp_path, TOML, reviews=False) as running:
        with console(running) as started:
            await asyncio.to_thread(flips_and_overrides, started.url, running)
            os.kill(running.process.pid, 2)
            deadline = time.monotonic() + 15
            while running.process.alive():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            await asyncio.to_thread(gone, started.url)


async def test_two_consoles_and_a_restart_keep_each_change_once(tmp_path: Path) -> None:
    from sqlite3 import connect

    def kept() -> list[int]:
        with connect(tmp_path / "var" / "console.sqlite3") as database:
            found = [number for (number,) in database.execute("SELECT number FROM shadow_flagchange ORDER BY number")]
        database.close()
        return found

    def wait(count: int) -> None:
        deadline = time.monotonic() + 10
        while len(kept()) < count:
            assert time.monotonic() < deadline, kept()
            time.sleep(0.1)

    async def until(count: int) -> None:
        await asyncio.to_thread(wait, count)

    async with gateway(tmp_path, TOML, reviews=False) as running:
        with console(running), console(running):
            for state in (True, False, True):
                await running.current(reviews=state)
            await until(3)
        await running.current(reviews=False)  # nobody looks: the gateway keeps it
        with console(running):
            await until(4)
            await asyncio.sleep(1.5)
        assert kept() == [1, 2, 3, 4]
