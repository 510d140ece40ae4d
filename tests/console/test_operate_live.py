"""People and operations in a real Chromium: an operator's way beside a real gateway, by keyboard; pages that all can use."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import Running
from tests.support.admin_port import AdminPort, admin_port, feature
from tests.support.chromium import required
from tests.support.console import PASSWORD, USER, browser, new_page, open_logged_in, running_console
from tests.support.gateway import Gateway, gateway

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<script>document.title='owned'</script>\u202egnp.exe" + "w" * 120
ROUTE = """
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


def by_keyboard(page: Page, role: str, name: str, key: str = "Enter") -> None:
    """Goes there with Tab alone, and presses a key."""
    wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]  # a role
    wanted.wait_for()
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert wanted.evaluate("element => getComputedStyle(element).outlineStyle") != "none", "focus can be seen"
            page.keyboard.press(key)
            return
    raise AssertionError(f"Tab does not reach {role} {name}")


def operate(url: str, running: Gateway) -> None:
    with browser(url, "/flags/") as page:
        by_keyboard(page, "link", "override… reviews")
        page.get_by_role("heading", name="Override reviews").wait_for()
        by_keyboard(page, "radio", "off All traffic of reviews goes to legacy.", "Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("reviews answers 500")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Turn reviews off?").wait_for()
        will = page.locator(".will").inner_text()
        assert "All traffic of reviews goes to legacy." in will
        assert f"On the gateway at 127.0.0.1:{running.admin} alone" in will
        assert running.get("/flags")["overrides"] == {}
        by_keyboard(page, "button", "Turn it off")
        page.get_by_text("Every worker decides by it.").wait_for()
        made = running.get("/flags")["overrides"]["reviews"]
        assert (made["enabled"], made["by"], made["why"]) == (False, USER, "reviews answers 500")
        assert 1700 < made["until"] - time.time() <= 1800

        page.goto("/flags/")
        by_keyboard(page, "link", "end the override… reviews")
        page.get_by_label("Why").fill("mended")
        page.keyboard.press("Enter")
        page.get_by_text("Every worker decides by it.").wait_for()
        assert running.get("/flags")["overrides"] == {}

        page.goto("/flags/")
        by_keyboard(page, "button", "Have their source asked now")
        page.get_by_text("Every worker decides by it.").wait_for()

        page.goto("/routes/reviews/")
        link = page.get_by_role("link", name="begin the gate anew…")
        link.focus()
        page.evaluate("document.body.addEventListener('htmx:afterSettle', () => { document.body.dataset.anew = 'yes' })")
        page.locator("body[data-anew=yes]").wait_for()
        assert link.evaluate("element => element === document.activeElement"), "what refreshes itself takes no focus away"
        page.reload()
        by_keyboard(page, "link", "begin the gate anew…")
        page.get_by_label("Why").fill("1.4.2")
        page.keyboard.press("Enter")
        page.get_by_text("Done.").wait_for()
        page.get_by_role("link", name="Back to reviews").click()
        page.get_by_text("The gate was begun anew").wait_for()
        by_keyboard(page, "link", "take it back…")
        page.get_by_label("Why").fill("a slip")
        page.keyboard.press("Enter")
        page.get_by_text("Done.").wait_for()

        deadline = time.monotonic() + 15
        while page.locator("tbody tr:not(.day)").count() < 5:
            assert time.monotonic() < deadline, page.locator("main").inner_text()
            time.sleep(0.3)
            page.goto("/timeline/?route=reviews")
        said = page.locator("main").inner_text()
        for words in (
            "not begun anew after all",
            "begun anew",
            "reviews: no override",
            "reviews: override off until",
            "the gateway was started",
        ):
            assert words in said
        page.goto("/audit/")
        actions = page.locator("tbody tr .pill").all_inner_texts()
        assert actions == ["gate-taken-back", "gate-begun", "flags-refreshed", "override-ended", "override-set", "login", "user-added"]


@pytest.mark.browser
async def test_an_operators_way_with_the_keyboard(tmp_path: Path) -> None:
    required()
    async with gateway(tmp_path, ROUTE, reviews=True) as running:
        with running_console(running.folder / "banyan.toml", BANYAN_CONSOLE_ADMIN=f"127.0.0.1:{running.admin}") as started:
            await asyncio.to_thread(operate, started.url, running)


