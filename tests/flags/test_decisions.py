"""Decisions against Unleash's own engine: remembered or not, the answer is the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings

from flags.decisions import Decisions
from flags.features import FeaturesError
from flags.plans import lacks
from flags.reads import reads, reads_variant
from flags.snapshot import Context, Flags, Snapshot
from tests.support.flags import CONTEXTS, documents, flag, only_if, rollout, snapshot


@pytest.mark.parametrize(
    ("feature", "fields", "chance", "chance_without_identity"),
    [
        (flag(), set(), False, False),
        (flag({"name": "default"}), set(), False, False),
        (flag(rollout(50), enabled=False), set(), False, False),
        (flag(rollout(50)), {"userId", "sessionId"}, False, True),
        (flag(rollout(100)), set(), False, False),
        (flag(rollout(0)), set(), False, False),
        (flag(rollout(100, "userId")), {"userId"}, False, False),
        (flag(rollout(50, "tenant")), {"tenant"}, False, False),
        (flag(rollout(50, "random")), set(), True, False),
        (flag(rollout(100, "random")), set(), False, False),
        (flag({"name": "gradualRolloutRandom", "parameters": {"percentage": "50"}}), set(), True, False),
        (flag({"name": "userWithId", "parameters": {"userIds": "1,2"}}), {"userId"}, False, False),
        (flag({"name": "remoteAddress", "parameters": {"IPs": "10.0.0.0/8"}}), {"remoteAddress"}, False, False),
        (flag({"name": "default", "constraints": [only_if("country", "kr")]}), {"country"}, False, False),
        (flag({"name": "default", "constraints": [only_if("appName", "banyan")]}), set(), False, False),
        (flag({"name": "default", "segments": [1]}), {"plan"}, False, False),
        (flag({"name": "default", "segments": [404]}), set(), False, False),
        (flag(dependencies=[{"feature": "parent"}]), {"tenant"}, False, False),
        (flag(dependencies=[{"feature": "parent", "variants": ["a"]}]), {"tenant"}, True, False),
        (flag(dependencies=[{"feature": "f"}]), set(), False, False),
        (flag(dependencies=[{"feature": "nowhere"}]), set(), False, False),
    ],
)
def test_what_a_flag_reads(feature: dict[str, Any], fields: set[str], chance: bool, chance_without_identity: bool) -> None:
    parent = flag(
        rollout(50, "tenant"),
        name="parent",
        variants=[{"name": "a", "weight": 1000}],
    )
    found = reads("f", {"f": feature, "parent": parent}, {1: {"id": 1, "constraints": [only_if("plan", "gold")]}})
    assert (found.fields, found.chance, found.chance_without_identity) == (fields, chance, chance_without_identity)


def sticky(*fields: str | None, **more: Any) -> list[dict[str, Any]]:
    """Variants that are sticky by these."""
    return [{"name": "v", "weight": 1, **more, **({} if name is None else {"stickiness": name})} for name in fields]


@pytest.mark.parametrize(
    ("feature", "fields", "chance", "chance_without_identity", "chance_without"),
    [
        (flag(variants=sticky(None)), {"userId", "sessionId"}, False, True, set()),
        (flag(variants=sticky("default")), {"userId", "sessionId"}, False, True, set()),
        (flag(variants=sticky("userId")), {"userId"}, False, False, {"userId"}),
        (flag(variants=sticky("tenant", "tenant")), {"tenant"}, False, False, {"tenant"}),
        (flag(variants=sticky("appName")), set(), False, False, set()),
        (flag(variants=sticky("random")), {"tenant"}, True, False, {"tenant"}),
        (
            flag(variants=sticky("userId", overrides=[{"contextName": "plan", "values": []}])),
            {"userId", "plan"},
            False,
            False,
            {"userId"},
        ),
        (flag(rollout(50, "plan"), variants=sticky("userId")), {"userId", "plan"}, False, False, {"userId"}),
        # Inside a strategy, the engine goes by the strategy's stickiness.
        (flag(rollout(100, variants=sticky("plan"))), {"userId", "sessionId", "plan"}, False, True, {"plan"}),
        (flag(rollout(100, "plan", variants=sticky("plan"))), {"plan"}, False, False, {"plan"}),
        (flag({"name": "default", "variants": sticky("plan")}), {"userId", "sessionId", "plan"}, False, True, {"plan"}),
        (flag(rollout(100, "random", variants=sticky("plan"))), {"plan"}, True, False, {"plan"}),
    ],
)
def test_what_choosing_a_variant_reads(
    feature: dict[str, Any], fields: set[str], chance: bool, chance_without_identity: bool, chance_without: set[str]
) -> None:
    found = reads_variant("f", {"f": feature}, {})
    assert (found.chance, found.chance_without_identity) == (chance, chance_without_identity)
    if not chance:  # else nothing else matters
        assert (found.fields, found.chance_without) == (fields, chance_without)


def test_the_stickiness_of_a_strategy_is_that_of_its_variants() -> None:
    """What the line above says of the engine: or we would remember one user's variant for another."""
    many = [{"name": f"v{number}", "weight": 1, "stickiness": "plan"} for number in range(50)]
    built = Decisions.build(snapshot(flag(rollout(100, variants=many)), flag({"name": "default", "variants": many}, name="g")))
    for name in ("f", "g"):
        of = [built.variant(name, Context(user_id=str(user), properties={"plan": "a"})) for user in range(50)]
        assert len(set(of)) > 10
        assert of == [built.evaluate_variant(name, Context(user_id=str(user), properties={"plan": "b"})) for user in range(50)]


