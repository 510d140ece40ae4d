"""One route under watch, with a clock of the test's: what counts, and what legacy's figures are when there are none."""

from __future__ import annotations

from pathlib import Path

from gateway.config import parse
from gateway.guard.clerk import Clerk
from gateway.guard.guard import Guard as Guards
from gateway.guard.watch import BASELINE_SECONDS, SETTLE_SECONDS, RouteWatch, Seen, counted, described
from gateway.settings import Guard
from gateway.switchboard import Switchboard
from gateway.telemetry import Watched
from shadow.guard import Comparisons, bucket

WALL = 1_800_000_000.0


class Clock:
    """A route, and its traffic: `sides` is what each side gets in each second."""

    def __init__(self, **settings: object) -> None:
        self.watch = RouteWatch("reviews", "reviews", Guard.model_validate({"window": "20s", **settings}))
        self.now = 1000.0

    def on(self) -> None:
        self.watch.begin(self.now, WALL + self.now)

    def passes(self, seconds: int, **sides: Watched) -> Seen | None:
        seen = None
        for _ in range(seconds):
            self.now += 1
            self.watch.heard(self.now, sides)
            seen = self.watch.look(self.now, WALL + self.now, None)
        return seen


def told(requests: int = 10, errors: int = 0, milliseconds: float = 20) -> Watched:
    return Watched(requests, errors, {bucket(milliseconds / 1000): requests - errors} if requests > errors else {})


def test_nothing_is_judged_while_the_flag_is_off() -> None:
    clock = Clock()
    assert clock.passes(30, candidate=told(errors=10), legacy=told()) is None
    assert described(None)["candidate"] is None


def test_what_came_before_the_flag_was_turned_on_does_not_count() -> None:
    clock = Clock()
    clock.passes(30, candidate=told(errors=10), legacy=told())
    clock.on()
    clock.passes(SETTLE_SECONDS - 1, candidate=told(errors=10), legacy=told())  # told late, of before
    seen = clock.passes(6, candidate=told(), legacy=told())
    assert seen is not None
    assert (seen.candidate.errors, seen.candidate.requests, seen.verdict.state) == (0, 60, "healthy")
    seen = clock.passes(10, candidate=told(errors=5), legacy=told())
    assert seen is not None
    assert (seen.verdict.state, seen.verdict.reason, seen.legacy.basis) == ("breach", "errors", "served")
    clock.watch.end(clock.now)
    assert clock.watch.seen is None
    clock.on()
    seen = clock.passes(8, candidate=told(), legacy=told())
    assert seen is not None
    assert (seen.candidate.errors, seen.verdict.state) == (0, "healthy")


def test_the_window_moves_on() -> None:
    clock = Clock()
    clock.on()
    clock.passes(10, candidate=told(20, errors=1), legacy=told(20, errors=1))
    seen = clock.passes(25, candidate=told(20), legacy=told(20))
    assert seen is not None
    assert (seen.candidate.errors, 380 <= seen.candidate.requests <= 420) == (0, True)


def test_legacy_beside_the_candidate_then_its_last_window_then_nothing() -> None:
    clock = Clock()
    clock.on()
    seen = clock.passes(10, candidate=told())
    assert seen is not None
    assert (seen.legacy.basis, seen.legacy.figures) == ("none", None)
    seen = clock.passes(20, candidate=told(), shadow=told(milliseconds=30))
    assert seen is not None
    assert seen.legacy.basis == "shadow"
    seen = clock.passes(60, candidate=told())
    assert seen is not None
    assert seen.legacy.basis == "baseline"
    assert seen.legacy.figures is not None
    assert seen.legacy.figures.requests >= 150  # not what was left at the end
    assert 40 < seen.at - seen.legacy.at < 60
    figures = described(seen)
    assert (figures["basis"], figures["age_seconds"]) == ("baseline", seen.at - seen.legacy.at)
    seen = clock.passes(20, candidate=told(), legacy=told())
    assert seen is not None
    assert seen.legacy.basis == "served"


def test_an_old_baseline_says_nothing_of_latency_but_of_errors() -> None:
    clock = Clock()
    clock.passes(30, legacy=told())
    clock.on()
    seen = clock.passes(30, candidate=told(milliseconds=200))
    assert seen is not None
    assert seen.verdict.reason == "latency"
    clock.now += BASELINE_SECONDS
    seen = clock.passes(30, candidate=told(milliseconds=200))
    assert seen is not None
    assert (seen.legacy.basis, seen.verdict.state) == ("baseline", "healthy")
    seen = clock.passes(30, candidate=told(errors=5))
    assert seen is not None
    assert seen.verdict.reason == "errors"


