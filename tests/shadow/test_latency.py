"""Quantiles out of buckets, and what a side's counters come to."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter

import pytest

from shadow.latency import BUCKETS, SideFigures, best, figures, quantile


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_the_true_quantile_lies_between_the_bounds(share: float) -> None:
    chance = random.Random(11)
    for _ in range(200):
        times = sorted(chance.lognormvariate(-4, 1.5) for _ in range(chance.randrange(1, 400)))
        found = quantile(Counter(bisect_left(BUCKETS, seconds) for seconds in times), share)
        true = times[max(0, -int(-share * len(times) // 1) - 1)]
        assert found is not None
        assert found.low <= found.seconds
        assert found.low <= true
        if found.high is not None:
            assert true <= found.high
            assert found.seconds <= found.high


def test_it_is_interpolated_within_the_bucket() -> None:
    found = quantile({3: 100}, 0.5)  # 5 to 10 ms
    assert found is not None
    assert (round(found.seconds, 6), found.low, found.high) == (0.0075, 0.005, 0.01)
    assert SideFigures({3: 50, 13: 50}).p95 == 10.0, "what is slower than all bounds is told as the last of them"
    assert quantile({}, 0.5) is None
    assert quantile({2: 0}, 0.5) is None


def test_counters_are_read_by_side_and_others_passed_over() -> None:
    found = figures(
        {
            "latency.legacy.3": 8, "latency.legacy.4": 2, "errors.legacy": 1,
            "latency.shadow-candidate.0": 9, "errors.shadow-candidate": 2, "unanswered.shadow-candidate": 1,
            "errors.candidate": 3, "unanswered.candidate": 3, "latency.other.1": 5, "latency.legacy.x": 1, "matched": 77,
        }
    )  # fmt: skip
    assert set(found) == {"legacy", "candidate", "shadow-candidate"}
    assert (found["legacy"].times, found["legacy"].asked, found["legacy"].error_rate) == ({3: 8, 4: 2}, 10, 0.1)
    assert (found["shadow-candidate"].asked, found["shadow-candidate"].error_rate) == (10, 0.2)
    assert (found["candidate"].asked, found["candidate"].error_rate, found["candidate"].p95) == (3, 1.0, None)
    assert best(found, "candidate") == (found["shadow-candidate"], True)
    assert best(found, "legacy") == (found["legacy"], False)
    assert best({}, "legacy")[0].error_rate is None
