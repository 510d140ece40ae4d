"""Which of a flag's variants somebody gets, in Unleash's words, and how much of the traffic each is to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Variant:
    """What a flag is for somebody: one of its variants, or none."""

    name: str
    """"disabled" where there is none."""
    enabled: bool
    """Whether there is one."""
    feature_enabled: bool
    """Whether the flag is on for them. It may be, and have no variants."""
    payload: tuple[str, str] | None = None
    """Its type, as string, json, csv or number, and its value."""


OFF: Final = Variant("disabled", enabled=False, feature_enabled=False)
"""The flag is off."""
NONE: Final = Variant("disabled", enabled=False, feature_enabled=True)
"""The flag is on, and there is no variant to get."""

NO_VARIANTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType({})
"""No flag had a variant for an answer."""


def has_choice(feature: Mapping[str, Any]) -> bool:
    """Whether the flag has variants to choose from.

    Variants that weigh nothing together are none, as in Unleash's SDKs: its engine breaks on them, and says so at length each time.
    """
    return any(_choice(variants) for variants in (feature.get("variants"), *(s.get("variants") for s in feature["strategies"])))


def weightless(feature: Mapping[str, Any]) -> bool:
    """Whether it has variants, of itself or of a strategy, that weigh nothing together: Unleash's engine breaks on choosing among them."""
    choices = (feature.get("variants"), *(strategy.get("variants") for strategy in feature["strategies"]))
    return any(variants and sum(variant.get("weight") or 0 for variant in variants) == 0 for variants in choices)


def weights(feature: Mapping[str, Any]) -> dict[str, int] | None:
    """The weights of the flag's variants by name: its only strategy's, which come first for Unleash, or its own. None where it has none
    that count, or where it depends on the strategy which they are.
    """
    strategies = feature["strategies"]
    own = [strategy["variants"] for strategy in strategies if strategy.get("variants")]
    if own and len(strategies) > 1:
        return None
    found: dict[str, int] = {}
    for variant in own[0] if own else feature.get("variants") or ():
        found[variant["name"]] = found.get(variant["name"], 0) + int(variant["weight"])
    return found if any(found.values()) else None


def _choice(variants: list[Mapping[str, Any]] | None) -> bool:
    return any(variant.get("weight") or variant.get("overrides") for variant in variants or ())
