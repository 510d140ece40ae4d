"""The overview and a route's page: what they show, in how many queries, and how little an unchanged one costs."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from shadow import counters, store, sums
from shadow.batch import Batch
from shadow.models import Event, FlagChange, GuardTrip, Signature, Tally
from tests.support import seeding

pytestmark = pytest.mark.django_db

HEAD = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
"""
ROUTE = """
[[routes]]
name = "{0}"
match = "/{0}/*"
candidate = "new"
[routes.gate]
minimum = 50
match = 0.9
"""


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    return client


@pytest.fixture
def configured(tmp_path: Path, settings: Settings) -> Any:
    def configure(*names: str) -> None:
        path = tmp_path / "banyan.toml"
        path.write_text(HEAD + "".join(ROUTE.format(name) for name in names))
        settings.BANYAN_CONFIG = str(path)

    return configure


def count(route: str, ago: float = 5, **counts: int) -> None:
    batch = Batch()
    for name, number in counts.items():
        batch.count(route, time.time() - ago, name.replace("__", ".").replace("_beside_", "shadow-"), number)
    store.write(batch)


def signature(route: str, path: str, state: str = "new", kind: str = "value", ago: float = 5) -> Signature:
    now = time.time()
    return Signature.objects.create(route=route, kind=kind, path=path, state=state, count=3, first_seen=now - ago - 50, last_seen=now - ago)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def rows(page: str) -> dict[str, str]:
    return {name: words(row) for name, row in re.findall(r'<tr id="route-([^"]+)"[^>]*>(.*?)</tr>', page, re.DOTALL)}


def some_routes(configured: Any) -> None:
    configured("calm", "ready", "review", "broken", "back", "young")
    for name in ("ready", "review", "broken", "back"):
        count(name, matched=200, eligible=210, captured=200, served__legacy=150, served__candidate=60 if name == "broken" else 0)
    count("young", matched=20, eligible=20, served__legacy=20)
    signature("review", "$.a")
    signature("review", "$.b", "bug")
    count("broken", **{"latency.candidate.3": 80, "errors.candidate": 30, "unanswered.candidate": 20, "latency.legacy.2": 100})
    GuardTrip.objects.create(
        gateway="g", number=1, at=time.time() - 60, route="back", flag="back", reason="errors", why="errors: candidate 9 %",
        figures={}, outcome="switched-off", overridden=False, error="",
    )  # fmt: skip


def test_routes_that_need_somebody_come_first_and_say_why(client: Client, configured: Any) -> None:
    some_routes(configured)
    found = rows(client.get("/").content.decode())
    assert list(found) == ["back", "broken", "review", "ready", "young", "calm"]
    assert "the candidate fails 30.0 % now" in found["broken"]
    assert "1 new signature; 1 bug open: nothing else is missing for its gate" in found["review"]
    assert "1 new 1 bug" in found["review"]
    assert "ready: flip ready in the flag file" in found["ready"]
    assert "rolled back: errors: candidate 9 %" in found["back"]
    assert "needs 30 more comparisons" in found["young"]
    assert "not yet" in found["young"]
    assert "passes" in found["ready"]
    assert "L 4.9 ms" in found["broken"]
    assert "C 9.8 ms" in found["broken"]


