"""Rules as people make them: one instruction each, checked like the configuration's, and what of the past each is known to excuse.

Some can be held against what is stored: `ignore`, `unordered`, `header` and `drift` say which differences count for nothing, whatever their
values are. The others (`key`, `tolerance`, `time`, `pattern`) depend on values, which counts do not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Any

from shadow.compare import Excused, Kind, Rules, rule_text
from shadow.paths import ANY_INDEX, Path, Pattern, PatternSet, Segment, Step, parse
from shadow.scalars import Tolerance, ToleranceError
from shadow.shapes import shape
from shadow.signature import Signature, generalise, place

MAX_PATH = 300
MAX_VALUE = 200
MAX_RULES = 100
"""Active ones of one route: each place that differs is held against all of them."""


class RuleKind(StrEnum):
    """What a rule says. Closed."""

    IGNORE = "ignore"
    """What is at this path, and below it, is not compared."""
    UNORDERED = "unordered"
    """The order of this list means nothing."""
    KEY = "key"
    """The elements of this list are aligned by the field that `value` names."""
    TOLERANCE = "tolerance"
    """These numbers may be as far apart as `value` says."""
    TIME = "time"
    """These texts are equal where they name the same instant."""
    PATTERN = "pattern"
    """These values are equal where both look like `value`."""
    HEADER = "header"
    """This header, or this cookie (`set-cookie: name`), is not compared. Its path is the header's name."""
    DRIFT = "drift"
    """At this path, which is ignored, the candidate may have another type, shape or null rate than legacy."""


VALUED = frozenset((RuleKind.KEY, RuleKind.TOLERANCE, RuleKind.PATTERN))
"""Kinds that need a value."""
COUNTED = frozenset((RuleKind.IGNORE, RuleKind.UNORDERED, RuleKind.HEADER, RuleKind.DRIFT))
"""Kinds whose effect on the past is known from counts."""
_IN_DOCUMENTS = frozenset((Kind.TYPE, Kind.MISSING, Kind.EXTRA, Kind.VALUE, Kind.ORDER))
_HEADER = re.compile(r"(?!\$)[a-z0-9!#$%&'*+.^_`|~-]+|set-cookie: [^\s;,=]+")


class RuleError(ValueError):
    """Not a rule; the message says what would be one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One instruction. Made by `checked`."""

    kind: RuleKind
    path: str
    value: str = ""

    @property
    def text(self) -> str:
        """Its name in what is stored: the same for every rule that says the same."""
        return rule_text(self.kind, self.path, _tolerance(self.value) if self.kind is RuleKind.TOLERANCE else self.value)

    def __str__(self) -> str:
        return rule_text(self.kind, self.path, self.value)


def checked(kind: str, path: str, value: str = "") -> Rule:
    """The rule of these texts.

    Raises:
        RuleError: it is none.
    """
    try:
        sort = RuleKind(kind)
    except ValueError:
        raise RuleError(f"there is no rule {kind!r}; there are: {', '.join(RuleKind)}") from None
    if len(path) > MAX_PATH or len(value) > MAX_VALUE or "\0" in path + value:
        raise RuleError(f"a path has at most {MAX_PATH} characters, a value {MAX_VALUE}, and neither holds a NUL")
    if (sort in VALUED) != bool(value):
        if value:
            raise RuleError(f"{sort} takes no value, and {value!r} was given")
        raise RuleError(f"{sort} needs a value: {_EXAMPLES[sort]}")
    if sort is RuleKind.HEADER:
        return Rule(sort, _header(path))
    try:
        steps = parse(path).steps
        if sort is RuleKind.TOLERANCE:
            _tolerance(value)
        elif sort is RuleKind.PATTERN:
            shape(value)
    except ValueError as error:  # PatternError, ToleranceError, ShapeError: each says what is wrong
        raise RuleError(str(error)) from error
    if any(isinstance(step, str) and "\0" in step for step in steps):
        raise RuleError("a path holds no NUL")
    return Rule(sort, path, value)


_EXAMPLES = {
    RuleKind.KEY: "the field by which elements are aligned, such as id",
    RuleKind.TOLERANCE: 'a number such as 0.01, or a share of legacy\'s such as "1 %"',
    RuleKind.PATTERN: "an expression for the whole value, such as [0-9a-f]{32}",
}


def _header(name: str) -> str:
    first, colon, cookie = name.partition(":")
    name = f"{first.lower()}: {cookie.strip()}" if colon else name.lower()
    if not _HEADER.fullmatch(name):
        raise RuleError(
            f"a header rule has a header's name, such as cache-control, or a cookie's as set-cookie: theme; {name!r} is neither"
        )
    return name


@lru_cache(maxsize=1024)
def _tolerance(value: str) -> Tolerance:
    """
    Raises:
        ToleranceError: it is none.
    """
    try:
        number = float(value)
    except ValueError:
        return Tolerance.parse(value)
    if not re.fullmatch(r"\d{1,12}(?:\.\d{1,12})?(?:e-?\d{1,2})?", value):
        raise ToleranceError(f'a tolerance is a number from 0 on such as 0.01, or a share such as "1 %": {value!r} is neither')
    return Tolerance.parse(number)


