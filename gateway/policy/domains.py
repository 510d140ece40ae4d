"""Which domain may call which: one way, so that no circle of calls can grow (docs/adr/0019).

The order begins with what everybody needs and ends with what nobody may need: a domain may call those before it. Those that share a place
in the order may not call one another. Pure: nothing here knows who calls; it is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

_PATH: Final = re.compile(r"/api/(?:v[0-9]+|\{[A-Za-z_][A-Za-z0-9_]*\})/([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?:[/?]|\Z)")
"""A route's pattern may have a place for the version: one route for all of them."""
OTHER: Final = "other"
"""What a target is called whose domain is not in the order: its path is the caller's to choose, and names no label of a metric."""


class Verdict(StrEnum):
    """Of one call."""

    OWN = "own"
    """Within a domain."""
    WITH = "with"
    """From a later domain to an earlier one: as it should be."""
    AGAINST = "against"
    UNLISTED = "unlisted"
    """One of the two is not in the order: nothing is said of it."""


class Order:
    """See the module's docstring. `order`: names, and lists of names that share a place."""

    def __init__(self, order: Sequence[str | Sequence[str]]) -> None:
        self.places: list[list[str]] = [[each] if isinstance(each, str) else list(each) for each in order]
        self._place = {name: place for place, names in enumerate(self.places) for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._place

    @property
    def names(self) -> list[str]:
        """All of them, the earliest first."""
        return list(self._place)

    def verdict(self, caller: str, target: str) -> Verdict:
        """Of a call from one domain to another."""
        here, there = self._place.get(caller), self._place.get(target)
        if here is None or there is None:
            return Verdict.UNLISTED
        if caller == target:
            return Verdict.OWN
        return Verdict.WITH if there < here else Verdict.AGAINST

    def of_path(self, path: str) -> str:
        """The domain of /api/{version}/{domain}…, if it is in the order, else "". `path`: a target, or a route's pattern."""
        name = domain_of(path)
        return name if name in self._place else ""


def domain_of(path: str) -> str:
    """What stands in a path where the domain belongs, in the order or not; "" where the path is not made so."""
    found = _PATH.match(path)
    return found[1] if found is not None else ""
