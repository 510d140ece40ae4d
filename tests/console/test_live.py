"""Pages that go on by themselves, in a real browser: what a person does to them stays, and what is old is said to be."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import Running
from tests.support.console import USER, new_page, open_logged_in, running_console
from tests.support.tallies import insert

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOML = """
[gateway]
admin = "127.0.0.1:0"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[shadow]
database = "sqlite:///var/banyan.sqlite3"
"""
ROUTE = """
[[routes]]
name = "{0}"
match = "/{0}/*"
candidate = "new"
"""
NAMES = ("alpha", "beta", "gamma")


@dataclass
class Console:
    running: Running
    database: Path

    def count(self, route: str, ago: float = 3, **counts: int) -> None:
        """Each second holds a name once: callers take seconds of their own."""
        with closing(sqlite3.connect(self.database, isolation_level=None, timeout=10)) as database:
            insert(database, route, int(time.time() - ago), {name.replace("__", "."): number for name, number in counts.items()})

    def write(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.database, isolation_level=None, timeout=10)) as database:
            database.execute(sql, values)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "banyan.toml").write_text(TOML + "".join(map(ROUTE.format, NAMES)))
    with running_console(folder / "banyan.toml") as running:
        started = Console(running, folder / "var" / "banyan.sqlite3")
        for ago in range(60, 900, 30):
            started.count(
                "alpha", ago, matched=95, mismatched=5, eligible=110, served__legacy=80, served__candidate=30,
                latency__legacy__3=60, latency__legacy__4=20, latency__candidate__5=30, errors__candidate=1,
            )  # fmt: skip
        now = time.time()
        for path in ("$.items[*].price", "$.items[*].name"):
            started.write(
                "INSERT INTO shadow_signature (route, kind, path, state, count, first_seen, last_seen)"
                " VALUES ('alpha', 'value', ?, 'new', 9, ?, ?)",
                path, now - 99, now - 50,
            )  # fmt: skip
        for kind, text, ago in (("deployment", "new 1.4", 400), ("shed", "12 requests", 200)):
            started.write(
                "INSERT INTO shadow_event (at, kind, route, text, by, detail, key) VALUES (?, ?, 'alpha', ?, '', '{}', '')",
                now - ago,
                kind,
                text,
            )
        yield started


@pytest.fixture
def page(console: Console) -> Iterator[Page]:
    errors: list[str] = []
    with new_page(console.running.url) as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
        yield page
    assert errors == []


def drawn(page: Page) -> None:
    """Waits for all five charts."""
    page.locator("#charts canvas[aria-label]").nth(4).wait_for()


@pytest.mark.browser
def test_numbers_move_and_what_a_person_does_stays(page: Page, console: Console) -> None:
    open_logged_in(page, "/?span=15m&sort=traffic")
    row = page.locator("#route-beta")
    row.wait_for()
    page.evaluate("window.mine = document.getElementById('route-beta')")
    page.get_by_label("Filter").fill("unsent")
    link = page.get_by_role("link", name="beta", exact=True)
    link.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#route-gamma th a'))")
    console.count("beta", served__legacy=4321, matched=40, eligible=41)
    row.get_by_text("4,321").wait_for()
    assert page.evaluate("mine === document.getElementById('route-beta') && mine.isConnected"), "the row is the same, moved"
    assert [item.get_attribute("id") for item in page.locator("tbody tr").all()][:2] == ["route-beta", "route-alpha"], "and sorted anew"
    assert page.evaluate("document.activeElement.textContent") == "beta"
    assert page.evaluate("getSelection().toString()") == "gamma"
    assert page.get_by_label("Filter").input_value() == "unsent"
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(r"\?span=15m&q=unsent&sort=traffic$"))
    page.get_by_text("No route matches").wait_for()


@pytest.mark.browser
def test_an_unchanged_part_costs_no_body_and_a_hidden_tab_nothing(page: Page, console: Console) -> None:
    statuses: list[int] = []
    open_logged_in(page, "/?span=24h&q=gamma")
    page.on("response", lambda answer: statuses.append(answer.status) if answer.request.headers.get("hx-request") else None)
    with page.expect_response(lambda answer: answer.status == 304):
        pass
    text = page.locator("#routes").inner_text()
    assert "gamma" in text, "and what was there stays"
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.wait_for_timeout(2500)  # what was under way has come
    statuses.clear()
    page.wait_for_timeout(4500)
    assert statuses == []
    page.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.browser
def test_figures_that_are_old_are_said_to_be(page: Page) -> None:
    open_logged_in(page, "/?span=15m")
    stale = page.locator("#stale")
    page.wait_for_timeout(2500)
    assert not stale.is_visible()
    page.route(re.compile(r"\?span=15m"), lambda route: route.abort())
    stale.wait_for(state="visible", timeout=20_000)
    said = stale.inner_text()
    found = re.fullmatch(r"These figures are from (\d\d:\d\d:\d\d) UTC: nothing newer could be had for (\d+) s\.", said)
    assert found is not None, said
    assert int(found[2]) >= 10
    page.unroute(re.compile(r"\?span=15m"))
    stale.wait_for(state="hidden", timeout=20_000)


@pytest.mark.browser
def test_charts_share_an_axis_and_marks_and_are_readable_without_them(page: Page, console: Console) -> None:
    open_logged_in(page, "/routes/alpha/?span=15m")
    charts = page.locator("#charts canvas")
    drawn(page)
    labels = [chart.get_attribute("aria-label") or "" for chart in charts.all()]
    assert re.search(r"Match rate.* from \d{4}-.* UTC: .*; match rate last 95\.00 %, between 95\.00 % and 95\.00 %", labels[0])
    assert "candidate p95 last" in labels[2]
    inked = charts.nth(2).evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 3; i < d.length; i += 4) if (d[i]) n += 1; return n; }"
    )
    assert inked > 500, "something is drawn"
    marks = page.locator("#marks li")
    assert [re.sub(r"^[\d :-]+", "", mark.inner_text()) for mark in marks.all()] == ["deployment: new 1.4", "! shed: 12 requests"]
    details = page.locator("#as-table")
    details.locator("summary").click()
    details.locator("tbody tr").first.wait_for()
    cells = details.locator("tbody tr").filter(has_text="95.00 %").first.inner_text()
    assert "UTC" in cells
    assert "110" in cells or "100" in cells
    # It goes on by itself, and the table stays open.
    console.count("alpha", served__legacy=777, matched=100, eligible=100)
    details.get_by_role("cell", name="777").wait_for(timeout=15_000)
    assert details.evaluate("e => e.open")
    # A closer look, by dragging.
    over = page.locator("#charts .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40, steps=5)
    page.mouse.up()
    page.wait_for_url(re.compile(r"\?since=\d+&until=\d+#charts"))
    drawn(page)
    since, until = (int(each) for each in re.findall(r"=(\d+)", page.url))
    assert 200 < until - since < 340
    page.get_by_label("From (UTC)").fill("2026-01-01T00:00")
    page.get_by_label("to", exact=True).fill("2026-01-02T00:00")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(r"\?since=2026-01-01T00%3A00&until=2026-01-02T00%3A00"))
    page.get_by_text("Nothing was compared yet.").wait_for()


@pytest.mark.browser
def test_a_routes_page_goes_on_under_a_reviewers_hands(page: Page, console: Console) -> None:
    open_logged_in(page, "/routes/alpha/?span=15m")
    drawn(page)
    page.evaluate("window.chart = document.querySelector('#charts canvas'); window.box = document.querySelector('table.signatures')")
    table = page.locator("#as-table")
    table.locator("summary").click()
    page.evaluate("window.scrollTo(0, 700)")
    top = page.evaluate("window.scrollY")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true" and answer.status == 200):
        console.count("alpha", 7, served__candidate=99_000)
    page.get_by_text("candidate 99,").first.wait_for()
    assert page.evaluate("chart.isConnected && box.isConnected"), "neither was replaced"
    assert abs(page.evaluate("window.scrollY") - top) < 200
    assert table.evaluate("e => e.open")


@pytest.mark.browser
def test_a_box_stays_ticked_on_its_own_signature(page: Page, console: Console) -> None:
    console.write(
        "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, auth_group g"
        " WHERE u.username = ? AND g.name = 'reviewer'",
        USER,
    )
    try:
        open_logged_in(page, "/routes/alpha/?span=15m")
        page.get_by_label("value $.items[*].name").check()
        page.locator("[data-chosen]").get_by_text("1").wait_for()
        now = time.time()
        console.write(
            "INSERT INTO shadow_signature (route, kind, path, state, count, first_seen, last_seen)"
            " VALUES ('alpha', 'value', '$.items[*].brand', 'new', 99, ?, ?)",
            now - 9,
            now - 5,
        )
        rows = page.locator("table.signatures tbody tr")
        rows.filter(has_text="$.items[*].brand").wait_for()
        assert "brand" in rows.first.inner_text(), "it is above them"
        ticked = page.locator("[name=chosen]:checked")
        assert [each.get_attribute("aria-label") for each in ticked.all()] == ["value $.items[*].name"]
        assert page.locator("[data-chosen]").inner_text() == "1"
    finally:
        console.write("DELETE FROM auth_user_groups")
        console.write("DELETE FROM shadow_signature WHERE path = '$.items[*].brand'")


@pytest.mark.browser
def test_what_was_ticked_before_somebody_else_decided_is_a_conflict(page: Page, console: Console) -> None:
    """The page goes on beneath the tick, and shows the other's decision; that the second has seen it, nobody can know."""
    console.write(
        "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, auth_group g"
        " WHERE u.username = ? AND g.name = 'reviewer'",
        USER,
    )
    try:
        open_logged_in(page, "/routes/alpha/?span=15m")
        page.get_by_label("value $.items[*].name").check()
        console.write("UPDATE shadow_signature SET state = 'bug', state_since = ? WHERE path = '$.items[*].name'", time.time())
        page.locator("table.signatures tbody tr").filter(has_text="$.items[*].name").get_by_text("bug", exact=True).wait_for()
        page.get_by_label("Reason").fill("it is mended")
        page.get_by_role("button", name="Fixed").click()
        page.get_by_role("heading", name="Not changed").wait_for()
        assert "Somebody was faster" in page.get_by_role("alert").inner_text()
    finally:
        console.write("DELETE FROM auth_user_groups")
        console.write("UPDATE shadow_signature SET state = 'new', state_since = 0 WHERE path = '$.items[*].name'")


@pytest.mark.browser
def test_pages_are_accessible_and_fit_a_telephone(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    open_logged_in(page)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
            for path in ("/?span=15m", "/routes/alpha/?span=15m&table=1"):
                page.goto(path)
                if "alpha" in path:
                    drawn(page)
                results = Axe().run(page)
                assert results.violations_count == 0, f"{width} {scheme} {path}\n{results.generate_report()}"
                beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert beyond <= 0, f"{path} is wider than a window of {width}"
