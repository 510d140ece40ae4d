"""An explanation gives the gateway's own answer, and its parts add up to it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags import words
from flags.decisions import Decisions
from flags.explain import explain
from flags.explanation import Constraint, Explanation
from flags.snapshot import Context, Snapshot
from flags.variants import NONE, OFF
from tests.support.flags import CONTEXTS, OPERATORS, documents, flag, only_if, rollout, snapshot

USER = Context(user_id="42", properties={"country": "us"})


def of(*features: dict[str, Any], context: Context = USER, segments: list[dict[str, Any]] | None = None, **more: Any) -> Explanation:
    return explain(snapshot(*features, segments=segments), "f", context, **more)


def adds_up(found: Explanation) -> bool:
    """What the parts say of the whole."""
    met = all(parent.met for parent in found.parents)
    broken = any(strategy.broken for strategy in found.strategies)
    matched = not found.strategies or any(strategy.matched for strategy in found.strategies)
    return found.state == "enabled" and met and matched and not broken


@settings(max_examples=80, deadline=None)
@given(documents, st.lists(st.sampled_from(CONTEXTS), min_size=1, max_size=5, unique_by=id))
def test_it_is_the_gateways_answer_and_adds_up(state: Snapshot, contexts: list[Context]) -> None:
    built = Decisions.build(state)
    for context in contexts:
        found = explain(state, "f", context)
        if not found.chance:
            assert found.enabled == built.enabled("f", context)
        if not found.chance and not found.variant_by_chance:
            assert found.variant is None or found.variant == built.variant("f", context)
        assert found.enabled == adds_up(found)
        assert found.decided == (next((s.number for s in found.strategies if s.matched), None) if found.enabled else None)
        for strategy in found.strategies:
            parts = [part.met for part in (*strategy.constraints, *strategy.segments)]
            assert strategy.matched == (strategy.applies and all(parts))
            if strategy.place is not None:
                share = int(strategy.parameters.get("rollout") or strategy.parameters["percentage"])
                assert strategy.applies == (strategy.place <= share)
            for segment in strategy.segments:
                assert segment.met == (segment.exists and all(constraint.met for constraint in segment.constraints))
        orjson.dumps(found)


@settings(max_examples=50, deadline=None)
@given(documents, st.sampled_from(CONTEXTS), st.booleans())
def test_an_override_is_the_answer(state: Snapshot, context: Context, answer: bool) -> None:
    built = Decisions.build(state)
    built.override({"f": answer})
    found = explain(state, "f", context, overrides={"f": answer, "parent": not answer})
    assert found.enabled == found.overridden == answer == built.enabled("f", context)
    assert not found.chance
    assert found.decided is None
    if found.variant is not None and not found.variant_by_chance:
        assert found.variant == built.variant("f", context)


@pytest.mark.parametrize(
    ("feature", "overrides", "enabled", "state", "reason"),
    [
        (flag(name="g"), {}, False, "unknown", "there is no such flag"),
        (flag(enabled=False), {}, False, "disabled", "it is turned off"),
        (flag(enabled=False), {"f": True}, True, "disabled", "an override turns it on for everybody"),
        (flag(), {"f": False}, False, "enabled", "an override turns it off for everybody"),
        (flag(), {"g": False}, True, "enabled", "it is on, without a strategy: for everybody"),
        (flag(rollout(100, "userId")), {}, True, "enabled", "strategy 1 (flexibleRollout) matches: 100 % by userId"),
        (
            flag(rollout(0), {"name": "userWithId", "title": "Staff", "parameters": {"userIds": "1, 42"}}),
            {},
            True,
            "enabled",
            "strategy 2 (Staff) matches: userId is one of 1, 42",
        ),
        (
            flag(
                {"name": "userWithId", "parameters": {"userIds": "1"}},
                rollout(100, constraints=[only_if("country", "kr", "jp"), only_if("plan", "gold", operator="STR_CONTAINS")]),
                {"name": "default", "segments": [7, 8]},
                {"name": "made-up"},
            ),
            {},
            False,
            "enabled",
            "no strategy matches: strategy 1 (userWithId): not among userId is one of 1; strategy 2 (flexibleRollout): not so: country is "
            "one of kr, jp (here 'us'), not so: plan contains one of gold (here nothing); strategy 3 (default): not in testers; "
            "strategy 4 (made-up): not among the strategy 'made-up', which the gateway does not know: nobody",
        ),
        (
            flag(rollout(100), {"name": "default", "segments": [404, 405]}),
            {},
            False,
            "enabled",
            "strategy 2 (default) is broken, and with it the whole flag off for everybody: segment 404 does not exist, segment 405 does "
            "not exist",
        ),
        (
            flag(
                {
                    "name": "default",
                    "constraints": [only_if("country", "us"), {"contextName": "age", "operator": "NUM_GT", "value": "old"}],
                },
                rollout(100),
            ),
            {},
            False,
            "enabled",
            "strategy 1 (default) is broken, and with it the whole flag off for everybody: age is more than old",
        ),
        (flag(dependencies=[{"feature": "g"}]), {}, False, "enabled", "it depends on the flag 'g', which would have to be on"),
    ],
)
def test_what_it_says(feature: dict[str, Any], overrides: dict[str, bool], enabled: bool, state: str, reason: str) -> None:
    segments = [
        {"id": 7, "name": "testers", "constraints": [only_if("userId", "1", "2")]},
        {"id": 8, "name": "americans", "constraints": [only_if("country", "us")]},
    ]
    found = of(feature, segments=segments, overrides=overrides)
    assert (found.enabled, found.state, found.reason) == (enabled, state, reason)


def test_the_place_of_a_caller_is_where_the_rollout_reaches_them() -> None:
    every = Decisions.build(snapshot(*(flag({**rollout(share, "userId")}, name=f"at-{share}") for share in range(101))))
    for user in range(20):
        context = Context(user_id=str(user))
        reached = next(share for share in range(101) if every.enabled(f"at-{share}", context))
        for share in (0, 1, 50, 100):
            found = of(flag(rollout(share, "userId")), context=context)
            assert found.strategies[0].place == reached
            assert found.enabled == (reached <= share)


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "default"},
        rollout(50),
        rollout(100),
        rollout(50, "random"),
        rollout(50, "userId"),
        {"name": "gradualRolloutRandom", "parameters": {"percentage": "50"}},
    ],
)
def test_who_has_nothing_to_be_placed_by_has_no_place(strategy: dict[str, Any]) -> None:
    assert of(flag(strategy), context=Context()).strategies[0].place is None


def test_constraints_are_told_one_by_one() -> None:
    found = of(
        flag({"name": "default", "constraints": [only_if("country", "us"), only_if("userId", "1"), only_if("environment", "production")]}),
        environment="production",
    )
    assert found.strategies[0].constraints == (
        Constraint("country is one of us", "us", met=True, broken=False),
        Constraint("userId is one of 1", "42", met=False, broken=False),
        Constraint("environment is one of production", "production", met=True, broken=False),
    )
    assert found.reads == ("country", "userId")


def test_a_property_never_passes_for_an_identity() -> None:
    found = of(flag({"name": "default", "constraints": [only_if("userId", "1")]}), context=Context(properties={"userId": "1"}))
    assert found.strategies[0].constraints == (Constraint("userId is one of 1", None, met=False, broken=False),)
    assert not found.enabled


def test_parents() -> None:
    on = flag(name="on", variants=[{"name": "a", "weight": 1, "stickiness": "userId"}])
    off = flag(name="off", enabled=False)
    wanted = [
        {"feature": "on"},
        {"feature": "on", "variants": ["b", "c"]},
        {"feature": "on", "variants": ["a"]},
        {"feature": "on", "enabled": False},
        {"feature": "off"},
        {"feature": "off", "enabled": False},
        {"feature": "nowhere"},
    ]
    found = of(flag(dependencies=wanted), on, off, overrides={"off": True})
    assert [(p.flag, p.wanted, p.state, p.enabled, p.variant, p.met) for p in found.parents] == [
        ("on", "on", "enabled", True, None, True),
        ("on", "on with the variant b or c", "enabled", True, "a", False),
        ("on", "on with the variant a", "enabled", True, "a", True),
        ("on", "off", "enabled", True, None, False),
        ("off", "on", "disabled", False, None, False),
        ("off", "off", "disabled", False, None, True),
        ("nowhere", "on", "unknown", False, None, False),
    ]
    assert not found.enabled


def test_dice_are_thrown_once() -> None:
    """The parts of an explanation are of one throw, a parent's too, and both outcomes occur."""
    dice = flag(rollout(50, "random"), name="parent")
    seen = set()
    for _ in range(100):
        found = of(flag(rollout(50, "random"), dependencies=[{"feature": "parent"}]), dice)
        assert found.chance
        assert found.strategies[0].chance
        assert found.parents[0].met == found.parents[0].enabled
        assert found.enabled == adds_up(found)
        seen.add((found.enabled, found.parents[0].met, found.strategies[0].matched))
    assert seen == {(True, True, True), (False, False, True), (False, True, False), (False, False, False)}


