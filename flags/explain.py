"""Why a flag is on or off for somebody: each part of it, and what Unleash's own engine says of that part.

Nothing here evaluates anything. To learn whether a strategy, a constraint or a parent holds, the engine is given a flag of the same name
that has only this, and asked: some tens of questions, where a decision is one. It takes milliseconds and may run in any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # it ships no types

from flags import words
from flags.decisions import Decisions, engine_context
from flags.features import EMPTY, parse
from flags.plans import ATTRIBUTES, lacks
from flags.reads import Reads, reads, reads_variant
from flags.snapshot import Context, Snapshot
from flags.variants import OFF, Variant, has_choice

_PERCENT: Final = {"flexibleRollout": "rollout", "gradualRolloutUserId": "percentage", "gradualRolloutSessionId": "percentage"}
"""The parameter which is the share of those who can have a place."""

_OUTSIDE_PROPERTIES: Final = frozenset({*ATTRIBUTES, "appName", "environment", "currentTime"})

State = Literal["unknown", "disabled", "enabled"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition on the context."""

    text: str
    """As in "country is one of kr, jp"."""
    here: str | None
    """What the context has of it."""
    met: bool
    broken: bool
    """The engine cannot make sense of it. Then it lets nobody in, by other strategies neither."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Constraints that have a name in Unleash."""

    id: int
    name: str
    exists: bool
    """Where it does not, the engine lets nobody in, by other strategies neither."""
    met: bool
    constraints: tuple[Constraint, ...]


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way in. It matches where `applies`, and all its constraints and segments are met."""

    number: int
    """From 1."""
    name: str
    title: str
    """What somebody called it in Unleash; often ''."""
    text: str
    """Who it is for, constraints apart, as in "25 % by userId"."""
    parameters: dict[str, str]
    matched: bool
    applies: bool
    """Whether it would match without its constraints and segments."""
    place: int | None
    """Of a sticky rollout: it reaches this caller from so many percent on. None: it has no place for them."""
    constraints: tuple[Constraint, ...]
    segments: tuple[Segment, ...]
    chance: bool
    """Dice were thrown: the next time it may be otherwise."""
    time: bool
    """It looks at the time."""
    broken: tuple[str, ...]
    """What of it the engine cannot make sense of. Then it lets nobody in, by other strategies neither."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A flag that this one depends on."""

    flag: str
    wanted: str
    """on, off, or "on with the variant a or b"."""
    state: State
    enabled: bool
    """Whether it is on for this caller. Overrides of a parent have no say here, as they have none in a decision."""
    variant: str | None
    """Which variant it is for this caller, where that matters."""
    met: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why `flag` is on or off for one context. orjson.dumps takes it as it is."""

    flag: str
    enabled: bool
    """The answer. It is the sum of what follows: on, where it is on in the source, every parent is met, no strategy is broken, and one
    matches or there is none.
    """
    reason: str
    """Why, in a sentence."""
    state: State
    """In the source; `disabled` is off for everybody."""
    overridden: bool | None
    """What an override answers in its place."""
    decided: int | None
    """The number of the strategy that decided: the first that matched."""
    parents: tuple[Parent, ...]
    strategies: tuple[Strategy, ...]
    variant: Variant | None
    """None: the flag has no variants, or dice say whether it is on at all."""
    variant_by_chance: bool
    """Dice chose the variant."""
    chance: bool
    """Dice were thrown for this caller: the next decision may be otherwise."""
    time: bool
    """It looks at the time."""
    reads: tuple[str, ...]
    """The fields of the context that have a say."""


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
            reason=_reason(state, override, parents, strategies, decided),
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


def _reason(state: State, override: bool | None, parents: tuple[Parent, ...], strategies: tuple[Strategy, ...], decided: int | None) -> str:
    if override is not None:
        return f"an override turns it {'on' if override else 'off'} for everybody"
    if state == "unknown":
        return "there is no such flag"
    if state == "disabled":
        return "it is turned off"
    for parent in parents:
        if not parent.met:
            return f"it depends on the flag {parent.flag!r}, which would have to be {parent.wanted}"
    for strategy in strategies:
        if strategy.broken:
            return f"{_called(strategy)} is broken, and with it the whole flag off for everybody: {', '.join(strategy.broken)}"
    if not strategies:
        return "it is on, without a strategy: for everybody"
    if decided is not None:
        strategy = strategies[decided - 1]
        return f"{_called(strategy)} matches: {strategy.text}"
    return "no strategy matches: " + "; ".join(f"{_called(strategy)}: {', '.join(_missing(strategy))}" for strategy in strategies)


def _called(strategy: Strategy) -> str:
    return f"strategy {strategy.number} ({strategy.title or strategy.name})"


def _missing(strategy: Strategy) -> Iterator[str]:
    """What would have to be otherwise."""
    if not strategy.applies:
        yield f"not among {strategy.text}"
    for constraint in strategy.constraints:
        if not constraint.met:
            yield _unmet(constraint)
    for segment in strategy.segments:
        if not segment.met:
            yield f"not in {segment.name}"


def _unmet(constraint: Constraint) -> str:
    here = "nothing" if constraint.here is None else repr(constraint.here)
    return f"not so: {constraint.text} (here {here})"
