"""Why a flag is on or off for somebody: each part of it, and what Unleash's own engine says of that part.

Nothing here evaluates anything. To learn whether a strategy, a constraint or a parent holds, the engine is given a flag of the same name
that has only this, and asked: some tens of questions, where a decision is one. It takes milliseconds and may run in any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

from flags import words
from flags.decisions import Decisions, engine_context
from flags.explanation import Constraint, Explanation, Parent, Segment, State, Strategy, reason
from flags.features import EMPTY, parse
from flags.plans import ATTRIBUTES, lacks
from flags.reads import Reads, reads, reads_variant
from flags.snapshot import Context, Snapshot
from flags.variants import OFF, Variant, has_choice

_PERCENT: Final = {"flexibleRollout": "rollout", "gradualRolloutUserId": "percentage", "gradualRolloutSessionId": "percentage"}
"""The parameter which is the share of those who can have a place."""

_OUTSIDE_PROPERTIES: Final = frozenset({*ATTRIBUTES, "appName", "environment", "currentTime"})


def explain(
    snapshot: Snapshot,
    flag: str,
    context: Context,
    *,
    app_name: str = "banyan",
    environment: str = "default",
    overrides: Mapping[str, bool] | None = None,
) -> Explanation:
    """Why `flag` is what `Decisions.enabled` says it is.

    Raises:
        FeaturesError: the snapshot's features are malformed. Sources check them, so this is a fault of ours.
    """
    document = parse(snapshot.features or EMPTY)
    features = {feature["name"]: feature for feature in document["features"]}
    segments = {segment["id"]: segment for segment in document.get("segments") or ()}
    asked = _Asked(flag, context, features, segments, {"appName": app_name, "environment": environment})
    return asked.explanation((overrides or {}).get(flag))


class _Asked:
    """One flag, one context, and the engine."""

    def __init__(
        self,
        flag: str,
        context: Context,
        features: Mapping[str, Mapping[str, Any]],
        segments: Mapping[Any, Mapping[str, Any]],
        fixed: Mapping[str, str],
    ) -> None:
        self._flag = flag
        self._context = context
        self._features = {name: features[name] for name in _family(flag, features)}
        used = {
            segment
            for feature in self._features.values()
            for strategy in feature["strategies"]
            for segment in strategy.get("segments") or ()
        }
        self._segments = {number: segments[number] for number in used if number in segments}
        whole = Snapshot(revision="", features=self._document(self._features.values()), source="", fetched_at=0.0)
        self._whole = Decisions.build(whole, app_name=fixed["appName"], environment=fixed["environment"])
        self._engine = UnleashEngine()
        self._given = engine_context(context, fixed)

    def explanation(self, override: bool | None) -> Explanation:
        feature = self._features.get(self._flag)
        state = self._state(self._flag)
        found = reads(self._flag, self._features, self._segments)
        chance = self._dice(found)
        parents: tuple[Parent, ...] = ()
        strategies: tuple[Strategy, ...] = ()
        if feature is not None:  # a flag that is turned off too: so one sees what would be
            parents = tuple(self._parent(parent) for parent in feature.get("dependencies") or ())
            strategies = tuple(self._strategy(number, strategy) for number, strategy in enumerate(feature["strategies"], 1))
        decided: int | None = None
        if chance:  # thrown once, or the answer would contradict its explanation
            matched = not strategies or any(strategy.matched for strategy in strategies)
            enabled = state == "enabled" and matched and _all_met(parents) and not any(strategy.broken for strategy in strategies)
        else:
            enabled = self._whole.evaluate(self._flag, self._context)
        if enabled and override is None:
            decided = next((strategy.number for strategy in strategies if strategy.matched), None)
        by_chance, variant = self._variant(override, chance=chance)
        return Explanation(
            flag=self._flag,
            enabled=enabled if override is None else override,
            reason=reason(state, override, parents, strategies, decided),
            state=state,
            overridden=override,
            decided=decided,
            parents=parents,
            strategies=strategies,
            variant=variant,
            variant_by_chance=by_chance,
            chance=override is None and chance,
            time=override is None and found.clock,
            reads=tuple(sorted(found.fields)),
        )

    def _parent(self, given: Mapping[str, Any]) -> Parent:
        name = given["feature"]
        variants = given.get("variants") or ()
        wanted = "off" if given.get("enabled") is False else "on"
        if variants and wanted == "on":
            wanted += f" with the variant {' or '.join(variants)}"
        feature = self._features.get(name)
        found = OFF if feature is None else self._whole.evaluate_variant(name, self._context)
        question: list[Mapping[str, Any]] = [
            {**self._features[self._flag], "enabled": True, "strategies": [], "variants": [], "dependencies": [given]}
        ]
        if feature is not None and name != self._flag and self._dice(reads_variant(name, self._features, self._segments)):
            # It is asked about what was thrown, not about another throw.
            chosen = [{"name": found.name, "weight": 1}] if found.enabled else []
            question.append({**feature, "enabled": found.feature_enabled, "strategies": [], "variants": chosen})
        return Parent(
            flag=name,
            wanted=wanted,
            state=self._state(name),
            enabled=found.feature_enabled,
            variant=found.name if variants else None,
            met=self._holds(*question),
        )

    def _strategy(self, number: int, given: Mapping[str, Any]) -> Strategy:
        constraints = tuple(self._constraint(constraint) for constraint in given.get("constraints") or ())
        segments = tuple(self._segment(segment) for segment in given.get("segments") or ())
        bare = {**given, "constraints": [], "segments": []}
        found = self._reads(given)
        chance = self._dice(found)
        applies = self._matches(bare)
        return Strategy(
            number=number,
            name=given["name"],
            title=str(given.get("title") or ""),
            text=words.strategy(given),
            parameters={key: str(value) for key, value in (given.get("parameters") or {}).items()},
            matched=applies and _all_met(constraints) and _all_met(segments) if chance else self._matches(given),
            applies=applies,
            place=self._place(bare),
            constraints=constraints,
            segments=segments,
            chance=chance,
            time=found.clock,
            broken=self._broken(given, constraints, segments),
        )

    def _broken(self, given: Mapping[str, Any], constraints: Iterable[Constraint], segments: Iterable[Segment]) -> tuple[str, ...]:
        if not self._breaks(given):
            return ()
        found = [constraint.text for constraint in constraints if constraint.broken]
        for segment in segments:
            if not segment.exists:
                found.append(f"{segment.name} does not exist")
            found += [f"{segment.name}: {constraint.text}" for constraint in segment.constraints if constraint.broken]
        return tuple(found) or (f"the strategy {given['name']!r} itself",)

    def _segment(self, number: int) -> Segment:
        segment = self._segments.get(number)
        return Segment(
            id=number,
            name=str((segment or {}).get("name") or f"segment {number}"),
            exists=segment is not None,
            met=self._matches({"name": "default", "segments": [number]}),
            constraints=tuple(self._constraint(constraint) for constraint in (segment or {}).get("constraints") or ()),
        )

    def _constraint(self, given: Mapping[str, Any]) -> Constraint:
        name = given["contextName"]
        here = self._given.get(name) if name in _OUTSIDE_PROPERTIES else self._given["properties"].get(name)
        return Constraint(
            text=words.constraint(given),
            here=None if here is None else str(here),
            met=self._matches({"name": "default", "constraints": [given]}),
            broken=self._breaks({"name": "default", "constraints": [given]}),
        )

    def _place(self, bare: Mapping[str, Any]) -> int | None:
        """By halving: the engine is asked of other shares than the one that is configured."""
        parameter = _PERCENT.get(bare["name"])
        if parameter is None:
            return None

        def share(percent: int) -> dict[str, Any]:
            return {**bare, "parameters": {**(bare.get("parameters") or {}), parameter: str(percent)}}

        if self._dice(self._reads(share(50))) or not self._matches(share(100)):
            return None
        below, reached = 0, 100
        while reached - below > 1:
            middle = (below + reached) // 2
            if self._matches(share(middle)):
                reached = middle
            else:
                below = middle
        return reached

    def _variant(self, override: bool | None, *, chance: bool) -> tuple[bool, Variant | None]:
        """Whether dice chose it, and which."""
        feature = self._features.get(self._flag)
        if feature is None or not has_choice(feature) or (chance and override is not False):
            return False, None
        self._whole.override({} if override is None else {self._flag: override})
        variant = self._whole.variant(self._flag, self._context)
        return variant.enabled and self._dice(reads_variant(self._flag, self._features, self._segments)), variant

    def _reads(self, strategy: Mapping[str, Any]) -> Reads:
        return reads(self._flag, {self._flag: self._only(strategy)}, self._segments)

    def _dice(self, found: Reads) -> bool:
        context = self._context
        nobody = context.user_id is None and context.session_id is None
        return found.dice or (found.chance_without_identity and nobody) or lacks(context, sorted(found.chance_without))

    def _state(self, name: str) -> State:
        feature = self._features.get(name)
        if feature is None:
            return "unknown"
        return "enabled" if feature["enabled"] else "disabled"

    def _only(self, strategy: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": self._flag, "enabled": True, "strategies": [{key: strategy[key] for key in strategy if key != "variants"}]}

    def _matches(self, strategy: Mapping[str, Any]) -> bool:
        return self._holds(self._only(strategy))

    def _breaks(self, strategy: Mapping[str, Any]) -> bool:
        """Whether it keeps even those out whom another strategy lets in: everybody."""
        only = self._only(strategy)
        return not self._holds({**only, "strategies": [{"name": "default"}, *only["strategies"]]})

    def _holds(self, *instead: Mapping[str, Any]) -> bool:
        """Whether the engine says that our flag is on, when these are in the place of those of their names; the first is our flag's."""
        features = {feature["name"]: feature for feature in instead}
        if instead[0].get("dependencies"):
            features = {**self._features, **features}
        self._engine.take_state(self._document(features.values()).decode())
        return bool(self._engine.check_enabled(self._flag, self._given).is_enabled)

    def _document(self, features: Iterable[Mapping[str, Any]]) -> bytes:
        return orjson.dumps({"version": 2, "features": list(features), "segments": list(self._segments.values())})


def _family(flag: str, features: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The flag, and those that it depends on."""
    found: set[str] = set()
    left = [flag]
    while left:
        name = left.pop()
        if name in features and name not in found:
            found.add(name)
            left += [parent["feature"] for parent in features[name].get("dependencies") or ()]
    return found


def _all_met(parts: Sequence[Constraint | Segment | Parent]) -> bool:
    return all(part.met for part in parts)
