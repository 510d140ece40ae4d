"""One address that alone fails is left out, for longer each time, and never more than half of them are."""

from __future__ import annotations

import pytest

from gateway.policy.ejection import FIRST_SECONDS, IN_A_ROW, LONGEST_SECONDS, Outlier


def failing(outlier: Outlier, now: float, times: int = IN_A_ROW, *, others_out: int = 0, addresses: int = 3) -> list[bool]:
    return [outlier.failed(now, others_out, addresses) for _ in range(times)]


def test_failures_in_a_row() -> None:
    outlier = Outlier()
    assert failing(outlier, 0.0) == [False] * (IN_A_ROW - 1) + [True]
    assert outlier.out(FIRST_SECONDS - 0.1)
    assert not outlier.out(FIRST_SECONDS)
    assert outlier.ejections == 1


def test_an_answer_in_between_begins_anew() -> None:
    outlier = Outlier()
    failing(outlier, 0.0, IN_A_ROW - 1)
    outlier.well(0.0)
    assert not any(failing(outlier, 0.0, IN_A_ROW - 1))


@pytest.mark.parametrize(
    ("addresses", "others_out", "may"),
    [(1, 0, False), (2, 0, True), (2, 1, False), (3, 0, True), (3, 1, False), (4, 1, True), (4, 2, False), (10, 4, True), (10, 5, False)],
)
def test_never_more_than_half(addresses: int, others_out: int, may: bool) -> None:
    assert any(failing(Outlier(), 0.0, 50, others_out=others_out, addresses=addresses)) is may


def test_one_that_comes_back_and_fails_again_is_out_for_twice_as_long_up_to_a_bound() -> None:
    outlier = Outlier()
    now, lengths = 0.0, []
    failing(outlier, now)
    for _ in range(6):
        lengths.append(outlier.until - now)
        now = outlier.until
        assert failing(outlier, now, 1) == [True]
    assert lengths == [FIRST_SECONDS, 10.0, 20.0, 40.0, LONGEST_SECONDS, LONGEST_SECONDS]


def test_while_it_is_out_late_failures_add_nothing() -> None:
    outlier = Outlier()
    failing(outlier, 0.0)
    assert not any(failing(outlier, 1.0, 20))
    assert outlier.until == FIRST_SECONDS


def test_it_is_forgiven_when_it_has_been_back_for_as_long_as_it_was_out() -> None:
    outlier = Outlier()
    failing(outlier, 0.0)
    outlier.well(FIRST_SECONDS + 1)
    assert failing(outlier, FIRST_SECONDS + 2)[-1]
    assert outlier.until == FIRST_SECONDS + 2 + 10.0  # not yet
    outlier.well(outlier.until + 10.0)
    begin = outlier.until + 11.0
    assert failing(outlier, begin)[-1]
    assert outlier.until == begin + FIRST_SECONDS