def test_chance_and_time_are_told() -> None:
    after = {"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"}
    found = of(flag({"name": "default", "constraints": [after]}))
    assert (found.chance, found.time, found.strategies[0].time, found.enabled) == (False, True, True, True)
    found = of(flag({"name": "default", "constraints": [after]}), context=Context(current_time="2019-01-01T00:00:00Z"))
    assert not found.enabled
    found = of(flag(rollout(50)), context=Context())
    assert (found.chance, found.time) == (True, False)
    found = of(flag(rollout(50)))
    assert (found.chance, found.time) == (False, False)
    assert not of(flag(rollout(50, "random")), overrides={"f": True}).chance


def test_variants() -> None:
    pair = [{"name": name, "weight": 1, "stickiness": "userId"} for name in ("a", "b")]
    built = Decisions.build(snapshot(flag(variants=pair)))
    assert of(flag(variants=pair)).variant == built.variant("f", USER)
    assert of(flag(variants=pair)).variant_by_chance is False
    assert of(flag(variants=pair), context=Context()).variant_by_chance is True
    assert of(flag(variants=pair), overrides={"f": False}).variant == OFF
    assert of(flag(rollout(0), variants=pair), overrides={"f": True}).variant == NONE
    assert of(flag(rollout(50, "random"), variants=pair)).variant is None
    assert of(flag()).variant is None


def test_a_flag_that_is_off_is_explained_as_if_it_were_on() -> None:
    found = of(flag(rollout(100), enabled=False))
    assert not found.enabled
    assert found.strategies[0].matched


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_every_operator_has_words(operator: str) -> None:
    given = {"contextName": "plan", "operator": operator, "values": ["a", "b"]}
    said = [words.constraint({**given, "inverted": inverted}) for inverted in (False, True)]
    if operator == "NO_SUCH_OPERATOR":
        assert said == ["plan: the operator 'NO_SUCH_OPERATOR', which Unleash's engine does not know"] * 2
    else:
        assert len(set(said)) == 2
        assert all(text.startswith("plan ") and text.endswith(" a, b") for text in said)


def test_long_lists_are_cut_short() -> None:
    found = of(flag({"name": "userWithId", "parameters": {"userIds": ",".join(str(user) for user in range(10_000))}}))
    assert found.strategies[0].text == "userId is one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 9990 more"


def test_nothing_to_go_by() -> None:
    found = explain(Snapshot(revision="", features=b"", source="none", fetched_at=0.0), "f", USER)
    assert (found.enabled, found.state) == (False, "unknown")