@pytest.mark.parametrize(
    "constraint",
    [
        {"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"},
        {"contextName": "currentTime", "operator": "STR_CONTAINS", "values": ["T"]},
        {"contextName": "born", "operator": "DATE_BEFORE", "value": "2020-01-01T00:00:00Z"},
    ],
)
def test_time_is_never_remembered(constraint: dict[str, Any]) -> None:
    feature = flag({"name": "default", "constraints": [constraint]})
    assert reads("f", {"f": feature}, {}).chance


def dice(context: Context, *, identity: bool, without: Sequence[str]) -> bool:
    """Whether chance has a say for this one, where it has none for everybody."""
    return (identity and context.user_id is None and context.session_id is None) or lacks(context, without)


@settings(max_examples=150, deadline=None)
@given(documents)
def test_remembering_never_changes_an_answer(state: Snapshot) -> None:
    built = Decisions.build(state)
    plan = built._plans["f"]
    assume(plan.constant or plan.key is not None or plan.answer is not None)  # else there is nothing to remember
    for context in CONTEXTS:
        if not dice(context, identity=plan.identity, without=()):
            assert built.enabled("f", context) == built.evaluate("f", context), context


@settings(max_examples=150, deadline=None)
@given(documents)
def test_remembering_never_changes_a_variant(state: Snapshot) -> None:
    built = Decisions.build(state)
    plan = built._plans["f"]
    choice = plan.choice
    if choice is None:
        assume(plan.constant or plan.key is not None or plan.answer is not None)
    else:
        assume(choice.key is not None)
    for context in CONTEXTS:
        identity, without = (plan.identity, ()) if choice is None else (choice.identity, choice.without)
        if not dice(context, identity=identity, without=without):
            assert built.variant("f", context) == built.evaluate_variant("f", context), context


def test_each_user_stays_on_a_side_and_the_share_is_right() -> None:
    built = Decisions.build(snapshot(flag(rollout(10))))
    sides = [built.enabled("f", Context(user_id=str(user))) for user in range(2000)]
    assert [built.enabled("f", Context(user_id=str(user))) for user in range(2000)] == sides
    assert 0.07 < sum(sides) / 2000 < 0.13


def test_dice_are_not_remembered() -> None:
    built = Decisions.build(snapshot(flag(rollout(50)), flag(rollout(50, "random"), name="dice")))
    assert {built.enabled("f", Context()) for _ in range(100)} == {True, False}
    assert {built.enabled("dice", Context(user_id="1")) for _ in range(100)} == {True, False}


def test_unknown_is_off_and_counted() -> None:
    built = Decisions()
    assert built.enabled("nobody", Context()) is False
    assert Decisions.build(snapshot()).enabled("nobody", Context()) is False
    assert built.take_usage() == {"nobody": (0, 1)}


def test_unknown_names_are_bounded() -> None:
    built = Decisions.build(snapshot(flag()))
    assert built.unknown_limit == 1000
    built.unknown_limit = 10
    for number in range(100):
        assert built.enabled(f"unknown-{number}", Context()) is False
    assert len(built._plans) == 11
    assert built.enabled("f", Context()) is True


def test_a_memo_is_bounded() -> None:
    built = Decisions.build(snapshot(flag(rollout(50, "userId"))))
    assert built.memo_limit == 10_000
    built.memo_limit = 50
    for user in range(500):
        context = Context(user_id=str(user))
        assert built.enabled("f", context) == built.evaluate("f", context)
        assert len(built._plans["f"].memo) <= 50


def test_a_property_never_passes_for_an_identity() -> None:
    built = Decisions.build(snapshot(flag({"name": "userWithId", "parameters": {"userIds": "admin"}})))
    assert built.enabled("f", Context(user_id="admin")) is True
    assert built.enabled("f", Context(properties={"userId": "admin"})) is False


