"""The waiting room: who is let in next, and who makes way."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.waiting import CRITICAL, CROWDED, NORMAL, SHEDDABLE, Room, Waiter

START = 1000.0
LONG = START + CROWDED * 60 + 1


def seat(room: Room, client: str, priority: int = NORMAL, at: float = START) -> Waiter:
    waiter = Waiter(priority, client, at)
    assert room.enter(waiter, at) is None
    return waiter


def test_in_order_of_arrival_at_first() -> None:
    room = Room(8, 5.0)
    waiting = [seat(room, client) for client in "abc"]
    assert [room.call(START) for _ in range(4)] == [*waiting, None]


def test_the_last_comes_first_once_the_room_has_not_been_empty_for_a_while() -> None:
    room = Room(8, 5.0)
    waiting = [seat(room, client) for client in "abc"]
    assert [room.call(LONG) for _ in range(3)] == waiting[::-1]
    first, second = seat(room, "d", at=LONG), seat(room, "e", at=LONG)  # it was empty
    assert [room.call(LONG), room.call(LONG)] == [first, second]


def test_priorities() -> None:
    room = Room(8, 5.0)
    low, middle, high = seat(room, "a", SHEDDABLE), seat(room, "b", NORMAL), seat(room, "c", CRITICAL)
    assert [room.call(START) for _ in range(3)] == [high, middle, low]


@pytest.mark.parametrize("now", [START, LONG])
def test_in_a_full_room_the_lower_priority_makes_way(now: float) -> None:
    room = Room(2, 5.0)
    low, middle = seat(room, "a", SHEDDABLE), seat(room, "b", NORMAL)
    high = Waiter(CRITICAL, "c", now)
    assert room.enter(high, now) is low
    higher = Waiter(CRITICAL, "d", now)
    assert room.enter(higher, now) is middle
    late = Waiter(NORMAL, "e", now)
    assert room.enter(late, now) is late
    assert len(room) == 2


def test_clients_take_turns() -> None:
    room = Room(100, 5.0)
    for _ in range(20):
        seat(room, "greedy")
    others = [seat(room, client) for client in "abc"]
    called = [room.call(START) for _ in range(8)]
    assert [waiter.client for waiter in called if waiter] == ["greedy", "a", "b", "c", "greedy", "greedy", "greedy", "greedy"]
    assert called[1:4] == others


def test_clients_take_turns_in_a_crowd_too() -> None:
    room = Room(100, 5.0)
    for client in "abc":
        seat(room, client)
    for _ in range(20):
        seat(room, "greedy")
    assert [waiter.client for _ in range(6) if (waiter := room.call(LONG))] == ["greedy", "c", "b", "a", "greedy", "greedy"]


@pytest.mark.parametrize("now", [START, LONG])
def test_one_client_cannot_take_the_room(now: float) -> None:
    room = Room(10, 60.0)
    for _ in range(10):
        seat(room, "greedy")
    again = Waiter(NORMAL, "greedy", now)
    displaced = room.enter(again, now)
    assert displaced is not None
    assert displaced.client == "greedy"
    for number in range(9):
        displaced = room.enter(Waiter(NORMAL, f"client {number}", now), now)
        assert displaced is not None
        assert displaced.client == "greedy"
    assert len(room) == 10


def test_of_equals_who_is_there_stays_and_in_a_crowd_the_first_makes_way() -> None:
    room = Room(2, 60.0)
    first, second = seat(room, "a"), seat(room, "b")
    late = Waiter(NORMAL, "c", START)
    assert room.enter(late, START) is late
    assert room.enter(late, LONG) is first
    assert room.call(LONG) is late
    assert room.call(LONG) is second


def test_deadlines_in_their_order() -> None:
    room = Room(8, 0.5)
    first, second = seat(room, "a", at=START), seat(room, "b", CRITICAL, at=START + 0.2)
    assert room.next_expiry() == START + 0.5
    assert room.expired(START + 0.4) is None
    assert room.expired(START + 0.5) is first
    assert room.expired(START + 0.5) is None
    assert room.next_expiry() == START + 0.7
    assert room.expired(START + 0.7) is second
    assert room.next_expiry() == 0.0
    assert len(room) == 0


def test_a_room_without_seats() -> None:
    room = Room(0, 1.0)
    waiter = Waiter(CRITICAL, "a", START)
    assert room.enter(waiter, START) is waiter
    assert room.call(START) is None


def test_who_leaves_is_not_called_and_leaves_once() -> None:
    room = Room(4, 1.0)
    first, second = seat(room, "a"), seat(room, "a")
    room.leave(first)
    room.leave(first)
    assert room.call(START) is second
    assert room.call(START) is None


def test_a_steady_client_gets_as_much_as_a_flooding_one() -> None:
    """One sends a hundred times what the other does; each place that becomes free goes to both in turn, as far as they want it."""
    room, chance, served = Room(16, 0.5), random.Random(4), Counter[str]()
    now = START
    for step in range(5000):
        now += 0.001
        room.enter(Waiter(NORMAL, "flood", now), now)
        if step % 20 == 0:
            room.enter(Waiter(NORMAL, "steady", now), now)
        while room.expired(now):
            pass
        if chance.random() < 0.1:  # a tenth of what the flood asks for
            called = room.call(now)
            assert called is not None
            served[called.client] += 1
    assert served["steady"] >= 0.9 * 5000 / 20


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "call", "expire", "leave"]), st.integers(0, 2), st.sampled_from("abcd"), st.floats(0, 0.2)),
        max_size=120,
    ),
    st.integers(0, 6),
)
def test_everybody_goes_out_once(steps: list[tuple[str, int, str, float]], seats: int) -> None:
    """Called, displaced, expired, left, or still there: exactly one of these."""
    room, now = Room(seats, 0.3), START
    gone: list[Waiter] = []
    came: list[Waiter] = []
    for what, priority, client, later in steps:
        now += later
        if what == "enter":
            waiter = Waiter(priority, client, now)
            came.append(waiter)
            if (out := room.enter(waiter, now)) is not None:
                gone.append(out)
        elif what == "call":
            if (out := room.call(now)) is not None:
                gone.append(out)
        elif what == "expire":
            while (out := room.expired(now)) is not None:
                assert now - out.since >= 0.3
                gone.append(out)
        else:
            there = [waiter for waiter in came if waiter not in gone]
            if there:
                room.leave(there[0])
                gone.append(there[0])
        assert len(room) <= seats
        assert len(room) == len(came) - len(gone)
    while (out := room.call(now)) is not None:
        gone.append(out)
    assert len(gone) == len(set(gone)) == len(came)
