"""What is called settled is what Unleash's own engine says to everybody."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.decisions import Decisions
from flags.features import revision
from flags.settled import Settled, Unsettled, settled
from flags.snapshot import Context, Snapshot

CALLERS = [
    Context(),
    Context(remote_address="192.0.2.7", properties={"route": "reviews", "method": "GET"}),
    Context("42", "s-1", "192.0.2.7", {"route": "reviews", "method": "GET", "plan": "gold"}),
    Context("7", None, "2001:db8::7", {"route": "items", "method": "POST"}),
    Context(None, "s-2", "192.0.2.8", {}),
]
NOBODY = CALLERS[:2]


def rollout(share: object, stickiness: str | None = "random", **more: Any) -> dict[str, Any]:
    parameters = {"rollout": share, "groupId": "reviews"} | ({} if stickiness is None else {"stickiness": stickiness})
    return {"name": "flexibleRollout", "parameters": parameters, **more}


def feature(*strategies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "reviews", "enabled": True, "strategies": list(strategies), **more}


def said(found: dict[str, Any], *, anonymous: bool = False) -> Settled | list[str]:
    """The share, or the kinds of reasons."""
    outcome = settled("reviews", {"reviews": found}, anonymous=anonymous)
    if isinstance(outcome, Settled):
        return outcome
    assert all(isinstance(reason, Unsettled) and reason.why for reason in outcome)
    return [reason.kind for reason in outcome]


CONSTRAINT = {"contextName": "userId", "operator": "IN", "values": ["42"]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (feature(), Settled(100)),
        (feature(enabled=False), Settled(0)),
        (feature({"name": "default"}), Settled(100)),
        (feature(rollout("100", "default")), Settled(100)),
        (feature(rollout("100", None)), Settled(100)),
        (feature(rollout("0", "userId")), Settled(0)),
        (feature(rollout("25")), Settled(25)),
        (feature(rollout("25"), rollout("0")), Settled(25)),
        (feature(rollout("25", "userId"), {"name": "default"}), Settled(100)),
        (feature(rollout("25", "default")), ["stickiness"]),
        (feature(rollout("25", None)), ["stickiness"]),
        (feature(rollout("100", "userId")), ["stickiness"]),
        (feature(rollout("25"), rollout("25")), ["strategies"]),
        (feature(rollout("100", constraints=[CONSTRAINT])), ["constraints"]),
        (feature(rollout("100", segments=[1])), ["segments"]),
        (feature(rollout("0", segments=[2]), {"name": "default"}), ["segments"]),
        (feature(rollout("25", "userId", constraints=[CONSTRAINT], segments=[1])), ["stickiness", "constraints", "segments"]),
        (feature({"name": "userWithId", "parameters": {"userIds": "42"}}), ["strategies"]),
        (feature({"name": "of-our-own"}), ["strategies"]),
        (feature(rollout("1e1")), ["malformed"]),
        (feature(rollout("101")), ["malformed"]),
        (feature(rollout(None)), ["malformed"]),
        (feature(dependencies=[{"feature": "parent"}]), ["parents"]),
    ],
)
def test_what_a_flag_says(found: dict[str, Any], expected: Settled | list[str]) -> None:
    assert said(found) == expected


def test_of_nobody_the_default_stickiness_is_dice() -> None:
    assert said(feature(rollout("25", "default")), anonymous=True) == Settled(25)
    assert said(feature(rollout("25", "sessionId")), anonymous=True) == ["stickiness"]


def test_an_unknown_flag_is_off() -> None:
    assert settled("reviews", {}, anonymous=False) == Settled(0)


STRATEGY = st.builds(
    lambda name, share, stickiness, constraints, segments: {
        "name": name,
        "parameters": {"rollout": share, "stickiness": stickiness, "groupId": "g", "percentage": share, "userIds": "42"},
        "constraints": constraints,
        "segments": segments,
    },
    st.sampled_from(["flexibleRollout", "flexibleRollout", "default", "userWithId", "gradualRolloutRandom", "remoteAddress", "of-our-own"]),
    st.sampled_from(["0", "1", "50", "99", "100"]),
    st.sampled_from(["random", "default", "userId", "sessionId", "plan"]),
    st.sampled_from([[], [], [CONSTRAINT], [{"contextName": "method", "operator": "NOT_IN", "values": ["POST"]}]]),
    st.sampled_from([[], [], [1], [2]]),
)


@given(st.lists(STRATEGY, max_size=3), st.booleans(), st.booleans(), st.booleans())
def test_the_engine_says_the_same_to_everybody(strategies: list[dict[str, Any]], enabled: bool, parent: bool, anonymous: bool) -> None:
    found = feature(*strategies, enabled=enabled, dependencies=[{"feature": "parent"}] if parent else [])
    outcome = settled("reviews", {"reviews": found}, anonymous=anonymous)
    if not isinstance(outcome, Settled):
        return
    parents = {"name": "parent", "enabled": False, "strategies": []}
    document = {"version": 1, "features": [found, parents], "segments": [{"id": 1, "constraints": [CONSTRAINT]}]}
    data = orjson.dumps(document)
    decisions = Decisions.build(Snapshot(revision(data), data, "file", 0.0))
    for caller in NOBODY if anonymous else CALLERS:
        if outcome.percent in (0, 100):
            assert decisions.evaluate("reviews", caller) is (outcome.percent == 100)
        elif outcome.percent == 50:
            # Of 60 answers all are the same once in 5.8e17.
            assert {decisions.evaluate("reviews", caller) for _ in range(60)} == {True, False}
