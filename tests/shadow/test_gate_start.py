"""A gate that was begun anew: what was compared before counts no more, everywhere that the gate is asked, until it is taken back."""

from __future__ import annotations

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from gateway.cli.gate import in_words
from gateway.settings.routes import Gate
from shadow import counters, gate_start, preview, report, sums
from shadow.compare import Rules
from shadow.gate_start import GateStartError
from shadow.models import Event, GateStart, Signature, Tally
from shadow.rules import checked

pytestmark = pytest.mark.django_db

TERMS = Gate(minimum=10, match=0.5, coverage=0.0)


def counted(route: str, at: float, name: str, count: int) -> None:
    Tally.objects.create(route=route, at=int(at), width=1, name=name, count=count)
    sums.rebuild()


def compared(route: str = "reviews") -> int:
    return report.gates({"reviews": TERMS, "search": TERMS}, time.time())[route][1].compared


def test_what_was_compared_before_counts_no_more_until_it_is_taken_back() -> None:
    now = time.time()
    for route in ("reviews", "search"):
        counted(route, now - 600, counters.MATCHED, 40)
        counted(route, now - 60, counters.MATCHED, 2)
    Signature.objects.create(route="reviews", kind="value", path="$.a", count=1, first_seen=now - 600, last_seen=now - 600)
    assert compared() == compared("search") == 42
    made = gate_start.begin("reviews", by="ada", why="1.4.2 is out", at=now - 300)
    judged, result = report.gates({"reviews": TERMS}, now)["reviews"]
    assert (result.compared, judged.since, result.open) == (2, now - 300, 0)
    assert not result.passed
    assert compared("search") == 42
    assert "begun anew 5m" in in_words(judged, result, TERMS.window)
    assert report.summary("reviews").compared == 42, "whatever else is shown has all of it"
    found = preview.of_adding("reviews", checked("ignore", "$.a", ""), Rules(), terms=TERMS)
    assert found.gate_before.compared == 2
    again = gate_start.begin("reviews", by="ada", why="and once more", at=now - 30)
    assert compared() == 0
    gate_start.take_back(again.pk, by="bob", why="that was a slip", at=now)
    assert compared() == 2
    gate_start.take_back(made.pk, by="bob", why="both were", at=now)
    assert compared() == 42
    assert GateStart.objects.count() == 2, "nothing is deleted"
    said = list(Event.objects.order_by("pk").values_list("route", "text", "by"))
    assert said == [("reviews", "begun anew", "ada")] * 2 + [("reviews", "not begun anew after all", "bob")] * 2


def test_a_beginning_that_is_older_than_the_window_changes_nothing() -> None:
    now = time.time()
    counted("reviews", now - 60, counters.MATCHED, 5)
    gate_start.begin("reviews", by="ada", why="long ago", at=now - 2 * TERMS.window)
    judged, result = report.gates({"reviews": TERMS}, now)["reviews"]
    assert (judged.since, result.compared) == (now - TERMS.window, 5)
    assert "of the last 1d" in in_words(judged, result, TERMS.window)


def test_what_cannot_be() -> None:
    for by, why in (("", "x"), ("ada", " "), ("ada", "x" * (gate_start.MAX_WHY + 1))):
        with pytest.raises(GateStartError):
            gate_start.begin("reviews", by=by, why=why, at=1.0)
    made = gate_start.begin("reviews", by="ada", why="x\0", at=1.0)
    gate_start.take_back(made.pk, by="ada", why="y", at=2.0)
    for number in (made.pk, 999):
        with pytest.raises(GateStartError, match="taken back before"):
            gate_start.take_back(number, by="ada", why="y", at=2.0)
    assert gate_start.in_force("reviews") is None


def test_many_routes_take_no_more_questions() -> None:
    terms = {f"route {number}": TERMS for number in range(50)}
    with CaptureQueriesContext(connection) as queries:
        report.gates(terms, time.time())
    assert len(queries) <= 6