def test_a_trip_stands_until_somebody_turns_the_flag_on(client: Client, configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from console import watch
    from console.admin_port import FlagsNow
    from console.watch import Look

    some_routes(configured)
    look = Look("x", FlagsNow("file", "r", {"back": False}, staleness_seconds=0.1, workers={"0": True}), time.time())
    monkeypatch.setattr(watch, "latest", lambda: look)
    found = rows(client.get("/").content.decode())
    assert next(iter(found)) == "back"
    assert "rolled back: errors: candidate 9 %" in found["back"]
    for number, (enabled, ago) in enumerate([(True, 40.0), (False, 20.0)]):
        FlagChange.objects.create(
            gateway="g", number=number, at=time.time() - ago, kind="flag", flag="back", new={"name": "back", "enabled": enabled},
            source="file", by="ana", why="",
        )  # fmt: skip
    assert "rolled back" not in rows(client.get("/").content.decode())["back"], "somebody answered for it since"


def test_the_filter_and_the_order_are_in_the_address(client: Client, configured: Any) -> None:
    some_routes(configured)
    assert list(rows(client.get("/?sort=name").content.decode())) == ["back", "broken", "calm", "ready", "review", "young"]
    assert list(rows(client.get("/?q=ready+flip").content.decode())) == ["ready"]
    assert set(rows(client.get("/?q=more+comparisons").content.decode())) == {"young"}, "what it needs is looked through too"
    page = client.get("/?sort=traffic&q=%3Cb%3E&span=24h").content.decode()
    assert "No route matches “&lt;b&gt;”" in page
    assert 'hx-get="?span=24h&amp;sort=traffic&amp;q=%3Cb%3E"' in page
    assert '<option value="traffic" selected>' in page
    assert list(rows(client.get("/?sort=nonsense").content.decode())) == list(rows(client.get("/").content.decode()))
    own = client.get(f"/?since={time.time() - 7200:.0f}&until={time.time() - 3600:.0f}").content.decode()
    assert rows(own)["ready"].count("200") == 0, "nothing was counted then"


def test_a_part_that_did_not_change_is_304_and_one_that_did_is_whole(client: Client, configured: Any) -> None:
    some_routes(configured)
    for path in ("/?span=24h", "/routes/review/?span=24h"):
        first = client.get(path, headers={"HX-Request": "true"})
        assert b"<html" not in first.content
        again = client.get(path, headers={"HX-Request": "true", "If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    series = client.get("/routes/review/series.json?span=24h")
    assert client.get("/routes/review/series.json?span=24h", headers={"If-None-Match": series["ETag"]}).status_code == 304
    count("review", matched=1, eligible=1)
    for path in ("/?span=24h", "/routes/review/?span=24h"):
        assert client.get(path, headers={"HX-Request": "true", "If-None-Match": first["ETag"]}).status_code == 200
    assert client.get("/routes/review/series.json?span=24h", headers={"If-None-Match": series["ETag"]}).status_code == 200


def test_it_is_said_that_nothing_is_stored_any_more(client: Client, configured: Any) -> None:
    configured("calm")
    assert "Nothing new is stored" not in client.get("/").content.decode(), "nothing ever was"
    count("calm", ago=9000, matched=1)
    store.roll_up(time.time())
    assert "the last was counted 2 h ago" in words(client.get("/").content.decode()), "rolled up, it is still the last"
    count("calm", ago=300, matched=1)
    for path in ("/", "/routes/calm/"):
        assert "Nothing new is stored: the last was counted 5 min ago" in words(client.get(path).content.decode())
    count("calm", matched=1)
    assert "Nothing new is stored" not in client.get("/").content.decode()


def test_series_have_all_figures_on_one_axis_and_marks_beside(client: Client, configured: Any) -> None:
    configured("reviews")
    for ago in (30, 90):
        count(
            "reviews", ago=ago, matched=90, mismatched=10, eligible=200, served__legacy=150, served__candidate=50,
            **{"latency.legacy.3": 100, "latency.shadow-candidate.5": 100, "errors.shadow-candidate": 7, "unanswered.shadow-candidate": 4},
        )  # fmt: skip
    Event.objects.create(at=time.time() - 60, kind="deployment", route="reviews", text="new 1.2 <b>\u202e")
    told = json.loads(client.get("/routes/reviews/series.json?span=15m").content)
    columns = told["columns"]
    assert {len(values) for values in columns.values()} == {len(columns["at"])}
    assert told["step"] == 10
    first = columns["compared"].index(100)
    assert {name: columns[name][first] for name in ("rate", "coverage", "share", "served", "candidate_errors", "legacy_errors")} == {
        "rate": 0.9, "coverage": 0.5, "share": 0.25, "served": 200, "candidate_errors": round(7 / 104, 6), "legacy_errors": 0.0,
    }  # fmt: skip
    assert columns["low"][first] < 0.9 < columns["high"][first]
    assert 0.005 < columns["legacy_p50"][first] < columns["legacy_p95"][first] <= 0.01
    assert 0.025 < columns["candidate_p95"][first] <= 0.05
    (mark,) = told["marks"]
    assert (mark["kind"], mark["text"], mark["bad"]) == ("deployment", "deployment: new 1.2 <b>\\u202e", False)
    assert told["since"] < mark["at"] < told["until"]
    own = json.loads(client.get(f"/routes/reviews/series.json?since={time.time() - 120:.0f}&until={time.time() - 60:.0f}").content)
    assert sum(own["columns"]["compared"]) == 100
    assert client.get("/routes/nobody/series.json").status_code == 404


def test_points_are_bounded_whatever_is_asked_for(client: Client, configured: Any) -> None:
    configured("reviews")
    now = int(time.time())
    Tally.objects.bulk_create(
        Tally(route="reviews", at=(now - minute * 60) // 60 * 60, width=60, name=counters.MATCHED, count=1) for minute in range(70, 20_000)
    )
    sums.rebuild()
    own = (f"since={now - 86_400 * 3}", f"since={now - 9999}&until={now - 5000}", "since=0&until=9")
    for query in ("span=24h", "span=7d", "span=all", *own):
        told = json.loads(client.get(f"/routes/reviews/series.json?{query}").content)
        assert len(told["columns"]["at"]) <= 122, query


def test_the_gate_is_explained_and_figures_can_be_read_as_a_table(client: Client, configured: Any) -> None:
    some_routes(configured)
    page = words(client.get("/routes/review/?span=15m&table=1").content.decode())
    for wanted in (
        "Comparisons ✓ yes 200 at least 50",
        "Open signatures ✗ no 2 none 1 new signature; 1 bug open: review the new, mend the bugs",
        "Coverage of what was sampled ✓ yes 95.2 %",
    ):
        assert wanted in page, page
    table = client.get("/routes/review/?span=15m&table=1").content.decode().partition('<details id="as-table" open>')[2]
    assert re.search(r'<th scope="row">[\d-]+ [\d:]+ UTC</th><td class="n">100\.00 %</td>', table)
    assert "<tbody></tbody>" in client.get("/routes/review/?span=15m").content.decode()


def test_signatures_are_grouped_by_what_likely_caused_them(client: Client, configured: Any) -> None:
    configured("reviews")
    for path in ("$.items[*].price", "$.items[*].name", "$.id"):
        signature("reviews", path)
    page = words(client.get("/routes/reviews/").content.decode())
    assert re.search(r"by themselves 1 .*\$\.id.* below \$\.items\[\*\] 2 .*\$\.items\[\*\]\.name.*\$\.items\[\*\]\.price", page), page


def test_foreign_text_stays_text(client: Client, configured: Any) -> None:
    hostile = "<script>alert(1)</script>\u202e"
    configured("reviews")
    signature("reviews", f"$.items[*]['{hostile}'].a")
    signature("reviews", f"$.items[*]['{hostile}'].b")
    count("<img src=x>", matched=3)
    Event.objects.create(at=time.time() - 60, kind="deployment", route="reviews", text=hostile)
    for path in ("/", "/routes/reviews/?table=1", "/routes/reviews/series.json"):
        text = client.get(path).content.decode()
        if not path.endswith(".json"):
            assert "<script>alert" not in text
            assert "<img src=x>" not in text
        assert "\u202e" not in text


@pytest.fixture
def much(configured: Any) -> list[str]:
    names = seeding.routes(50)
    configured(*names)
    seeding.fill(time.time(), names=names, exchanges=3000, signatures=500)
    return names


def test_pages_take_a_bounded_number_of_queries_whatever_is_stored(client: Client, much: list[str]) -> None:
    assert Tally.objects.count() > 10_000
    assert Signature.objects.count() == 500
    found: dict[str, int] = {}
    for path in ("/?span=1h", "/?span=24h", f"/routes/{much[7]}/?span=24h", f"/routes/{much[7]}/series.json?span=24h"):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        assert answer.status_code == 200
        found[path] = len(queries)
    assert found["/?span=1h"] <= 18
    assert found["/?span=24h"] <= 14, "the gates' window is the page's: counted once"
    assert max(found.values()) <= 30
    Signature.objects.exclude(route=much[7]).delete()
    Tally.objects.exclude(route=much[7]).delete()
    with CaptureQueriesContext(connection) as queries:
        client.get("/?span=1h")
    assert abs(len(queries) - found["/?span=1h"]) <= 2, "as many for one route's data as for fifty"


@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_no_page_reads_a_table_of_counts_or_signatures_through(client: Client, much: list[str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        client.get("/?span=1h")
        client.get(f"/routes/{much[7]}/?span=24h")
        client.get(f"/routes/{much[7]}/series.json?span=24h")
    asked = [query["sql"] for query in queries.captured_queries if "shadow_tally" in query["sql"] or "shadow_tallysum" in query["sql"]]
    assert len(asked) > 8
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute("EXPLAIN QUERY PLAN " + sql)
            assert not [row[3] for row in cursor.fetchall() if re.match(r"SCAN shadow_tally", row[3])], sql