def test_comparisons_are_those_of_requests_since_the_flag_is_on() -> None:
    clock = Clock(mismatch=0.01)
    clock.on()
    second = int(WALL + clock.now)
    compared = {second - 5: (0, 500), **{second + after: (10, 10) for after in range(SETTLE_SECONDS, 10)}}
    clock.passes(15, candidate=told())
    seen = clock.watch.look(clock.now, WALL + clock.now, compared)
    assert seen is not None
    assert seen.compared == counted(compared, second)
    assert seen.compared is not None
    assert (seen.compared.mismatched, seen.verdict.reason) == (80, "mismatch")
    clock.watch.end(clock.now)
    clock.watch.begin(clock.now, WALL + clock.now)
    clock.now += 60
    seen = clock.watch.look(clock.now, WALL + clock.now, compared)
    assert seen is not None
    assert (seen.compared and seen.compared.mismatched, seen.verdict.state) == (0, "not-enough"), "of before it was turned on again"


def test_comparisons_that_come_later_than_the_window_is_long_are_watched_all_the_same() -> None:
    clock = Clock(mismatch=0.01)
    clock.on()
    second = int(WALL + clock.now)
    clock.now += 600
    seen = clock.watch.look(clock.now, WALL + clock.now, {second + after: (20, 0) for after in range(10, 20)})
    assert seen is not None
    assert (seen.compared, seen.late) == (Comparisons(200), WALL + clock.now - second - 19)
    compared = {second + 10: (0, 500), **{second + after: (10, 10) for after in range(90, 110)}}
    seen = clock.watch.look(clock.now, WALL + clock.now, compared)
    assert seen is not None
    assert (seen.compared, seen.verdict.reason) == (Comparisons(200, 200, 20), "mismatch"), "of the last window that there is"
    assert described(seen)["compared"] == {"pairs": 400, "mismatched": 200, "late_seconds": round(WALL + clock.now - second - 109, 1)}
    ahead = {int(WALL + clock.now) + 500: (1, 0), int(WALL + clock.now): (3, 0)}  # by another machine's clock
    seen = clock.watch.look(clock.now, WALL + clock.now, ahead)
    assert seen is not None
    assert (seen.compared, seen.late) == (Comparisons(4), 0)


def test_other_settings_go_on_from_where_it_is() -> None:
    clock = Clock()
    clock.passes(30, legacy=told())
    clock.on()
    clock.passes(10, candidate=told())
    before, clock.watch = clock.watch, RouteWatch("reviews", "reviews", Guard.model_validate({"window": "1h", "minimum": 20}))
    clock.watch.inherit(before)
    assert (clock.watch.begun, clock.watch.begun_at) == (before.begun, before.begun_at)
    seen = clock.passes(200, candidate=told())
    assert seen is not None
    assert (seen.legacy.basis, seen.verdict.state) == ("baseline", "healthy")


def test_after_a_moment_of_off_requests_from_before_have_to_end_first() -> None:
    clock = Clock()
    clock.watch.patience = 6.0
    clock.on()
    clock.passes(10, candidate=told(), legacy=told())
    clock.watch.end(clock.now)
    clock.passes(3, legacy=told())
    clock.on()
    seen = clock.passes(4, candidate=told(errors=10), legacy=told())  # timeouts of what was asked before
    assert seen is not None
    assert seen.candidate.requests == 0
    seen = clock.passes(10, candidate=told(), legacy=told())
    assert seen is not None
    assert (seen.candidate.requests > 50, seen.candidate.errors) == (True, 0)
    clock.watch.end(clock.now)
    clock.now += 60
    clock.on()
    seen = clock.passes(6, candidate=told(errors=10), legacy=told())
    assert seen is not None
    assert seen.candidate.errors >= 40


def test_what_the_candidate_of_before_did_does_not_count_against_another() -> None:
    clock = Clock()
    clock.on()
    clock.passes(10, candidate=told(errors=4), legacy=told())
    before, clock.watch = clock.watch, RouteWatch("reviews", "reviews", clock.watch.settings, 1.0)
    before.patience = 6.0
    clock.watch.replace(before, clock.now)
    assert clock.watch.begun is None
    clock.on()
    clock.passes(6, candidate=told(errors=10), legacy=told())  # timeouts of the one of before
    seen = clock.passes(10, candidate=told(), legacy=told())
    assert seen is not None
    assert (seen.candidate.requests > 50, seen.candidate.errors, seen.legacy.basis) == (True, 0, "served")


def test_a_reload_with_another_candidate_begins_anew(tmp_path: Path) -> None:
    text = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.guard]
"""
    path = tmp_path / "banyan.toml"
    config = parse(path, text)
    board = Switchboard(config, [], lambda work, _: work.close())
    guard = Guards(config, board, lambda work, _: work.close(), Clerk(list, lambda *_: None))
    guard.watches["reviews"].begin(1000.0, WALL)
    for same in (text, text.replace(":1", ":3"), text + "errors = 0.02"):
        guard.take_routes(parse(path, same))
        assert guard.watches["reviews"].begun == 1000.0
    for other in (text.replace(":2", ":4"), text.replace("match =", 'rewrite = "/v2/*"\nmatch =')):
        guard.take_routes(parse(path, other))
        assert guard.watches["reviews"].begun is None
        guard.watches["reviews"].begin(1000.0, WALL)
