"""What happened, in one order: gathered from many tables with a bounded number of queries, and linked to."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from console import timeline
from console.timeline import Mark, Place
from shadow.models import Event, FlagChange, GuardTrip, Rule, Signature, StateChange

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\u202egnp.exe"
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
flag = "rev"
candidate = "new"
[[routes]]
name = "search"
match = "/search"
candidate = "new"
"""
ON, OFF = {"name": "rev", "enabled": True}, {"name": "rev", "enabled": False}
NOW = 1_750_000_000.0


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada"))
    return client


def flip(at: float, flag: str = "rev", number: int = 0, **more: Any) -> FlagChange:
    number = number or FlagChange.objects.count() + 1
    values: dict[str, Any] = {"gateway": "g", "kind": "flag", "old": OFF, "new": ON, "source": "file", **more}
    return FlagChange.objects.create(number=number, at=at, flag=flag, **values)


def trip(at: float, route: str = "reviews", why: str = "errors: 5 %") -> GuardTrip:
    return GuardTrip.objects.create(
        gateway="g", number=GuardTrip.objects.count() + 1, at=at, route=route, flag="rev", reason="errors", why=why, figures={},
        outcome="switched-off", overridden=True, error="",
    )  # fmt: skip


def rule(at: float, path: str, route: str = "reviews", **more: Any) -> Rule:
    return Rule.objects.create(route=route, kind="ignore", path=path, author="bob", reason="a clock", created=at, **more)


def everything() -> dict[str, Any]:
    """One of each, a minute between them, and as much of another route beside it."""
    signature = Signature.objects.create(route="reviews", kind="value", path="$.a", count=1, first_seen=NOW, last_seen=NOW)
    other = Signature.objects.create(route="search", kind="value", path="$.a", count=1, first_seen=NOW, last_seen=NOW)
    made = {
        "deployment": Event.objects.create(at=NOW, kind="deployment", route="reviews", text="reviews 1.4.2", by="ci"),
        "flip": flip(NOW + 60),
        "override": flip(NOW + 120, kind="override", old=None, new={"enabled": False, "until": NOW + 999}, by="ana", why="drill"),
        "rollback": trip(NOW + 180),
        "rule": rule(NOW + 240, "$.a", expires=NOW + 300),
        "ended": rule(NOW + 360, "$.b", ended_at=NOW + 420, ended_by="cid", ended_why="mended"),
        "state": StateChange.objects.create(signature=signature, at=NOW + 480, old="new", new="bug", by="bob", why="it is one"),
        "gate": Event.objects.create(at=NOW + 540, kind="gate", route="reviews", text="passed", detail={"passed": True}),
        "reload": Event.objects.create(at=NOW + 600, kind="reload", text="failed", detail={"ok": False, "why": "SIGHUP"}),
    }
    Event.objects.create(at=NOW + 1, kind="deployment", route="search", text="search 2")
    flip(NOW + 2, "search")
    trip(NOW + 3, "search")
    rule(NOW + 4, "$.c", "search")
    StateChange.objects.create(signature=other, at=NOW + 5, old="new", new="bug", by="bob", why="it is one")
    return made


def test_a_chart_of_a_route_marks_what_happened_to_it_and_to_the_gateway() -> None:
    made = everything()
    found = timeline.marks("reviews", NOW, NOW + 600)
    kinds = [(mark.at - NOW, mark.kind, mark.bad) for mark in found]
    assert kinds == [
        (0, "deployment", False),
        (60, "flip", False),
        (120, "override", False),
        (180, "rollback", True),
        (240, "rule", False),
        (300, "rule", False),
        (360, "rule", False),
        (420, "rule", False),
        (540, "gate", False),
        (600, "reload", True),
    ]
    texts = [mark.text for mark in found]
    assert texts[0] == "deployment: reviews 1.4.2 (ci)"
    assert texts[1] == "flag flipped: rev: off to on for everybody (the file changed)"
    assert texts[5] == f"rule: rule {made['rule'].pk} expired: ignore $.a"
    assert found[1].link == f"/flags/changes/{made['flip'].pk}/"
    assert found[4].link == f"/timeline/?until={NOW + 240!r}&route=reviews#rule-{made['rule'].pk}"
    assert [mark.kind for mark in timeline.marks("reviews", NOW + 100, NOW + 200)] == ["override", "rollback"]
    assert timeline.marks("reviews", NOW + 601, NOW + 900) == []


def test_marks_are_bounded_and_many_of_one_kind_hide_no_other() -> None:
    Event.objects.create(at=NOW, kind="deployment", route="reviews", text="reviews 1.4.2")
    Event.objects.bulk_create(Event(at=NOW + number, kind="shed", route="reviews", text="x" * 999) for number in range(500))
    with CaptureQueriesContext(connection) as queries:
        found = timeline.marks("reviews", NOW, NOW + 1000)
    assert [mark.kind for mark in found] == ["deployment", *["shed"] * timeline.MARKS_PER_KIND]
    assert found[-1].at == NOW + 499
    assert all(len(mark.text) <= timeline.MAX_TEXT for mark in found)
    assert len(queries) <= 12


