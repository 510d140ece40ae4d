"""History under the rules of now: which of the exchanges that differed count as matches, exactly.

What is kept of an exchange that differed is its combination: every signature that it showed, and every difference that a rule excused. It
is a match where all of that is excused by rules that are active now. So a rule that is made, ended or expires counts the past anew without
estimating anything; and what can't be known (an exchange whose combination was one too many to be kept) never becomes a match.

Pure: rules and counts come in, figures go out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shadow.compare import Excused, Kind
from shadow.rules import Rule, as_wide, covers
from shadow.signature import Signature, generalise

MAX_MEMBERS = 40
"""Excused differences of one exchange that are told apart. Where there are more, only the rules are kept, and all of them have to stay."""
ANYWHERE = ""
"""Path of an excused member that stands for its rule alone."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One signature in a combination; `rule` is what excused it when it was seen, "" where nothing did."""

    kind: str
    path: str
    rule: str = ""


type Combination = tuple[Member, ...]


def combination(signatures: Iterable[Signature], excused: Sequence[Excused] = ()) -> Combination:
    """What one exchange showed, in an order of its own."""
    members = {Member(kind, path) for kind, path in signatures}
    hidden = {Member(each.kind, generalise(each.path) if each.path.startswith("$") else each.path, each.rule) for each in excused}
    if len(hidden) > MAX_MEMBERS:
        hidden = resting({member.rule for member in hidden})
    return tuple(sorted(members | hidden))


def resting(rules: Iterable[str]) -> set[Member]:
    """Members that stay excused as long as every one of these rules is there."""
    return {Member("", ANYWHERE, rule) for rule in rules}


def key(members: Combination) -> str:
    """What a combination is stored under: 32 hex digits."""
    text = json.dumps([[member.kind, member.path, member.rule] for member in members], separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def plain(members: Combination) -> list[list[str]]:
    """For the database."""
    return [[member.kind, member.path, member.rule] for member in members]


def read(stored: Iterable[Sequence[str]]) -> Combination:
    """What `plain` made."""
    return tuple(Member(*each) for each in stored)


class Cover:
    """Active rules, asked about members. Each question is answered once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = list(rules)
        self._known: dict[Member, tuple[Rule, ...]] = {}

    def by(self, member: Member) -> tuple[Rule, ...]:
        """The rules that excuse it."""
        found = self._known.get(member)
        if found is None:
            found = self._known[member] = tuple(rule for rule in self._rules if _excuses(rule, member))
        return found

    def whole(self, members: Combination) -> bool:
        """Whether there is something in it, and all of it is excused."""
        return bool(members) and all(self.by(member) for member in members)


def _excuses(rule: Rule, member: Member) -> bool:
    if member.rule and as_wide(rule, member.rule):
        return True
    return bool(member.path) and member.kind in _KINDS and covers(rule, Kind(member.kind), member.path)


_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(slots=True)
class Recomputed:
    """What combinations come to under some rules."""

    matched: int = 0
    """Exchanges of which everything is excused."""
    differing: int = 0
    open: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, path) of what no rule excuses → exchanges."""
    hidden: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, path) of what rules excuse → exchanges."""
    by_rule: dict[Rule, int] = field(default_factory=dict)
    """Exchanges in which each rule excuses something."""
    alone: dict[Rule, int] = field(default_factory=dict)
    """Of `matched`, those that would differ without that one rule."""


def recompute(counts: Iterable[tuple[Combination, int]], rules: Collection[Rule]) -> Recomputed:
    """The figures for combinations, each with how often it was seen, under `rules`."""
    cover = Cover(rules)
    found = Recomputed()
    for members, count in counts:
        taking_part: set[Rule] = set()
        places: dict[tuple[str, str], bool] = {}
        for member in members:
            by = cover.by(member)
            taking_part.update(by)
            if member.path:
                place = (member.kind, member.path)
                places[place] = places.get(place, True) and bool(by)
        if cover.whole(members):
            found.matched += count
            for rule in {by[0] for member in members if len(by := cover.by(member)) == 1}:
                found.alone[rule] = found.alone.get(rule, 0) + count
        else:
            found.differing += count
        for place, excused in places.items():
            table = found.hidden if excused else found.open
            table[place] = table.get(place, 0) + count
        for rule in taking_part:
            found.by_rule[rule] = found.by_rule.get(rule, 0) + count
    return found


def newly(before: Mapping[tuple[str, str], int], after: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """What `after` has more of than `before`, the most frequent first."""
    more = {place: count - before.get(place, 0) for place, count in after.items() if count > before.get(place, 0)}
    return dict(sorted(more.items(), key=lambda item: (-item[1], item[0])))
