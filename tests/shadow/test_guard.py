"""The guard's test: against published values, and against chance, which must not cost a candidate its flag."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from math import exp

import pytest

from gateway.tally import Tally
from shadow.gate import Z95
from shadow.guard import GROWTH, LAST, SPREAD, Comparisons, Figures, Limits, bucket, difference, judge, total, upper

LIMITS = Limits()


def figures(requests: int, errors: int = 0, milliseconds: float = 20.0, bad_seconds: int = SPREAD) -> Figures:
    return Figures(requests, errors, {bucket(milliseconds / 1000): requests - errors}, bad_seconds if errors else 0)


@pytest.mark.parametrize(
    ("counts", "lower"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), pages 873-890, table II, method 10.
        ((56, 70, 48, 80), 0.0524),
        ((9, 10, 3, 10), 0.1705),
        ((6, 7, 2, 7), 0.0582),
        ((5, 56, 0, 29), -0.0381),
        ((0, 10, 0, 20), -0.1611),
        ((10, 10, 0, 20), 0.6791),
        ((10, 10, 0, 10), 0.6075),
    ],
)
def test_published_differences(counts: tuple[int, int, int, int], lower: float) -> None:
    assert difference(*counts, Z95) == pytest.approx(lower, abs=5e-5)


def test_a_time_is_in_a_bucket_that_is_at_most_a_tenth_longer() -> None:
    for number in range(1, LAST + 1):
        for seconds in (upper(number) * 0.999, upper(number - 1) * 1.001):
            assert bucket(seconds) == number
            assert seconds <= upper(number) < seconds * GROWTH * 1.002
    assert (bucket(0), bucket(-1), bucket(1e9)) == (0, 0, LAST)


def test_workers_count_in_the_same_buckets() -> None:
    """What is compiled counts for itself."""
    dice = random.Random(1)
    for seconds in [0.0, 1e-5, 1e-4, 1e3, *(10 ** dice.uniform(-5, 3) for _ in range(1000))]:
        tally = Tally()
        tally.route("r").watched("candidate", False, seconds)
        (found,) = tally.report().routes["r"].guard["candidate"].times
        assert found == bucket(seconds), seconds


def test_of_few_requests_nothing_is_said() -> None:
    found = judge(figures(49, 49), figures(1000), LIMITS)
    assert (found.state, found.text) == ("not-enough", "49 requests to the candidate, 50 are needed")


def test_errors_far_above_legacys_are_a_breach_at_once() -> None:
    found = judge(figures(60, 30), figures(60, 1), LIMITS)
    assert (found.state, found.reason) == ("breach", "errors")
    assert found.text == "errors: candidate 50.00% (30 of 60), legacy 1.67% (1 of 60), 1.00% more are allowed"
    assert judge(figures(60, 30), figures(60, 28), LIMITS).state == "healthy"  # what both have in common is no matter of the candidate's
    assert "nothing is known of legacy's" in judge(figures(60, 30), None, LIMITS).text


def test_one_bad_second_is_a_restart() -> None:
    assert judge(figures(600, 300, bad_seconds=SPREAD - 1), figures(600), LIMITS).state == "healthy"
    assert judge(figures(600, 300, bad_seconds=SPREAD), figures(600), LIMITS).state == "breach"


def test_a_few_errors_are_none() -> None:
    assert judge(figures(55, 7), figures(5000), LIMITS).state == "healthy"
    assert judge(figures(55, 20), figures(5000), LIMITS).state == "breach"


def test_a_slow_candidate_is_a_breach() -> None:
    def slow(milliseconds: float, legacy: float = 20.0, timed: Figures | None = None) -> str:
        mine = figures(300, milliseconds=milliseconds)
        return judge(mine, figures(300, milliseconds=legacy), LIMITS, parts=[mine.times] * SPREAD, timed=timed).reason

    assert slow(60) == "latency"
    assert slow(31) == ""  # 1.55 times, which the buckets cannot tell from 1.5
    assert slow(20) == ""
    assert slow(3, legacy=1) == ""  # three times, and nobody's loss
    assert slow(60, timed=Figures()) == ""  # legacy's times are too old to be gone by
    one = figures(300, milliseconds=60)
    assert judge(one, figures(300), LIMITS, parts=[one.times] * (SPREAD - 1)).state == "healthy"
    found = judge(one, figures(300), LIMITS, parts=[one.times] * SPREAD)
    assert found.text.startswith("latency: candidate p95 6")
    assert "of 300, legacy 2" in found.text


def test_only_a_tail_that_is_slow_counts_as_p95_does() -> None:
    fast, slow = bucket(0.02), bucket(0.5)
    for share, reason in ((0.01, ""), (0.04, ""), (0.12, "latency")):
        count = int(1000 * share)
        mine = Figures(1000, 0, {fast: 1000 - count, slow: count})
        assert judge(mine, figures(1000), LIMITS, parts=[mine.times] * SPREAD).reason == reason, share


def test_mismatches_are_watched_where_they_are_limited() -> None:
    pairs = Comparisons(matched=180, mismatched=20, bad_seconds=SPREAD)
    healthy = figures(100)
    assert judge(healthy, healthy, LIMITS, compared=pairs).state == "healthy"
    limits = Limits(mismatch=0.01)
    found = judge(healthy, healthy, limits, compared=pairs)
    assert (found.reason, found.text) == ("mismatch", "mismatches: 10.00% (20 of 200) of what was compared, 1.00% is allowed")
    assert judge(healthy, healthy, limits, compared=Comparisons(198, 2, 2)).state == "healthy"
    assert judge(healthy, healthy, limits, compared=Comparisons(20, 20, SPREAD)).state == "healthy"  # too few
    assert judge(healthy, healthy, limits, compared=None).state == "healthy"


# Chance

WINDOW = 60


class Side:
    """One side's traffic, second by second, and its last minute."""

    def __init__(self, dice: random.Random, *, rate: int, errors: float, slower: float = 1.0, sigma: float = 1.0) -> None:
        self._dice = dice
        self._rate = rate
        self.errors = errors
        self._times = [bucket(slower * 0.02 * exp(sigma * dice.gauss(0, 1))) for _ in range(5000)]
        """Log-normal, median 20 ms: with a sigma of 1, p95 is five times the median, as it often is of pages that ask a database."""
        self.seconds: deque[Figures] = deque()
        self.sum = Figures()

    def second(self) -> None:
        dice = self._dice
        count = dice.randint(0, 2 * self._rate)
        failed = sum(1 for _ in range(count) if dice.random() < self.errors)
        now = Figures(count, failed, {}, 1 if failed else 0)
        for _ in range(count - failed):
            number = self._times[int(dice.random() * 5000)]
            now.times[number] = now.times.get(number, 0) + 1
        self.seconds.append(now)
        self.sum.add(now)
        if len(self.seconds) > WINDOW:
            self._forget(self.seconds.popleft())

    def _forget(self, old: Figures) -> None:
        self.sum.requests -= old.requests
        self.sum.errors -= old.errors
        self.sum.bad_seconds -= old.bad_seconds
        for number, count in old.times.items():
            self.sum.times[number] -= count
            if not self.sum.times[number]:
                del self.sum.times[number]


