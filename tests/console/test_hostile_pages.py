"""Hostile content on the real console's pages, looked at with Chromium: shown as text, cut where it is long, and nothing of it executed."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest

from demo.processes import Running
from shadow.exchange import Answer, Exchange
from tests.support.console import PASSWORD, give_role, log_in, new_page, open_logged_in, running_console, send, store_exchanges, users

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EVIL = "</code></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe\u2066"
MEGABYTE = 1_000_000
MOST_BYTES = 2_000_000
"""Of a page, whatever is in it. A body that is kept is a quarter of a megabyte a side, and shown at most twice."""
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


def nested(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


def exchange(legacy: Any, candidate: Any, *, content: str = "application/json", note: str = "") -> Exchange:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    head = f"Content-Type: {content}\r\nX-Note: {EVIL}\r\nLocation: /{EVIL}\r\n".encode()
    target = f"/api/v1/reviews/{EVIL}?{EVIL}={EVIL}&\udcff".encode("utf-8", "surrogateescape").decode("latin-1")
    request = f"X-Evil: {EVIL}\r\n".encode()
    return Exchange(
        "reviews", EVIL, time.time(), "GET", target, request, EVIL.encode(),
        Answer("legacy", "legacy", 200, head, bodies[0], 0.012),
        Answer("candidate", "new", 200, head.replace(b"Location: /", f"Location: /{note}".encode()), bodies[1], 0.004),
    )  # fmt: skip


EXCHANGES = {
    "keys and values": exchange({EVIL: EVIL, "same": EVIL}, {EVIL: EVIL + "!", "same": EVIL}),
    "a megabyte": exchange({"text": EVIL + "A" * MEGABYTE}, {"text": "B" * MEGABYTE + EVIL}),
    "a long key": exchange({"k" * 5000: 1}, {"k" * 5000: 2}),
    "a long value": exchange({"v": "\u202e" * 60_000}, {"v": "<" * 200_000}),
    "many lines": exchange({"n": list(range(3000))}, {"n": list(range(3000, 0, -1))}),
    "not UTF-8": exchange(b'{"a": "\xff\xfe"}', b'{"a": "\xff\xfd"}'),
    "text, not UTF-8": exchange(b"\xff\xfe<b>\n\x00\x1b[31m", b"\xff\xfd<i>\n\x00\x1b[31m", content="text/plain"),
    "nested": exchange(nested(5000), nested(4999)),
    "nested as far as it goes": exchange({"d": json.loads(nested(90))}, {"d": json.loads(nested(91))}),
    "a page": exchange(*(f"<html><body>{EVIL}<p>{number}</p></body></html>".encode() for number in (1, 2)), content="text/html"),
    "bytes": exchange(b"\x00\x01<script>", b"\x00\x02<script>", content="application/octet-stream"),
    "a header": exchange({}, {}, note="<b>"),
}  # fmt: skip


@dataclass
class World:
    running: Running
    folder: Path

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def pages(self) -> list[str]:
        signatures = [number for (number,) in self.rows("SELECT id FROM shadow_signature")]
        samples = self.rows("SELECT signature_id, sample_id FROM shadow_sighting")
        rules = [number for (number,) in self.rows("SELECT id FROM shadow_rule")]
        return [
            "/?span=all",
            "/timeline/",
            "/audit/",
            *(f"/audit/{number}/" for (number,) in self.rows("SELECT id FROM console_audit")),
            *(f"/flags/changes/{number}/" for (number,) in self.rows("SELECT id FROM shadow_flagchange")),
            "/endpoints/",
            "/endpoints/burndown/",
            f"/endpoints/start/?{urlencode({'method': 'GET', 'template': f'/{EVIL}'})}",
            "/routes/reviews/?span=all",
            "/routes/reviews/rules/",
            "/flags/",
            *(f"/signatures/{number}/" for number in signatures),
            *(f"/signatures/{number}/expect/" for number in signatures),
            *(f"/signatures/{one}/samples/{other}/" for one, other in samples),
            *(f"/rules/{number}/" for number in rules),
        ]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    config = folder / "banyan.toml"
    config.write_text(TOML)
    # With pauses: of one write not all samples of a signature are kept, and there are two of these a second.
    store_exchanges(config, EXCHANGES.values(), pause=0.6)
    with running_console(config) as running:
        give_role(folder, "reviewer")
        flip_an_evil_flag(folder)
        ask_for_an_evil_endpoint(folder)
        made = World(running, folder)
        say_evil_things(made)
        yield made
    shutil.rmtree(folder)


def flip_an_evil_flag(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3", timeout=20)) as database, database:
        database.execute(
            "INSERT INTO shadow_flagchange (gateway, number, at, kind, flag, old, new, source, by, why, missed)"
            " VALUES ('g', 1, ?, 'flag', ?, '{}', '{}', 'file', ?, ?, 0)",
            [time.time(), EVIL, EVIL, EVIL],
        )


def ask_for_an_evil_endpoint(folder: Path) -> None:
    """And deploy something with an evil name."""
    figures = '{"count":9,"sides":{"legacy":9},"statuses":{"200":9},"legacy":0.9,"seconds":0.9,"times":{"40":9}}'
    with closing(sqlite3.connect(folder / "var" / "banyan.sqlite3", timeout=20)) as database, database:
        database.execute(
            "INSERT INTO shadow_endpointspan (gateway, at, width, method, template, figures) VALUES ('g', ?, 60, 'GET', ?, ?)",
            [int(time.time()) // 60 * 60, f"/{EVIL}", figures],
        )
        database.execute(
            "INSERT INTO shadow_event (at, kind, route, text, by, detail, key) VALUES (?, 'deployment', '', ?, ?, '{}', '')",
            [time.time(), EVIL + "z" * 3000, EVIL],
        )


def say_evil_things(world: World) -> None:
    """A reason, a comment, a bug and a rule, as somebody who means no good would write them."""
    with closing(log_in(world.running)) as client:
        numbers = dict(world.rows("SELECT path, id FROM shadow_signature"))
        bug, rule = numbers["$.text"], numbers["$.v"]
        assert send(client, f"/signatures/{bug}/comments/", "/", text=EVIL * 20 + "x" * 1500).status_code == 200
        assert send(client, f"/signatures/{bug}/mark/", "/", seen="new@0.000000", to="bug", why=EVIL + "y" * 1200).status_code == 200
        fields = {"choice": "other", "kind": "ignore", "path": f"$[{json.dumps(EVIL)}]", "days": "90", "do": "make", "seen": "new@0.000000"}
        page = send(client, f"/signatures/{rule}/expect/", "/", **{**fields, "do": "preview"}, why=EVIL)
        assert page.status_code == 200, page.text[:3000]
        made = send(client, f"/signatures/{rule}/expect/", "/", **fields, why=EVIL, previewed=f"ignore {fields['path']}")
        assert made.status_code == 200, made.text[:3000]
    assert world.rows("SELECT COUNT(*) FROM shadow_rule") == [(1,)]
    assert world.rows("SELECT COUNT(*) FROM console_comment") == [(1,)]


def test_all_of_it_is_there_to_be_shown(world: World) -> None:
    assert world.rows("SELECT COUNT(*) FROM shadow_sample")[0][0] >= len(EXCHANGES)
    assert {"value", "body", "type", "header"} <= {kind for (kind,) in world.rows("SELECT DISTINCT kind FROM shadow_signature")}


def test_every_page_is_small_and_says_what_it_cut(world: World) -> None:
    with closing(log_in(world.running)) as client:
        client.timeout = httpx.Timeout(60)
        said = ""
        for path in world.pages():
            answer = client.get(path)  # within a minute, else it raises
            assert answer.status_code in (200, 422), path
            assert len(answer.content) < MOST_BYTES, f"{path}: {len(answer.content)} bytes"
            shown = re.sub(r'value="[^"]*"', "", answer.text)  # what a form sends back is as it was
            assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", shown), path
            assert "<script>" not in answer.text, path
            said += answer.text
    assert "… cut here: " in said
    assert "… and it was cut when it was kept." in said
    assert "&lt;script&gt;document.title=&#x27;owned&#x27;" in said


def test_what_is_kept_can_be_had_as_a_file(world: World) -> None:
    ((signature, sample),) = world.rows(
        "SELECT signature_id, sample_id FROM shadow_sighting JOIN shadow_signature ON shadow_signature.id = signature_id"
        " WHERE path = '$.v' AND kind = 'value'"
    )
    with closing(log_in(world.running)) as client:
        answer = client.get(f"/signatures/{signature}/samples/{sample}/candidate.txt")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="candidate-{sample}.txt"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert json.loads(answer.text) == {"v": "<" * 200_000}
        assert client.get(f"/signatures/{signature}/samples/{sample}/curl.txt").text.startswith("curl ")
        assert client.get(f"/signatures/{signature}/samples/{sample}/passwd.txt").status_code == 404
        assert client.get(f"/signatures/{signature + 1}/samples/{sample}/curl.txt").status_code == 404, "of another signature"


@pytest.fixture
def page(world: World) -> Iterator[Page]:
    with new_page(world.running.url) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_executed_and_nothing_overflows(world: World, page: Page, width: int) -> None:
    bad: list[str] = []
    page.on("dialog", lambda dialog: (bad.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("console", lambda message: bad.append(message.text) if message.type == "error" and "422" not in message.text else None)
    page.on("request", lambda request: bad.append(request.url) if not request.url.startswith(world.running.url) else None)
    page.set_default_timeout(60_000)
    page.set_viewport_size({"width": width, "height": 900})
    open_logged_in(page)
    for path in world.pages():
        page.goto(path)
        assert page.title() != "owned", path
        assert page.locator("main script, main img, main iframe, main object").count() == 0, path
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path}: {wide} px: {page.evaluate(WIDEST)}"
        page.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = true })")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path}, all unfolded: {wide} px: {page.evaluate(WIDEST)}"
    assert bad == []


def test_a_viewers_browser_changes_nothing_by_page_or_by_hand(world: World, page: Page) -> None:
    """With the session and the token that its own pages have. In test_viewers every address is tried."""
    assert users(world.folder / "banyan.toml", "add", "vera", "--role", "viewer").returncode == 0
    before = [world.rows(query) for query in DECIDED]
    page.goto("/")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    (number,) = world.rows("SELECT MIN(id) FROM shadow_signature")[0]
    page.goto(f"/signatures/{number}/")
    assert page.locator("main form[method=post]").count() == 0
    assert "Deciding is for reviewers." in page.locator("main").inner_text()
    for path in ("mark/", "expect/", "comments/", "undo/"):
        status = page.evaluate(BY_HAND, f"/signatures/{number}/{path}")
        assert status == 403, path
    for path in ("/signatures/mark/", "/flags/reviews/override/", "/flags/refresh/", "/routes/reviews/gate/begin/", "/suggestions/accept/"):
        assert page.evaluate(BY_HAND, path) == 403, path
    assert page.goto("/audit/").status == 403  # type: ignore[union-attr]  # it is no anchor
    assert [world.rows(query) for query in DECIDED] == before
    ((refused,),) = world.rows("SELECT COUNT(*) FROM console_audit WHERE by = 'vera' AND action = 'refused'")
    assert refused >= 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(world: World, page: Page, scheme: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    numbers = dict(world.rows("SELECT path, id FROM shadow_signature"))
    (bug,), (rule,) = world.rows("SELECT id FROM shadow_signature WHERE state = 'bug'") + world.rows("SELECT id FROM shadow_rule")
    open_logged_in(page)
    page.emulate_media(color_scheme=scheme)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for path in (
            "/routes/reviews/?span=all",
            "/routes/reviews/rules/",
            f"/signatures/{bug}/",
            f"/signatures/{numbers['$.n[*]']}/expect/",
            f"/signatures/{numbers['$']}/expect/",  # which is refused
            f"/rules/{rule}/",
        ):
            page.goto(path)
            page.evaluate("document.querySelectorAll('main .decide details').forEach(each => { each.open = true })")
            results = Axe().run(page)
            assert results.violations_count == 0, f"{scheme} {width} {path}\n{results.generate_report()}"
        page.goto(f"/signatures/{bug}/")
        page.keyboard.press("?")
        assert page.locator("dialog#keys").is_visible()
        results = Axe().run(page)
        assert results.violations_count == 0, f"{scheme} {width} keys\n{results.generate_report()}"
    page.goto("/routes/reviews/?span=all")
    for box in page.get_by_role("checkbox").all()[-3:]:
        box.check()
    page.get_by_label("Reason").fill("agreed")
    page.get_by_role("button", name="Expected…").click()
    results = Axe().run(page)
    assert results.violations_count == 0, f"{scheme} many\n{results.generate_report()}"


DECIDED = ("SELECT id, state, state_since FROM shadow_signature", "SELECT * FROM shadow_rule", "SELECT * FROM console_comment")
BY_HAND = """async (path) => {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value; // of the form that logs out
  const body = new URLSearchParams({ csrfmiddlewaretoken: token, to: "bug", why: "because", text: "hm", seen: "new@0.000000", do: "make",
    kind: "ignore", path: "$.t", choice: "0", days: "90", state: "off", minutes: "5", confirmed: "yes", route: "reviews", change: "0" });
  return (await fetch(path, { method: "POST", body, redirect: "manual" })).status;
}"""
"""As somebody would who writes the request himself."""
WIDEST = """() => [...document.querySelectorAll('main *')].filter(each => each.scrollWidth > each.clientWidth + 1
  && getComputedStyle(each).overflowX === 'visible' && !each.closest('.scroll')).slice(-5).map(each => each.outerHTML.slice(0, 120))"""
"""For the message of a failure: what sticks out of its own box, the innermost."""
