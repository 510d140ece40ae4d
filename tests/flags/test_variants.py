"""Variants: who gets which, how often each was the answer, and what each weighs."""

from __future__ import annotations

from typing import Any

import pytest

from flags.decisions import Decisions, engine_context
from flags.snapshot import Context
from flags.variants import NONE, OFF, Variant
from tests.support.flags import flag, rollout, snapshot


def provider(name: str, weight: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "weight": weight, "stickiness": "default", **more}


PAIR = [provider("psp-a", 700), provider("psp-b", 300)]
USERS = [Context(user_id=str(user)) for user in range(2000)]


def test_each_user_gets_one_and_the_shares_are_right() -> None:
    built = Decisions.build(snapshot(flag(variants=PAIR)))
    first = [built.variant("f", user) for user in USERS]
    assert [built.variant("f", user) for user in USERS] == first
    assert [built.evaluate_variant("f", user) for user in USERS] == first
    assert 0.65 < sum(found.name == "psp-a" for found in first) / len(USERS) < 0.75
    assert {found.enabled for found in first} == {found.feature_enabled for found in first} == {True}


def test_a_payload_and_an_override() -> None:
    chosen = provider("psp-b", 0, payload={"type": "json", "value": "{}"}, overrides=[{"contextName": "userId", "values": ["7"]}])
    built = Decisions.build(snapshot(flag(variants=[provider("psp-a", 1), chosen])))
    for _ in range(2):
        assert built.variant("f", Context(user_id="7")) == Variant("psp-b", enabled=True, feature_enabled=True, payload=("json", "{}"))
        assert built.variant("f", Context(user_id="8")) == Variant("psp-a", enabled=True, feature_enabled=True)


def test_nobody_to_be_sticky_by_gets_any() -> None:
    by_tenant = [provider("a", 1, stickiness="tenant"), provider("b", 1, stickiness="tenant")]
    built = Decisions.build(snapshot(flag(variants=PAIR), flag(name="g", variants=by_tenant)))
    assert {built.variant("f", Context()).name for _ in range(100)} == {"psp-a", "psp-b"}
    assert {built.variant("g", Context(user_id="1")).name for _ in range(100)} == {"a", "b"}
    assert len({built.variant("g", Context(properties={"tenant": "1"})).name for _ in range(100)}) == 1


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (flag(), NONE),
        (flag(enabled=False), OFF),
        (flag(enabled=False, variants=PAIR), OFF),
        (flag(rollout(0), variants=PAIR), OFF),
        (flag(name="elsewhere"), OFF),
        (flag(variants=[provider("a", 0), provider("b", 0)]), NONE),
    ],
)
def test_none_to_get(feature: dict[str, Any], expected: Variant, capfd: pytest.CaptureFixture[str]) -> None:
    built = Decisions.build(snapshot(feature))
    assert [built.variant("f", Context(user_id="1")) for _ in range(2)] == [expected, expected]
    assert "panicked" not in capfd.readouterr().err


def test_a_flag_that_is_overridden_off_has_no_variant_and_one_that_is_on_keeps_its_own() -> None:
    live = Decisions.build(snapshot(flag(variants=PAIR), flag(rollout(0), name="nobody", variants=PAIR), flag(name="no", enabled=False)))
    user = Context(user_id="1")
    before = live.variant("f", user)
    live.override({"f": False, "nobody": True, "no": True, "unknown": True})
    assert [live.variant(name, user) for name in ("f", "nobody", "no", "unknown")] == [OFF, NONE, NONE, NONE]
    live.override({"f": True})
    assert live.variant("f", user) == before
    assert live.variant("nobody", user) == OFF


def test_variants_are_counted_as_the_sdk_counts_them_and_survive_a_new_state() -> None:
    state = snapshot(flag(variants=PAIR), flag(name="off", enabled=False, variants=PAIR), flag(name="plain"))
    live = Decisions.build(state)
    chosen = [live.variant("f", user).name for user in USERS[:50]] * 3
    for user in USERS[:50]:
        live.variant("f", user)
    live.load(state)
    for user in USERS[:50]:
        live.variant("f", user)
        live.enabled("f", user)
        live.variant("off", user)
        live.variant("plain", user)
        live.enabled("plain", user)
    assert live.take_usage() == {"f": (200, 0), "off": (0, 50), "plain": (100, 0)}
    assert live.take_variants() == {
        "f": {"psp-a": chosen.count("psp-a"), "psp-b": chosen.count("psp-b")},
        "off": {"disabled": 50},
        "plain": {"disabled": 50},
    }
    assert live.take_variants() == {}


