"""Somebody opens mitmweb in a browser: signs in, finds a flow by its mark, reads what was decided, and finds no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inspecting.conftest import inspected, says
from tests.support.chromium import ARGUMENTS, CHROMIUM, required

pytestmark = pytest.mark.browser


async def test_a_flow_is_found_by_its_mark(tmp_path: Path) -> None:
    required()
    from playwright.async_api import async_playwright

    async with inspected(tmp_path, reviews=True, reviews__shadow=True) as inside, async_playwright() as playwright:
        inside.legacy.handler, inside.new.handler = says({"stars": 4}), says({"stars": 5})
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
            page.set_default_timeout(30_000)
            await page.goto(inside.page)
            assert "Authentication Required" in await page.inner_text("body")
            await page.locator("input[name=token]").fill("wrong")
            await page.locator("input[type=submit]").click()
            await page.get_by_text("Invalid Password").wait_for()
            await page.locator("input[name=token]").fill(inside.password)
            await page.locator("input[type=submit]").click()
            await page.wait_for_function("document.title === 'mitmproxy' && !document.body.innerText.includes('Invalid')")
            await page.goto(inside.page + "#/flows")
            # While it is open: the page is told of each flow.
            await inside.get("/reviews/17")
            await inside.get("/about")
            row = page.locator("tr", has_text="/reviews/17").filter(has_text="candidate (flag)")
            await row.wait_for()
            await row.filter(has_text="mismatch: value $.stars").filter(has_text="✖").wait_for()
            await page.locator("tr", has_text="/about").filter(has_text="no route · legacy (unrouted)").wait_for()
            search = page.get_by_placeholder("Search")
            for text, there, gone in (
                ("~marker multiplication", "/reviews/17", "/about"),
                ("~comment unrouted", "/about", "/reviews/17"),
                ("~comment mismatch", "/reviews/17", "/about"),
            ):
                await search.fill(text)
                await page.locator("tr", has_text=there).first.wait_for()
                await page.locator("tr", has_text=gone).first.wait_for(state="detached")
            # mitmproxy's filters know ~meta, and the page's do not: the day they do, docs/guide/inspect.md can say so.
            await search.fill("~meta route")
            await page.get_by_text("SyntaxError").wait_for()
            await search.fill("")
            await row.click()
            await page.get_by_text("127.0.0.1").first.wait_for()
            assert [each.line for each in inside.new.requests] == [b"GET /reviews/17 HTTP/1.1"]
        finally:
            await browser.close()
