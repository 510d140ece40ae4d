"""Pages that are read say what is new in a line beside them: what is told is right, and nothing that a person reads or types in moves."""

from __future__ import annotations

import html
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from console import timelineviews
from console.models import Audit, Comment
from demo.processes import Running
from shadow import states
from shadow.models import Event
from tests.support.console import give_role, log_in, new_page, open_logged_in, running_console, store_exchanges
from tests.support.reviewing import found, pair, see

if TYPE_CHECKING:
    from playwright.sync_api import Page

ANEW = {"hx-request": "true"}
TOML = """
[gateway]
admin = "127.0.0.1:0"
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


@pytest.fixture
def ada(db: None) -> Client:
    user = User.objects.create_user("ada")
    user.groups.set(Group.objects.filter(name="reviewer"))
    client = Client()
    client.force_login(user)
    return client


def asks(client: Client, path: str) -> str:
    """What the page there asks again and again; "" for nothing."""
    said = re.search(r'id="news"[^>]* hx-get="([^"]*)"', client.get(path).content.decode())
    return path.partition("?")[0] + html.unescape(said[1]) if said is not None else ""


def told(client: Client, address: str) -> str:
    answer = client.get(address, headers=ANEW)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode(), "the line alone"
    assert client.get(address, headers={**ANEW, "if-none-match": answer["ETag"]}).status_code == 304
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))).strip()


def event(at: float, route: str = "reviews") -> Event:
    return Event.objects.create(at=at, kind="deployment", route=route, text="x")


def test_a_timeline_counts_what_came_above_its_last_line(ada: Client) -> None:
    now = time.time()
    empty = asks(ada, "/timeline/")
    event(now - 100)
    assert re.fullmatch(r"1 new since \d\d:\d\d:\d\d UTC show", told(ada, empty))
    for number in range(timelineviews.PAGE + 9):
        event(now - 90 + number)
    address = asks(ada, "/timeline/")
    assert told(ada, address) == ""
    event(now - 95)  # below what the page ends with
    assert told(ada, address) == ""
    event(now - 50.5)  # told late, but of a moment that the page has
    event(now)
    assert told(ada, address).startswith("2 new since")
    assert asks(ada, f"/timeline/?until={now - 60}") == "", "what is older stays as it is"
    one = asks(ada, "/timeline/?route=search")
    event(now + 1)
    assert told(ada, one) == ""
    event(now + 2, "search")
    assert told(ada, one).startswith("1 new since")
    for number in range(60):
        event(now + 3 + number)
    assert told(ada, address).startswith("more than 50 new since")
    for wrong in ("had=x&last=y&loaded=z", "had=-1&last=1:2&loaded=inf", f"had={9**30}&loaded=1e300", "last=nan:0:0"):
        assert told(ada, f"/timeline/?part=news&{wrong}").startswith("more than 50 new")


def test_an_audit_counts_what_came_above_its_last_row(ada: Client) -> None:
    now = time.time()
    address = asks(ada, "/audit/?by=bob")
    Audit.objects.create(at=now - 9, by="bob", role="reviewer", action="x")
    assert told(ada, address).startswith("1 new since")
    Audit.objects.bulk_create(Audit(at=now - 8 + number / 100, by="bob", role="reviewer", action="x") for number in range(70))
    address = asks(ada, "/audit/?by=bob")
    assert told(ada, address) == ""
    Audit.objects.create(at=now, by="eve", role="viewer", action="x")
    assert told(ada, address) == "", "by somebody else"
    Audit.objects.create(at=now - 7.501, by="bob", role="reviewer", action="x")
    assert told(ada, address).startswith("1 new since")
    assert asks(ada, f"/audit/?before={now}:99") == ""
    assert told(ada, "/audit/?part=news&had=x&last=y").startswith("more than 50 new")
    vera = Client()
    vera.force_login(User.objects.create_user("vera"))
    assert vera.get(address, headers=ANEW).status_code == 403


def test_a_signature_says_what_was_decided_said_and_kept(ada: Client) -> None:
    see(pair({"t": 1}, {"t": 2}))
    row = found("$.t")
    address = asks(ada, f"/signatures/{row.pk}/")
    assert told(ada, address) == ""
    see(pair({"t": 1}, {"t": 3}))
    assert told(ada, address) == "1 newer sample show"
    Comment.objects.bulk_create(Comment(signature=row, at=time.time(), by="lee", text="hm") for _ in range(2))
    states.change(row.pk, "bug", by="<b>kim", why="w")
    assert told(ada, address) == "it is bug now, by <b>kim; 2 new comments; 1 newer sample show"
    assert told(ada, asks(ada, f"/signatures/{row.pk}/")) == ""
    sample = row.samples.order_by("pk").values_list("pk", flat=True)[0]
    part = f"/signatures/{row.pk}/samples/{sample}/"
    assert "Seen in <strong>2</strong>" in ada.get(part, headers=ANEW).content.decode()
    row.samples.all().delete()
    assert ada.get(part, headers=ANEW).status_code == 200, "its figures move on, though that sample went"
    assert ada.get(part).status_code == 404


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("news")
    (folder / "banyan.toml").write_text(TOML)
    store_exchanges(folder / "banyan.toml", [pair({"t": 1, "same": list(range(40))}, {"t": 2, "same": list(range(40))}, at=time.time())])
    with running_console(folder / "banyan.toml") as running:
        give_role(folder, "reviewer")
        yield running, folder / "var" / "banyan.sqlite3"


@pytest.fixture
def page(console: tuple[Running, Path]) -> Iterator[Page]:
    errors: list[str] = []
    with new_page(console[0].url) as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" and "503" not in said.text else None)
        yield page
    assert errors == []


def write(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
        database.execute(sql, values)


@pytest.mark.browser
def test_the_line_comes_by_itself_and_nothing_moves(page: Page, console: tuple[Running, Path]) -> None:
    running, database = console
    sql = "INSERT INTO shadow_event (at, kind, route, text, by, detail, key) VALUES (?, 'deployment', 'reviews', ?, '', '{}', '')"
    for number in range(60):
        write(database, sql, time.time() - 500 + number, f"build {number}")
    open_logged_in(page, "/timeline/?kind=deployment")
    page.set_viewport_size({"width": 1000, "height": 400})
    page.get_by_label("Up to the day (UTC)").fill("2026-01-02")
    row = page.locator("tbody tr").nth(20)
    row.scroll_into_view_if_needed()
    before = row.bounding_box()
    write(database, sql, time.time(), "build 60")
    line = page.locator("#news")
    line.get_by_text(re.compile(r"^1 new since \d\d:\d\d:\d\d UTC")).wait_for(timeout=20_000)
    assert line.get_attribute("role") == "status"
    assert row.bounding_box() == before
    assert page.get_by_label("Up to the day (UTC)").input_value() == "2026-01-02"
    assert page.get_by_text("build 60").count() == 0
    line.get_by_role("link", name="show").click()
    page.get_by_text("build 60").wait_for()
    page.wait_for_url(re.compile(r"/timeline/\?kind=deployment$"))

    page.goto("/audit/?action=login")
    with closing(log_in(running)):
        page.locator("#news").get_by_text("1 new since").wait_for(timeout=20_000)


@pytest.mark.browser
def test_a_signatures_figures_move_and_what_is_typed_stays(page: Page, console: tuple[Running, Path]) -> None:
    _, database = console
    open_logged_in(page, "/routes/reviews/")
    page.get_by_role("link", name="$.t", exact=True).click()
    page.get_by_text("Seen in 1 exchange").wait_for()
    page.get_by_role("textbox", name="Comment").fill("half a sente")
    page.locator("summary").filter(has_text="Bug…").click()
    page.get_by_label("What is wrong").fill("the ye")
    write(database, "UPDATE shadow_signature SET count = 4321")
    write(database, "INSERT INTO console_comment (signature_id, at, by, text) SELECT id, 1, 'lee', 'hm' FROM shadow_signature")
    page.get_by_text("Seen in 4,321 exchanges").wait_for(timeout=20_000)
    page.locator("#news").get_by_text("1 new comment").wait_for(timeout=20_000)
    assert page.get_by_role("textbox", name="Comment").input_value() == "half a sente"
    assert page.get_by_label("What is wrong").input_value() == "the ye"
    assert page.evaluate("document.activeElement.name") == "why"
    assert page.locator(".comment").count() == 0
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        box = page.locator("#news p").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 800


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/flags/", "/signatures/1/"])
def test_who_is_logged_out_comes_to_the_login(page: Page, path: str) -> None:
    open_logged_in(page, path)
    page.locator("[data-live]").first.wait_for(state="attached")
    page.context.clear_cookies()
    from playwright.sync_api import expect

    # Two of the page's questions may be answered so, and the second way there then ends the first.
    expect(page).to_have_url(re.compile(rf"/login/\?next={path}"), timeout=30_000)


@pytest.mark.browser
def test_but_not_away_from_what_was_typed(page: Page) -> None:
    open_logged_in(page, "/signatures/1/")
    page.get_by_role("textbox", name="Comment").fill("half a sente")
    page.context.clear_cookies()
    page.locator("#stale").wait_for(state="visible", timeout=30_000)
    assert "nothing newer could be had" in page.locator("#stale").inner_text()
    page.wait_for_timeout(6000)
    assert page.get_by_role("textbox", name="Comment").input_value() == "half a sente"
    assert page.get_by_label("Password").count() == 0, "the login is nowhere within the page"


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/timeline/", "/audit/", "/endpoints/", "/flags/"])
def test_a_page_that_hears_nothing_says_that_it_is_old(page: Page, path: str) -> None:
    open_logged_in(page, path)
    stale = page.locator("#stale")
    page.wait_for_timeout(3000)
    assert not stale.is_visible()
    page.route(re.compile(r"\?"), lambda route: route.fulfill(status=503))
    stale.wait_for(state="visible", timeout=30_000)
    page.unroute(re.compile(r"\?"))
    stale.wait_for(state="hidden", timeout=30_000)