def test_usage_counts_remembered_answers_and_survives_a_new_state() -> None:
    live = Decisions.build(snapshot(flag(), flag(name="off", enabled=False)))
    for _ in range(5):
        live.enabled("f", Context())
        live.enabled("off", Context())
    live.load(snapshot(flag(enabled=False)))
    assert live.enabled("f", Context()) is False
    live.load(snapshot(flag()))
    assert live.enabled("f", Context()) is True
    assert live.take_usage() == {"f": (6, 1), "off": (0, 5)}
    assert live.take_usage() == {}


def test_an_override_answers_everybody_until_it_is_lifted() -> None:
    live = Decisions.build(snapshot(flag(), flag(rollout(50, "userId"), name="half"), flag(name="off", enabled=False)))
    people = [Context(user_id=str(user)) for user in range(100)]
    halves = [live.enabled("half", person) for person in people]
    assert set(halves) == {True, False}
    live.override({"f": False, "half": True, "off": True, "nowhere": True})
    for person in people:
        answers = [live.enabled(name, person) for name in ("f", "half", "off", "nowhere", "elsewhere")]
        assert answers == [False, True, True, True, False]
    assert [live.overridden(name) for name in ("f", "half", "off", "nowhere", "elsewhere")] == [True, True, True, True, False]
    live.override({"half": False})
    assert live.enabled("half", people[0]) is False
    assert [live.enabled(name, people[0]) for name in ("f", "off", "nowhere")] == [True, False, False]
    live.override({})
    assert [live.enabled("half", person) for person in people] == halves
    assert not live.overridden("half")


def test_both_flags_of_a_route_in_one_question_are_as_in_three() -> None:
    live = Decisions.build(snapshot(flag(), flag(rollout(50, "userId"), name="half"), flag(name="off", enabled=False)))
    found = set()
    for overrides in ({}, {"f": False}, {"off": True}, {"half": True, "nowhere": True}):
        live.override(overrides)
        for serve in ("f", "half", "off", "nowhere"):
            for shadow in ("f", "half", "off", "nowhere"):
                for user in range(4):
                    person = Context(user_id=str(user))
                    answers = live.both(serve, shadow, person)
                    assert answers == Flags.both(live, serve, shadow, person)
                    found.add(answers)
    assert found == set(range(8))
    # Each was asked 4 * 4 * 4 times as either, and each time twice.
    assert sum(live.take_usage()["half"]) == 2 * 2 * 4 * 4 * 4


def test_an_override_survives_a_new_state_and_what_is_under_it_is_the_new_one() -> None:
    live = Decisions.build(snapshot(flag(), flag(enabled=False, name="g")))
    live.override({"f": False, "g": True, "new": False})
    live.load(snapshot(flag(enabled=False), flag(name="g"), flag(name="new")))
    assert [live.enabled(name, Context()) for name in ("f", "g", "new")] == [False, True, False]
    live.load(snapshot())
    assert [live.enabled(name, Context()) for name in ("f", "g", "new")] == [False, True, False]
    live.load(snapshot(flag(enabled=False), flag(name="g"), flag(name="new")))
    live.override({})
    assert [live.enabled(name, Context()) for name in ("f", "g", "new")] == [False, True, True]


def test_an_override_is_counted_by_what_was_answered() -> None:
    live = Decisions.build(snapshot(flag()))
    live.enabled("f", Context())
    live.override({"f": False, "nowhere": True})
    for _ in range(2):
        live.enabled("f", Context())
        live.enabled("nowhere", Context())
    live.load(snapshot(flag()))
    live.override({})
    live.enabled("f", Context())
    live.enabled("nowhere", Context())
    assert live.take_usage() == {"f": (2, 2), "nowhere": (2, 1)}


def test_overrides_work_beyond_the_bound_of_unknown_names() -> None:
    live = Decisions()
    live.unknown_limit = 1
    live.enabled("unknown", Context())
    live.override({"another": True})
    assert live.enabled("another", Context()) is True


def test_an_engine_that_fails_means_off_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    built = Decisions.build(snapshot(flag(rollout(50, "userId"))))

    class Broken:
        def check_enabled(self, flag: str, context: dict[str, object]) -> None:
            raise RuntimeError("broken")

    built._engine = Broken()
    assert built.enabled("f", Context(user_id="1")) is False
    assert "could not be decided" in caplog.text


def test_a_state_that_the_engine_refuses_is_an_error_not_silence() -> None:
    data = b'{"version":1,"features":[{"name":"f","enabled":true,"strategies":[{"name":"default","constraints":[{}]}]}]}'
    with pytest.raises(FeaturesError):
        Decisions.build(Snapshot(revision="", features=data, source="file", fetched_at=0.0))


