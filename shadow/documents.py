"""The differences of two parsed documents: prune what is equal, apply the rules, and give DeepDiff only what is left.

DeepDiff names a difference well and finds it slowly (5 ms for 400 equal bytes, 5.5 s for half a megabyte, measured), so `_Reducer` walks
both documents first and builds a pair that holds nothing but the differing leaves and the way to them. Lists become mappings from `At`,
the element's place on either side, so that DeepDiff never has to align one and a leaf keeps both of its addresses.

The work is linear, but for aligning two lists of different lengths, which is tried only under MAX_ALIGN, and for recognising reordered
lists, which is given up after MAX_WORK.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from deepdiff import DeepDiff

from shadow.compare import EQUAL, Difference, Findings, Kind, LongWorkError, Rules
from shadow.excuses import Excuses
from shadow.normalise import Json
from shadow.pairs import ABSENT, Absent, At, Where, both_paths, json_type, rule_path, same
from shadow.paths import ANY_INDEX, Path
from shadow.scalars import instant
from shadow.shapes import shape

MAX_DIFFERENCES = 200
"""Leaves reported of one exchange. The console shows them all; nobody reads more."""
MAX_ALIGN = 1_000_000
"""Product of two lists' lengths up to which runs of equal elements are looked for. Beyond, elements are paired by index."""
MAX_WORK = 1_000_000
"""Elements, times their depth and the rules, looked at to find out whether lists were merely reordered: nested lists are walked once a
level."""
HURRIED_WORK = 300_000
"""The same where nobody can end the comparison: about a tenth of a second."""
MAX_TEXT = 256
"""Characters of a value that a difference quotes."""


class Leaf(NamedTuple):
    """A pair that differs, with nothing inside left to compare."""

    where: Where
    legacy: Json | Absent
    candidate: Json | Absent


def differences(legacy: Json, candidate: Json, rules: Rules, *, hurried: bool = False) -> Findings:
    """Every difference between two documents, up to MAX_DIFFERENCES, and what rules excuse.

    Raises:
        LongWorkError: `hurried`, and it would take more than HURRIED_WORK.
    """
    reducer = _Reducer(rules, hurried=hurried)
    reducer.walk(legacy, candidate, ())
    found = [Difference(Kind.ORDER, path, candidate_path=other) for path, other in map(both_paths, reducer.orders)]
    if reducer.leaves:
        found += _name(reducer.leaves)
    excuses = reducer.excuses
    if not found and not excuses:
        return EQUAL
    found.sort(key=lambda item: (item.path, item.kind))
    return Findings(tuple(found), reducer.cut, *excuses.told())


