"""Flags, overrides and their changes in words. Pure: what comes in is JSON as Unleash's client API has it, and may hold anything."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from console.aligning import Aligner
from shadow.words import visible

Feature = dict[str, Any]

MAX_LINES = 2000
"""Of one side's JSON; a longer one is not compared."""

_OF = {"default": "users", "userId": "users", "sessionId": "sessions", "random": "requests", "": "users"}
"""Of what a rollout is a share, by its stickiness."""


def state(feature: Feature | None) -> str:
    """For whom a flag is on, as far as that can be said in a few words; None: the source does not have it."""
    if feature is None:
        return "not there: off"
    if not feature.get("enabled"):
        return "off"
    parents = [item.get("feature", "?") for item in _dicts(feature.get("dependencies"))]
    return f"on {_for_whom(feature)}{f', depending on {", ".join(map(str, parents))}' if parents else ''}"


def _for_whom(feature: Feature) -> str:
    configured = _dicts(feature.get("strategies"))
    strategies = [item for item in configured if not item.get("disabled")]
    if "too_large" in feature or "bytes" in feature or (configured and not strategies):
        return "by its strategies"
    if not strategies:
        return "for everybody"
    said = [_strategy(strategy) for strategy in strategies]
    if "for everybody" in said:  # one yes is enough
        return "for everybody"
    if len(said) > 1:
        return f"by its {len(said)} strategies"
    return said[0] or "by its strategy"


def _strategy(strategy: Feature) -> str:
    """Nothing where that takes more than a few words."""
    if strategy.get("constraints") or strategy.get("segments"):
        return ""
    parameters = strategy.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    name = strategy.get("name")
    if name == "default":
        return "for everybody"
    if name == "userWithId":
        users = [user for user in str(parameters.get("userIds", "")).split(",") if user.strip()]
        return f"for {len(users)} named user{'' if len(users) == 1 else 's'}"
    if name != "flexibleRollout":
        return ""
    rollout = str(parameters.get("rollout", ""))
    if not (rollout.isascii() and rollout.isdigit() and len(rollout) <= 3 and int(rollout) <= 100):
        return ""
    stickiness = str(parameters.get("stickiness") or "")
    if int(rollout) == 0:
        return "for nobody (0 %)"
    if int(rollout) == 100:  # whoever has nothing to be sticky by is outside all the same
        return "for everybody" if stickiness in ("", "default", "random") else f"for everybody who has a {stickiness}"
    return f"for {int(rollout)} % of {_OF[stickiness]}" if stickiness in _OF else f"for {int(rollout)} % by {stickiness}"


def share(feature: Feature | None) -> int | None:
    """Of how many of 100 an enabled flag is on; None where that takes more than a number to say."""
    if feature is None:
        return 0
    if _dicts(feature.get("dependencies")):
        return None
    whom = _for_whom(feature)
    if whom == "for everybody":
        return 100
    found = re.match(r"for (?:nobody \()?(\d+) %", whom)
    return int(found[1]) if found else None


def override(value: Feature | None) -> str:
    """An override as the record of changes has it."""
    if value is None:
        return "no override"
    until = value.get("until")
    end = f" until {_moment(until)}" if isinstance(until, int | float) else ""
    return f"override {'on' if value.get('enabled') else 'off'}{end}"


def changed(old: Feature | None, new: Feature | None) -> str:
    """What changed, where the words for both states are the same: the names of the fields; "" where it is not in the flag itself."""
    old, new = old or {}, new or {}
    fields = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return ", ".join(map(str, fields))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference. `mark`: "" (in both), "old" or "new"."""

    text: str
    mark: str = ""


def difference(old: Feature | None, new: Feature | None) -> list[Line] | None:
    """Both states' JSON as one list of lines; None where it is too long to be compared."""
    left, right = _lines(old), _lines(new)
    if len(left) > MAX_LINES or len(right) > MAX_LINES:
        return None
    found: list[Line] = []
    for kind, i1, i2, j1, j2 in Aligner(left, right).get_opcodes():
        if kind == "equal":
            found += [Line(text) for text in left[i1:i2]]
        else:
            found += [Line(text, "old") for text in left[i1:i2]]
            found += [Line(text, "new") for text in right[j1:j2]]
    return found


def _lines(value: Feature | None) -> Sequence[str]:
    return [] if value is None else [visible(line) for line in json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines()]


def _dicts(value: object) -> list[Feature]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "another time"