def test_an_empty_snapshot_turns_everything_off() -> None:
    built = Decisions.build(Snapshot(revision="none", features=b"", source="none", fetched_at=0.0))
    assert built.revision == "none"
    assert built.enabled("f", Context(user_id="1")) is False


def test_building_in_a_thread_leaves_the_loop_free() -> None:
    """1,000 flags: most of the time is spent in the engine, with the GIL released. Generous, for a noisy machine."""
    state = snapshot(*(flag(rollout(50), name=f"f{number}", description="x" * 100) for number in range(1000)))
    shortest = 1.0
    for _ in range(5):
        worker = threading.Thread(target=Decisions.build, args=(state,))
        worker.start()
        longest, last = 0.0, time.perf_counter()
        while worker.is_alive():
            time.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        shortest = min(shortest, longest)
    assert shortest < 0.02


def test_which_flags_care_about_the_session() -> None:
    built = Decisions.build(
        snapshot(
            flag(rollout(50), name="default"),
            flag(rollout(50, "sessionId"), name="session", impressionData=True),
            flag(rollout(50), {"name": "gradualRolloutRandom", "parameters": {"percentage": "5"}}, name="dice"),
            flag(rollout(50, "userId"), name="user"),
            flag(rollout(50), name="off", enabled=False),
            flag(rollout(100), name="everybody"),
        )
    )
    names = ("default", "session", "dice", "user", "off", "everybody", "unknown")
    assert [name for name in names if built.by_session(name)] == ["default", "session", "dice"]
    built.override({"default": True, "session": False})
    assert [name for name in names if built.by_session(name)] == ["dice"]


def test_who_may_never_come_back_throws_nobody_out_of_what_is_remembered() -> None:
    variants = [{"name": name, "weight": 500, "stickiness": "sessionId"} for name in "ab"]
    decisions = Decisions.build(snapshot(flag(rollout(50)), flag(rollout(100), name="v", variants=variants)))
    decisions.memo_limit = 10
    users = [Context(f"u{number}") for number in range(5)]
    visitors = [Context(None, f"visitor-{number}", fleeting=True) for number in range(50)]
    for context in users:
        decisions.enabled("f", context)
    choice = decisions._plans["v"].choice
    assert choice is not None
    decisions.variant("v", Context(None, "s"))
    remembered, chosen = dict(decisions._plans["f"].memo), dict(choice.memo)
    assert (len(remembered), len(chosen)) == (5, 1)
    for context in visitors:
        assert decisions.enabled("f", context) is decisions.evaluate("f", context)
        assert decisions.variant("v", context) == decisions.evaluate_variant("v", context)
    assert decisions._plans["f"].memo == remembered
    assert choice.memo == chosen


def test_where_the_session_does_not_matter_all_are_remembered() -> None:
    decisions = Decisions.build(snapshot(flag({"name": "default", "constraints": [only_if("country", "kr")]})))
    for number in range(5):
        decisions.enabled("f", Context(None, f"visitor-{number}", properties={"country": "kr"}, fleeting=True))
    assert len(decisions._plans["f"].memo) == 1


def test_a_field_that_is_no_name_costs_no_other_flag() -> None:
    """The engine takes it where another one in the document is never chosen among, and we cannot sort it among names."""
    odd = [{"name": "v", "weight": 1000, "overrides": [{"contextName": 3.5, "values": ["1"]}]}]
    built = Decisions.build(snapshot(flag(rollout(50, variants=odd)), flag(name="g")))
    assert built.enabled("g", Context())
    for user in ("1", "2", "3"):
        assert built.enabled("f", Context(user_id=user)) == built.evaluate("f", Context(user_id=user))


@pytest.mark.parametrize("weights", [[0], [0, 0], [1, -1]])
@pytest.mark.parametrize("inside", [False, True])
def test_what_the_engine_breaks_on_is_off_and_silent(weights: list[int], inside: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """It would say so over 20 lines, at each request."""
    none = [{"name": f"v{number}", "weight": weight} for number, weight in enumerate(weights)]
    parent = flag(rollout(100, variants=none), name="p") if inside else flag(name="p", variants=none)
    needs = flag(dependencies=[{"feature": "p", "variants": ["v0"]}])
    without = flag(dependencies=[{"feature": "p"}], name="g")
    away = flag(dependencies=[{"feature": "p", "enabled": False}], name="h")
    for enabled in (True, False):
        built = Decisions.build(snapshot(needs, without, away, {**parent, "enabled": enabled}))
        assert not any(built.enabled(name, Context(user_id=str(user))) for name in "fgh" for user in range(3))
    assert capfd.readouterr().err == ""
