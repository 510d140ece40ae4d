"""The adaptive limit against a simulated server: it finds what the server is good for, keeps it busy, and leaves a healthy one alone."""

from __future__ import annotations

import random
from statistics import median

import pytest

from gateway.policy.concurrency import GROWTH, TOLERANCE, Adaptive
from tests.support.queueing import Crowd, Service

SEEDS = range(3)


def steady(mean: float) -> Service:
    return lambda chance, now: mean * chance.uniform(0.8, 1.2)


def uneven(mean: float) -> Service:
    return lambda chance, now: chance.expovariate(1 / mean)


def mixed(chance: random.Random, now: float) -> float:
    """A monolith: most pages are quick, some are not."""
    return 0.005 if chance.random() < 0.9 else 0.2


MIXED_MEAN = 0.9 * 0.005 + 0.1 * 0.2


def crowd(workers: int, service: Service, seed: int, *, floor: int = 4, ceiling: int = 256) -> Crowd:
    return Crowd(Adaptive(floor, ceiling), workers, service, random.Random(seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("workers", "service", "mean", "most"),
    [(8, steady(0.05), 0.05, 2.2), (8, uneven(0.05), 0.05, 3.0), (16, mixed, MIXED_MEAN, 3.0), (32, uneven(0.03), 0.03, 2.2)],
    ids=["steady", "uneven", "mixed", "many workers"],
)
def test_ten_times_what_it_can_take(workers: int, service: Service, mean: float, most: float, seed: int) -> None:
    """From a cold start, it ends busy and not much more than busy."""
    at = crowd(workers, service, seed)
    capacity = workers / mean
    at.run(10 * capacity, 5)
    limits = []
    for _ in range(40):
        at.run(10 * capacity, 0.5)
        limits.append(at.limit.limit)
    assert at.goodput(20) >= 0.9 * capacity
    assert median(limits) <= most * workers
    assert at.shed > 8 * capacity * 20


@pytest.mark.parametrize("seed", SEEDS)
def test_latency_stays_within_twice_that_without_a_crowd(seed: int) -> None:
    at = crowd(8, steady(0.05), seed)
    at.run(80, 5)
    alone = at.slowest(0.99, 5)
    at.run(1600, 30)
    assert at.slowest(0.99, 30) <= 2 * alone
    assert at.goodput(30) >= 0.95 * 160


def test_a_healthy_upstream_is_left_alone() -> None:
    """At half of what it can take hardly anybody is shed, whatever the luck of the first answers, and once it is known nobody is."""
    at_first, later = [], []
    for seed in range(20):
        at = crowd(100, uneven(0.05), seed)
        at.run(50, 1)  # a morning begins quietly
        at.run(400, 2)
        before = at.shed
        at.run(1000, 10)
        at_first.append(at.shed - before)
        before = at.shed
        at.run(1000, 10)
        later.append(at.shed - before)
        assert at.goodput(10) == pytest.approx(1000, rel=0.05)
    assert max(at_first) <= 0.05 * 10_000
    assert sum(at_first) <= 0.005 * 20 * 10_000
    assert sum(later) == 0


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.1], ids=["in step", "nearly", "steady"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_surge_out_of_a_quiet_hour(seed: int, spread: float) -> None:
    """The limit has never been needed, and is found without a swing far beyond it, even where all workers answer in step, so that the first
    half of each round comes in time whatever follows it."""
    at = crowd(8, lambda chance, now: 0.155 * chance.uniform(1 - spread, 1 + spread), seed)
    at.run(10, 6)
    at.run(520, 3)
    assert at.most <= 8 * TOLERANCE * GROWTH + 2
    at.run(520, 27)
    assert at.goodput(27) >= 0.95 * 8 / 0.155


@pytest.mark.parametrize("seed", SEEDS)
def test_growing_need_is_met_within_seconds(seed: int) -> None:
    """Where latency does not rise, the limit follows whatever is asked for."""
    at = crowd(200, steady(0.05), seed)
    at.run(20, 2)
    at.run(2000, 3)
    before = at.shed
    at.run(2000, 5)
    assert at.shed == before
    assert at.limit.limit >= 100


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_has_become_slower_without_a_crowd_is_not_choked_for_ever(seed: int) -> None:
    """Its database takes four times as long from now on: the gradient says crowd, and is found out to be wrong."""
    slow_from = 1010.0
    at = crowd(16, lambda chance, now: (0.05 if now < slow_from else 0.2) * chance.uniform(0.8, 1.2), seed)
    at.run(1600, 10)
    at.run(1600, 30)
    assert at.goodput(15) >= 0.7 * 80


@pytest.mark.parametrize("seed", range(4))
def test_one_that_is_quick_again_is_not_left_with_a_queue(seed: int) -> None:
    """It was slow for a while in the middle of a crowd, so the base was: what it allows is a queue in front of an upstream that is well."""
    slow = range(1010, 1030)
    at = crowd(8, lambda chance, now: (0.2 if int(now) in slow else 0.05) * chance.uniform(0.8, 1.2), seed)
    at.run(1600, 10)
    at.run(1600, 20)
    at.run(1600, 30)
    assert at.slowest(0.99, 5) <= 2 * 0.05 * 1.2
    assert at.goodput(5) >= 0.9 * 160


@pytest.mark.parametrize("seed", SEEDS)
def test_after_the_crowd_everybody_is_served_again(seed: int) -> None:
    at = crowd(8, steady(0.05), seed)
    at.run(80, 3)
    at.run(1600, 10)
    at.run(80, 2)
    before = at.shed
    at.run(80, 10)
    assert at.shed == before
    assert at.slowest(0.99, 10) < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_floor_and_ceiling(seed: int) -> None:
    at = crowd(1, steady(0.1), seed, floor=3, ceiling=12)
    assert at.limit.limit == 3
    at.run(100, 10)
    assert at.limit.limit >= 3
    wide = crowd(1000, steady(0.01), seed, floor=3, ceiling=12)
    wide.run(5000, 5)
    assert wide.limit.limit == 12
    assert wide.most == 12


def test_nothing_moves_while_nobody_is_held_back() -> None:
    """Its latency alone says nothing about how many may be with it."""
    limit, now = Adaptive(4, 64), 100.0
    for step in range(3000):
        now += 0.01
        limit.answered(0.01 if step < 1000 else 2.0, 3, now)
    assert limit.limit == 4
    assert limit.base > 0.01


def test_other_bounds_keep_what_is_known_and_another_upstream_does_not() -> None:
    at = crowd(50, steady(0.02), 1)
    at.run(4000, 5)
    assert at.limit.limit > 30
    base = at.limit.base
    at.limit.bounds(2, 20)
    assert (at.limit.limit, at.limit.base) == (20, base)
    at.limit.bounds(30, 40)
    assert at.limit.limit == 30
