"""How much of legacy is left, and which routes' code can go: in doubt, none."""

from __future__ import annotations

import html
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from console import burndownviews
from demo.processes import python
from gateway.cli.burndown import _left
from gateway.config import Config, parse
from gateway.endpoints.declared import from_openapi
from gateway.endpoints.figures import Figures
from shadow import counters, endpoint_store, sums
from shadow.burndown import LEAST, WORDS, Evidence, burndown
from shadow.gate import gate
from shadow.models import EndpointSpan, GuardTrip, Signature, Tally

pytestmark = pytest.mark.django_db

NOW = 1_790_000_000.0
DAY = 86400
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
[routes.gate]
minimum = 100
match = 0.9
[[routes]]
name = "items"
match = "/api/v1/items/{id}"
candidate = "new"
[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = { new = 100 }
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse(tmp_path / "banyan.toml", TOML)


def kept(days_ago: float, template: str, *, legacy: float = 0.0, candidate: float = 0.0, method: str = "GET", width: int = 3600) -> None:
    """A span that ends so many days before NOW."""
    figures = Figures()
    for side, count in (("legacy", legacy), ("candidate", candidate)):
        if count:
            figures.observe((method, b"/", "", side, 200, 0.01, 0), count)
    at = int(NOW - days_ago * DAY) - width
    EndpointSpan.objects.create(
        gateway="", at=at, width=width, method=method if template else "", template=template,
        figures=endpoint_store._encoder.encode(figures).decode(),
    )  # fmt: skip


def counted(route: str, *, days: float = 7, every: float = 0.5, now: float = NOW, **names: int) -> None:
    """Counters of a route, the same again and again over so many days."""
    age = every / 2
    while age < days:
        at = int(now - age * DAY) // 60 * 60
        for name, count in names.items():
            Tally.objects.create(route=route, at=at, width=60, name=getattr(counters, name), count=count)
        age += every
    sums.rebuild()


def ready(config: Config, route: str = "reviews") -> tuple[bool, set[str]]:
    """Whether it is, and what speaks against it."""
    found = burndown(config, 7, NOW)
    note = next(note for note in found.routes if note.name == route)
    return note.ready, {each.code for each in note.evidence if not each.good}


# All traffic


def test_traffic_and_endpoints_that_are_left_are_counted(config: Config) -> None:
    kept(10, "/old/report", legacy=5, method="POST")
    kept(1, "/api/v1/reviews/{id}", candidate=600)
    kept(1, "/api/v1/items/{id}", legacy=50, candidate=50)
    kept(0.5, "/pages/", legacy=200)
    kept(0.5, "/pages/", legacy=90, method="POST")
    kept(0.5, "/*", legacy=10)
    kept(0.5, "", legacy=7)
    found = burndown(config, 7, NOW)
    assert found.whole
    assert found.traffic_left == pytest.approx(357 / 1007)
    assert found.endpoints_left == pytest.approx(3 / 4), "what is left over of many paths is no endpoint"
    assert {(one.method, one.template): (one.state, one.route) for one in found.endpoints} == {
        ("GET", "/pages/"): ("legacy", ""),
        ("POST", "/pages/"): ("legacy", ""),
        ("GET", "/api/v1/items/{id}"): ("both", "items"),
        ("GET", "/*"): ("legacy", ""),
        ("GET", "/api/v1/reviews/{id}"): ("candidate", "reviews"),
        ("POST", "/old/report"): ("dead", ""),
    }
    assert [one.template for one in found.endpoints][:1] == ["/pages/"]
    assert found.endpoints[-1].state == "dead"
    assert found.rest == 7
    assert sum(day.legacy + day.candidate for day in found.history) == pytest.approx(1012)
    assert found.history[0].share == 1.0
    assert found.unasked is None


def test_what_is_not_watched_for_long_enough_is_not_called_dead(config: Config) -> None:
    kept(3, "/pages/", legacy=1)
    found = burndown(config, 7, NOW)
    assert not found.whole
    assert {one.state for one in found.endpoints} == {"legacy"}
    assert burndown(config, 2, NOW).whole


def test_a_long_span_that_reaches_into_the_time_is_no_proof_of_death(config: Config) -> None:
    kept(20, "/pages/", legacy=1)
    kept(6.5, "/monthly", legacy=1, width=DAY)
    assert {one.template: one.state for one in burndown(config, 7, NOW).endpoints} == {"/pages/": "dead", "/monthly": "legacy"}


def test_what_may_be_counted_under_a_wider_name_is_not_called_dead(config: Config) -> None:
    dead = {"/products/shoes", "/reports/yearly", "/a/b/c", "/items/search", "/items/v1234567", "/products/{id}", "/other", "/a"}
    for template in dead:
        kept(10, template, legacy=5)
    kept(10, "/reports/yearly", legacy=5, method="POST")
    for template in ("/products/{…}", "/{…}/yearly", "/a/*", "/items/{id}", "/items/{token}"):
        kept(1, template, legacy=5)
    found = burndown(config, 7, NOW)
    covered = {one.template: one.covered for one in found.endpoints if one.state == "covered"}
    assert covered == {
        "/products/shoes": "/products/{…}",
        "/products/{id}": "/products/{…}",
        "/reports/yearly": "/{…}/yearly",
        "/a/b/c": "/a/*",
        "/items/v1234567": "/items/{token}",
    }
    assert {(one.method, one.template) for one in found.endpoints if one.state == "dead"} == {
        ("GET", "/items/search"), ("GET", "/other"), ("GET", "/a"), ("POST", "/reports/yearly"),
    }, "a word is none of the numbers, and another method is another endpoint"  # fmt: skip
    assert {one.template for one in found.alive} == {"/products/{…}", "/{…}/yearly", "/items/{id}", "/items/{token}"}
    text = "\n".join(_left(found, 20))
    assert "  GET    /other  last 2026-" in text
    assert "/products/shoes  last 2026-09-11, perhaps among /products/{…}" in text
    assert text.index("/other") < text.index("not asked for by this name in 7 days") < text.index("/products/shoes")


def test_nothing_kept_is_nothing_known(config: Config) -> None:
    found = burndown(config, 7, NOW)
    assert (found.since, found.whole, found.traffic_left, found.endpoints_left, found.history) == (0.0, False, None, None, ())


def test_what_is_declared_and_never_asked_for_is_named(config: Config) -> None:
    kept(1, "/api/v1/reviews/{id}", legacy=1)
    kept(1, "/pages/", legacy=1)
    declared = from_openapi({"paths": {path: {"get": {}} for path in ("/api/v1/reviews/{review}", "/never/", "/pages/")}})
    assert burndown(config, 7, NOW, declared).unasked == ("/never/",)


# Routes


def test_a_route_that_the_candidate_alone_served_and_that_matched_is_ready(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    counted("reviews", days=0.9, MATCHED=60, ELIGIBLE=60, CAPTURED=60)
    assert ready(config) == (True, set())
    note = burndown(config, 7, NOW).routes[0]
    assert "the candidate answered every one of its 1,400 requests of these 7 days" in [str(each) for each in note.evidence]
    assert [note.name for note in burndown(config, 7, NOW).routes] == ["reviews", "items"], "a split route has no candidate"


def test_what_was_compared_before_the_switch_counts_where_nothing_was_since(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    at = int(NOW - 12 * DAY) // 60 * 60
    Tally.objects.create(route="reviews", at=at, width=60, name=counters.MATCHED, count=500)
    Tally.objects.create(route="reviews", at=at, width=60, name=counters.ELIGIBLE, count=500)
    sums.rebuild()
    assert ready(config) == (True, set())


@pytest.mark.parametrize(
    ("names", "against"),
    [
        ({"SERVED_CANDIDATE": 100, "SERVED_LEGACY": 1}, {"legacy"}),
        ({"SERVED_CANDIDATE": 100, "FALLBACK": 1}, {"fallbacks"}),
        ({"SERVED_CANDIDATE": 100, "SERVED_GATEWAY": 1}, {"refused"}),
        ({"SERVED_CANDIDATE": 1}, {"few"}),
        ({"SERVED_LEGACY": 100}, {"legacy"}),
    ],
)
def test_one_doubt_is_enough(config: Config, names: dict[str, int], against: set[str]) -> None:
    counted("reviews", **names)
    counted("reviews", days=0.9, MATCHED=60, ELIGIBLE=60, CAPTURED=60)
    assert ready(config) == (False, against)


def test_days_without_a_request_are_days_of_which_nothing_is_known(config: Config) -> None:
    counted("reviews", days=4, SERVED_CANDIDATE=100)
    counted("reviews", days=0.9, MATCHED=60, ELIGIBLE=60)
    assert ready(config) == (False, {"not-daily"})


def test_without_comparisons_or_with_differences_nothing_is_ready(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    assert ready(config) == (False, {"uncompared"})
    counted("reviews", days=0.9, MATCHED=60, MISMATCHED=60, ELIGIBLE=120)
    assert ready(config) == (False, {"unproven"})


def test_what_was_compared_since_is_not_outweighed_by_what_was_before(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    at = int(NOW - 12 * DAY) // 60 * 60
    Tally.objects.create(route="reviews", at=at, width=60, name=counters.MATCHED, count=5000)
    Tally.objects.create(route="reviews", at=at, width=60, name=counters.ELIGIBLE, count=5000)
    counted("reviews", days=0.9, MATCHED=45, MISMATCHED=15, ELIGIBLE=60)
    assert ready(config) == (False, {"unproven"})


def test_an_open_signature_is_a_doubt_whatever_matched(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    counted("reviews", days=0.9, MATCHED=600, ELIGIBLE=600)
    Signature.objects.create(route="reviews", kind="value", path="$.a", state="new", count=1, first_seen=NOW - 60, last_seen=NOW - 60)
    assert ready(config) == (False, {"unproven"})


def test_a_guard_that_turned_it_off_is_a_doubt(config: Config) -> None:
    counted("reviews", SERVED_CANDIDATE=100)
    counted("reviews", days=0.9, MATCHED=60, ELIGIBLE=60)
    trip = {"gateway": "g", "flag": "reviews", "reason": "errors", "why": "x", "figures": {}, "outcome": "switched-off"}
    GuardTrip.objects.create(**trip, route="reviews", number=1, at=NOW - 8 * DAY, overridden=False, error="")
    assert ready(config) == (True, set())
    GuardTrip.objects.create(**trip, route="reviews", number=2, at=NOW - 6 * DAY, overridden=False, error="")
    assert ready(config) == (False, {"tripped"})


def test_of_what_nothing_is_known_nothing_is_ready(config: Config) -> None:
    assert ready(config, "items") == (False, {"few", "not-daily", "uncompared"})


# What people see


@pytest.fixture
def viewer(client: Client, settings: Any, tmp_path: Path) -> Client:
    (tmp_path / "banyan.toml").write_text(TOML)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    client.force_login(User.objects.create_user("vera"))
    return client


def shown(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def test_the_console_shows_it(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    counted("reviews", SERVED_CANDIDATE=100)
    counted("reviews", days=0.9, MATCHED=60, ELIGIBLE=60)
    kept(10, "/old/<b>", legacy=5)
    kept(10, "/pages/<i>", legacy=5)
    kept(1, "/pages/{…}", candidate=200)
    kept(1, "/api/v1/reviews/{id}", candidate=600)
    kept(1, "/pages/", legacy=200)
    kept(1, "", legacy=7)
    page = viewer.get("/endpoints/burndown/?days=7").content.decode()
    text = shown(page)
    assert "Legacy still answers 20.5 % of the traffic and 1 of 3 endpoints." in text
    assert "reviews ready to remove /api/v1/reviews/*" in text
    assert "items not to be removed yet" in text
    assert "GET /old/<b> not since" in text
    assert "<b>" not in page
    assert re.search(r"GET /pages/<i> not since [^,]*, perhaps among /pages/\{…\}", text)
    assert "<i>" not in page
    assert "7 requests of this time were of endpoints too rare" in text
    assert "nothing is kept of so long ago" in shown(viewer.get("/endpoints/burndown/?days=30").content.decode())
    assert viewer.get("/endpoints/burndown/?days=1000000").status_code == 200
    assert 'href="/endpoints/burndown/"' in viewer.get("/endpoints/").content.decode()


def test_the_console_says_what_it_does_not_know(viewer: Client, settings: Any) -> None:
    assert "Nothing is kept of all traffic yet" in shown(viewer.get("/endpoints/burndown/").content.decode())
    settings.BANYAN_CONFIG = ""
    assert "does not know banyan.toml" in shown(viewer.get("/endpoints/burndown/").content.decode())


def test_the_page_speaks_of_all_evidence_as_the_command_does() -> None:
    values: dict[str, float | str] = {
        "count": 1234,
        "days": 7.0,
        "share": 0.5,
        "least": LEAST,
        "with_requests": 3,
        "matched": 9,
        "compared": 9,
        "why": "x",
    }
    refused = gate(50, 60, minimum=100, match=0.9)
    why = "Comparisons: 60 (at least 100); Match rate, at least (95 % sure): 71.96 % (at least 90.00 %)"
    for code in WORDS:
        english = str(Evidence(code, values)).replace("50.00%", "50.00 %").replace("1234", "1,234")
        assert burndownviews.said(Evidence(code, values), refused) == english.replace("not passed: x", f"not passed: {why}")


FILL = """
import sys, time
from pathlib import Path
from shadow import store, counters
store.setup("sqlite:///store.sqlite3", Path(sys.argv[1]))
store.migrate(Path(sys.argv[1]))
from shadow.batch import Batch
from gateway.endpoints.figures import Figures
from gateway.endpoints.live import MinuteFigures
from shadow import endpoint_store
figures = Figures()
figures.observe(("GET", b"/", "", "legacy", 200, 0.01, 0), 40)
figures.observe(("GET", b"/", "", "candidate", 200, 0.01, 0), 60)
now = time.time()
endpoint_store.record("run", [MinuteFigures(int(now) // 60 * 60, True, [("GET", "/api/v1/reviews/{id}", figures)], Figures())], now=now)
batch = Batch()
batch.count("reviews", now, counters.SERVED_CANDIDATE, 60)
batch.count("reviews", now, counters.SERVED_LEGACY, 40)
store.write(batch)
"""


def test_the_command_says_it(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(TOML + '[shadow]\ndatabase = "sqlite:///store.sqlite3"\n')
    (tmp_path / "api.json").write_text('{"paths": {"/api/v1/reviews/{id}": {"get": {}}, "/never/": {"get": {}}}}')
    subprocess.run(python("-c", FILL, str(tmp_path)), check=True, timeout=60)
    arguments = ["burndown", "--config", str(tmp_path / "banyan.toml"), "--openapi", str(tmp_path / "api.json")]
    done = subprocess.run(python("-m", "gateway.cli", *arguments), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "legacy answers 40.00 % of the traffic, and 1 of 1 endpoints" in done.stdout
    assert "reviews (/api/v1/reviews/*): not yet" in done.stdout
    assert "- legacy answered 40.00% of its 100 requests of these 7 days" in done.stdout
    assert "GET    /api/v1/reviews/{id}  40 requests, 40.00 %, route reviews" in done.stdout
    assert "Which endpoints are dead cannot be said yet" in done.stdout
    assert "  /never/" in done.stdout
    told = json.loads(
        subprocess.run(python("-m", "gateway.cli", *arguments, "--json"), capture_output=True, text=True, timeout=60, check=True).stdout
    )
    assert (told["traffic_left"], told["endpoints_left"], told["whole"], told["unasked"]) == (0.4, 1.0, False, ["/never/"])
    assert told["routes"][0]["evidence"][0] | {"text": ""} == {
        "code": "legacy",
        "good": False,
        "text": "",
        "count": 100,
        "days": 7,
        "share": 0.4,
    }
    wrong = subprocess.run(python("-m", "gateway.cli", *arguments, "--days", "0"), capture_output=True, text=True, timeout=60, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "banyan: --days is from 1 to 365\n")