def breaches(candidate: Side, legacy: Side, seconds: int, stop: Callable[[], bool] = lambda: False) -> tuple[int, int]:
    """(how many looks said breach, the second of the first), a look each second."""
    count, first = 0, 0
    for second in range(1, seconds + 1):
        candidate.second()
        legacy.second()
        if second > WINDOW and judge(candidate.sum, legacy.sum, LIMITS, parts=[each.times for each in candidate.seconds]).state == "breach":
            count, first = count + 1, first or second
            if stop():
                break
    return count, first


@pytest.mark.parametrize(("rate", "errors", "sigma"), [(1, 0.01, 0.8), (2, 0.1, 0.8), (10, 0.03, 1.0)])
def test_a_candidate_that_is_as_good_as_legacy_is_never_turned_off(rate: int, errors: float, sigma: float) -> None:
    """Twelve hours of the first, look by look. For longer runs see docs/adr/0013-the-guard-runs-in-each-gateway.md."""
    dice = random.Random(13)
    sides = [Side(dice, rate=rate, errors=errors, sigma=sigma) for _ in range(2)]
    assert breaches(*sides, 12 * 3600 // rate) == (0, 0)
    assert total(sides[0].seconds).requests == sides[0].sum.requests > 0


@pytest.mark.parametrize(("errors", "slower"), [(0.3, 1.0), (0.0, 5.0)])
def test_one_that_is_clearly_worse_is_found_within_a_window(errors: float, slower: float) -> None:
    for seed in range(5):
        dice = random.Random(seed)
        candidate, legacy = Side(dice, rate=5, errors=0.005, sigma=0.8), Side(dice, rate=5, errors=0.005, sigma=0.8)
        assert breaches(candidate, legacy, 2 * WINDOW) == (0, 0)
        worse = Side(dice, rate=5, errors=errors, slower=slower, sigma=0.8)
        worse.seconds, worse.sum = candidate.seconds, candidate.sum
        found, first = breaches(worse, legacy, 2 * WINDOW, stop=lambda: True)
        assert (found, first <= WINDOW + 1) == (1, True), (seed, first)
