"""The gate against published values of Wilson's interval."""

from __future__ import annotations

import pytest

from shadow.gate import gate, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "lower", "upper"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: Wilson without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(successes: int, trials: int, lower: float, upper: float) -> None:
    assert wilson(successes, trials) == pytest.approx((lower, upper), abs=5e-5)
    assert wilson(trials - successes, trials) == pytest.approx((1 - upper, 1 - lower), abs=5e-5)


def test_nothing_tried_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert not gate(0, 0, minimum=1, match=0.5).passed


def test_the_lower_end_decides_not_the_rate() -> None:
    assert not gate(100, 100, minimum=10, match=0.999).passed
    assert gate(3838, 3838, minimum=10, match=0.999).passed
    assert not gate(3837, 3837, minimum=10, match=0.999).passed
    assert not gate(9_980, 10_000, minimum=10, match=0.999).passed


def test_every_reason_is_given() -> None:
    result = gate(9, 10, minimum=100, match=0.9)
    assert not result.passed
    assert len(result.reasons) == 2
    assert "10 comparisons, 100 are needed" in result.reasons
    (reason,) = gate(100, 100, minimum=10, match=0.999).reasons
    assert "3838 comparisons without a difference" in reason
