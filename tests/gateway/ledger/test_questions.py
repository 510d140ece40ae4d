"""Who waits for the ledger's database, and who finds no place there."""

from __future__ import annotations

import math

from gateway.ledger.questions import ALIKE, WAITING, Question, Questions


def about(key: object, until: float = math.inf) -> Question:
    question = Question(lambda database: None, None, must=False, until=until)
    question.about = key
    return question


def put(waiting: Questions, key: object, times: int, until: float = math.inf) -> int:
    """How many found a place."""
    return sum(waiting.put(about(key, until)) for _ in range(times))


def take(waiting: Questions, most: int, now: float = 0.0) -> list[object]:
    """The keys of those that are taken; they are out until `done`."""
    return [question.about for question in waiting.take(now, most, asked_only=False, all_due=False)]


def test_one_key_takes_no_place_from_others() -> None:
    waiting = Questions(apart=True)
    with waiting.wake:
        assert put(waiting, "mine", 2 * WAITING) == ALIKE
        assert put(waiting, "yours", 1) == 1
        assert put(waiting, None, 2 * WAITING) == WAITING - ALIKE - 1  # of no key: these are as many as there is room for


def test_a_place_is_free_again_once_it_was_taken_up() -> None:
    for apart in (False, True):
        waiting = Questions(apart=apart)
        with waiting.wake:
            put(waiting, "mine", ALIKE)
            first = waiting.take(0.0, 1, asked_only=False, all_due=False)
            assert put(waiting, "mine", 2) == 1
            waiting.done(first)
            for _ in range(ALIKE):
                waiting.done(waiting.take(0.0, 1, asked_only=False, all_due=False))
            assert waiting.empty
            assert waiting._alike == {}


def test_who_waits_for_a_key_that_is_out_keeps_the_place_until_nobody_waits() -> None:
    waiting = Questions(apart=True)
    with waiting.wake:
        put(waiting, "mine", 3, until=10.0)
        out = waiting.take(0.0, 1, asked_only=False, all_due=False)
        assert take(waiting, 8) == []
        assert put(waiting, "mine", ALIKE, until=20.0) == ALIKE - 2
        assert take(waiting, 8, now=11.0) == []  # two have gone, and were told so
        assert put(waiting, "mine", ALIKE, until=20.0) == 2
        waiting.done(out)
        assert take(waiting, 8, now=12.0) == ["mine"]
