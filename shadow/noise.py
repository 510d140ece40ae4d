"""What one pair of legacy's own answers tells: which places there are, which of them differ, and in what manner.

A place that comes and goes with a list has to be counted against the pairs in which it was there at all. The manner (times, numbers close
by, the same instant in two spellings) is what a suggestion of a rule goes by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shadow.compare import Difference, Kind
from shadow.normalise import Json
from shadow.paths import ANY_INDEX, Path, render
from shadow.scalars import instant
from shadow.signature import Signature, generalise, signature

MAX_PATHS = 300
"""Places of one document."""
MAX_NODES = 5000
MAX_EXAMPLES = 3
"""Pairs of values kept of each noisy place, the newest."""
EVERYWHERE = ""
"""The place that every pair has: how many pairs there were."""


@dataclass(slots=True)
class Manner:
    """How the values of a place differ, over one pair or many."""

    counts: dict[str, int] = field(default_factory=dict)
    """`instant`: two spellings of one moment; `times`: two moments; `numbers`; `other`. → pairs in which that was the worst."""
    relative: float = 0.0
    """The greatest distance of two numbers, as a share of the first."""
    absolute: float = 0.0
    examples: list[list[Any]] = field(default_factory=list)
    """[legacy's first, legacy's second] of some pairs."""

    def add(self, other: Manner) -> None:
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.relative = max(self.relative, other.relative)
        self.absolute = max(self.absolute, other.absolute)
        self.examples = [*self.examples, *other.examples][-MAX_EXAMPLES:]

    def plain(self) -> dict[str, Any]:
        """For the database."""
        return {"counts": self.counts, "relative": self.relative, "absolute": self.absolute, "examples": self.examples}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Manner:
        """What `plain` made; of {} nothing."""
        return cls(stored.get("counts", {}), stored.get("relative", 0.0), stored.get("absolute", 0.0), stored.get("examples", []))


def merged(older: Manner, newer: Manner) -> Manner:
    """Both together."""
    both = Manner()
    both.add(older)
    both.add(newer)
    return both


_ORDER = ("instant", "times", "numbers", "other")
INFINITE = 1e300
"""A share of nothing. JSON has no infinity."""


def manners(differences: Iterable[Difference]) -> dict[Signature, Manner]:
    """For each signature of one pair, how it differs: by its worst element."""
    found: dict[Signature, tuple[str, Manner]] = {}
    for difference in differences:
        name, one = _manner(difference)
        key = signature(difference)
        worst, known = found.get(key, (name, Manner()))
        known.relative, known.absolute = max(known.relative, one.relative), max(known.absolute, one.absolute)
        known.examples = known.examples or one.examples
        found[key] = (max(worst, name, key=_ORDER.index), known)
    for name, manner in found.values():
        manner.counts = {name: 1}
    return {key: manner for key, (_, manner) in found.items()}


def _manner(difference: Difference) -> tuple[str, Manner]:
    left, right = difference.legacy, difference.candidate
    examples = [] if difference.kind is Kind.ORDER else [[left, right]]
    if difference.kind is not Kind.VALUE:
        return "other", Manner(examples=examples)
    if isinstance(left, str) and isinstance(right, str):
        one, other = instant(left), instant(right)
        if one is None or other is None:
            return "other", Manner(examples=examples)
        return "instant" if one == other else "times", Manner(examples=examples)
    if isinstance(left, int | float) and isinstance(right, int | float):  # of one JSON type, so neither is a boolean alone
        try:
            distance = abs(left - right)
            if 0 < distance < INFINITE:  # 0: two that no tolerance tells from each other, and that differ all the same
                relative = min(distance / abs(left), INFINITE) if left else INFINITE
                return "numbers", Manner(relative=relative, absolute=float(distance), examples=examples)
        except OverflowError:
            pass  # a whole number beyond every float
    return "other", Manner(examples=examples)


def places(*documents: Json) -> frozenset[str]:
    """The generalised paths that one of the documents has, EVERYWHERE among them. The first MAX_PATHS, where there are more."""
    found = {EVERYWHERE}
    seen: set[Path] = set()
    nodes = MAX_NODES
    for document in documents:
        waiting: list[tuple[Path, Json]] = [((), document)]
        while waiting and nodes > 0 and len(seen) < MAX_PATHS:
            nodes -= 1
            path, node = waiting.pop()
            if path not in seen:
                seen.add(path)
                found.add(generalise(render(path)))
            if isinstance(node, dict):
                waiting += [((*path, key), item) for key, item in node.items()]
            elif isinstance(node, list):
                waiting += [((*path, ANY_INDEX), item) for item in node]
    return frozenset(found)
