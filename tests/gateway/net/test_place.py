"""Which address is asked: the least busy of those that can be reached, equals in turn."""

from collections import Counter
from typing import Any, cast

from gateway.net.place import AVOID_SECONDS, Place, choose


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
