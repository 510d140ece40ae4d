"""What an explanation of a flag consists of, and the sentence that it comes to. What finds it out is flags/explain.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flags.variants import Variant

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


def reason(state: State, override: bool | None, parents: tuple[Parent, ...], strategies: tuple[Strategy, ...], decided: int | None) -> str:
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
