"""What is said of a route in words: its mode, what its gate needs, and what it needs of a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console import flagwords, gatewords, modes, needs
from console.modes import Flag, Mode
from console.needs import Facts, Rank
from shadow.gate import GateResult, gate
from shadow.latency import SideFigures

ON, OFF, UNKNOWN = Flag(True, {"enabled": True}), Flag(False), Flag(None)


def rollout(share: int) -> Flag:
    parameters = {"rollout": str(share), "stickiness": "default"}
    return Flag(True, {"enabled": True, "strategies": [{"name": "flexibleRollout", "parameters": parameters}]})


def shown(serve: Flag, shadow: Flag = OFF, **more: Any) -> tuple[str, str, bool]:
    found = modes.mode(serve, shadow, **({"split": False, "rolled_back": False, "share": None, "comparing": False} | more))
    return found.key, found.label, found.shadow


def test_flags_say_the_mode() -> None:
    assert shown(OFF) == ("off", "off", False)
    assert shown(OFF, ON) == ("shadow", "shadow", True)
    assert shown(rollout(10), ON) == ("part", "10 %", True)
    assert shown(rollout(100)) == shown(ON) == ("on", "on", False)
    assert shown(rollout(0), ON)[0] == "shadow"
    named = Flag(True, {"enabled": True, "strategies": [{"name": "userWithId", "parameters": {"userIds": "1,2"}}]})
    assert shown(named) == ("part", "on for some", False)
    assert shown(OFF, ON, rolled_back=True) == ("rolled-back", "rolled back", True)
    assert shown(ON, ON, rolled_back=True)[0] == "on", "somebody has turned it on again"
    assert shown(ON, split=True)[0] == "providers"


def test_an_override_is_what_counts() -> None:
    assert shown(replace(rollout(10), override=False))[0] == "off"
    assert shown(replace(OFF, override=True))[0] == "on"
    assert shown(OFF, replace(OFF, override=True)) == ("shadow", "shadow", True)


def test_without_the_gateway_what_was_counted_has_to_do() -> None:
    assert shown(UNKNOWN, UNKNOWN)[0] == "idle"
    assert shown(UNKNOWN, UNKNOWN, share=0.0, comparing=True)[:2] == ("shadow", "shadow")
    assert shown(UNKNOWN, UNKNOWN, share=0.001)[:2] == ("part", "candidate answers 1 %")
    assert shown(UNKNOWN, UNKNOWN, share=1.0)[0] == "on"
    assert shown(UNKNOWN, UNKNOWN, share=0.0)[:2] == ("off", "legacy answers")
    assert shown(UNKNOWN, UNKNOWN, share=0.0, rolled_back=True)[0] == "rolled-back"
    assert shown(UNKNOWN, UNKNOWN, share=0.5, rolled_back=True)[0] == "part", "the candidate answers again"


@pytest.mark.parametrize(
    ("feature", "share"),
    [
        (None, 0),
        ({"enabled": True}, 100),
        ({"enabled": True, "strategies": [{"name": "default"}]}, 100),
        ({"enabled": True, "dependencies": [{"feature": "x"}]}, None),
        ({"enabled": True, "strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "35"}, "constraints": [1]}]}, None),
    ],
)
def test_the_share_of_a_flag(feature: dict[str, Any] | None, share: int | None) -> None:
    assert flagwords.share(feature) == share


def result(matched: int, compared: int, *open_: str, **more: Any) -> GateResult:
    return gate(matched, compared, **({"minimum": 100, "match": 0.9, "signatures": open_} | more))


def test_a_gate_says_what_is_missing() -> None:
    assert gatewords.missing(result(200, 200), 0, 0) == ""
    assert gatewords.missing(result(40, 40), 0, 0) == "needs 60 more comparisons"
    assert gatewords.missing(result(99, 99), 0, 0) == "needs 1 more comparison"
    assert gatewords.missing(result(200, 200, "a", "b"), 1, 1) == "1 new signature; 1 bug open"
    assert gatewords.missing(result(200, 200, coverage=0.2, least_coverage=0.5), 0, 0) == "coverage 20.0 % of 50.0 %"
    assert gatewords.missing(result(200, 200, stale=200), 0, 0) == "50.0 % stale"
    assert gatewords.only_signatures(result(200, 200, "a"))
    assert not gatewords.only_signatures(result(200, 200, "a", stale=200))
    many = result(10**8, 10**9)
    assert many.missing is None
    assert gatewords.missing(many, 2, 0).startswith("too many differences")


def test_every_condition_of_a_gate_has_its_figure_and_what_would_be_enough() -> None:
    found = gatewords.conditions(result(30, 40, "a", coverage=0.2, least_coverage=0.5), 1, 0)
    assert [(each.met, each.figure) for each in found] == [(False, "40"), (False, "59.80 %"), (False, "20.0 %"), (False, "1")]
    assert found[0].enough == "60 more"
    assert found[1].enough.endswith("further comparisons without a difference")
    assert all(each.enough for each in found)
    passed = gatewords.conditions(result(200, 200), 0, 0)
    assert [(each.met, each.enough) for each in passed] == [(True, "")] * 4
    *others, few = gatewords.conditions(result(200, 200, stale=2), 0, 0)
    assert (len(others), few.name, few.met, few.figure, few.asked) == (4, "Stale answers", True, "0.9 %", "at most 5.0 %")
    many = gatewords.conditions(result(200, 200, stale=200), 0, 0)[4]
    assert (many.met, many.figure, many.enough) == (False, "50.0 %", "a candidate that is less behind")
    assert passed[2].figure == "\N{EN DASH}", "nothing was to be compared: nothing is missing"


SHADOW = Mode(modes.SHADOW, "shadow", shadow=True)
SERVING = Mode(modes.PART, "10 %", shadow=True)
FACTS = Facts("reviews", SHADOW, served=1000, eligible=1000, compared=900, eligible_in_span=1000, flag="reviews", where="in Unleash")


def asked(**more: Any) -> tuple[Rank, str]:
    found = needs.need(replace(FACTS, **more))
    return found.rank, found.reason


def test_what_a_route_needs_is_the_most_pressing_of_all() -> None:
    bad = SideFigures({3: 80}, errors=20, unanswered=20)
    everything = {"guard": "errors: 9 %", "problems": ("not there",), "candidate": bad, "new": 3, "bugs": 1, "gate": result(40, 40, "a")}
    assert asked(**everything, mode=Mode(modes.ROLLED_BACK, "rolled back")) == (Rank.ROLLED_BACK, "rolled back: errors: 9 %")
    assert asked(**everything) == (Rank.TROUBLE, "its flag: not there")
    assert asked(**everything | {"problems": ()}) == (Rank.TROUBLE, "the candidate fails 20.0 %, asked beside")
    assert asked(**everything | {"problems": (), "candidate": SideFigures()}) == (Rank.REVIEW, "3 new signatures; 1 bug open")
    assert asked(mode=SERVING, gate=result(40, 40, "a"), new=1)[0] is Rank.FAILS_WHILE_ON


def test_errors_are_trouble_when_they_are_many_and_the_candidate_s_own() -> None:
    few, bad = SideFigures({3: 2}, errors=4, unanswered=4), SideFigures({3: 80}, errors=20, unanswered=20)
    assert asked(candidate=few)[0] is Rank.NOTHING, "four of six are no accident, but no traffic either"
    assert asked(mode=SERVING, candidate=bad) == (Rank.TROUBLE, "the candidate fails 20.0 % now")
    assert asked(mode=SERVING, candidate=bad, legacy=bad) == (Rank.TROUBLE, "legacy fails 20.0 % now"), "both do: it is not the candidate"
    assert asked(gateway_errors=200)[1] == "the gateway itself answered 200 of 1000 in the last minute, with errors"
    assert asked(gateway_errors=2)[0] is Rank.NOTHING


def test_what_is_ready_or_nearly_comes_before_what_waits() -> None:
    passed = result(200, 200)
    assert asked(gate=passed) == (Rank.READY, "ready: flip reviews in Unleash")
    assert asked(gate=passed, mode=SERVING) == (Rank.READY, "ready for everybody: raise reviews in Unleash")
    assert asked(gate=passed, mode=Mode(modes.ON, "on")) == (Rank.NOTHING, "")
    only = result(200, 200, "a", "b")
    assert asked(gate=only, new=2) == (Rank.REVIEW_THEN_READY, "2 new signatures: nothing else is missing for its gate")
    assert asked(gate=only, bugs=2) == (Rank.BUGS, "2 bugs open"), "nobody can review a bug away"
    assert asked(gate=result(40, 40)) == (Rank.COLLECTING, "needs 60 more comparisons")
    assert asked(compared=0) == (Rank.BLIND, "its shadow is on, and nothing is compared")
    assert asked(compared=0, eligible_in_span=0)[0] is Rank.NOTHING
    ranks = [Rank.ROLLED_BACK, Rank.TROUBLE, Rank.FAILS_WHILE_ON, Rank.REVIEW_THEN_READY, Rank.READY, Rank.BLIND, Rank.REVIEW, Rank.BUGS]
    assert ranks == sorted(ranks)
