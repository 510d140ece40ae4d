"""Impressions: each decision of a flag that asks for them is told, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from flags.decisions import Decisions
from flags.snapshot import Context
from tests.support.flags import flag, rollout, snapshot

PEOPLE = [Context(user_id=str(user)) for user in range(20)]
VARIANTS = [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]


def listening(*features: dict[str, Any]) -> tuple[Decisions, list[tuple[str, Context, bool]]]:
    told: list[tuple[str, Context, bool]] = []
    built = Decisions()
    built.on_impression = lambda name, context, enabled: told.append((name, context, enabled))
    built.load(snapshot(*features))
    return built, told


@pytest.mark.parametrize(
    "strategies",
    [
        [],
        [rollout(50, "userId")],
        [rollout(50, "random")],
        [rollout(0)],
        [{"name": "default", "constraints": [{"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"}]}],
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_each_decision_is_told_once_remembered_or_not(strategies: list[dict[str, Any]], enabled: bool) -> None:
    built, told = listening(flag(*strategies, enabled=enabled, impressionData=True), flag(*strategies, name="quiet", enabled=enabled))
    expected = []
    for person in (*PEOPLE, *PEOPLE):
        expected.append(("f", person, built.enabled("f", person)))
        built.enabled("quiet", person)
        built.enabled("unknown", person)
    assert told == expected
    assert sum(built.take_usage()["f"]) == len(expected)


def test_a_flag_is_decided_alike_whether_it_asks_or_not() -> None:
    built, _ = listening(
        flag(rollout(50), impressionData=True, variants=VARIANTS), flag(rollout(50), name="g", impressionData=False, variants=VARIANTS)
    )
    for person in PEOPLE:
        assert built.enabled("f", person) == built.enabled("g", person) == built.evaluate("f", person)
        assert built.variant("f", person) == built.evaluate_variant("f", person)


def test_variants_are_told_too() -> None:
    built, told = listening(flag(rollout(50, "userId"), impressionData=True, variants=VARIANTS))
    expected = [("f", person, built.variant("f", person).feature_enabled) for person in (*PEOPLE, *PEOPLE)]
    assert told == expected
    assert {enabled for _, _, enabled in told} == {True, False}


def test_overrides_are_told_as_answered() -> None:
    built, told = listening(flag(impressionData=True))
    built.override({"f": False})
    assert built.enabled("f", PEOPLE[0]) is False
    built.load(snapshot(flag(impressionData=True)))
    assert built.enabled("f", PEOPLE[1]) is False
    built.override({})
    assert built.enabled("f", PEOPLE[2]) is True
    assert told == [("f", PEOPLE[0], False), ("f", PEOPLE[1], False), ("f", PEOPLE[2], True)]


def test_nobody_need_listen_and_a_listener_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    built = Decisions.build(snapshot(flag(impressionData=True)))
    assert built.enabled("f", PEOPLE[0]) is True

    def fail(name: str, context: Context, enabled: bool) -> None:
        raise RuntimeError("broken")

    built.on_impression = fail
    assert built.enabled("f", PEOPLE[0]) is True
    assert "could not be told" in caplog.text
    assert built.take_usage() == {"f": (2, 0)}


def test_a_decision_that_fails_is_told_as_the_no_that_it_is() -> None:
    built, told = listening(flag(rollout(50, "userId"), impressionData=True))

    class Broken:
        def check_enabled(self, flag: str, context: dict[str, object]) -> None:
            raise RuntimeError("broken")

    built._engine = Broken()
    assert built.enabled("f", PEOPLE[0]) is False
    assert told == [("f", PEOPLE[0], False)]
