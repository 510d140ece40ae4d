"""Ignored places are watched: the test, and the alarms that follow from what was stored."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from shadow import alarms, report, rulebook, store
from shadow.batch import MAX_DRIFTS, Batch
from shadow.compare import Rules
from shadow.drift import LEVEL, Counted, p_value
from shadow.drift import alarms as beyond_chance
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Drift, Sample, Signature
from shadow.redact import Redactor
from shadow.rules import checked

NOW = float(int(time.time()) - 100)
BASE = Rules.make(ignore=["$.t", "$.m", "$.by.*"])
JUDGE = Judge(Redactor(["$..secret"], b"k" * 32), {"r": BASE})


def see(*pairs: tuple[Any, Any], at: float = NOW) -> None:
    batch = Batch()
    head = b"Content-Type: application/json\r\n"
    for left, right in pairs:
        sides = [json.dumps(side).encode() for side in (left, right)]
        made = Exchange(
            "r", "q", at, "GET", "/x", b"", b"",
            Answer("legacy", "legacy", 200, head, sides[0], 0.1), Answer("candidate", "new", 200, head, sides[1], 0.1),
        )  # fmt: skip
        judgement = JUDGE.judge(made)
        assert judgement is not None
        assert judgement.outcome == "match"
        batch.judgement(judgement)
    store.write(batch)


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [(0, 0, 1, 1), (5, 5, 1, 1), (15, 0, 6.1e-5, 6.2e-5), (0, 15, 6.1e-5, 6.2e-5), (14, 0, 1.2e-4, 1.3e-4), (9, 2, 0.065, 0.066),
     (600, 400, 1e-10, 1e-9), (601, 400, 1e-10, 1e-9), (50_000, 50_300, 0.3, 0.4)],
)  # fmt: skip
def test_the_test_is_mcnemars(one: int, other: int, least: float, most: float) -> None:
    """2 / 2^15 = 6.1e-5; of eleven, two or fewer: 2 x 67 / 2048. Exact and normal agree where one takes over from the other."""
    assert least <= p_value(one, other) <= most


def found(*counts: tuple[str, str, int]) -> list[tuple[str, str, int, int]]:
    listed = beyond_chance(Counted("$.t", legacy, candidate, count) for legacy, candidate, count in counts)
    return [(alarm.kind.value, alarm.path, alarm.count, alarm.against) for alarm in listed]


def test_a_fault_goes_one_way_and_noise_both() -> None:
    assert found(("string", "number", 15)) == [("drift", "$.t string->number", 15, 0)]
    assert found(("string", "number", 14)) == []
    assert found(("string", "number", 60), ("number", "string", 50)) == []
    assert found(("number", "string", 10), ("string", "number", 60)) == [("drift", "$.t string->number", 60, 10)]
    assert found(("array", "empty-array", 30), ("object", "string", 2)) == [("drift", "$.t array->empty-array", 30, 0)]


def test_null_and_absent_are_one_rate_and_their_difference_another() -> None:
    assert found(("string", "null", 9), ("string", "absent", 9)) == [("null-rate", "$.t", 18, 0)]
    assert found(("null", "string", 40)) == [("null-rate", "$.t", 40, 0)]
    assert found(("string", "null", 30), ("null", "string", 35)) == []
    assert found(("null", "absent", 20)) == [("drift", "$.t null->absent", 20, 0)]


@pytest.mark.django_db
def test_a_type_that_changed_where_differences_are_ignored_is_an_open_signature() -> None:
    see(*[({"t": "now"}, {"t": "then"})] * 500)
    assert alarms.raise_alarms(NOW + 1) == []
    see(*[({"t": "now", "secret": "hush"}, {"t": 12, "secret": "hush"})] * 14)
    assert alarms.raise_alarms(NOW + 1) == []
    see(({"t": "now"}, {"t": 12}), at=NOW + 5)
    (raised,) = alarms.raise_alarms(NOW + 6)
    assert (raised.kind, raised.path, raised.state, raised.count) == ("drift", "$.t string->number", "new", 15)
    (line,) = report.summary("r", NOW).signatures
    assert (line.kind, line.path) == ("drift", "$.t string->number")
    (sample,) = raised.samples.all()
    assert "hush" not in repr(sample.candidate)
    assert report.summary("r").mismatched == 0, "an alarm is about many exchanges, and about none by itself"
    assert alarms.raise_alarms(NOW + 7) == [], "once"
    see(*[({"t": "now"}, {"t": 12})] * 5, at=NOW + 8)
    alarms.raise_alarms(NOW + 9)
    assert Signature.objects.get().count == 20
    assert (Drift.objects.count(), Sample.objects.count()) == (1, 1), "one example of each"


@pytest.mark.django_db
def test_missing_keys_and_emptied_lists_inside_an_ignored_object_too() -> None:
    see(*[({"m": {"a": 1, "l": [1, 2]}}, {"m": {"l": []}})] * 20)
    assert {(row.kind, row.path) for row in alarms.raise_alarms(NOW + 1)} == {("null-rate", "$.m.a"), ("drift", "$.m.l array->empty-array")}


@pytest.mark.django_db
def test_what_was_fixed_is_tested_on_what_came_after() -> None:
    see(*[({"t": "now"}, {"t": None})] * 40)
    alarms.raise_alarms(NOW + 1)
    Signature.objects.update(state="fixed")
    see(({"t": "now"}, {"t": None}), at=NOW + 20)
    assert alarms.raise_alarms(NOW + 21) == [], "one is no proof"
    assert Signature.objects.get().state == "fixed"
    see(*[({"t": "now"}, {"t": None})] * 20, at=NOW + 30)
    (row,) = alarms.raise_alarms(NOW + 31)
    assert (row.path, Signature.objects.get().state) == ("$.t", "new")


@pytest.mark.django_db
def test_a_person_may_say_that_it_is_meant() -> None:
    see(*[({"t": "now"}, {"t": 12})] * 20)
    alarms.raise_alarms(NOW + 1)
    row = rulebook.add("r", checked("drift", "$.t"), BASE, author="kim", reason="seconds now", at=NOW + 2)
    assert Signature.objects.get().state == "expected"
    alarms.raise_alarms(NOW + 3)
    assert Signature.objects.get().state == "expected"
    rulebook.end("r", row.pk, by="kim", why="no", at=NOW + 4)
    assert Signature.objects.get().state == "new"


@pytest.mark.django_db
def test_an_ignoring_rule_does_not_cover_the_alarm_about_itself() -> None:
    see(*[({"t": "now"}, {"t": 12})] * 20)
    rulebook.add("r", checked("ignore", "$..t"), BASE, author="kim", reason="x", at=NOW)
    alarms.raise_alarms(NOW + 1)
    assert Signature.objects.get().state == "new"


@pytest.mark.django_db
def test_it_is_bounded_and_goes_with_time() -> None:
    for start in range(0, MAX_DRIFTS + 200, 40):
        names = [f"n{number}" for number in range(start, start + 40)]
        see(({"by": dict.fromkeys(names, "a")}, {"by": dict.fromkeys(names, 1)}))
    assert Drift.objects.count() == MAX_DRIFTS
    assert alarms.raise_alarms(NOW + alarms.WINDOW_SECONDS + 60) == []
    store.purge(NOW + 100, 10)
    assert not Drift.objects.exists()


def test_the_level_is_the_one_that_is_documented() -> None:
    assert p_value(15, 0) < LEVEL < p_value(14, 0)


@pytest.mark.django_db
def test_the_console_shows_it(admin_client: Client) -> None:
    see(*[({"t": "now"}, {"t": 12})] * 20)
    (row,) = alarms.raise_alarms(NOW + 1)
    page = admin_client.get(reverse("route", args=["r"]))
    assert "$.t string-&gt;number" in page.content.decode()
    page = admin_client.get(reverse("signature", args=[row.pk]), follow=True)
    assert page.status_code == 200
    text = page.content.decode()
    assert "Another type or shape, again and again, where differences are ignored" in text
