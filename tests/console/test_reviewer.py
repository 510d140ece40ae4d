"""A reviewer's whole way, in real Chromium over a real gateway, shipper and console: from "reviews matches 93 %" to a passed gate."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.processes import Running, python, start
from tests.support.console import give_role, new_page, open_logged_in, running_console
from tests.support.gateway import listening, write_flags

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TOML = """
[gateway]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
workers = 1
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
[routes.shadow]
noise = 0.0
[routes.gate]
minimum = 50
match = 0.9
"""


def review(number: int, *, candidate: bool) -> dict[str, Any]:
    """Seven of the hundred differ: all of these in one place, and two of them in another beside it."""
    found = {"id": number, "stars": 4, "updated": "2026-01-02T10:00:00Z", "tags": ["new", "long"]}
    if candidate and number >= 93:
        found["updated"] = f"2026-01-02T10:00:{number - 60}Z"
    if candidate and number >= 98:
        found["tags"] = ["long", "new"]
    return found


@contextmanager
def upstream(*, candidate: bool) -> Iterator[int]:
    """One of the two; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = json.dumps(review(int(self.path.rpartition("/")[2]), candidate=candidate)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="upstream")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Shop:
    console: Running
    gateway: str
    folder: Path

    def ask(self, *numbers: int) -> None:
        """As many clients of the gateway's would."""
        with httpx.Client(base_url=self.gateway) as client:
            for number in numbers:
                assert client.get(f"/api/v1/reviews/{number}").status_code == 200

    def counted(self) -> dict[str, int]:
        with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as database:
            return dict(database.execute("SELECT name, SUM(count) FROM shadow_tally GROUP BY name"))


@pytest.fixture
def shop() -> Iterator[Shop]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    with upstream(candidate=False) as legacy, upstream(candidate=True) as new:
        config = folder / "banyan.toml"
        config.write_text(TOML.format(legacy=legacy, new=new))
        write_flags(folder / "flags.json", {"reviews": False, "reviews__shadow": True})
        gateway = start("gateway", python("-m", "gateway.cli", "run", "--config", str(config)), log_dir=folder, ready=listening)
        try:
            found = re.search(r"serving on \S+?(:\d+)\b.* admin on (\S+?:\d+)", gateway.log.read_text())
            assert found is not None, gateway.tail()
            with running_console(config, BANYAN_CONSOLE_ADMIN=found[2]) as console:
                give_role(folder, "reviewer")
                made = Shop(console, f"http://127.0.0.1{found[1]}", folder)
                made.ask(*range(100))
                until(lambda: made.counted().get("matched", 0) + made.counted().get("mismatched", 0) == 100, made)
                yield made
        finally:
            gateway.stop()
            shutil.rmtree(folder)


def until(said: Callable[[], bool], shop: Shop) -> None:
    deadline = time.monotonic() + 30
    while not said():
        assert time.monotonic() < deadline, shop.counted()
        time.sleep(0.1)


@pytest.fixture
def page(shop: Shop) -> Iterator[Page]:
    """It has to come to no error of its own."""
    errors: list[str] = []
    with new_page(shop.console.url) as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.set_default_timeout(20_000)
        yield page
    assert errors == []


def test_from_93_percent_to_a_passed_gate(shop: Shop, page: Page) -> None:
    open_logged_in(page, "/routes/reviews/")
    assert "93.00 %" in page.locator("main").inner_text()
    assert "not yet" in page.locator("main").inner_text()
    page.get_by_role("link", name="$.updated", exact=True).click()
    main = page.locator("main")
    assert "7.00 %" in main.inner_text()
    assert "7 of 100" in main.inner_text()
    assert page.locator(".differences tr.own .path").inner_text() == "$.updated"

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl-line").inner_text()
    assert page.locator("#curl-line").inner_text().startswith("curl --globoff --include ")

    page.get_by_role("link", name="Expected…").click()
    preview = page.locator("#preview")
    assert "93.00 % → 98.00 %" in preview.inner_text().replace("\n", " ")
    page.get_by_label("another:").check()
    page.get_by_label("Path", exact=True).fill("$..nothing")
    page.get_by_label("Value").focus()  # what was typed is previewed as soon as it is left
    preview.get_by_text("ignore $..nothing").wait_for()
    assert "93.00 % → 93.00 %" in preview.inner_text().replace("\n", " ")
    assert "This signature would not be expected by it" in preview.inner_text()
    page.get_by_label("ignore $.updated").check()
    preview.get_by_text("ignore $.updated", exact=True).wait_for()
    page.get_by_label("Why it is expected").fill("the candidate writes when it was asked: agreed with the app")
    page.get_by_role("button", name="Make the rule").click()

    assert page.locator("#rate").inner_text() == "98.00 %"
    assert "93.00 % before it was made" in main.inner_text()
    assert page.locator("#gate").inner_text() == "not yet"
    assert "1 signature still open: order $.tags (new)" in main.inner_text()
    page.get_by_role("link", name="next open →").click()
    assert "$.tags" in page.locator("h1").inner_text()
    page.get_by_role("link", name="Expected…").click()
    assert "98.00 % → 100.00 %" in preview.inner_text().replace("\n", " ")
    assert re.search(r"Gate\s+not yet → passes", preview.inner_text())
    page.get_by_label("Why it is expected").fill("tags are a set")
    page.get_by_role("button", name="Make the rule").click()
    assert page.locator("#rate").inner_text() == "100.00 %"
    assert page.locator("#gate").inner_text() == "passes"

    page.get_by_role("link", name="To the route").click()
    assert "100.00 %" in main.inner_text()
    assert "passes" in main.inner_text()
    assert page.locator("#signature-list .state-expected").count() == 2

    asked = 100

    def compared() -> int:
        found = shop.counted()
        return found.get("matched", 0) + found.get("mismatched", 0) + found.get("excused", 0)

    def excused() -> bool:
        """Whether a running shipper has the rules: it needs a second or two."""
        nonlocal asked
        shop.ask(99)
        asked += 1
        until(lambda: compared() == asked, shop)
        return shop.counted().get("excused", 0) > 0

    until(excused, shop)
    before = shop.counted()
    shop.ask(*range(93, 100))
    until(lambda: compared() == asked + 7, shop)
    assert shop.counted()["excused"] == before["excused"] + 7
    assert shop.counted()["mismatched"] == before["mismatched"]


