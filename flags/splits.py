"""Flags by whose variants a route splits its requests between several providers, and what can be wrong with such a flag.

Nothing here decides. Where a flag cannot be gone by, the weights of the configuration are in force, and whoever moves the flag's must hear
of it: in Unleash everything looks as it was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flags.variants import weights

CONFIGURED: Final = "the configured weights are in force"


@dataclass(frozen=True, slots=True)
class Split:
    """A route that goes by a flag's variants."""

    flag: str
    route: str
    providers: tuple[str, ...]


def wrong(feature: Mapping[str, Any], split: Split) -> Iterator[str]:
    """What is wrong with the flag's variants, as the shares of those providers.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the flag is malformed.
    """
    strategies = feature["strategies"]
    known = ", ".join(split.providers)
    found = weights(feature)
    if found is None:
        several = [strategy for strategy in strategies if strategy.get("variants")]
        if several and len(strategies) > 1:
            yield f"it has {len(strategies)} strategies with variants of their own, and a route can go by one's alone: {CONFIGURED}"
        elif feature["enabled"]:  # off, it is not gone by in any case
            yield f"it has no variants that weigh anything, named as the providers of {split.route} ({known}): {CONFIGURED}"
        return
    for name, weight in found.items():
        if name not in split.providers:
            yield f"its variant {name[:50]!r} is none of the providers of {split.route} ({known}): {CONFIGURED}"
        elif weight < 0:
            yield f"its variant {name!r} weighs {weight}: {CONFIGURED}"
    for variant in _variants(feature):
        if variant.get("overrides"):
            yield f"its variant {str(variant['name'])[:50]!r} has overrides, which a split route passes over: it goes by the weights alone"


def _variants(feature: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    own = [variant for strategy in feature["strategies"] for variant in strategy.get("variants") or ()]
    return own or list(feature.get("variants") or ())