class _Reducer:
    """Collects the differing leaves of two documents."""

    def __init__(self, rules: Rules, *, hurried: bool) -> None:
        self._rules = rules
        self._hurried = hurried
        self.leaves: list[Leaf] = []
        self.orders: list[Where] = []
        self.excuses = Excuses(rules.reviewed)
        self.cut = False
        self._lenient = bool(rules.ignore or rules.time or rules.pattern or rules.unordered)
        """Whether elements can count as equal that are not the same: what excuses them is looked for even where they were found equal."""
        self._work = HURRIED_WORK if hurried else MAX_WORK
        self._asked = 1 + sum(map(len, (rules.ignore.patterns, rules.unordered.patterns, rules.time.patterns, rules.pattern)))
        """Patterns that each place is held against, and one for the walk itself."""

    def walk(self, left: Json | Absent, right: Json | Absent, where: Where) -> None:
        if not isinstance(left, Absent) and not isinstance(right, Absent) and same(left, right):
            return
        path = rule_path(where)
        if self._rules.ignore and (pattern := self._rules.ignore.first(path)) is not None:
            self.excuses.ignored(left, right, where, pattern.text)
            return
        if len(self.leaves) + len(self.orders) >= MAX_DIFFERENCES:
            self.cut = True
        elif isinstance(left, dict) and isinstance(right, dict):
            for key in left | right:
                self.walk(left.get(key, ABSENT), right.get(key, ABSENT), (*where, key))
        elif isinstance(left, list) and isinstance(right, list):
            self._lists(left, right, where, path)
        elif not self._allowed(left, right, where, path):
            self.leaves.append(Leaf(where, left, right))

    def _allowed(self, left: Json | Absent, right: Json | Absent, where: Where, path: Path) -> bool:
        """Whether a rule says that these two, which differ, count as one. None of them reaches across types."""
        rules = self._rules
        if isinstance(left, str) and isinstance(right, str):
            if rules.time and (found := rules.time.first(path)) and (moment := instant(left)) is not None and moment == instant(right):
                self.excuses.add(Kind.VALUE, where, "time", found.text)
                return True
        elif not (_is_number(left) and _is_number(right)):
            return False
        else:
            for patterns, tolerance in rules.tolerance:
                if (pattern := patterns.first(path)) and tolerance.allows(left, right):  # type: ignore[arg-type]  # numbers, see above
                    self.excuses.add(Kind.VALUE, where, "tolerance", pattern.text, tolerance)
                    return True
        for patterns, text in rules.pattern:
            if (pattern := patterns.first(path)) and _shaped(left, text) and _shaped(right, text):
                self.excuses.add(Kind.VALUE, where, "pattern", pattern.text, text)
                return True
        return False

    def _lists(self, left: list[Json], right: list[Json], where: Where, path: Path) -> None:
        for patterns, name in self._rules.key:
            if (keyed := patterns.first(path)) is not None and self._by_key(left, right, name, where, path, keyed.text):
                return
        if (pattern := self._rules.unordered.first(path)) is not None:
            self._unordered(left, right, where, path, pattern.text)
        elif len(left) == len(right):
            self._level(left, right, where, path)
        else:
            self._aligned(left, right, where, path)

    def _level(self, left: list[Json], right: list[Json], where: Where, path: Path) -> None:
        """Two ordered lists of one length: what stands in the same place belongs together, unless the elements have changed places."""
        apart = [index for index, pair in enumerate(zip(left, right, strict=True)) if not same(*pair)]
        if len(apart) > 1 and self._work > 0:  # one element alone can't have changed places
            lefts, rights = self._canonicals(left, apart, path), self._canonicals(right, apart, path)
            if lefts != rights and Counter(lefts) == Counter(rights):
                self.orders.append(where)
                if self._lenient:
                    self._pairs(left, right, _matched(lefts, apart, rights, apart), where)  # equal but for what is excused
                return
        self._pairs(left, right, _zipped(apart, apart), where)

    def _unordered(self, left: list[Json], right: list[Json], where: Where, path: Path, rule: str) -> None:
        """Two lists whose order means nothing: every element meets its equal; the rest is paired in order, the surplus alone."""
        stay = {index for index, pair in enumerate(zip(left, right, strict=False)) if same(*pair)}
        lefts, rights = ([index for index in range(len(side)) if index not in stay] for side in (left, right))
        if self._work > 0:
            texts = self._canonicals(left, lefts, path), self._canonicals(right, rights, path)
            met = list(_matched(texts[0], lefts, texts[1], rights))
            if any(at.legacy != at.candidate for at in met):
                self.excuses.add(Kind.ORDER, where, "unordered", rule)
            if self._lenient:
                self._pairs(left, right, met, where)
            gone = {at.legacy for at in met}, {at.candidate for at in met}
            lefts, rights = ([index for index in side if index not in out] for side, out in zip((lefts, rights), gone, strict=True))
        self._pairs(left, right, _zipped(lefts, rights), where)

    def _aligned(self, left: list[Json], right: list[Json], where: Where, path: Path) -> None:
        """Two ordered lists of different lengths: elements put in or left out move the rest along."""
        start, end = 0, 0
        shorter = min(len(left), len(right))
        while start < shorter and same(left[start], right[start]):
            start += 1
        while end < shorter - start and same(left[-1 - end], right[-1 - end]):
            end += 1
        lefts, rights = range(start, len(left) - end), range(start, len(right) - end)
        if self._work > 0:
            texts = self._canonicals(left, lefts, path), self._canonicals(right, rights, path)
            pairs = _runs(*texts, start, every=self._lenient)
        else:
            pairs = _zipped(lefts, rights)
        self._pairs(left, right, pairs, where)

    def _by_key(self, left: list[Json], right: list[Json], name: str, where: Where, path: Path, rule: str) -> bool:
        """Aligns by the field `name`. False where an element lacks it or two share a value: then the list is compared as any other."""
        lefts, rights = _keys(left, name), _keys(right, name)
        if lefts is None or rights is None:
            return False
        pairs = [At(index, rights.get(key)) for key, index in lefts.items()]
        pairs += [At(None, index) for key, index in rights.items() if key not in lefts]
        common = [pair.candidate for pair in pairs if pair.legacy is not None and pair.candidate is not None]
        moved = common != sorted(common)
        if moved or len(left) != len(right):
            self.excuses.add(Kind.ORDER, where, "key", rule, name)
        if moved:
            if (pattern := self._rules.unordered.first(path)) is not None:
                self.excuses.add(Kind.ORDER, where, "unordered", pattern.text)
            else:
                self.orders.append(where)
        self._pairs(left, right, pairs, where)
        return True

    def _pairs(self, left: list[Json], right: list[Json], pairs: Iterable[At], where: Where) -> None:
        for at in pairs:
            self.walk(
                ABSENT if at.legacy is None else left[at.legacy],
                ABSENT if at.candidate is None else right[at.candidate],
                (*where, at),
            )

    def _canonicals(self, items: list[Json], indices: Iterable[int], path: Path) -> list[str]:
        """Of each of these elements a text that is equal for equal values, without what the rules ignore."""
        inner = (*path, ANY_INDEX)
        return [json.dumps(self._plain(items[index], inner), sort_keys=True, separators=(",", ":")) for index in indices]

    def _plain(self, value: Json, path: Path) -> Json:
        self._work -= 1 + len(path) * self._asked
        if self._hurried and self._work < 0:
            raise LongWorkError
        if self._rules.ignore and self._rules.ignore.matches(path):
            return None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return self._plain_scalar(value, path)
        if isinstance(value, list):
            items = [self._plain(item, (*path, ANY_INDEX)) for item in value]
            return sorted(items, key=json.dumps) if self._rules.unordered.matches(path) else items
        if isinstance(value, dict):
            return {key: self._plain(item, (*path, key)) for key, item in value.items() if not self._rules.ignore.matches((*path, key))}
        return value

    def _plain_scalar(self, value: str | float, path: Path) -> Json:
        rules = self._rules
        if isinstance(value, str) and rules.time and rules.time.matches(path) and (moment := instant(value)) is not None:
            return moment.isoformat()
        if rules.pattern and any(patterns.matches(path) and _shaped(value, text) for patterns, text in rules.pattern):
            return math.nan  # which no document holds
        return int(value) if isinstance(value, float) and value.is_integer() else value


