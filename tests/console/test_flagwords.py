"""Flags and their changes in words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from console import flagwords
from console.flagwords import Line
from flags.changes import LARGEST, Changes


def rollout(percent: object, stickiness: str = "default", **more: Any) -> dict[str, Any]:
    return {"name": "flexibleRollout", "parameters": {"rollout": percent, "stickiness": stickiness, "groupId": "x"}, **more}


def flag(*strategies: Any, enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {"name": "reviews", "enabled": enabled, "strategies": list(strategies), **more}


def kept(feature: dict[str, Any]) -> Any:
    """What the gateway tells of such a flag when it has changed."""
    changes = Changes()
    for features in ([], [feature]):
        changes.state(orjson.dumps({"version": 1, "features": features}), 0.0)
    return changes.after(0)[0].new


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (None, "not there: off"),
        (flag(rollout("100"), enabled=False), "off"),
        (flag(), "on for everybody"),
        (flag({"name": "default"}), "on for everybody"),
        (flag(rollout("100")), "on for everybody"),
        (flag(rollout("100", "random")), "on for everybody"),
        (flag(rollout("100", "userId")), "on for everybody who has a userId"),
        (flag(rollout("100", "tenant"), rollout("10")), "on by its 2 strategies"),
        (flag(rollout("0")), "on for nobody (0 %)"),
        (flag(rollout("25")), "on for 25 % of users"),
        (flag(rollout(25, "userId")), "on for 25 % of users"),
        (flag(rollout("25", "sessionId")), "on for 25 % of sessions"),
        (flag(rollout("25", "random")), "on for 25 % of requests"),
        (flag(rollout("25", "tenant")), "on for 25 % by tenant"),
        (flag(rollout("x")), "on by its strategy"),
        (flag(rollout("250")), "on by its strategy"),
        (flag({"name": "userWithId", "parameters": {"userIds": "1, 2,"}}), "on for 2 named users"),
        (flag({"name": "remoteAddress", "parameters": {"IPs": "10.0.0.1"}}), "on by its strategy"),
        (flag(rollout("100", constraints=[{"contextName": "userId"}])), "on by its strategy"),
        (flag(rollout("100", segments=[3])), "on by its strategy"),
        (flag(rollout("10"), rollout("20")), "on by its 2 strategies"),
        (flag(rollout("10"), {"name": "default"}), "on for everybody"),
        (flag(rollout("10"), rollout("100", disabled=True)), "on for 10 % of users"),
        (flag(rollout("50"), dependencies=[{"feature": "parent"}]), "on for 50 % of users, depending on parent"),
        ({"name": "x", "enabled": True, "too_large": 300_000}, "on by its strategies"),
        (kept(flag(rollout("5"), description="x" * LARGEST)), "on by its strategies"),
        (flag(rollout("100", disabled=True)), "on by its strategies"),
        ({"name": "x", "enabled": True, "strategies": "nonsense", "dependencies": [7]}, "on for everybody"),
        (flag({"name": "flexibleRollout", "parameters": ["odd"]}), "on by its strategy"),
    ],
)
def test_for_whom_a_flag_is_on(feature: Any, words: str) -> None:
    assert flagwords.state(feature) == words


def test_an_override_in_words() -> None:
    assert flagwords.override(None) == "no override"
    assert flagwords.override({"enabled": False, "until": 1.5e9}) == "override off until 2017-07-14 02:40:00 UTC"
    assert flagwords.override({"enabled": True, "until": 1e300}) == "override on until another time"


def test_what_changed_where_the_words_do_not_say_it() -> None:
    assert flagwords.changed(flag(rollout("10"), rollout("20")), flag(rollout("10"), rollout("30"))) == "strategies"
    assert flagwords.changed(flag(description="a"), flag(stale=True)) == "description, stale"
    assert flagwords.changed(flag(), flag()) == ""


def test_the_difference_line_by_line() -> None:
    assert flagwords.difference({"b": 1, "a": "\u202e"}, {"b": 2, "a": "\u202e"}) == [
        Line("{"),
        Line('  "a": "\\u202e",'),
        Line('  "b": 1', "old"),
        Line('  "b": 2', "new"),
        Line("}"),
    ]
    assert flagwords.difference(None, {"a": 1}) == [Line("{", "new"), Line('  "a": 1', "new"), Line("}", "new")]
    assert flagwords.difference(None, {"a": list(range(3000))}) is None