def applied(base: Rules, rules: Iterable[Rule]) -> Rules:
    """The configuration's rules with reviewed ones behind them: where both say the same, it is the configuration's."""
    by: dict[RuleKind, list[Rule]] = {}
    for rule in rules:
        by.setdefault(rule.kind, []).append(rule)

    def patterns(kind: RuleKind) -> tuple[Pattern, ...]:
        return tuple(parse(rule.path) for rule in by.get(kind, ()))

    def valued(kind: RuleKind) -> list[tuple[PatternSet, str]]:
        return [(PatternSet((parse(rule.path),)), rule.value) for rule in by.get(kind, ())]

    own = {rule.text for rule in configured(base)}
    return replace(
        base,
        ignore=PatternSet(base.ignore.patterns + patterns(RuleKind.IGNORE)),
        unordered=PatternSet(base.unordered.patterns + patterns(RuleKind.UNORDERED)),
        time=PatternSet(base.time.patterns + patterns(RuleKind.TIME)),
        key=(*base.key, *valued(RuleKind.KEY)),
        tolerance=(*base.tolerance, *((place, _tolerance(value)) for place, value in valued(RuleKind.TOLERANCE))),
        pattern=(*base.pattern, *valued(RuleKind.PATTERN)),
        passed=tuple(rule.path for rule in by.get(RuleKind.HEADER, ())),
        reviewed=frozenset(rule.text for listed in by.values() for rule in listed) - own,
    )


def from_configuration(compare: Mapping[str, Any]) -> Rules:
    """The rules that stand in banyan.toml, `[routes.shadow.compare]`.

    Raises:
        PatternError, ToleranceError, ShapeError: as Rules.make does.
    """
    return Rules.make(**compare)


def configured(base: Rules) -> list[Rule]:
    """The configuration's rules, one by one."""
    lists = ((RuleKind.IGNORE, base.ignore), (RuleKind.UNORDERED, base.unordered), (RuleKind.TIME, base.time))
    found = [Rule(kind, pattern.text) for kind, patterns in lists for pattern in patterns.patterns]
    found += [Rule(RuleKind.KEY, pattern.text, name) for patterns, name in base.key for pattern in patterns.patterns]
    found += [
        Rule(RuleKind.TOLERANCE, pattern.text, _plain(tolerance)) for patterns, tolerance in base.tolerance for pattern in patterns.patterns
    ]
    found += [Rule(RuleKind.PATTERN, pattern.text, text) for patterns, text in base.pattern for pattern in patterns.patterns]
    return found


def _plain(tolerance: Tolerance) -> str:
    return f"{float(tolerance.amount * 100):g} %" if tolerance.relative else f"{float(tolerance.amount):g}"


def per_route(base: Mapping[str, Rules], extra: Mapping[str, Iterable[Rule]]) -> dict[str, Rules]:
    """`applied`, for every route of either."""
    return {route: applied(base.get(route, Rules()), extra.get(route, ())) for route in {*base, *extra}}


def covers(rule: Rule, kind: Kind, path: str) -> bool:
    """Whether this rule, by itself, excuses every difference of the signature (kind, path), whatever its values.

    A rule for one element (`$.items[0].id`) excuses some of what `$.items[*].id` stands for, and so does not cover it.
    """
    if rule.kind is RuleKind.HEADER:
        return kind is Kind.HEADER and (path == rule.path or (rule.path == "set-cookie" and path.startswith("set-cookie: ")))
    if rule.kind is RuleKind.DRIFT:
        return kind in (Kind.DRIFT, Kind.NULL_RATE) and _within(rule.path, path.rpartition(" ")[0] if kind is Kind.DRIFT else path)
    if rule.kind is RuleKind.IGNORE:
        return kind in _IN_DOCUMENTS and _within(rule.path, path)
    if rule.kind is RuleKind.UNORDERED:
        where, whole = place(path)
        return kind is Kind.ORDER and whole and parse(rule.path).matches(where)
    return False


def excused_whole(excused: Excused) -> Signature | None:
    """The signature of what was excused, where the rule excuses all that it stands for."""
    path = generalise(excused.path) if excused.path.startswith("$") else excused.path
    return (excused.kind, path) if _whole(excused.rule, excused.kind, path) else None


@lru_cache(maxsize=4096)
def _whole(text: str, kind: Kind, path: str) -> bool:
    sort, _, rest = text.partition(" ")
    return sort in COUNTED and covers(Rule(RuleKind(sort), rest), kind, path)


def _within(pattern: str, path: str) -> bool:
    """Whether `path`, or something above it, is what the pattern means."""
    where, _ = place(path)
    parsed = parse(pattern)
    return path.startswith("$") and any(parsed.matches(where[:length]) for length in range(len(where) + 1))


def concerns(rule: Rule, kind: Kind, path: str) -> bool:
    """Whether this rule may excuse something of the signature (kind, path): what a preview has to look at."""
    if covers(rule, kind, path):
        return True
    if rule.kind in (RuleKind.HEADER, RuleKind.DRIFT) or kind not in _IN_DOCUMENTS:
        return False
    where, _ = place(path)
    pattern = parse(rule.path)
    return any(_may(pattern.steps, where[:length]) for length in range(len(where) + 1))


def _may(steps: tuple[Segment | Step, ...], where: Path) -> bool:
    """As Pattern.matches, but an index in the pattern may be any of a generalised place's."""
    loose = tuple(Step.ANY if isinstance(step, int) else step for step in steps)
    return Pattern("", loose).matches(tuple(0 if step == ANY_INDEX else step for step in where))


def as_wide(rule: Rule, text: str) -> bool:
    """Whether whatever the rule of this text excused, this one excuses too: it is the same, or a wider tolerance for the same path."""
    if rule.text == text:
        return True
    kind, _, rest = text.partition(" ")
    if rule.kind is not RuleKind.TOLERANCE or kind != RuleKind.TOLERANCE or not rest.startswith(f"{rule.path} "):
        return False
    mine, its = _tolerance(rule.value), rest.removeprefix(f"{rule.path} ")
    share = its.endswith(" %")
    try:
        other = Fraction(its.removesuffix(" %"))
    except ValueError:
        return False
    return mine.relative is share and mine.amount * (100 if share else 1) >= other
