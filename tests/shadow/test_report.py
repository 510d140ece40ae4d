"""What the gate and the charts are told: within which window, of which signatures, and by which spans."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from shadow import counters, report, states, store
from shadow.batch import OTHER, Batch, Seen
from shadow.compare import Kind
from shadow.exchange import RouteCounts, Summary
from shadow.models import Signature
from shadow.reconcile import reconcile
from shadow.series import MOST_POINTS, STEPS, Point, plain_sides, series, step_for

DAY = 86400.0


@dataclass(frozen=True)
class Terms:
    minimum: int = 10
    match: float = 0.5
    window: float = 3600.0
    coverage: float = 0.5


def count(*rows: tuple[float, str, int], route: str = "r") -> None:
    batch = Batch()
    for at, name, number in rows:
        batch.count(route, at, name, number)
    store.write(batch)


def see(path: str, at: float, route: str = "r") -> int:
    batch = Batch()
    batch.signatures[route, Kind.VALUE, path] = Seen(1, at, at)
    store.write(batch)
    return int(Signature.objects.get(route=route, path=path).pk)


def asked(now: float, terms: Terms | None = None) -> tuple[bool, str]:
    counted, result = report.gates({"r": terms or Terms()}, now)["r"]
    assert counted.route == "r"
    return result.passed, "; ".join(result.reasons)


@pytest.mark.django_db
def test_each_gate_counts_within_its_own_window() -> None:
    now = time.time()
    count((now - 7200, counters.MISMATCHED, 1000), (now - 60, counters.MATCHED, 100))
    count((now - 7200, counters.MATCHED, 7), route="long")
    found = report.gates({"r": Terms(), "long": Terms(window=DAY)}, now)
    assert [(found[name][1].compared, found[name][1].passed) for name in ("r", "long")] == [(100, True), (7, False)]
    assert not asked(now, Terms(window=DAY))[0]


@pytest.mark.django_db
def test_a_new_signature_counts_while_it_is_seen_and_a_bug_until_it_is_mended() -> None:
    now = time.time()
    count((now - 60, counters.MATCHED, 100))
    old, recent = see("$.old", now - 7200), see("$.recent", now - 60)
    assert asked(now) == (False, "1 signature still open: value $.recent (new)")
    for number in (old, recent):
        states.change(number, "bug", by="ada", why="x")
    assert asked(now) == (False, "2 signatures still open: value $.recent (bug), value $.old (bug)")
    states.change(recent, "expected", by="ada", why="a rule")
    assert asked(now) == (False, "1 signature still open: value $.old (bug)")
    states.change(old, "fixed", by="ada", why="x")
    assert asked(now) == (True, "")
    see("$.old", time.time() + 1)
    assert asked(now) == (False, "1 signature still open: value $.old (new)")


@pytest.mark.django_db
def test_what_found_no_signature_of_its_own_is_open_too() -> None:
    now = time.time()
    count((now - 60, counters.MATCHED, 100))
    see(OTHER, now - 60)
    assert asked(now) == (False, f"1 signature still open: value {OTHER} (new)")


@pytest.mark.django_db
def test_what_sampling_left_out_is_no_lack_of_coverage_and_all_else_is() -> None:
    now = time.time()
    sampled = (now - 60, counters.SKIPPED + counters.SAMPLED_OUT, 900)
    count((now - 60, counters.MATCHED, 100), (now - 60, counters.ELIGIBLE, 1000), sampled)
    assert asked(now) == (True, "")
    assert report.summary("r").coverage == 0.1
    count((now - 60, counters.DROPPED + "queue_full", 150), (now - 60, counters.ELIGIBLE, 150))
    assert asked(now) == (False, "40.0000% of what was to be compared was, 50.0000% is needed")
    assert asked(now, Terms(coverage=0.4))[0]


@pytest.mark.django_db
def test_a_series_has_every_span_and_loses_no_count() -> None:
    start = 1_800_000_000 // 3600 * 3600
    count(
        (start + 5, counters.MATCHED, 3),
        (start + 59, counters.MISMATCHED, 1),
        (start + 60, counters.SKIPPED + "method", 2),
        (start + 60, counters.SKIPPED + "sampled_out", 3),
        (start + 61, counters.DROPPED + "queue_full", 4),
        (start + 240, counters.SERVED_CANDIDATE, 9),
        (start + 241, counters.SERVED_LEGACY, 8),
        (start + 241, counters.ELIGIBLE, 99),
    )
    expected = (
        Point(start, matched=3, mismatched=1),
        Point(start + 60, skipped=5, dropped=4),
        Point(start + 120),
        Point(start + 180),
        Point(start + 240, legacy=8, candidate=9, eligible=99),
    )
    found = series("r", 0, start + 9999)
    assert (found.step, found.points) == (60, expected)
    assert (found.points[0].match_rate, found.points[1].match_rate) == (0.75, None)
    store.roll_up(start + 9999)
    assert series("r", 0, start + 9999) == found, "rolled up into minutes, they are the same"
    (hour,) = series("r", 0, start + 9999, 3600).points
    assert (hour.at, hour.matched, hour.mismatched, hour.skipped, hour.dropped) == (start, 3, 1, 5, 4)
    assert [point.at for point in series("r", start + 60, start + 240).points] == [start + 60]
    assert series("other", 0, start + 9999).points == ()


@pytest.mark.django_db
def test_a_series_is_bounded_and_refuses_what_is_not_kept() -> None:
    count((10.0, counters.MATCHED, 1), (1_800_000_000.0, counters.MATCHED, 1))
    found = series("r", 0, 2e9)
    assert found.step == STEPS[-1]
    assert len(found.points) <= 10 * MOST_POINTS + 1
    assert found.points[-1].matched == 1
    for step in (1, 90, 0):
        with pytest.raises(ValueError, match="multiple of 60"):
            series("r", 0, 2e9, step)
    assert [step_for(seconds) for seconds in (60, 7200, 7201, DAY, 14 * DAY)] == [60, 60, 300, 900, 4 * 3600]


@pytest.mark.django_db
def test_what_workers_tell_of_both_sides_is_in_reports_and_series_and_adds_up() -> None:
    start = 1_800_000_000
    counts = RouteCounts(
        legacy=10,
        eligible=10,
        captured=10,
        latency={"legacy": {3: 8, 4: 2}, "shadow-candidate": {5: 9}},
        errors={"shadow-candidate": 2, "legacy": 1},
        unanswered={"shadow-candidate": 1},
    )
    for second in (0, 1, 59, 200):
        batch = Batch()
        batch.summary(Summary(start + second, "w", {"r": counts}))
        store.write(batch)
    for _ in range(2):
        sides = report.summary("r", start).sides
        assert set(sides) == {"legacy", "shadow-candidate"}
        assert (sides["legacy"].times, sides["legacy"].errors, sides["legacy"].asked) == ({3: 32, 4: 8}, 4, 40)
        assert (sides["shadow-candidate"].asked, sides["shadow-candidate"].error_rate) == (40, 0.2)
        points = series("r", start, start + 9999).points
        assert [point.sides["legacy"].asked if point.sides else 0 for point in points] == [30, 0, 0, 10]
        assert plain_sides(points[0].sides)["shadow-candidate"]["errors"] == 6
        assert reconcile(report.summary("r")).captured == 40
        store.roll_up(start + 9999)  # and the same of minutes
    old = report.summary("r", start + 100).sides["legacy"]
    assert old.asked == 10
