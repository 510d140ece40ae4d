"""The push surge's figures and bars, from what was seen; and the container that is started anew when it does not answer."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from drills.load import Seen
from drills.pod import FAILURES, Pod, healthy
from drills.surge import CALM_SECONDS, FAILED, LEFT, OK, SHED, Side, report

SECONDS = 10.0
CAPACITY = 50.0
RATE = 500.0
OVER = CALM_SECONDS + SECONDS


def seen() -> list[Seen]:
    """As it should be: a tenth is answered, the rest is shed at once."""
    before = [Seen(number, "before", number / 20, 0.1, OK) for number in range(int(20 * CALM_SECONDS) - 2)]
    surge = [
        Seen(number, "surge", CALM_SECONDS + number / RATE, 0.15 if not number % 10 else 0.002, OK if not number % 10 else SHED)
        for number in range(int(RATE * SECONDS))
    ]
    after = [Seen(number, "after", OVER + number / 20, 0.1, OK) for number in range(100)]
    return [*before, *surge, *after]


@pytest.fixture
def good() -> Side:
    return Side(seen(), 100.0, SECONDS, [], 0, 0)


def missed(side: Side) -> list[str]:
    return [bar.name for bar in report(side, side, CAPACITY, RATE).bars if not bar.ok]


def test_all_bars_are_held(good: Side) -> None:
    assert good.goodput == pytest.approx(CAPACITY, rel=0.02)
    assert (good.p99, good.unloaded, good.recovery) == (150.0, 100.0, 0.0)
    assert good.count(SHED) == RATE * SECONDS * 0.9
    assert missed(good) == []


def test_each_bar_can_be_missed(good: Side) -> None:
    few = [one for one in good.seen if one.phase != "surge" or one.outcome != OK or one.number % 20]
    assert missed(replace(good, seen=few)) == ["goodput in the surge"]
    slow = [replace(one, took=0.25) if one.phase == "surge" and one.outcome == OK else one for one in good.seen]
    assert missed(replace(good, seen=slow)) == ["p99 of what was let in"]
    left = [
        replace(one, outcome=LEFT, took=3.0) if one.phase == "surge" and one.outcome == OK and one.number % 50 == 0 else one
        for one in good.seen
    ]
    assert "p99 of what was let in" in missed(replace(good, seen=left)), "who was let in and left is no survivor"
    assert "everybody is served again" in missed(replace(good, seen=[one for one in good.seen if one.phase != "after"]))
    cut = [replace(one, outcome=FAILED) if one.outcome == SHED else one for one in good.seen]
    assert missed(replace(good, seen=cut)) == ["failed: refused, cut off, errors"], "who is not let in has to be told so"
    assert missed(replace(good, restarts=[105.0])) == ["restarts of the shop"]
    assert missed(replace(good, own_failed_probes=1)) == ["health checks of the gateway that failed"]


@pytest.mark.parametrize(("outcome", "took"), [(OK, 0.4), (LEFT, 3.0), (FAILED, 0.01), (SHED, 0.01)])
def test_recovery_is_until_the_last_who_was_not_served_as_before(good: Side, outcome: str, took: float) -> None:
    later = [replace(one, outcome=outcome, took=took) if one.phase == "after" and one.due == OVER + 3.5 else one for one in good.seen]
    side = replace(good, seen=later)
    assert side.recovery == pytest.approx(3.5 + took)
    assert missed(side) == ["everybody is served again"]


def test_nobody_was_answered(good: Side) -> None:
    lost = replace(good, seen=[replace(one, outcome=LEFT) for one in good.seen if one.phase == "surge"])
    assert (lost.goodput, lost.p99, lost.unloaded) == (0.0, None, None)
    assert "goodput in the surge" in missed(lost)


def _took(port: int) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/items/1", timeout=10) as response:
        assert response.status == 200
    return time.monotonic() - began


def test_a_shop_that_hangs_is_started_anew(tmp_path: Path) -> None:
    pod = Pod(tmp_path, threads=2, query_ms=30)
    try:
        pod.begin()
        assert _took(pod.port) >= 3 * 0.03, "three queries, each of which takes 30 ms longer"
        pod.watch()
        assert pod.process is not None
        first = pod.process.pid
        os.killpg(first, signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while not (pod.restarts and healthy(pod.port)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert pod.unwatch() >= FAILURES
        assert pod.process.pid != first
        assert not pod.trouble
    finally:
        pod.end()
