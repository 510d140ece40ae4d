"""Which address is asked: the least busy of those that can be reached, equals in turn."""

from collections import Counter
from typing import Any, cast

from gateway.net.place import AVOID_SECONDS, Place, choose
from gateway.policy.breaker import Breaker


def places(*pending: int) -> list[Place]:
    made = [Place("h", number, "") for number in range(len(pending))]
    for place, count in zip(made, pending, strict=True):
        place.total = count
    return made


def test_the_one_with_the_fewest_requests_pending() -> None:
    for turn in range(6):
        assert choose(places(3, 1, 2), 100.0, turn).port == 1


def test_idle_connections_are_no_requests() -> None:
    busy, quiet = places(2, 5)
    quiet.idle = cast("Any", [None] * 4)
    assert (busy.pending, quiet.pending) == (2, 1)
    assert choose([busy, quiet], 100.0, 0) is quiet


def test_equals_are_taken_in_turn() -> None:
    assert Counter(choose(places(1, 1, 1), 100.0, turn).port for turn in range(30)) == {0: 10, 1: 10, 2: 10}


def test_one_that_cannot_be_reached_is_avoided_for_a_while_unless_none_can() -> None:
    one, other = both = places(0, 9)
    one.failed_at = 100.0
    assert choose(both, 100.0 + AVOID_SECONDS - 0.1, 0) is other
    assert choose(both, 100.0 + AVOID_SECONDS, 0) is one
    other.failed_at = 100.0
    assert choose(both, 101.0, 0) is one


def test_one_whose_breaker_is_open_is_tried_by_what_may_be_sent_twice_and_at_last_by_what_may_not() -> None:
    one, other = both = places(0, 0)
    one.breaker = Breaker(errors=0.5, minimum=1, open_seconds=5.0)
    one.breaker.failed(one.breaker.enter(100.0), 100.0)
    for now, probing, whole, expected in (
        (104.9, True, True, other),
        (105.0, True, True, one),
        (105.0, False, True, other),
        (109.9, False, True, other),
        (109.9, False, False, other),
        (110.0, False, True, one),
        (110.0, True, False, one),
        (110.0, False, False, one),
    ):
        assert choose(both, now, 0, probing=probing, whole=whole) is expected, (now, probing, whole)
    one.breaker.enter(110.0)
    assert choose(both, 110.1, 0, probing=False) is other, "one at a time"


def test_one_that_is_found_unwell_is_not_tried_while_another_is_fine() -> None:
    one, other = both = places(0, 0)
    one.breaker = Breaker(errors=0.5, minimum=1, open_seconds=5.0)
    one.breaker.failed(one.breaker.enter(100.0), 100.0)
    one.unwell = True
    assert choose(both, 200.0, 0) is choose(both, 200.0, 0, probing=False) is other