def test_a_flag_of_a_route_that_the_configuration_does_not_know(settings: Settings) -> None:
    settings.BANYAN_CONFIG = ""
    flip(NOW, "reviews.shadow")
    flip(NOW, "rev")
    assert [mark.text for mark in timeline.marks("reviews", NOW, NOW)] == [
        "flag flipped: reviews.shadow: off to on for everybody (the file changed)"
    ]
    assert [mark.at for mark in timeline.marks("reviews", NOW, NOW, flags=["rev", "reviews.shadow"])] == [NOW, NOW]


def shown(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def test_the_page_shows_everything_newest_first_and_links_to_it(browser: Client) -> None:
    made = everything()
    page = browser.get("/timeline/")
    text = shown(page)
    order = [
        *("failed", "passed", "$.a: new to bug", "ended: ignore $.b", f"rule {made['ended'].pk} made", "expired"),
        *("by its guard", "override off", "off to on", "reviews 1.4.2"),
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "ana drill" in text
    assert "cid mended" in text
    assert "SIGHUP" in text
    links = re.findall(r'<td class="said"><a href="([^"]+)"', page.content.decode())
    for link in {*links, *re.findall(r'<td class="when"><a href="([^"]+)"', page.content.decode())}:
        parts = urlsplit(link.replace("&amp;", "&"))
        found = browser.get(parts.path + "?" + parts.query)
        assert found.status_code in (200, 404), link
        if parts.fragment:
            assert f'id="{parts.fragment}"' in found.content.decode(), link
    only = shown(browser.get("/timeline/?route=reviews&kind=rule"))
    assert only.count(" made: ") == 2
    assert "search" not in only.split("Who, and why")[1]


@pytest.mark.parametrize("query", ["", "route=reviews", "kind=shed", "route=reviews&kind=flip"])
def test_the_page_asks_a_bounded_number_of_questions(browser: Client, query: str) -> None:
    everything()
    browser.get("/timeline/")  # what is asked once for each process
    with CaptureQueriesContext(connection) as few:
        browser.get(f"/timeline/?{query}")
    Event.objects.bulk_create(Event(at=NOW + number, kind="shed", route="reviews", text=str(number)) for number in range(300))
    for number in range(120):
        flip(NOW + number / 7)
    with CaptureQueriesContext(connection) as many:
        assert browser.get(f"/timeline/?{query}").status_code == 200
    assert len(many) == len(few) <= 14


def test_paging_shows_each_line_once_even_of_one_moment(browser: Client) -> None:
    for number in range(70):
        flip(NOW)
        Event.objects.create(at=NOW, kind="shed", route="reviews", text=str(number))
        rule(NOW, f"$.x{number}", ended_at=NOW, ended_by="x", ended_why="y")
    seen: list[str] = []
    query = ""
    for _ in range(20):
        body = browser.get(f"/timeline/{query}").content.decode()
        seen += re.findall(r'<tr id="([^"]+)"', body)
        more = re.search(r'href="(\?[^"]*)" rel="next"', body)
        if more is None:
            break
        query = more[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 280


def test_a_day_and_nonsense_in_the_address(browser: Client) -> None:
    flip(1_700_000_000.0)  # 2023-11-14
    flip(1_700_100_000.0)  # 2023-11-16
    assert "2023-11-16" in shown(browser.get("/timeline/"))
    day = shown(browser.get("/timeline/?day=2023-11-14"))
    assert "2023-11-14" in day
    assert "2023-11-16" not in day
    places = ("before=nan:0:0", "before=1e400:1:1", "before=1:99:1", "before=1:1:99999999999999999999", "until=-1")
    for query in (*places, "day=9999-12-31", "day=x", "kind=<b>", "route=%00"):
        assert browser.get(f"/timeline/?{query}").status_code == 200, query


def test_foreign_text_stays_text(browser: Client) -> None:
    Event.objects.create(at=NOW, kind="deployment", route="reviews", text=HOSTILE, by=HOSTILE)
    flip(NOW, "rev", by=HOSTILE, why=HOSTILE)
    trip(NOW, why=HOSTILE)
    body = browser.get("/timeline/").content.decode()
    assert "<script>alert" not in body
    assert "\u202e" not in body
    assert "\\u202egnp.exe" in body
    assert HOSTILE in timeline.marks("reviews", NOW, NOW)[0].text, "charts set text, and never HTML"


def test_it_needs_a_login(client: Client) -> None:
    response = client.get("/timeline/")
    assert response.status_code == 302
    assert response["location"].startswith("/login/")


def test_a_place_is_read_as_it_was_written() -> None:
    place = Place(time.time(), 3, 77)
    assert Place.of(str(place)) == place
    assert Place.of("x") is None
    assert Mark(1.0, "flip", "t", "l", bad=False).at == 1.0