def test_counts_of_variants_are_those_of_unleashs_engine() -> None:
    """The engine's own reckoning of the same questions, which is what the SDK reports."""
    built = Decisions.build(snapshot(flag(rollout(50, "userId"), variants=PAIR), flag(name="plain")))
    for user in (*USERS[:100], *USERS[:100]):
        for name in ("f", "plain", "unknown"):
            built.variant(name, user)
            built._engine.get_variant(name, engine_context(user, built._fixed))
    toggles = built._engine.get_metrics()["toggles"]
    usage, variants = built.take_usage(), built.take_variants()
    assert {name: (counts["yes"], counts["no"]) for name, counts in toggles.items()} == usage
    assert {name: counts["variants"] for name, counts in toggles.items()} == variants


def test_the_memo_of_variants_is_bounded() -> None:
    built = Decisions.build(snapshot(flag(variants=PAIR)))
    built.memo_limit = 50
    for user in USERS[:500]:
        assert built.variant("f", user) == built.evaluate_variant("f", user)
        assert len(built._plans["f"].choice.memo) <= 50
    assert len(built._plans["f"].choice.found) == 2


def test_an_engine_that_fails_means_off_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    built = Decisions.build(snapshot(flag(variants=PAIR)))

    class Broken:
        def check_variant(self, flag: str, context: dict[str, object]) -> None:
            raise RuntimeError("broken")

    built._engine = Broken()
    assert built.variant("f", Context(user_id="1")) == OFF
    assert "could not be chosen" in caplog.text
    assert built.take_usage() == {"f": (0, 1)}


OWN = [{"name": "psp-c", "weight": 250}, {"name": "psp-d", "weight": 750}]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (flag(variants=PAIR), {"psp-a": 700, "psp-b": 300}),
        (flag(rollout(100), variants=PAIR), {"psp-a": 700, "psp-b": 300}),
        (flag(rollout(100, variants=OWN), variants=PAIR), {"psp-c": 250, "psp-d": 750}),
        (flag(rollout(100, variants=OWN)), {"psp-c": 250, "psp-d": 750}),
        (flag(rollout(100, variants=OWN), rollout(100, variants=PAIR)), None),
        (flag(rollout(100, variants=OWN), rollout(100), variants=PAIR), None),
        (flag(rollout(100), rollout(100), variants=PAIR), {"psp-a": 700, "psp-b": 300}),
        (flag(variants=[provider("psp-a", 0), provider("psp-b", 10)]), {"psp-a": 0, "psp-b": 10}),
        (flag(variants=[provider("psp-a", 0)]), None),
        (flag(variants=PAIR, enabled=False), None),
        (flag(), None),
        (flag(name="elsewhere", variants=PAIR), None),
    ],
)
def test_weights(feature: dict[str, Any], expected: dict[str, int] | None) -> None:
    assert Decisions.build(snapshot(feature)).weights("f") == expected


def test_weights_are_those_of_now_and_none_while_overridden_off() -> None:
    live = Decisions.build(snapshot(flag(variants=PAIR)))
    live.override({"f": False})
    assert live.weights("f") is None
    live.override({"f": True})
    assert live.weights("f") == {"psp-a": 700, "psp-b": 300}
    live.load(snapshot(flag(variants=[provider("psp-a", 1)])))
    assert live.weights("f") == {"psp-a": 1}
    live.load(snapshot())
    assert live.weights("f") is None


def test_whom_somebody_else_chose_by_the_weights_is_counted_as_the_variant() -> None:
    live = Decisions.build(snapshot(flag(variants=PAIR), flag(name="off", enabled=False, variants=PAIR)))
    for user, provider_met in zip(USERS, ("psp-a", "psp-b", "psp-a"), strict=False):
        assert live.enabled("f", user)
        live.chose("f", provider_met)
    assert not live.enabled("off", USERS[0])
    live.chose("off", "")
    live.chose("never asked of", "psp-a")
    assert live.take_usage() == {"f": (3, 0), "off": (0, 1)}
    assert live.take_variants() == {"f": {"psp-a": 2, "psp-b": 1}, "off": {"disabled": 1}}
