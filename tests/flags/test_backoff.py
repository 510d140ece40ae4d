"""How long a failing Unleash is left alone."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.backoff import LONGEST, retry_after, wait

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def test_it_doubles_from_the_usual_interval_up_to_the_bound() -> None:
    assert [wait(failures, 0.5, 0, lambda: 1.0) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [wait(failures, 0.5, 0, lambda: 0.0) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


@given(
    st.integers(1, 10_000),
    st.floats(0.1, 120),
    st.one_of(st.just(0.0), st.floats(0, 1e12)),
    st.floats(0, 1),
)
def test_never_sooner_than_usual_never_later_than_the_bound(failures: int, refresh: float, asked: float, dice: float) -> None:
    waited = wait(failures, refresh, asked, lambda: dice)
    assert refresh <= waited <= max(LONGEST, refresh)
    assert waited >= min(asked, LONGEST)


@pytest.mark.parametrize(("failures", "asked"), [(1, 0.0), (4, 0.0), (50, 0.0), (1, 5.0)])
def test_a_thousand_gateways_do_not_come_at_once(failures: int, asked: float) -> None:
    dice = random.Random(20260131)
    times = sorted(wait(failures, 0.5, asked, dice.random) for _ in range(1000))
    spread = times[-1] - times[0]
    assert spread > 0.3 * times[-1]
    tenth = [sum(times[0] + part * spread / 10 <= at <= times[0] + (part + 1) * spread / 10 for at in times) for part in range(10)]
    assert max(tenth) < 150, tenth


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 120 ", 120),
        ("9" * 5000, 999_999_999),
        ("-3", 0),
        ("1.5", 0),
        ("soon", 0),
        ("\u0665", 0),
        (format_datetime(NOW + timedelta(seconds=12), usegmt=True), 12),
        (format_datetime(NOW - timedelta(seconds=12), usegmt=True), 0),
        ("Sat, 31 Jan 2026 08:00:09 -0000", 9),
        ("Sat, 99 Jan 2026 08:00:09 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds
