"""Of a split's flag: what is wrong with its variants is said exactly when they are not gone by."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags.admin.strategies import variants
from flags.plans import weights_of
from flags.problems import find
from flags.snapshot import Snapshot
from flags.splits import CONFIGURED, Split, wrong
from gateway.policy.splitter import usable
from gateway.splits import standing
from tests.support.flags import flag, rollout

PAYMENTS = Split("payments.split", "payments", ("psp-a", "psp-b"))
CONFIGURATION = {"psp-a": 70, "psp-b": 30}
PAIR = [{"name": "psp-a", "weight": 700}, {"name": "psp-b", "weight": 300}]

some = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["psp-a", "psp-b", "psp-x"]), "weight": st.sampled_from([0, 1, 500, -5])}), max_size=3
)


@given(st.lists(st.one_of(st.none(), some), max_size=2), some, st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_is_said_exactly_when_it_is_not_gone_by(
    strategies: list[list[dict[str, Any]] | None], own: list[dict[str, Any]], on: bool
) -> None:
    feature = flag(*({"name": "default", "variants": each} for each in strategies), enabled=on, variants=own)
    found = weights_of({**feature, "enabled": True})
    good = found is not None and usable(found, PAYMENTS.providers)
    said = [text for text in wrong(feature, PAYMENTS) if text.endswith(CONFIGURED)]
    if on:
        assert bool(said) is not good
    assert (standing(feature, None, CONFIGURATION).source == "flag") is (on and good)


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (flag(variants=PAIR), []),
        (flag(rollout(50, variants=PAIR)), []),
        (flag(enabled=False), []),
        (flag(), ["it has no variants that weigh anything, named as the providers of payments (psp-a, psp-b)"]),
        (flag(variants=[{"name": "psp-a", "weight": 0}]), ["it has no variants that weigh anything"]),
        (
            flag(variants=[*PAIR, {"name": "psp-x", "weight": 1}]),
            ["its variant 'psp-x' is none of the providers of payments (psp-a, psp-b)"],
        ),
        (flag(variants=[{"name": "psp-a", "weight": 5}, {"name": "psp-b", "weight": -5}]), ["its variant 'psp-b' weighs -5"]),
        (flag(rollout(1, variants=PAIR), rollout(2, variants=PAIR)), ["it has 2 strategies with variants of their own"]),
        (
            flag(variants=[PAIR[0], {**PAIR[1], "overrides": [{"contextName": "userId", "values": ["7"]}]}]),
            ["its variant 'psp-b' has overrides, which a split route passes over"],
        ),
    ],
)
def test_what_is_said(feature: dict[str, Any], expected: list[str]) -> None:
    said = list(wrong(feature, PAYMENTS))
    assert len(said) == len(expected)
    for text, wanted in zip(said, expected, strict=True):
        assert text.startswith(wanted)


def snapshot(*features: dict[str, Any]) -> Snapshot:
    return Snapshot("1", orjson.dumps({"version": 2, "features": list(features)}), "unleash", 0.0)


def test_a_split_needs_no_flag_and_is_told_of_a_bad_one() -> None:
    assert find(snapshot(), ["payments.split"], [PAYMENTS]) == []
    assert [problem.text[:26] for problem in find(snapshot(), ["payments.split"])] == ["there is no such flag wher"]
    named = flag(name="payments.split", variants=[{"name": "psp-x", "weight": 1}])
    (problem,) = find(snapshot(named), ["payments.split"], [PAYMENTS])
    assert (problem.flag, problem.text.endswith(CONFIGURED)) == ("payments.split", True)
    assert find(snapshot({**named, "variants": PAIR}), ["payments.split"], [PAYMENTS]) == []


def test_a_flag_of_two_splits_is_held_against_both() -> None:
    other = Split("payments.split", "refunds", ("psp-a",))
    (problem,) = find(snapshot(flag(name="payments.split", variants=PAIR)), ["payments.split"], [PAYMENTS, other])
    assert "'psp-b' is none of the providers of refunds (psp-a)" in problem.text


def test_variants_that_are_no_variants_are_one_flags_problem() -> None:
    broken = flag(name="payments.split", variants=[{"name": "psp-a", "weight": "much"}])
    (problem,) = find(snapshot(broken), ["payments.split"], [PAYMENTS])
    assert "cannot be looked into" in problem.text
    assert standing(broken, None, CONFIGURATION).source == "configuration"


@pytest.mark.parametrize(
    ("feature", "overridden", "source", "shares"),
    [
        (None, None, "configuration", "psp-a 70 %, psp-b 30 %"),
        (None, True, "configuration", "psp-a 70 %, psp-b 30 %"),
        (flag(variants=[PAIR[1]]), None, "flag", "psp-b 100 %"),
        (flag(variants=[{"name": "psp-a", "weight": 1}, {"name": "psp-b", "weight": 2}]), True, "flag", "psp-a 33.33 %, psp-b 66.67 %"),
        (flag(variants=[PAIR[1]]), False, "configuration", "psp-a 70 %, psp-b 30 %"),
        (flag(enabled=False, variants=[PAIR[1]]), True, "configuration", "psp-a 70 %, psp-b 30 %"),
    ],
)
def test_what_stands(feature: dict[str, Any] | None, overridden: bool | None, source: str, shares: str) -> None:
    found = standing(feature, overridden, CONFIGURATION)
    assert (found.source, found.shares) == (source, shares)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 1_000_000), min_size=1, max_size=8))
@settings(deadline=None)
def test_weights_in_thousandths_are_a_thousand_and_one_of_them_is_variable(weights: dict[str, int]) -> None:
    made = variants(weights)
    total = sum(weights.values())
    assert sum(each["weight"] for each in made) == 1000
    for each in made:
        rest = len(weights) if each["weightType"] == "variable" else 1
        assert abs(each["weight"] - 1000 * weights[each["name"]] / total) <= rest / 2 + 1e-9
    assert [each["weightType"] for each in made].count("variable") == 1
    assert min(each["weight"] for each in made) >= 0
