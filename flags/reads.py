"""What a flag's decision depends on, worked out from its definition: the ground on which decisions may be remembered.

The rule is one-sided: naming a field that is never read costs some memory, missing one that is read gives a wrong answer. So whatever
is not understood counts as chance, and such a flag is never remembered. A property test holds this against the engine itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CONSTANT: Final = frozenset({"appName", "environment"})
"""Context fields that are the same for every decision of one gateway."""

_BY_USER: Final = frozenset({"userWithId", "gradualRolloutUserId"})


@dataclass(slots=True)
class Reads:
    """The context fields that a decision reads."""

    fields: set[str] = field(default_factory=set)
    dice: bool = False
    """It may differ between two equal contexts at one time."""
    clock: bool = False
    """It may differ between two times."""
    chance_without_identity: bool = False
    """Chance, but only where the context has neither a user nor a session (Unleash's default stickiness)."""
    chance_without: set[str] = field(default_factory=set)
    """Chance, but only where the context lacks one of these. For variants alone: whoever lacks what a rollout is sticky by is outside."""

    @property
    def chance(self) -> bool:
        """It may differ between two equal contexts: a dice roll, or the time of day."""
        return self.dice or self.clock


def reads(name: str, features: Mapping[str, Mapping[str, Any]], segments: Mapping[Any, Mapping[str, Any]]) -> Reads:
    """What deciding the flag `name` reads, its parents' flags included."""
    found = Reads()
    _feature(name, features, segments, found, set())
    found.fields -= CONSTANT
    return found


def reads_variant(name: str, features: Mapping[str, Mapping[str, Any]], segments: Mapping[Any, Mapping[str, Any]]) -> Reads:
    """What choosing a variant of the flag `name` reads, and whether it is on at all."""
    found = reads(name, features, segments)
    feature = features[name]
    _variants(feature.get("variants"), found)
    for strategy in feature["strategies"]:
        if strategy.get("variants"):
            # The engine goes by the strategy's stickiness, Unleash's documentation by the variants'. They are equal where its UI made them.
            _variant_stickiness((strategy.get("parameters") or {}).get("stickiness"), found)
            _variants(strategy["variants"], found)
    found.fields -= CONSTANT
    found.chance_without -= CONSTANT
    return found


def _feature(
    name: str, features: Mapping[str, Mapping[str, Any]], segments: Mapping[Any, Mapping[str, Any]], found: Reads, seen: set[str]
) -> None:
    feature = features.get(name)
    if feature is None or name in seen:
        return  # an unknown flag is off, and a flag met before has been read already
    seen.add(name)
    if not feature["enabled"]:
        return
    for strategy in feature["strategies"]:
        _strategy(strategy, found)
        _constraints(strategy.get("constraints"), found)
        for segment in strategy.get("segments") or ():
            _constraints(segments.get(segment, {}).get("constraints"), found)
    for parent in feature.get("dependencies") or ():
        _feature(parent["feature"], features, segments, found, seen)
        if parent.get("variants"):
            # On only for those who get one of these variants, and whoever lacks the field that a variant is sticky by gets a random one.
            found.dice = True


def _strategy(strategy: Mapping[str, Any], found: Reads) -> None:
    name = strategy["name"]
    parameters = strategy.get("parameters") or {}
    if name == "flexibleRollout":
        _rollout(str(parameters.get("rollout", "")), str(parameters.get("stickiness", "default")), found)
    elif name in _BY_USER:
        found.fields.add("userId")
    elif name == "gradualRolloutSessionId":
        found.fields.add("sessionId")
    elif name == "remoteAddress":
        found.fields.add("remoteAddress")
    elif name == "gradualRolloutRandom":
        found.dice = True
    # What is left reads nothing: "default" and "applicationHostname" are constants here, and a custom strategy, of which the
    # gateway has none, is always false.


def _rollout(rollout: str, stickiness: str, found: Reads) -> None:
    if stickiness in {"default", "random"} and rollout in {"0", "100"}:
        return  # nobody, or everybody whatever the dice say; a missing userId still fails a rollout that is sticky by userId
    _stickiness(stickiness, found)


def _stickiness(stickiness: str, found: Reads) -> None:
    if stickiness == "default":
        found.fields |= {"userId", "sessionId"}
        found.chance_without_identity = True
    elif stickiness == "random":
        found.dice = True
    elif stickiness == "currentTime":
        found.dice = found.clock = True
    else:
        found.fields.add(stickiness)


def _variants(variants: Iterable[Mapping[str, Any]] | None, found: Reads) -> None:
    for variant in variants or ():
        _variant_stickiness(variant.get("stickiness"), found)
        found.fields |= {override["contextName"] for override in variant.get("overrides") or ()}


def _variant_stickiness(stickiness: str | None, found: Reads) -> None:
    stickiness = "default" if stickiness is None else stickiness
    _stickiness(stickiness, found)
    if stickiness != "default":
        found.chance_without.add(stickiness)


def _constraints(constraints: Iterable[Mapping[str, Any]] | None, found: Reads) -> None:
    for constraint in constraints or ():
        name = constraint["contextName"]
        if name == "currentTime" or str(constraint.get("operator", "")).startswith("DATE_"):
            found.clock = True
        found.fields.add(name)
