"""What rules excuse in one pair of documents, collected while they are walked.

A difference that a reviewed rule excuses is told by name: so history can be counted anew when the rule ends. What the configuration's rules
excuse is only said to have been. In a place that is ignored, differences of type and shape are told too: shadow.drift watches them, so that
a fault in a noisy field does not vanish.

Everything is bounded: a list of a thousand elements with an ignored field is one entry, and of what is inside an ignored place MAX_LOOKS
values are looked at.
"""

from __future__ import annotations

from shadow.compare import Drift, Excused, Kind, rule_text
from shadow.normalise import Json
from shadow.pairs import ABSENT, Absent, At, Where, general, json_type, same
from shadow.paths import Path, render

MAX_EXCUSED = 100
"""Different entries of one exchange."""
MAX_DRIFTS = 50
MAX_LOOKS = 300

_EMPTY = {"string": "empty-string", "array": "empty-array", "object": "empty-object"}
ABSENCE = "absent"


class Excuses:
    """Of one pair of documents."""

    def __init__(self, reviewed: frozenset[str]) -> None:
        self._reviewed = reviewed
        self._found: dict[tuple[Kind, Path, str], None] = {}
        self._drifts: dict[tuple[Path, str, str], None] = {}
        self._configured = False
        self._whole = True
        self._looks = MAX_LOOKS

    def __bool__(self) -> bool:
        return bool(self._found or self._drifts or self._configured)

    def add(self, kind: Kind, where: Where, rule: str, path: str, value: object = "") -> None:
        """That the rule of this kind, path and value excuses a difference."""
        text = rule_text(rule, path, value)
        if text not in self._reviewed:
            self._configured = True
        elif len(self._found) < MAX_EXCUSED:
            self._found[kind, general(where), text] = None
        elif (kind, general(where), text) not in self._found:
            self._whole = False

    def ignored(self, left: Json | Absent, right: Json | Absent, where: Where, rule: str) -> None:
        """That a rule to ignore excuses all that these two differ in."""
        self.add(_kind(left, right), where, "ignore", rule)
        self._look(left, right, where)

    def _look(self, left: Json | Absent, right: Json | Absent, where: Where) -> None:
        """Looks for differences of type and shape in what is ignored."""
        self._looks -= 1
        one, other = shape_of(left), shape_of(right)
        if one != other:
            if len(self._drifts) < MAX_DRIFTS:
                self._drifts[general(where), one, other] = None
        elif isinstance(left, dict) and isinstance(right, dict):
            for key in left | right:
                if self._looks <= 0:
                    return
                mine, its = left.get(key, ABSENT), right.get(key, ABSENT)
                if isinstance(mine, Absent) or isinstance(its, Absent) or not same(mine, its):
                    self._look(mine, its, (*where, key))
        elif isinstance(left, list) and isinstance(right, list):
            # Elements beyond the shorter list are no news: that lists differ in length is what noise looks like.
            for index, (mine, its) in enumerate(zip(left, right, strict=False)):
                if self._looks <= 0:
                    return
                self._look(mine, its, (*where, At(index, index)))

    def told(self) -> tuple[tuple[Excused, ...], tuple[Drift, ...], bool, bool]:
        """(excused, drifts, configured, whole), as shadow.compare.Findings has them."""
        excused = tuple(Excused(kind, render(path), text) for kind, path, text in self._found)
        drifts = tuple(Drift(render(path), one, other) for path, one, other in self._drifts)
        return excused, drifts, self._configured, self._whole


def shape_of(value: Json | Absent) -> str:
    """A value's type, where it is empty that too, or that it is not there."""
    if isinstance(value, Absent):
        return ABSENCE
    kind = json_type(value)
    return _EMPTY.get(kind, kind) if isinstance(value, str | list | dict) and not value else kind


def _kind(left: Json | Absent, right: Json | Absent) -> Kind:
    if isinstance(right, Absent):
        return Kind.MISSING
    if isinstance(left, Absent):
        return Kind.EXTRA
    return Kind.VALUE if json_type(left) == json_type(right) else Kind.TYPE