@pytest.fixture(scope="module")
def eventful() -> Iterator[tuple[Running, AdminPort, Path]]:
    """A console with something of everything, and text of strangers in it."""
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    with admin_port() as port:
        (folder / "banyan.toml").write_text(f'[gateway]\nadmin = "{port.address}"\n{ROUTE}')
        on, off = feature("reviews", True), feature("reviews", False)
        port.change("reviews", off, on, by=HOSTILE, why=HOSTILE)
        port.state |= {"flags": {"reviews": True}, "definitions": {"reviews": on}}
        until = time.time() + 1800
        port.state["overrides"] = {"reviews": {"enabled": False, "since": time.time(), "until": until, "by": HOSTILE, "why": HOSTILE}}
        with running_console(folder / "banyan.toml") as running:
            path = folder / "var" / "console.sqlite3"
            now = time.time()
            with closing(sqlite3.connect(path, timeout=20)) as database, database:
                for number, kind in enumerate(("deployment", "gate", "shed", "in-doubt", "reload")):
                    row = (now - 90_000 * number, kind, "reviews", f"{kind} {HOSTILE}", HOSTILE, f'{{"ok": {str(number > 3).lower()}}}', "")
                    database.execute(
                        'INSERT INTO shadow_event (at, kind, route, text, "by", detail, "key") VALUES (?, ?, ?, ?, ?, ?, ?)', row
                    )
                audit = (now, HOSTILE, "reviewer", "rule-made", "reviews", HOSTILE, HOSTILE, "/routes/reviews/", '{"count": 12}')
                names = 'at, "by", role, action, route, subject, why, link, detail'
                database.execute(f"INSERT INTO console_audit ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", audit)  # noqa: S608 - all ours
                begun = ("reviews", now, HOSTILE, HOSTILE, "", "")
                database.execute(
                    'INSERT INTO shadow_gatestart (route, at, "by", why, ended_by, ended_why) VALUES (?, ?, ?, ?, ?, ?)', begun
                )
            yield running, port, folder
    shutil.rmtree(folder)


PAGES = [
    "/account/",
    "/account/password/",
    "/audit/",
    "/audit/1/",
    "/operations/1/",
    "/timeline/",
    "/timeline/?kind=shed",
    "/flags/",
    "/flags/reviews/override/",
    "/flags/reviews/override/end/",
    "/routes/reviews/",
    "/routes/reviews/gate/begin/",
    "/routes/reviews/gate/1/take-back/",
]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_are_accessible_and_fit(eventful: tuple[Running, AdminPort, Path], width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    running, _, _ = eventful
    with new_page(running.url) as page:
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.set_viewport_size({"width": width, "height": 900})

        def look(what: str) -> None:
            results = Axe().run(page)
            assert results.violations_count == 0, f"{width} {what}\n{results.generate_report()}"
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond <= 0, f"{what} is wider than a window of {width}"
            assert page.title() != "owned"

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
            page.goto("/login/")
            look(f"login {scheme}")
            page.get_by_label("Name").fill("nobody")
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("alert").wait_for()
            look(f"failed login {scheme}")
            page.get_by_label("Language").select_option("ko")
            page.get_by_role("button", name="Choose").click()
            assert page.locator("html").get_attribute("lang") == "ko"
            page.get_by_label("언어").select_option("en")
            page.get_by_role("button", name="선택").click()
            open_logged_in(page)
            for path in PAGES:
                page.goto(path)
                look(f"{path} {scheme}")
            page.goto("/flags/reviews/override/")
            page.get_by_role("radio", name="off").check()
            page.get_by_label("Why").fill(HOSTILE)
            page.get_by_role("button", name="What will happen?").click()
            page.get_by_role("heading", name="Turn reviews off?").wait_for()
            look(f"confirmation {scheme}")
            page.get_by_role("button", name="Log out").click()
            page.get_by_label("Name").wait_for()
        assert problems == []


@pytest.mark.browser
def test_pages_work_without_javascript(eventful: tuple[Running, AdminPort, Path]) -> None:
    running, port, _ = eventful
    with new_page(running.url) as first:
        context = first.context.browser
        assert context is not None
        page = context.new_context(base_url=running.url, java_script_enabled=False).new_page()
        page.set_default_timeout(10_000)
        page.goto("/login/")
        page.get_by_label("Name").fill(USER)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        before = len(port.ordered)
        page.goto("/flags/reviews/override/")
        page.get_by_role("radio", name="on", exact=False).last.check()
        page.get_by_label("For how many minutes").fill("5")
        page.get_by_label("Why").fill("the drill")
        page.get_by_role("button", name="What will happen?").click()
        page.get_by_role("button", name="Turn it on").click()
        page.get_by_text("Done.").wait_for()
        assert [entry[0] for entry in port.ordered[before:]] == ["PUT"]
        page.goto("/timeline/")
        page.get_by_label("What", exact=True).select_option("shed")
        page.get_by_role("button", name="Show").click()
        assert page.locator("tbody tr:not(.day)").count() == 1