def tab_to(page: Page, what: str) -> None:
    """Tab, until the element that has the focus reads so."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == what:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"nobody sees that {what} has the focus"
            return
    raise AssertionError(f"Tab never comes to {what}")


def press(page: Page, key: str, path: str) -> None:
    """A key that goes to another page."""
    with page.expect_navigation(url=re.compile(path)):
        page.keyboard.press(key)


def test_the_same_by_keyboard_alone(shop: Shop, page: Page) -> None:
    open_logged_in(page, "/routes/reviews/")
    tab_to(page, "$.updated")
    press(page, "Enter", r"/signatures/\d+/$")
    first = page.url
    press(page, "j", r"/samples/\d+/$")
    press(page, "k", r"/samples/\d+/$")
    press(page, "ArrowRight", r"/samples/\d+/$")
    assert re.search(r"sample 2 of \d", page.locator("main").inner_text())
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("n")
    assert page.locator("dialog#keys").is_visible(), "keys do nothing behind it"
    page.keyboard.press("Escape")
    assert not page.locator("dialog#keys").is_visible()

    page.keyboard.press("?")
    page.get_by_label("Single keys do this").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    time.sleep(0.3)
    assert "/samples/" in page.url, "turned off"
    page.reload()
    page.keyboard.press("?")
    page.get_by_label("Single keys do this").check()
    page.keyboard.press("Escape")

    page.keyboard.press("c")
    page.keyboard.type("never jumps: kbefnp?")
    assert page.evaluate("document.activeElement.value") == "never jumps: kbefnp?"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.keyboard.press("b")
    page.keyboard.type("just looking")
    page.keyboard.press("Escape")
    assert page.locator(".decide details[open]").count() == 0
    for key in ("Control+e", "Alt+e", "Shift+E"):
        page.keyboard.press(key)
    time.sleep(0.3)
    assert "/samples/" in page.url, "with a modifier a key is the browser's"
    press(page, "n", r"/signatures/\d+/$")
    assert page.url != first
    press(page, "p", r"/signatures/\d+/$")
    assert page.url == first

    press(page, "e", r"/expect/$")
    page.keyboard.type("agreed with the app")
    press(page, "Enter", r"/rules/\d+/$")
    assert page.locator("#rate").inner_text() == "98.00 %"
    press(page, "n", r"/signatures/\d+/$")
    press(page, "e", r"/expect/$")
    page.keyboard.type("tags are a set")
    press(page, "Enter", r"/rules/\d+/$")
    assert page.locator("#rate").inner_text() == "100.00 %"
    assert page.locator("#gate").inner_text() == "passes"
    press(page, "u", r"/routes/reviews/$")
    assert "passes" in page.locator("main").inner_text()
    tab_to(page, "The route’s rules")  # noqa: RUF001 - as it stands there
    press(page, "Enter", r"/rules/$")
    assert page.get_by_role("row").filter(has_text="agreed with the app").count() == 1


def test_bugs_by_the_list_while_it_refreshes(shop: Shop, page: Page) -> None:
    open_logged_in(page, "/routes/reviews/")
    page.get_by_role("checkbox", name="value $.updated").check()
    page.get_by_role("checkbox", name="order $.tags").check()
    assert page.locator("[data-chosen]").inner_text() == "2"
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        pass  # the page refreshes itself, and what is chosen stays
    time.sleep(0.3)
    assert page.locator("#signature-list :checked").count() == 2
    page.get_by_label("Reason").fill("both are wrong")
    page.get_by_role("button", name="Bug", exact=True).click()
    assert "2 signatures are bug now." in page.locator("main").inner_text()
    assert page.locator("#signature-list .state-bug").count() == 2
