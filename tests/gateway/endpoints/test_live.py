"""An hour of a gateway's traffic, as GET /top says it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.endpoints.figures import Row
from gateway.endpoints.live import ENTRIES, MINUTES, TOLD, Live, listing, told

NOON = 1_790_000_040.0
"""A minute begins 0 s before."""


def row(
    path: str, seconds: float = 0.1, status: int = 200, side: str = "legacy", method: str = "GET", route: str = "", cache: int = 0
) -> Row:
    return (method, path.encode(), route, side, status, seconds, cache)


def live(*patterns: str) -> Live:
    return Live(patterns, NOON)


def listed(of: Live, minutes: int = 15, now: float = NOON + 60, **how: Any) -> dict[str, Any]:
    return listing(of.span(minutes, now), of.templates, **how)


def test_endpoints_are_listed_by_what_they_take_of_legacys_time() -> None:
    top = live("/api/*")
    for number in range(60):
        top.hear([row(f"/api/items/{number}", 0.1), row("/api/fast", 0.01), row("/api/fast", 0.01)], 3, NOON + number)
    found = listed(top)
    assert [(one["template"], one["requests"]) for one in found["endpoints"]][:2] == [("/api/items/{id}", 58), ("/api/fast", 118)]
    assert found["endpoints"][0]["rps"] == pytest.approx(58 / 60, abs=0.001)
    assert found["endpoints"][0]["legacy_share"] == pytest.approx(58 * 0.1 / (60 * 0.1 + 120 * 0.01), abs=0.001)
    assert found["total"]["requests"] == 180
    assert found["total"]["legacy_seconds"] == pytest.approx(7.2)
    assert listed(top, order="requests")["endpoints"][0]["template"] == "/api/fast"
    assert set(found["endpoints"][1]["sides"]) == {"legacy"}
    top.hear([row("/api/fast", 0.5, side="candidate")], 1, NOON + 59)
    fast = next(one for one in listed(top)["endpoints"] if one["template"] == "/api/fast")
    assert fast["sides"]["legacy"]["p95"] == pytest.approx(0.01, rel=0.1)
    assert fast["sides"]["candidate"] == {"p50": pytest.approx(0.5, rel=0.1), "p95": pytest.approx(0.5, rel=0.1)}
    one = listed(top, limit=1)
    assert (len(one["endpoints"]), one["known"], one["rest"]["requests"]) == (1, found["known"], 123)


def test_what_stands_for_more_counts_as_more_and_the_sum_is_exact() -> None:
    top = live("/a/*", "/b/*")
    for _ in range(10):
        top.hear([row("/a/1")] * 30 + [row("/b/1")] * 10, 100, NOON)
    found = {one["template"]: one["requests"] for one in listed(top)["endpoints"]}
    assert found == {"/a/{id}": 750, "/b/{id}": 250}
    assert (top.told, top.stood_for) == (400, 600)


def test_only_the_minutes_that_were_asked_for_count_and_old_ones_go() -> None:
    top = live("/a/*")
    for minute in range(90):
        top.hear([row("/a/1")], 1, NOON + 60 * minute)
    now = NOON + 60 * 89 + 30
    assert listed(top, 15, now)["total"]["requests"] == 16, "15 whole ones, and the one under way"
    assert listed(top, 15, now)["seconds"] == pytest.approx(15 * 60 + 30)
    assert listed(top, 60, now)["total"]["requests"] == 61 == MINUTES + 1
    assert len(top._minutes) == MINUTES + 1


def test_an_old_minute_is_read_by_what_was_learned_since() -> None:
    top = live("/shop/*")
    words = [
        a + b
        for a in ("red", "blue", "green", "tea", "sky", "sun", "oak", "elm")
        for b in ("", "s", "box", "cup", "bag", "hat", "pin", "mat")
    ]
    top.hear([row(f"/shop/{word}") for word in words[:50] for _ in range(3)], 150, NOON)
    assert {one["template"] for one in listed(top)["endpoints"]} > {"/shop/red", "/shop/bluebox"}
    top.hear([row(f"/shop/{word}") for word in words for _ in range(3)], 192, NOON + 60)
    found = listed(top, 15, NOON + 120)
    assert {one["template"] for one in found["endpoints"]} == {"/shop/{…}"}
    assert found["total"]["requests"] == 342
    (before, after) = told(top.after(0, NOON + 120), top.templates)
    assert {template for _, template, _ in (*before.endpoints, *after.endpoints)} == {"/shop/{…}"}


def test_what_answers_404_and_what_the_gateway_refuses_teaches_no_words() -> None:
    top = live("/api/*")
    for _ in range(10):
        top.hear([row("/backup/db", status=404), row("/admin/x", side="gateway", status=503), row("/gone", status=0)], 3, NOON)
        top.hear([row("/private/area", status=403)], 1, NOON)
    assert {one["template"] for one in listed(top)["endpoints"]} == {"/*", "/private/area", "/{…}/{…}"}


def test_methods_of_one_template_are_told_apart() -> None:
    top = live("/a/*")
    top.hear([row("/a/1"), row("/a/1", method="HEAD"), row("/a/2", method="POST", status=500), row("/a/3", method="BREW")], 4, NOON)
    found = {one["method"]: one for one in listed(top)["endpoints"]}
    assert {name: (one["requests"], one["safe"], one["errors_5xx"]) for name, one in found.items()} == {
        "GET": (2, True, 0.0),
        "POST": (1, False, 1.0),
        "OTHER": (1, False, 0.0),
    }
    assert found["GET"]["methods"] == ["GET", "OTHER", "POST"]


def test_minutes_are_told_for_keeping_with_what_is_too_much_summed_up() -> None:
    top = live(*(f"/r{first}{second}/*" for first in "abcdefghijklmno" for second in "abcdefghijklmno"))
    rows = [row(f"/r{first}{second}/1", number / 100) for number, first in enumerate("abcdefghijklmno") for second in "abcdefghijklmno"]
    top.hear(rows, len(rows), NOON)
    assert len(rows) > ENTRIES
    assert top.displaced["entries"] == len(rows) - ENTRIES
    (minute,) = told(top.after(0, NOON + 30), top.templates)
    assert not minute.complete
    assert len(minute.endpoints) == TOLD
    assert sum(figures.count for _, _, figures in minute.endpoints) + minute.rest.count == len(rows)
    top.hear(rows[:5], 5, NOON + 60)
    assert [(each.at, each.complete) for each in told(top.after(0, NOON + 61), top.templates)] == [(NOON, True), (NOON + 60, False)]
    assert [each.at for each in told(top.after(int(NOON), NOON + 61), top.templates)] == [NOON + 60]
    assert [each.at for each in told(top.after(int(NOON) + 60, NOON + 61), top.templates)] == [NOON + 60], (
        "the one under way is told again and again"
    )
    assert msgspec.json.decode(msgspec.json.encode(minute))["rest"]["count"] == len(rows) - TOLD


def test_nothing_is_nothing() -> None:
    found = listed(live())
    assert (found["endpoints"], found["total"]["requests"], found["total"]["rps"]) == ([], 0, 0.0)
    top = live()
    top.hear([], 0, NOON)
    assert told(top.after(0, NOON), top.templates) == []
