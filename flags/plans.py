"""How each flag is decided, worked out once from its definition: what may be remembered, by which fields of the context.

Each flag gets a plan: a constant when it reads nothing, a memo keyed by exactly the fields that it reads, or, where chance or the time of
day has a say, nothing to remember. Choosing among its variants has a plan of its own: it reads more.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from flags.reads import reads, reads_variant
from flags.snapshot import Context
from flags.variants import Variant, has_choice, weightless, weights

ATTRIBUTES: Final = {"userId": "user_id", "sessionId": "session_id", "remoteAddress": "remote_address"}
"""Unleash's words for the fields of a context that are not properties."""

Key = Callable[[Context], Hashable]
_Features = Mapping[str, Mapping[str, Any]]
_Segments = Mapping[Any, Mapping[str, Any]]


class Choice:
    """How the variants of one flag are chosen among."""

    __slots__ = ("found", "identity", "key", "memo", "session", "without")

    def __init__(self, *, key: Key | None = None, identity: bool = False, without: Sequence[str] = (), session: bool = False) -> None:
        self.key = key
        """As in a plan."""
        self.identity = identity
        self.without = without
        """The fields without which it is a dice roll too."""
        self.session = session
        """As in a plan."""
        self.memo: dict[Hashable, Variant] = {}
        self.found: dict[Variant, Variant] = {}
        """One of each: ten thousand users with one payload of some kilobytes are not to hold ten thousand of it."""


class Plan:
    """How one flag is decided, and how often it said yes and no since usage was last taken."""

    __slots__ = ("answer", "choice", "constant", "identity", "key", "memo", "name", "no", "own", "session", "variants", "watched", "yes")

    def __init__(
        self, name: str, *, answer: bool | None = None, constant: bool = False, key: Key | None = None, identity: bool = False
    ) -> None:
        self.name = name
        self.answer = answer
        """Set: the answer to everybody, by an override or by the flag itself."""
        self.own = answer
        """What `answer` is without an override."""
        self.constant = constant
        """Reads nothing: the engine's first answer becomes `answer`."""
        self.key = key
        """None: nothing may be remembered, ask the engine every time."""
        self.identity = identity
        """Without a user and a session this is a dice roll, and dice are not remembered."""
        self.session = False
        """It reads who is asking by the session."""
        self.memo: dict[Hashable, bool] = {}
        self.yes = 0
        self.no = 0
        self.watched: Plan | None = None
        """Set where the flag asks for impressions: how it is decided. Whoever does not ask then pays nothing for those who do."""
        self.choice: Choice | None = None
        """None: it has no variants."""
        self.variants: dict[str, int] | None = None
        """How often each variant was the answer since usage was last taken."""

    @property
    def decider(self) -> Plan:
        """Where the answer is."""
        return self.watched or self


def plan_for(name: str, features: _Features, segments: _Segments) -> Plan:
    """How the flag `name` is decided."""
    feature = features[name]
    plan = _decider(name, features, segments)
    if feature["enabled"]:
        plan.choice = _choice(name, features, segments)
    if feature.get("impressionData") is not True:
        return plan
    watching = Plan(name)
    watching.watched = plan
    return watching


def _decider(name: str, features: _Features, segments: _Segments) -> Plan:
    if not features[name]["enabled"]:
        return Plan(name, answer=False)
    try:
        if _breaks(features[name], features):
            return Plan(name, answer=False)
        found = reads(name, features, segments)
        fields = sorted(found.fields)
    except (AttributeError, KeyError, RecursionError, TypeError):
        return Plan(name)  # a shape that the engine takes and we do not know: never remembered, so never wrong
    if not found.chance and not fields:
        return Plan(name, constant=True)
    plan = Plan(name) if found.chance else Plan(name, key=_key(fields), identity=found.chance_without_identity)
    plan.session = "sessionId" in found.fields
    return plan


def _breaks(feature: Mapping[str, Any], features: _Features) -> bool:
    """Whether the engine would break on it, at length and at each request: it is off then (flags/problems.py says so)."""
    parents = (features.get(parent["feature"]) for parent in feature.get("dependencies") or ())
    return any(parent is not None and weightless(parent) for parent in parents)


def _choice(name: str, features: _Features, segments: _Segments) -> Choice | None:
    """None: no variants."""
    try:
        if not has_choice(features[name]):
            return None
        found = reads_variant(name, features, segments)
        fields, without = sorted(found.fields), sorted(found.chance_without)
    except (AttributeError, KeyError, RecursionError, TypeError):
        return Choice()
    if found.chance:
        return Choice()
    return Choice(
        key=_key(fields),
        identity=found.chance_without_identity,
        without=without,
        session="sessionId" in found.fields,
    )


def weights_of(feature: Mapping[str, Any]) -> dict[str, int] | None:
    """As `flags.variants.weights`, and None where the flag is off."""
    try:
        return weights(feature) if feature["enabled"] else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _key(fields: list[str]) -> Key:
    """A function from a context to the values of `fields`; in C where no property is among them."""
    if not fields:
        return lambda context: None
    attributes = [ATTRIBUTES[name] for name in fields if name in ATTRIBUTES]
    properties = [name for name in fields if name not in ATTRIBUTES]
    if not properties:
        return operator.attrgetter(*attributes)
    if not attributes and len(properties) == 1:
        (only,) = properties
        return lambda context: context.properties.get(only)
    if not attributes:
        return lambda context: tuple([context.properties.get(name) for name in properties])
    read: Key = operator.attrgetter(*attributes)  # annotated: a value for one attribute, a tuple for several, which typeshed leaves out
    return lambda context: (read(context), *[context.properties.get(name) for name in properties])


def lacks(context: Context, fields: Sequence[str]) -> bool:
    """Whether one of `fields` is missing."""
    for name in fields:
        attribute = ATTRIBUTES.get(name)
        if (context.properties.get(name) if attribute is None else getattr(context, attribute)) is None:
            return True
    return False
