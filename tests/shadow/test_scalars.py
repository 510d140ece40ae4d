"""How far apart two numbers may be, and when two texts name the same instant."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.scalars import Tolerance, ToleranceError, instant


@pytest.mark.parametrize(
    ("given", "legacy", "candidate", "allowed"),
    [
        (0.01, 1, 1.01, True),
        (0.01, 1, 1.010001, False),
        (0.1, 0.3, 0.2, True),
        (0, 1, 1.0, True),
        (5, 10**400, 0.5, False),
        ("1 %", 200, 202, True),
        ("1%", 200, 202.01, False),
        ("1 %", -200, -198, True),
        ("0.5 %", 10**400, 10**400 + 10**397, True),
        ("50 %", 0, 0.1, False),
        ("50 %", 1, 2, False),
        ("50 %", 2, 1, True),
    ],
)
def test_tolerance(given: float | str, legacy: float, candidate: float, allowed: bool) -> None:
    assert Tolerance.parse(given).allows(legacy, candidate) is allowed


@pytest.mark.parametrize("given", ["", "1", "%", "-1 %", "1 % ", "1e3 %", "one %", "1,5 %", -0.1, math.inf, math.nan])
def test_what_is_no_tolerance(given: float | str) -> None:
    with pytest.raises(ToleranceError):
        Tolerance.parse(given)


NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01 12:00:00+00:00",
        "2026-03-01T12:00:00.000000000Z",
        "2026-03-01T21:00:00.0+09:00",
        "2026-03-01T21:00+0900",
        "20260301T120000Z",
        "2026-03-01T12:00:00,000Z",
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "Sun, 1 Mar 2026 12:00:00 -0000",
        "1 Mar 2026 07:00 -0500",
    ],
)
def test_one_instant_in_many_forms(text: str) -> None:
    assert instant(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-03-01", "12:00:00", "2026-13-01T12:00:00Z", "2026-03-01T12:00:00.0000001Z", "2026-03-01T12:00:00ZZ", "now", "1772366400",
        "2026-W09-7T12:00:00Z", "Sun, 01 Mar 2026", "0001-01-01T00:00:00+23:59", "\uff12026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z" + " " * 99,
    ],
)  # fmt: skip
def test_what_names_no_instant(text: str) -> None:
    assert instant(text) is None


def test_a_time_of_nowhere_equals_none_of_somewhere() -> None:
    assert instant("2026-03-01T12:00:00") not in (None, NOON)
    assert instant("2026-03-01T12:00:00") == instant("2026-03-01 12:00")


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)),  # noqa: DTZ001 - its zone is the next argument
    st.integers(-23 * 60, 23 * 60),
    st.text(max_size=70),
)
def test_whatever_the_zone(moment: datetime, minutes: int, noise: str) -> None:
    aware = moment.replace(tzinfo=UTC)
    elsewhere = aware.astimezone(timezone(timedelta(minutes=minutes)))
    assert instant(elsewhere.isoformat()) == aware
    assert instant(format_datetime(elsewhere)) == aware.replace(microsecond=0)
    instant(noise)
