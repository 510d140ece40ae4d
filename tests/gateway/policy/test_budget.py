"""Of the requests that come a fifth may be sent again, and ten a second however few come."""

from __future__ import annotations

import pytest

from gateway.policy.budget import LEAST, SECONDS, SHARE, Budget


def taken(budget: Budget, *, seconds: int, rate: float, tries: int) -> int:
    """Of `tries` a second, spread out."""
    return sum(budget.take(1000.0 + number / tries, rate) for number in range(seconds * tries))


@pytest.mark.parametrize("rate", [0.0, 30.0, 300.0, 5000.0])
def test_in_the_long_run(rate: float) -> None:
    fills = max(LEAST, SHARE * rate)
    got = taken(Budget(), seconds=100, rate=rate, tries=int(fills * 3))
    assert 0.99 * fills * 100 <= got <= fills * (100 + SECONDS) + 1


def test_where_few_are_sent_again_none_is_refused() -> None:
    budget = Budget()
    assert taken(budget, seconds=60, rate=300.0, tries=50) == 3000
    assert (budget.taken, budget.refused) == (3000, 0)


def test_at_once_what_ten_seconds_may_take_and_then_no_more() -> None:
    budget = Budget()
    budget.take(0.0, 300.0)
    got = sum(budget.take(100.0, 300.0) for _ in range(10_000))
    assert got == SHARE * 300.0 * SECONDS
    assert budget.refused == 10_000 - got


def test_time_that_goes_back_gives_nothing() -> None:
    budget = Budget(1.0)
    got = sum(budget.take(100.0 - number, 0.0) for number in range(100))
    assert got <= SECONDS + 1
