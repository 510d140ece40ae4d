"""A breaker opens where a share of enough requests failed, tries one at a time, and closes on the first good answer."""

from __future__ import annotations

import random

from gateway.policy.breaker import CLOSED, HALF_OPEN, MOST_SLOW, OPEN, Breaker


def breaker() -> Breaker:
    return Breaker(errors=0.5, window=10.0, minimum=20, open_seconds=5.0, lease=3.0)


def asked(it: Breaker, now: float, *, good: int = 0, bad: int = 0) -> None:
    for _ in range(good):
        it.succeeded(it.enter(now))
    for _ in range(bad):
        it.failed(it.enter(now), now)


def opened(now: float = 100.0) -> Breaker:
    it = breaker()
    it.tick(now)
    asked(it, now, bad=20)
    assert it.state == OPEN
    return it


def test_it_opens_at_its_share_of_at_least_so_many() -> None:
    it = breaker()
    asked(it, 0.0, bad=19)
    assert it.state == CLOSED
    asked(it, 0.0, bad=1)
    assert (it.state, it.opened, it.until) == (OPEN, 1, 5.0)


def test_below_its_share_it_stays_closed_however_many_fail() -> None:
    it = breaker()
    for _ in range(1000):
        asked(it, 0.0, good=3, bad=2)
    assert it.state == CLOSED
    assert (it.requests, it.failures) == (5000, 2000)


def test_one_without_a_share_counts_and_never_opens() -> None:
    it = Breaker()
    asked(it, 0.0, bad=10_000)
    assert (it.state, it.failures, it.admits(0.0)) == (CLOSED, 10_000, True)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    it = breaker()
    it.tick(0.0)
    asked(it, 0.0, bad=19)
    for tenth in range(1, 125):
        it.tick(tenth / 10)
    assert it.requests == 0
    asked(it, 12.5, bad=19)
    assert it.state == CLOSED


def test_the_window_moves_by_slices() -> None:
    it = breaker()
    it.tick(0.0)
    for second in range(30):
        it.tick(float(second))
        asked(it, float(second), good=1)
    assert it.requests == 11  # ten whole slices and the one under way
    assert it.rate == 1.1


def test_a_loop_that_stood_still_forgets_all_of_it() -> None:
    it = breaker()
    it.tick(0.0)
    asked(it, 0.0, bad=19)
    it.tick(500.0)
    assert it.requests == 0


def test_what_comes_before_the_first_tick_counts() -> None:
    it = breaker()
    asked(it, 5000.0, bad=19)
    it.tick(5000.05)
    asked(it, 5000.1, bad=1)
    assert it.state == OPEN


def test_open_it_admits_nobody_then_one_at_a_time() -> None:
    it = opened()
    assert not it.admits(104.9)
    assert it.admits(105.0)
    it.enter(105.0)
    assert it.state == HALF_OPEN
    assert not it.admits(105.0)
    assert not it.admits(107.9)


def test_a_good_probe_closes_it_with_a_clean_window() -> None:
    it = opened()
    assert it.succeeded(it.enter(105.0))
    assert (it.state, it.requests) == (CLOSED, 0)
    asked(it, 105.1, bad=19)
    assert it.state == CLOSED


def test_a_bad_probe_opens_it_anew() -> None:
    it = opened()
    assert it.failed(it.enter(105.0), 106.0)
    assert (it.state, it.until, it.opened) == (OPEN, 111.0, 2)


def test_a_probe_whose_client_is_gone_makes_room_for_another() -> None:
    it = opened()
    it.abandoned(it.enter(105.0))
    assert it.admits(105.1)
    assert it.succeeded(it.enter(105.1))


def test_a_probe_of_which_nothing_is_heard_is_given_up_and_says_nothing_later() -> None:
    it = opened()
    silent = it.enter(105.0)
    assert it.admits(108.0)
    second = it.enter(108.0)
    assert not it.succeeded(silent)
    assert not it.failed(silent, 108.0)
    it.abandoned(silent)
    assert (it.state, it.admits(108.1)) == (HALF_OPEN, False)
    assert it.succeeded(second)


def test_what_is_still_arriving_is_no_probe_while_others_may_come() -> None:
    it = opened()
    assert (it.until, it.admits(105.0, False), it.admits(109.9, False)) == (105.0, False, False)
    assert it.admits(105.0)
    assert it.admits(110.0, False), "nobody else came for as long as it was open"


def test_it_is_overdue_when_nobody_has_tried_it_for_as_long_as_it_was_open() -> None:
    it = opened()
    assert (it.overdue(105.0), it.overdue(109.9), it.overdue(110.0)) == (False, False, True)
    it.failed(it.enter(110.0), 111.0)
    assert (it.overdue(120.9), it.overdue(121.0)) == (False, True)


def test_a_probe_that_is_still_arriving_keeps_only_its_like_waiting() -> None:
    it = opened()
    slow = it.enter(110.0, False)
    assert (it.admits(110.1, False), it.admits(110.1)) == (False, True)
    quick = it.enter(110.1)
    assert not it.admits(110.2), "that one is a probe as any other"
    assert not it.failed(slow, 110.3), "and what became of the first says nothing against it"
    assert it.state == HALF_OPEN
    assert it.succeeded(quick)


def test_a_probe_that_is_still_arriving_closes_it_whenever_it_succeeds() -> None:
    it = opened()
    first = it.enter(110.0, False)
    it.enter(120.0, False)  # it was not heard of for so long that another one went
    it.enter(120.1)
    assert it.succeeded(first)
    assert it.state == CLOSED
    asked(it, 130.0, bad=20)
    it.enter(135.0)
    assert not it.succeeded(first), "it was sent before it opened again"


def test_no_more_of_those_that_arrive_are_remembered_than_may_be() -> None:
    it = opened()
    numbers = [it.enter(110.0 + 10 * number, False) for number in range(2 * MOST_SLOW)]
    assert not it.succeeded(numbers[0])
    assert len(it._slow) == MOST_SLOW
    assert it.succeeded(numbers[-MOST_SLOW])


def test_who_was_sent_before_it_opened_says_nothing_any_more() -> None:
    it = breaker()
    early = it.enter(99.0)
    asked(it, 100.0, bad=20)
    probe = it.enter(105.0)
    it.failed(early, 105.1)
    it.succeeded(early)
    assert it.state == HALF_OPEN
    it.succeeded(probe)
    it.failed(early, 105.2)
    assert it.failures == 0


def test_an_answer_that_broke_off_takes_back_its_good_beginning() -> None:
    it = breaker()
    for _ in range(20):
        epoch = it.enter(0.0)
        it.succeeded(epoch)
        it.failed(epoch, 0.0, begun=True)
    assert it.state == OPEN


def test_whatever_happens_the_counts_add_up_and_one_probe_is_out() -> None:
    rng = random.Random(7)
    it = breaker()
    now, under_way, probes = 0.0, list[int](), set[int]()
    for _ in range(50_000):
        now += rng.random() * 0.2
        it.tick(now)
        if rng.random() < 0.6 and it.admits(now):
            epoch = it.enter(now)
            if it.state == HALF_OPEN:
                assert epoch not in probes
                probes.add(epoch)
            under_way.append(epoch)
        elif under_way:
            epoch = under_way.pop(rng.randrange(len(under_way)))
            what = rng.random()
            if what < 0.45:
                it.succeeded(epoch)
            elif what < 0.9:
                it.failed(epoch, now)
            else:
                it.abandoned(epoch)
        assert it.requests >= it.failures >= 0
    assert it.opened > 10
    assert len(probes) > 10
