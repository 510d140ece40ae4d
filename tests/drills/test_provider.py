"""The provider's outage in small: both runs of the drill, with every stage of a death, and what is made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from drills import provider
from drills.customers import PAID, UNKNOWN, Customers, Press
from drills.killing import EVERY, HUNG, STAGES, Death
from drills.load import Connections, Seen
from drills.provider import Side
from drills.report import Report

pytestmark = pytest.mark.timeout(240)  # both runs take half a minute, and several times that on a machine that does other things


@pytest.fixture(scope="module")
def report() -> Report:
    return provider.run(print, payments=60, rate=10.0, outage=0.2)


def test_every_bar_is_held(report: Report) -> None:
    assert report.ok, [bar for bar in report.bars if not bar.ok]


def test_it_dies_at_every_stage_in_both_runs(report: Report) -> None:
    for stages in report.more["stages"]:
        assert [stage["stage"] for stage in stages] == [stage.key for stage in EVERY]
        assert all(stage["back"] > stage["died"] for stage in stages)


def test_without_the_gateway_the_incident_is_there(report: Report) -> None:
    without = report.plain()["without"]
    assert without["failed"] > 0
    assert without["doubled"] + without["lost"] > 0  # charged, and told that it was not: who presses again pays again


def test_with_it_others_take_over_and_doubts_are_listed(report: Report) -> None:
    told = report.plain()
    assert told["with"]["elsewhere"] > 0
    assert told["with"]["in_doubt"] > 0
    assert told["with"]["failed"] < told["without"]["failed"]
    assert 0 < told["with"]["in_doubt_charged"] < told["with"]["in_doubt"]  # some deaths came after the charge, some before


def side() -> Side:
    """A good day: ten payments, of which order 109 was under way when the provider died, charged it, and is listed."""
    customers = Customers(Connections(0), 100)
    customers.presses = {100 + number: [Press(number, number + 0.1, PAID, 200)] for number in range(9)}
    customers.presses[109] = [Press(9.0, 9.1, UNKNOWN, 202), Press(10.1, 10.2, UNKNOWN, 202)]
    seen = [Seen(number, "", float(number), 0.1, PAID) for number in range(9)] + [Seen(9, "", 9.0, 1.2, UNKNOWN)]
    deaths = [Death(stage, 9.05, 9.08, 9.5, frozenset({"order-109-1"} if stage is HUNG else ())) for stage in EVERY]
    states = {100 + number: "paid" for number in range(9)} | {109: "unknown"}
    return Side(10.0, seen, customers, 0.0, deaths, states, Counter(range(100, 110)), 3, {109: True})


def missed(found: Side) -> list[str]:
    return [bar.name for bar in provider.report(found, found, 10, 1.0).bars if not bar.ok]


def test_a_good_day_misses_nothing() -> None:
    assert missed(side()) == []


def test_a_double_charge_is_seen() -> None:
    found = side()
    found.charged[103] += 1
    assert missed(found) == ["payments doubled"]


def test_charged_and_not_told_is_lost_unless_it_is_listed() -> None:
    assert "payments lost" in missed(replace(side(), doubts={}))
    found = side()
    found.charged.pop(104)  # told that it is paid, and nobody has charged it
    assert missed(found) == ["payments lost"]


def test_what_is_unknown_has_to_be_listed() -> None:
    found = side()
    del found.charged[109]
    assert missed(replace(found, doubts={})) == [
        "of these, listed as in doubt",
        "unknown, and listed",
        "completed, of those that could be completed elsewhere",
    ]


def test_a_hang_that_no_payment_met_shows_nothing() -> None:
    """Order 109 was being paid all the while: by the other provider, for all that this one says."""
    deaths = [replace(death, in_hand=frozenset()) for death in side().deaths]
    assert missed(replace(side(), deaths=deaths)) == ["payments in hand while it hung"]


def test_what_hung_may_not_be_paid_elsewhere() -> None:
    """It had been sent. That the provider never charged it nobody could know."""
    found = side()
    found.deaths[-1] = replace(found.deaths[-1], in_hand=frozenset({"order-109-1", "order-103-1"}))
    assert missed(found) == ["of these, listed as in doubt"]


def test_what_nobody_died_of_may_not_be_listed() -> None:
    """Or whatever is put in doubt would count as well done."""
    found = side()
    found.states[103] = "unknown"
    assert missed(replace(found, doubts={109: True, 103: True})) == ["listed, and under way when the provider died"]


def test_what_the_provider_says_when_it_is_asked_has_to_be_so() -> None:
    assert missed(replace(side(), doubts={109: False})) == ["listed, and cleared up by what the list says"]


def test_what_could_be_completed_has_to_be() -> None:
    found = side()
    found.states[103] = "failed"
    del found.charged[103]
    assert missed(found) == ["completed, of those that could be completed elsewhere"]


def test_a_stage_that_was_left_out_and_a_payment_that_was_not_made_are_seen() -> None:
    deaths = side().deaths
    assert missed(replace(side(), deaths=deaths[1:])) == ["killed at each of five stages"]
    assert missed(replace(side(), deaths=deaths[: len(STAGES)])) == ["payments in hand while it hung"]
    found = side()
    assert "payments made" in missed(replace(found, seen=found.seen[:9]))
