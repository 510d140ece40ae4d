"""The console in Korean in a real Chromium: choosing it, what scripts say, and pages that all can use."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import Running
from tests.support.admin_port import admin_port
from tests.support.console import PASSWORD, USER, new_page, running_console, store_exchanges
from tests.support.reviewing import pair

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
[shadow]
database = "sqlite:///var/banyan.sqlite3"
"""
PAGES = (
    "/", "/routes/reviews/", "/routes/reviews/rules/", "/routes/reviews/gate/begin/", "/signatures/1/", "/signatures/1/expect/", "/flags/",
    "/flags/reviews/override/", "/timeline/", "/audit/", "/endpoints/", "/account/", "/account/password/",
)  # fmt: skip


@pytest.fixture(scope="module")
def console() -> Iterator[Running]:
    """With what differs, and what legacy itself is not sure of."""
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    with admin_port() as port:
        config = folder / "banyan.toml"
        config.write_text(TOML.replace("{admin}", port.address))
        noise = [pair({"t": number}, {"t": -number}, kind="noise") for number in range(1, 41)]
        store_exchanges(config, [pair({"t": 1, "name": "a"}, {"t": 2, "name": 5}), pair({"t": 1}, {"t": 3}), *noise])
        with running_console(config) as running:
            yield running
    shutil.rmtree(folder)


def choose(page: Page, label: str, language: str, button: str) -> None:
    page.get_by_label(label).select_option(language)
    page.get_by_role("button", name=button).click()
    page.locator(f"html[lang={language}]").wait_for()


WIDEN = """() => {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "100px system-ui, sans-serif";
  const missing = Math.max(0, 0.95 - pen.measureText("가").width / 100);
  document.documentElement.style.letterSpacing = `${missing / 2}em`; // about every other letter is Korean
}"""
"""On a machine without a Korean font boxes stand for its letters, and are narrower: the room that these would take."""


def log_in(page: Page) -> None:
    """In Korean."""
    page.get_by_label("이름").fill(USER)
    page.get_by_label("비밀번호").fill(PASSWORD)
    page.get_by_role("button", name="로그인").click()


def test_somebody_chooses_korean_and_english_again(console: Running) -> None:
    with new_page(console.url) as page:
        page.goto("/login/")
        assert page.locator("html").get_attribute("lang") == "en"
        choose(page, "Language", "ko", "Choose")
        log_in(page)
        page.get_by_role("heading", name="라우트", exact=True).wait_for()
        assert page.title() == "라우트 · Banyan"
        assert "조치 필요" in page.locator("#routes .lead").inner_text()
        page.get_by_role("link", name=f"{USER} 운영자").click()
        choose(page, "언어", "en", "선택")
        assert page.url.endswith("/account/")
        page.get_by_role("heading", name=USER).wait_for()
        page.goto("/")
        page.get_by_role("heading", name="Routes", exact=True).wait_for()


def test_scripts_speak_korean_too(console: Running) -> None:
    with new_page(console.url) as page:
        page.goto("/login/")
        choose(page, "Language", "ko", "Choose")
        log_in(page)
        page.goto("/routes/reviews/")
        canvas = page.locator("[data-chart=match] canvas")
        canvas.wait_for()
        page.locator("[data-chart=match] canvas[aria-label]").wait_for()
        assert re.match(r"일치율과 95 % 구간, 20.*부터 .* UTC까지: 상한", canvas.get_attribute("aria-label") or "")
        assert "일치율" in page.locator("[data-chart=match] .u-legend").inner_text()
        counted = page.locator("#signatures ~ * time[data-at], .signatures time[data-at]").first
        counted.evaluate("each => { each.dataset.at = String(Date.now() / 1000 - 65) }")
        page.wait_for_function("each => each.textContent === '65초 전' || each.textContent === '66초 전'", arg=counted.element_handle())
        page.goto("/signatures/1/")
        page.keyboard.press("?")
        page.get_by_role("heading", name="단축키").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_are_accessible_and_fit_in_korean(console: Running, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with new_page(console.url) as page:
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.set_viewport_size({"width": width, "height": 900})

        def look(what: str) -> None:
            page.evaluate(WIDEN)
            results = Axe().run(page)
            assert results.violations_count == 0, f"{width} {what}\n{results.generate_report()}"
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, f"{what} is wider than a window of {width}"

        page.goto("/login/")
        choose(page, "Language", "ko", "Choose")
        look("login")
        log_in(page)
        for path in PAGES:
            page.goto(path)
            assert page.locator("html").get_attribute("lang") == "ko", path
            look(path)
        page.goto("/flags/reviews/override/")
        page.get_by_role("radio", name="꺼짐").check()
        page.get_by_label("이유").fill("느림")
        page.get_by_role("button", name="결과 미리 보기").click()
        page.get_by_role("heading", name="reviews 플래그를").wait_for()
        look("confirmation")
        assert problems == []
