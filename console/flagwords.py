"""Flags, overrides and their changes in words. Pure: what comes in is JSON as Unleash's client API has it, and may hold anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.aligning import Aligner
from shadow.words import visible

Feature = dict[str, Any]

MAX_LINES = 2000
"""Of one side's JSON; a longer one is not compared."""


@dataclass(frozen=True, slots=True)
class Whom:
    """For whom a flag that is enabled is on."""

    words: str
    """"" where that takes more than a few."""
    share: int | None = None
    """Of 100; None where that takes more than a number to say."""


def state(feature: Feature | None) -> str:
    """For whom a flag is on, as far as that can be said in a few words; None: the source does not have it."""
    if feature is None:
        return _("not there: off")
    if not feature.get("enabled"):
        return _("off")
    whom = _for_whom(feature).words
    parents = [item.get("feature", "?") for item in _dicts(feature.get("dependencies"))]
    if parents:
        return _("on %(whom)s, depending on %(flags)s") % {"whom": whom, "flags": ", ".join(map(str, parents))}
    return _("on %(whom)s") % {"whom": whom}


def _everybody() -> Whom:
    return Whom(_("for everybody"), 100)


def _for_whom(feature: Feature) -> Whom:
    configured = _dicts(feature.get("strategies"))
    strategies = [item for item in configured if not item.get("disabled")]
    if "too_large" in feature or "bytes" in feature or (configured and not strategies):
        return Whom(_("by its strategies"))
    if not strategies:
        return _everybody()
    said = [_strategy(strategy) for strategy in strategies]
    if any(each.share == 100 for each in said):  # one yes is enough
        return _everybody()
    if len(said) > 1:
        return Whom(ngettext("by its %(count)d strategy", "by its %(count)d strategies", len(said)) % {"count": len(said)})
    return said[0] if said[0].words else Whom(_("by its strategy"))


def _strategy(strategy: Feature) -> Whom:
    if strategy.get("constraints") or strategy.get("segments"):
        return Whom("")
    parameters = strategy.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    name = strategy.get("name")
    if name == "default":
        return _everybody()
    if name == "userWithId":
        users = [user for user in str(parameters.get("userIds", "")).split(",") if user.strip()]
        return Whom(ngettext("for %(count)d named user", "for %(count)d named users", len(users)) % {"count": len(users)})
    if name != "flexibleRollout":
        return Whom("")
    rollout = str(parameters.get("rollout", ""))
    if not (rollout.isascii() and rollout.isdigit() and len(rollout) <= 3 and int(rollout) <= 100):
        return Whom("")
    return _rollout(int(rollout), str(parameters.get("stickiness") or ""))


def _rollout(share: int, stickiness: str) -> Whom:
    if share == 0:
        return Whom(_("for nobody (0 %)"), 0)
    if share == 100:
        if stickiness in ("", "default", "random"):
            return _everybody()
        return Whom(_("for everybody who has a %(field)s") % {"field": stickiness})  # whoever has none is outside all the same
    match stickiness:
        case "" | "default" | "userId":
            said = _("for %(share)d %% of users")
        case "sessionId":
            said = _("for %(share)d %% of sessions")
        case "random":
            said = _("for %(share)d %% of requests")
        case _other:
            said = _("for %(share)d %% by %(field)s")
    return Whom(said % {"share": share, "field": stickiness}, share)


def share(feature: Feature | None) -> int | None:
    """Of how many of 100 an enabled flag is on; None where that takes more than a number to say."""
    if feature is None:
        return 0
    return None if _dicts(feature.get("dependencies")) else _for_whom(feature).share


def override(value: Feature | None) -> str:
    """An override as the record of changes has it."""
    if value is None:
        return _("no override")
    until, on = value.get("until"), value.get("enabled")
    if not isinstance(until, int | float):
        return _("override on") if on else _("override off")
    return (_("override on until %(until)s") if on else _("override off until %(until)s")) % {"until": _moment(until)}


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
        return _("another time")