def _shaped(value: object, text: str) -> bool:
    """Whether a string, or an integer as it is written, looks like `text`."""
    if isinstance(value, str):
        return shape(text).matches(value)
    return isinstance(value, int) and abs(value) < 10**30 and shape(text).matches(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _keys(items: list[Json], name: str) -> dict[object, int] | None:
    """Where each key value stands; None where one is lacking or doubled."""
    places: dict[object, int] = {}
    for index, item in enumerate(items):
        if not isinstance(item, dict) or name not in item:
            return None
        value = item[name]
        # 1 and 1.0 are one key, and for Python one hash; true is another, which Python would take for 1.
        key = value if isinstance(value, str | int | float) and not isinstance(value, bool) else (json.dumps(value, sort_keys=True),)
        if key in places:
            return None
        places[key] = index
    return places


def _zipped(lefts: Sequence[int], rights: Sequence[int]) -> Iterator[At]:
    for number in range(max(len(lefts), len(rights))):
        yield At(lefts[number] if number < len(lefts) else None, rights[number] if number < len(rights) else None)


def _matched(lefts: list[str], left_indices: Sequence[int], rights: list[str], right_indices: Sequence[int]) -> Iterator[At]:
    """Of elements told by these texts, each with its equal: the first with the first."""
    places: dict[str, list[int]] = {}
    for text, index in zip(reversed(rights), reversed(right_indices), strict=True):
        places.setdefault(text, []).append(index)
    for text, index in zip(lefts, left_indices, strict=True):
        if places.get(text):
            yield At(index, places[text].pop())


def _runs(lefts: list[str], rights: list[str], start: int, *, every: bool) -> Iterator[At]:
    """The pairs that are not equal, or `every` one, of two lists which begin at index `start`."""
    if len(lefts) * len(rights) > MAX_ALIGN:
        yield from _zipped(range(start, start + len(lefts)), range(start, start + len(rights)))
        return
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, lefts, rights, autojunk=False).get_opcodes():
        if every or tag != "equal":
            yield from _zipped(range(start + i1, start + i2), range(start + j1, start + j2))


def _name(leaves: list[Leaf]) -> Iterator[Difference]:
    """DeepDiff's findings on the reduced pair, in this project's words."""
    reduced_left = {number: _token(leaf.legacy) for number, leaf in enumerate(leaves) if not isinstance(leaf.legacy, Absent)}
    reduced_right = {number: _token(leaf.candidate) for number, leaf in enumerate(leaves) if not isinstance(leaf.candidate, Absent)}
    for group, items in DeepDiff(reduced_left, reduced_right, view="tree", threshold_to_diff_deeper=0).items():
        for item in items:
            (number,) = item.path(output_format="list")
            leaf = leaves[number]
            path, candidate_path = both_paths(leaf.where)
            yield Difference(_kind(group, leaf), path, _quote(leaf.legacy), _quote(leaf.candidate), candidate_path)


def _kind(group: str, leaf: Leaf) -> Kind:
    if group == "dictionary_item_removed":
        return Kind.MISSING
    if group == "dictionary_item_added":
        return Kind.EXTRA
    # Python has two types where JSON has one: 4 against 4.25 is another value, not another type.
    return Kind.VALUE if json_type(leaf.legacy) == json_type(leaf.candidate) else Kind.TYPE


def _token(value: Json) -> Json:
    """What DeepDiff is shown: of two long strings it would make a line-by-line diff that nobody asked for."""
    return f"{len(value)}:{hash(value)}" if isinstance(value, str) and len(value) > MAX_TEXT else value


def _quote(value: Json | Absent) -> Json:
    """A value as a difference quotes it: whole when short."""
    if isinstance(value, Absent):
        return None
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}… ({len(value)} characters)"
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False)
        return (
            value if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(value)} {'elements' if isinstance(value, list) else 'fields'})"
        )
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return f"{value}"[:MAX_TEXT]  # what databases and browsers can't hold as a number
    return value
