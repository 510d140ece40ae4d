"""Signatures that likely have one cause: those that were never seen one without the other, and those below the same place. Pure.

A candidate that forgets one object is a signature for each of its fields: to whoever reviews them it is one thing to decide. Both groups
are guesses, told as such: what always occurs together most often has one cause, and neighbours often have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shadow.recompute import Combination

TOGETHER, BELOW, ALONE = "together", "below", "alone"
LEAST = 2
"""Exchanges in which a group was seen together, before that says anything: of one exchange, all that differs is together."""
SHORTEST = 2
"""Segments of a path that neighbours share: below `$` is everything."""


class Line(Protocol):
    """A signature."""

    @property
    def kind(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def open(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Group[L: Line]:
    """Signatures with one cause, open ones first, then the most frequent."""

    why: Literal["together", "below", "alone"]
    lines: tuple[L, ...]
    path: str = ""
    """Of `below`: the place."""
    exchanges: int = 0
    """Of `together`: in how many exchanges."""

    @property
    def open(self) -> int:
        """How many are."""
        return sum(line.open for line in self.lines)


def grouped[L: Line](lines: Iterable[L], combinations: Iterable[tuple[Combination, int]] = ()) -> list[Group[L]]:
    """Every line in one group; those with open lines first, then by the most frequent. `combinations`: with how often each was seen."""
    ordered = sorted(lines, key=_order)
    seen: dict[tuple[str, str], set[int]] = {(line.kind, line.path): set() for line in ordered}
    counts: list[int] = []
    for number, (members, count) in enumerate(combinations):
        counts.append(count)
        for member in members:
            if (member.kind, member.path) in seen:
                seen[member.kind, member.path].add(number)
    together: dict[frozenset[int], list[L]] = {}
    for line in ordered:
        where = frozenset(seen[line.kind, line.path])
        if where and sum(counts[number] for number in where) >= LEAST:
            together.setdefault(where, []).append(line)
    found: list[Group[L]] = []
    left = {id(line): line for line in ordered}
    for where, members_ in together.items():
        if len(members_) > 1:
            found.append(Group("together", tuple(members_), _common(members_), sum(counts[number] for number in where)))
            for line in members_:
                del left[id(line)]
    places: dict[str, list[L]] = {}
    for line in left.values():
        places.setdefault(parent(line.path), []).append(line)
    for place, neighbours in places.items():
        if place and len(neighbours) > 1:
            found.append(Group("below", tuple(neighbours), place))
        else:
            found += [Group("alone", (line,)) for line in neighbours]
    return sorted(found, key=lambda group: _order(group.lines[0]))


def parent(path: str) -> str:
    """The place that a path lies below, "" where that is the whole answer, or the path is none of a body."""
    segments = _segments(path)
    return "".join(segments[:-1]) if len(segments) > SHORTEST else ""


def _order(line: Line) -> tuple[bool, int, str, str]:
    return not line.open, -line.count, line.kind, line.path


def _common(lines: Sequence[Line]) -> str:
    """The longest place that all of them lie below, or are; "" where it is the whole answer."""
    paths = [_segments(line.path) for line in lines]
    shared = []
    for each in zip(*paths, strict=False):
        if len(set(each)) > 1:
            break
        shared.append(each[0])
    return "".join(shared) if len(shared) >= SHORTEST else ""


def _segments(path: str) -> list[str]:
    """`$.a[*]["b.c"]` as `$`, `.a`, `[*]`, `["b.c"]`; nothing of what is no path of a body."""
    if not path.startswith("$"):
        return []
    segments, start, place, quoted = [], 0, 1, False
    while place < len(path):
        character = path[place]
        if quoted:
            if character == "\\":
                place += 1
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in ".[" and place > start:
            segments.append(path[start:place])
            start = place
        place += 1
    return [*segments, path[start:]]
