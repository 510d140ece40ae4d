"""What a split route's shares are at the moment, for people: worked out from the flag as it was read, for nobody in particular."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flags.plans import weights_of
from gateway.policy.splitter import usable


@dataclass(frozen=True, slots=True)
class Standing:
    """The weights in force."""

    weights: Mapping[str, int]
    source: str
    """flag, for those for whom it is on, or configuration."""

    @property
    def shares(self) -> str:
        """In words: "psp-a 70 %, psp-b 30 %"."""
        total = sum(self.weights.values())
        return ", ".join(f"{name} {100 * weight / total:.4g} %" for name, weight in self.weights.items())


def standing(feature: Mapping[str, Any] | None, overridden: bool | None, configured: Mapping[str, int]) -> Standing:
    """`feature`: the flag as Unleash's client API has it; None: there is none. `overridden`: what an override of it answers."""
    found = None if feature is None or overridden is False else weights_of(feature)
    if found is None or not usable(found, configured):
        return Standing(configured, "configuration")
    return Standing(found, "flag")
