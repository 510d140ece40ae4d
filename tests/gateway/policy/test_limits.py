"""Nobody gets more than his burst and his rate, whatever the times at which he comes; and everybody gets that much."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.limits import PLACE, WAYS, Limit, Places

START = 1000.0


def places(count: int = 64) -> Places:
    return Places(memoryview(bytearray(count * PLACE)))


def test_the_burst_is_there_at_once_and_then_the_rate() -> None:
    counted, limit = places(), Limit(rate=10, burst=3)
    assert [counted.take(7, limit, START) for _ in range(3)] == [0, 0, 0]
    assert counted.take(7, limit, START) == pytest.approx(0.1)
    assert counted.take(7, limit, START + 0.04) == pytest.approx(0.06)
    assert counted.take(7, limit, START + 0.1) == 0
    assert counted.take(7, limit, START + 0.1) == pytest.approx(0.1)
    assert [counted.take(7, limit, START + 60) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]


def test_who_is_refused_pays_nothing_for_it() -> None:
    counted, limit = places(), Limit(rate=1, burst=1)
    assert counted.take(7, limit, START) == 0
    for step in range(1, 100):
        assert counted.take(7, limit, START + step / 100) > 0
    assert counted.take(7, limit, START + 1) == 0


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=80),
    st.floats(0.2, 50),
    st.integers(1, 20),
)
def test_in_no_span_of_time_are_more_let_through(gaps: list[float], rate: float, burst: int) -> None:
    counted, limit = places(), Limit(rate, burst)
    now, passed = START, []
    for gap in gaps:
        now += gap
        wait = counted.take(7, limit, now)
        if wait == 0:
            passed.append(now)
        else:
            assert counted.take(7, limit, now + wait * 0.99) > 0  # it was no longer than needed; this one was refused, so nothing changed
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - begin) + 1e-6


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 6))
def test_it_is_the_token_bucket(steps: list[int], burst: int) -> None:
    """Held to the textbook's bucket, in whole tenths of a second so that both can count exactly."""
    counted, limit = places(), Limit(rate=1, burst=burst)
    now, tokens = 0, burst * 10
    for step, wait in [(step, wait) for step in steps for wait in range(2)]:
        now += step if wait == 0 else 0
        tokens = min(burst * 10, tokens + (step if wait == 0 else 0))
        passes = counted.take(7, limit, START + now / 10) == 0
        assert passes == (tokens >= 10)
        tokens -= 10 if passes else 0


def test_names_do_not_count_for_each_other() -> None:
    counted, limit = places(), Limit(rate=1, burst=1)
    assert [counted.take(name, limit, START) for name in range(1, 17)] == [0] * 16
    assert all(counted.take(name, limit, START) > 0 for name in range(1, 17))


def test_where_all_places_are_taken_the_one_that_has_waited_longest_gives_way() -> None:
    counted, limit = places(WAYS), Limit(rate=1, burst=1)  # one set: every name has the same places
    for late, name in enumerate(range(1, WAYS + 2)):
        assert counted.take(name, limit, START + late / 10) == 0
    refused = [counted.take(name, limit, START + 0.5) > 0 for name in range(2, WAYS + 2)]
    assert refused == [True] * WAYS
    assert counted.take(1, limit, START + 0.5) == 0, "whoever gave way begins anew"


def test_a_higher_rate_is_in_force_at_once_and_a_lower_one_too() -> None:
    counted = places()
    slow, fast = Limit(rate=1, burst=1), Limit(rate=100, burst=50)
    assert counted.take(7, slow, START) == 0
    assert counted.take(7, fast, START + 0.6) == 0
    waits = [counted.take(7, slow, START + 0.6 + step / 10) for step in range(5)]
    assert all(before > after > 0 for before, after in pairwise(waits))
