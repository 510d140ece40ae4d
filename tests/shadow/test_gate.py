"""The gate against published values of Wilson's interval."""

from __future__ import annotations

import pytest

from shadow.gate import further, gate, wilson


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


def test_an_open_signature_is_a_no_whatever_the_rate() -> None:
    result = gate(10_000, 10_000, minimum=10, match=0.9, signatures=["value $.a (new)"])
    assert (result.passed, result.open) == (False, 1)
    assert result.reasons == ("1 signature still open: value $.a (new)",)
    (reason,) = gate(10_000, 10_000, minimum=10, match=0.9, signatures=list("abcde")).reasons
    assert reason == "5 signatures still open: a, b, c and 2 more"


@pytest.mark.parametrize(("coverage", "passed"), [(None, True), (0.5, True), (0.4999, False), (0.0, False), (1.0, True)])
def test_what_was_never_compared_shows_nothing(coverage: float | None, passed: bool) -> None:
    result = gate(10_000, 10_000, minimum=10, match=0.9, coverage=coverage, least_coverage=0.5)
    assert result.passed is passed
    assert passed or "of what was to be compared was, 50.0000% is needed" in result.reasons[0]


@pytest.mark.parametrize(("stale", "passed"), [(0, True), (526, True), (527, False), (10**6, False)])
def test_what_is_always_on_its_way_keeps_it_shut(stale: int, passed: bool) -> None:
    """5 % of all that was compared or stale; one more is too many."""
    result = gate(10_000, 10_000, minimum=10, match=0.9, stale=stale)
    assert result.passed is passed
    assert result.stale == (stale / (10_000 + stale) if stale else 0)
    assert passed or result.reasons[0].endswith("of the answers were stale, 5.0000% may be")


def test_where_all_is_stale_nothing_is_shown() -> None:
    result = gate(0, 0, minimum=1, match=0.5, stale=9)
    assert (result.passed, result.stale) == (False, 1)


@pytest.mark.parametrize(
    ("matched", "compared", "match"), [(0, 0, 0.999), (100, 100, 0.999), (9, 10, 0.9), (400, 500, 0.98), (0, 1000, 0.5)]
)
def test_how_many_are_missing_is_exact(matched: int, compared: int, match: float) -> None:
    more = further(matched, compared, match)
    assert more
    assert wilson(matched + more, compared + more)[0] >= match > wilson(matched + more - 1, compared + more - 1)[0]


def test_of_what_is_missing_the_larger_number_counts() -> None:
    assert gate(100, 100, minimum=10_000, match=0.9).missing == 9_900
    assert gate(100, 100, minimum=10, match=0.999).missing == 3738
    assert gate(10_000, 10_000, minimum=10, match=0.9).missing == 0
    assert gate(0, 10_000_000, minimum=10, match=0.9999999).missing is None
