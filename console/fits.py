"""Which rules could make a signature expected, the narrowest that the kept samples speak for first.

A person picks one, or writes another; nothing here is applied. What each would hide is shadow.preview's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from shadow.batch import OTHER
from shadow.compare import Difference, Kind
from shadow.noise import INFINITE, Manner, manners
from shadow.rules import COUNTED, VALUED, Rule, RuleError, RuleKind, checked
from shadow.signature import place, signature
from shadow.suggest import CLOSE, amount_of, pattern_of, pattern_of_place

_SHAPES = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
    (r"[0-9a-f]{32}", re.compile(r"[0-9a-f]{32}")),
    (r"[0-9a-f]{40}", re.compile(r"[0-9a-f]{40}")),
    (r"[0-9a-f]{64}", re.compile(r"[0-9a-f]{64}")),
)
"""Values that are made anew for every answer."""
_INDOCUMENT = frozenset((Kind.TYPE, Kind.MISSING, Kind.EXTRA, Kind.VALUE, Kind.ORDER))


@dataclass(frozen=True, slots=True)
class Fit:
    """One rule that could be made."""

    kind: RuleKind
    path: str
    value: str
    what: str
    """What it lets pass, in words."""

    @property
    def counted(self) -> bool:
        """What it does to the past is known exactly."""
        return self.kind in COUNTED

    @property
    def valued(self) -> bool:
        return self.kind in VALUED

    @property
    def rule(self) -> Rule | None:
        """None while its value is missing, or where it can't be one."""
        try:
            return checked(self.kind, self.path, self.value)
        except RuleError:
            return None


def fits(kind: str, path: str, samples: Iterable[Sequence[dict[str, Any]]]) -> list[Fit]:
    """The rules for the signature (kind, path), of whose kept samples these are the stored differences. [] where no rule excuses it."""
    try:
        sort = Kind(kind)
    except ValueError:
        return []
    if path == OTHER:
        return []
    if sort is Kind.HEADER:
        return _checked([Fit(RuleKind.HEADER, path, "", _("This header is not compared any more."))])
    if sort in (Kind.DRIFT, Kind.NULL_RATE):
        ignored = path.rpartition(" ")[0] if sort is Kind.DRIFT else path
        return _checked([Fit(RuleKind.DRIFT, ignored, "", _("At this path, which is ignored, another type, shape or null rate is meant."))])
    if sort not in _INDOCUMENT:
        return []
    pattern = pattern_of(path)
    if pattern is None:
        where, _whole = place(path)
        what = _("The path itself is too long, or part of it is data. What is at this one above it is not compared any more.")
        return _checked([Fit(RuleKind.IGNORE, pattern_of_place(where), "", what)]) if where else []
    found: list[Fit] = []
    if sort is Kind.ORDER:
        found.append(Fit(RuleKind.UNORDERED, pattern, "", _("The order of this list means nothing.")))
        found.append(_key(pattern))
    if sort is Kind.VALUE:
        found += _by_value(kind, path, pattern, samples)
    found.append(Fit(RuleKind.IGNORE, pattern, "", _("What is at this path, and below it, is not compared any more.")))
    above = pattern.rpartition("[*]")[0]
    if sort is not Kind.ORDER and above:
        found.append(Fit(RuleKind.UNORDERED, above, "", _("The order of the list above it means nothing.")))
        found.append(_key(above))
    return _checked(found)


def whole(kind: str, path: str) -> Fit | None:
    """The first of `fits` whose effect is known from counts alone: what is made of many signatures at once. None where there is none."""
    return next((each for each in fits(kind, path, ()) if each.counted), None)


def unfit(kind: str, path: str) -> str:
    """Why no rule makes it expected."""
    if path == OTHER:
        return _("These are many places that found no room of their own, and not all of them are known: no rule expects them.")
    if kind in _INDOCUMENT:
        return _(
            "Its path is too long, or part of it is data: no rule can name it. A rule for something above it can, on the command line."
        )
    return _("No rule excuses a difference of this kind: it can be a bug, and fixed.")


def _checked(found: list[Fit]) -> list[Fit]:
    """Those whose path a rule can have, each once."""
    kept: list[Fit] = []
    for each in found:
        try:
            checked(each.kind, each.path, each.value or ("x" if each.kind is not RuleKind.TOLERANCE else "1") if each.valued else "")
        except RuleError:
            continue
        if not any((each.kind, each.path) == (other.kind, other.path) for other in kept):
            kept.append(each)
    return kept


def _by_value(kind: str, path: str, pattern: str, samples: Iterable[Sequence[dict[str, Any]]]) -> list[Fit]:
    """What the values of the samples look like."""
    total = Manner()
    texts: list[str] = []
    for listed in samples:
        own = [each for each in map(_difference, listed) if signature(each) == (kind, path)]
        for manner in manners(own).values():
            total.add(manner)
        texts += [value for each in own for value in (each.legacy, each.candidate) if isinstance(value, str)]
    seen = {name for name, count in total.counts.items() if count}
    if seen == {"instant"}:
        return [Fit(RuleKind.TIME, pattern, "", _("Two spellings of one moment are equal."))]
    if seen == {"numbers"} and total.relative < INFINITE:
        what = _("Numbers this close are equal: twice the greatest distance that the samples show.")
        return [Fit(RuleKind.TOLERANCE, pattern, amount_of(total), what)] if total.relative < CLOSE else []
    if texts:
        for text, shape in _SHAPES:
            if all(shape.fullmatch(each) for each in texts):
                return [Fit(RuleKind.PATTERN, pattern, text, _("Values are equal where both look like this."))]
    return []


def _key(path: str) -> Fit:
    """Aligning needs the name of a field, which somebody who knows the API gives; most have this one."""
    return Fit(RuleKind.KEY, path, "id", _("The elements of this list are aligned by this field, and then compared."))


def _difference(stored: dict[str, Any]) -> Difference:
    return Difference(Kind(stored["kind"]), stored["path"], stored["legacy"], stored["candidate"])
