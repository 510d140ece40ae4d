"""Places in a JSON document: how a rule names them, and whether a rule means this one.

A pattern is the small part of JSONPath that people write by hand: `$.user.email`, `$.items[*].price`, `$.items[0]`, `$["a.b"]`,
`$..password` (at any depth), `$.tags.*`. Segments are matched whole: `$.id` never hides `$.identity` (twitter/diffy#59 was a prefix match).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

type Segment = str | int
type Path = tuple[Segment, ...]


class Step(Enum):
    """What stands in a pattern beside names and indices."""

    ANY = "*"
    DEEP = ".."


_TOKEN = re.compile(
    r"""(?P<deep>\.\.)(?=[A-Za-z_*\[])"""
    r"""|\.?(?P<name>[A-Za-z_][\w-]*)"""
    r"""|\.?(?P<any>\*)"""
    r"""|\[(?:(?P<star>\*)|(?P<index>\d{1,9})|(?P<quoted>"(?:[^"\\]|\\.)*"|'[^'\\]*'))\]"""
)
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")


class PatternError(ValueError):
    """The text is not a path pattern; the message says where it stops being one."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed path pattern."""

    text: str
    steps: tuple[Segment | Step, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Parses `text`.

        Raises:
            PatternError: it does not start with `$`, or holds something other than .name, ..name, [*], [3], ["name"] and .*
        """
        if not text.startswith("$"):
            raise PatternError(f"a path starts with $, such as $.items[*].id or $..password: {text!r} does not")
        steps: list[Segment | Step] = []
        position = 1
        while position < len(text):
            found = _TOKEN.match(text, position)
            bare = found is not None and (found["name"] or found["any"]) and text[position] != "."
            if found is None or (bare and steps[-1:] != [Step.DEEP]):
                raise PatternError(f'{text!r} is not a path from {text[position:]!r} on: write .name, ..name, [*], [3] or ["name"]')
            steps.append(_step(found))
            position = found.end()
        return cls(text, tuple(steps))

    @property
    def last_name(self) -> str | None:
        """The field that it ends in; None where it ends in an index or a wildcard."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, str) else None

    def matches(self, path: Path) -> bool:
        """Whether it means exactly this place."""
        last = self.steps[-1] if self.steps else None
        if isinstance(last, str) and (not path or path[-1] != last):
            return False  # most places, and at once
        return _matches(self.steps, path)


def _step(found: re.Match[str]) -> Segment | Step:
    if found["deep"]:
        return Step.DEEP
    if found["any"] or found["star"]:
        return Step.ANY
    if found["index"]:
        return int(found["index"])
    quoted = found["quoted"]
    if quoted:
        return str(json.loads(quoted)) if quoted[0] == '"' else quoted[1:-1]
    return found["name"]


def _matches(steps: Sequence[Segment | Step], path: Path) -> bool:
    # The set of steps that may come next; DEEP stays in it while it swallows segments. Linear in steps x path, never exponential.
    states = {0}
    for segment in path:
        following: set[int] = set()
        for state in _closure(states, steps):
            if state == len(steps):
                continue
            step = steps[state]
            if step is Step.DEEP:
                following.add(state)
            elif step is Step.ANY or step == segment:
                following.add(state + 1)
        states = following
        if not states:
            return False
    return len(steps) in states


def _closure(states: set[int], steps: Sequence[Segment | Step]) -> set[int]:
    """`states`, and behind every DEEP the step that may already begin."""
    return states | {state + 1 for state in states if state < len(steps) and steps[state] is Step.DEEP}


ANY_INDEX = -1
"""Stands for the index in a path where elements have no fixed place: [*] means it, and no number does."""


def render(path: Path) -> str:
    """`$.items[0].name`; a name that is not plain is quoted: `$["a b"]`."""
    parts = ["$"]
    for segment in path:
        if isinstance(segment, int):
            parts.append("[*]" if segment == ANY_INDEX else f"[{segment}]")
        elif _PLAIN.fullmatch(segment):
            parts.append(f".{segment}")
        else:
            parts.append(f"[{json.dumps(segment, ensure_ascii=False)}]")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class PatternSet:
    """Several patterns, asked at once."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> PatternSet:
        """Parses each.

        Raises:
            PatternError: one of them is not a pattern.
        """
        return cls(tuple(parse(text) for text in texts))

    def matches(self, path: Path) -> bool:
        return any(pattern.matches(path) for pattern in self.patterns)

    def first(self, path: Path) -> Pattern | None:
        """The first of them that means exactly this place."""
        for pattern in self.patterns:
            if pattern.matches(path):
                return pattern
        return None

    def __bool__(self) -> bool:
        return bool(self.patterns)


NO_PATTERNS = PatternSet()


@lru_cache(maxsize=4096)
def parse(text: str) -> Pattern:
    """Pattern.parse, remembered: rules are parsed once however often they are made."""
    return Pattern.parse(text)
