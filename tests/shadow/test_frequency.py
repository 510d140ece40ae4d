"""How often a signature was seen, of how many comparisons, and in which minutes."""

from __future__ import annotations

import time

import pytest

from shadow import counters, store
from shadow.batch import MAX_COMBINATIONS, OTHER
from shadow.frequency import MINUTES, frequency
from shadow.models import Combination, Signature, Tally
from shadow.rules import checked
from tests.support.reviewing import found, pair, see

pytestmark = pytest.mark.django_db
NOW = float(int(time.time()) // 60 * 60 + 30)


def test_it_is_counted_with_and_without_a_rule_of_all_comparisons_in_that_time() -> None:
    see(*(pair({"a": 1}, {"a": 1}, at=NOW - 5) for _ in range(6)))
    see(pair({"a": 1, "b": 1}, {"a": 2, "b": 2}, at=NOW - 70), pair({"b": 1}, {"b": 2}, at=NOW - 5))
    see(pair({"a": 1}, {"a": 2}, at=NOW - 5), rules=[checked("ignore", "$.a")])
    see(pair({"a": 1}, {"a": 2}, at=NOW - 7200))
    seen = frequency(found("$.a"), NOW - 3600, NOW)
    assert (seen.exchanges, seen.compared, seen.untold) == (2, 9, 0)
    assert seen.share == pytest.approx(2 / 9)
    assert len(seen.minutes) == MINUTES
    assert (seen.minutes[-1], seen.minutes[-2], sum(seen.minutes)) == (1, 1, 2)
    assert frequency(found("$.a"), NOW - 8000, NOW).exchanges == 3


def test_minutes_that_were_rolled_up_count_in_the_share() -> None:
    see(pair({"a": 1}, {"a": 2}, at=NOW - 7200), pair({"a": 1}, {"a": 1}, at=NOW - 7200))
    store.roll_up(NOW)
    assert Tally.objects.filter(width=60).exists()
    assert frequency(found("$.a"), NOW - 8000, NOW).share == 0.5


def test_what_is_not_kept_is_said() -> None:
    Combination.objects.bulk_create(
        Combination(route="reviews", key=f"k{number}", members=[], last_seen=NOW) for number in range(MAX_COMBINATIONS)
    )
    see(pair({"a": 1}, {"a": 2}, at=NOW - 5))
    seen = frequency(found("$.a"), NOW - 3600, NOW)
    assert (seen.exchanges, seen.compared, seen.untold) == (0, 1, 1)
    row = Signature.objects.create(route="reviews", kind="value", path=OTHER, count=1, first_seen=NOW, last_seen=NOW)
    assert frequency(row, NOW - 3600, NOW).share is None
    Tally.objects.filter(name=counters.MISMATCHED).delete()
    assert frequency(found("$.a"), NOW - 3600, NOW).share is None
