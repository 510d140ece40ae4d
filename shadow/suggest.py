"""Rules that legacy's own noise speaks for. Only ever suggested: a person accepts one, or declines it.

A place is noise where legacy differs from itself there about as often as from the candidate. "About": the candidate's rate may lie above
legacy's by MARGIN, and only what is beyond that with 95 % confidence counts (R. G. Newcombe, "Interval estimation for the difference
between independent proportions", Statistics in Medicine 17, 1998, pages 873-890, method 10, which is built of Wilson's intervals). Else the
candidate adds something of its own, and an ignored place would hide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from shadow.compare import Kind
from shadow.gate import wilson
from shadow.noise import INFINITE, Manner
from shadow.paths import Path, render
from shadow.rules import Rule, RuleError, RuleKind, checked
from shadow.signature import ANY_ID, place

MIN_PAIRS = 30
"""Of legacy's own pairs in which a place was there: with fewer, 95 % confidence is wider than anything to be said."""
MIN_DIFFERENT = 5
MARGIN = 0.05
CLOSE = 0.1
"""Numbers whose distance stayed below this share are called close: a tolerance is suggested, of twice what was seen."""
SLIGHT = 1e-6
"""Below this share, the tolerance is absolute: two times in seconds are close in another sense."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one place of one route."""

    path: str
    """Generalised; of headers, the name."""
    pairs: int
    """Legacy's own pairs."""
    present: int
    """Those in which the place was there."""
    different: Mapping[Kind, int]
    """Pairs in which it differed, by kind."""
    manner: Manner
    first_seen: float
    last_seen: float
    compared: int = 0
    """Pairs with the candidate."""
    candidate_different: int = 0
    """Those in which it differed, excused or not."""

    @property
    def differed(self) -> int:
        """Of legacy's own pairs, at most all in which it was there."""
        return min(sum(self.different.values()), self.present)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule that could be made, and what speaks for it."""

    rule: Rule
    path: str
    pairs: int
    present: int
    different: int
    lower: float
    upper: float
    """Wilson's 95 % interval of the share of legacy's own pairs that differ there."""
    compared: int
    candidate_different: int
    explained: bool
    """The candidate differs there no more than legacy from itself. False: it is no suggestion, but told for what it is."""
    examples: tuple[tuple[object, object], ...] = ()
    beside: tuple[str, ...] = ()
    """Kinds of difference that the candidate shows there, and legacy never did by itself: a rule to ignore would hide them."""

    @property
    def sentence(self) -> str:
        """The evidence in words."""
        own = f"{self.path} differs in {_percent(self.different, self.present)} of legacy's own pairs (n = {self.present})"
        return f"{own} and in {_percent(self.candidate_different, self.compared)} of pairs with the candidate (n = {self.compared})"


@dataclass(frozen=True, slots=True)
class Declined:
    """A suggestion that somebody did not want, and the interval that it had."""

    rule: Rule
    lower: float
    upper: float


def suggestions(
    evidence: Iterable[Evidence], open_: Iterable[tuple[str, str]], rules: Sequence[Rule] = (), declined: Iterable[Declined] = ()
) -> list[Suggestion]:
    """What speaks for which rule, the noisiest first. `open_`: (kind, path) of signatures that nobody has judged yet. Where one of `rules`,
    those in force, is about the same path, somebody has decided already."""
    waiting: dict[str, set[str]] = {}
    for kind, path in open_:
        waiting.setdefault(path, set()).add(kind)
    ruled = {rule.path for rule in rules if rule.kind is not RuleKind.DRIFT}
    refused = {each.rule.text: each for each in declined}
    found = []
    for each in evidence:
        rule = _rule(each) if each.path in waiting else None
        if rule is None or rule.path in ruled or each.present < MIN_PAIRS or each.differed < MIN_DIFFERENT:
            continue
        lower, upper = wilson(each.differed, each.present)
        before = refused.get(rule.text)
        if before is not None and lower <= before.upper and upper >= before.lower:
            continue  # nothing new is known since somebody said no
        found.append(
            Suggestion(
                rule,
                each.path,
                each.pairs,
                each.present,
                each.differed,
                lower,
                upper,
                each.compared,
                each.candidate_different,
                excess(each) <= MARGIN,
                tuple((left, right) for left, right in each.manner.examples),
                tuple(sorted(waiting[each.path] - {str(kind) for kind in each.different})),
            )
        )
    return sorted(found, key=lambda each: (not each.explained, -each.different / each.present, each.path))


def excess(evidence: Evidence) -> float:
    """How much more often the candidate differs there than legacy from itself, at least (95 %): the difference of the two shares of all
    pairs, for whether the place was there is not known of the candidate's. -1 where nothing was compared."""
    if not evidence.compared or not evidence.pairs:
        return -1.0
    own, its = evidence.differed / evidence.pairs, evidence.candidate_different / evidence.compared
    _, own_upper = wilson(evidence.differed, evidence.pairs)
    its_lower, _ = wilson(evidence.candidate_different, evidence.compared)
    return its - own - sqrt((its - its_lower) ** 2 + (own_upper - own) ** 2)


def _rule(evidence: Evidence) -> Rule | None:
    """The rule that the evidence shows; None where no rule could help."""
    kinds = {kind for kind, count in evidence.different.items() if count}
    if kinds == {Kind.HEADER}:
        return _made(RuleKind.HEADER, evidence.path)
    pattern = pattern_of(evidence.path)
    if pattern is None or not kinds <= {Kind.VALUE, Kind.TYPE, Kind.MISSING, Kind.EXTRA, Kind.ORDER}:
        return None
    if kinds == {Kind.ORDER}:
        return _made(RuleKind.UNORDERED, pattern)
    if kinds == {Kind.VALUE}:
        manners = {name for name, count in evidence.manner.counts.items() if count}
        if manners == {"instant"}:
            return _made(RuleKind.TIME, pattern)
        if manners == {"numbers"} and evidence.manner.relative < CLOSE:
            return _made(RuleKind.TOLERANCE, pattern, amount_of(evidence.manner))
    return _made(RuleKind.IGNORE, pattern)


def _made(kind: RuleKind, path: str, value: str = "") -> Rule | None:
    try:
        return checked(kind, path, value)
    except RuleError:
        return None


def amount_of(manner: Manner) -> str:
    """Twice what was seen, rounded up to one digit."""
    if manner.relative >= SLIGHT and manner.relative < INFINITE:
        return f"{_rounded(200 * manner.relative)} %"
    return _rounded(2 * manner.absolute)


def _rounded(amount: float) -> str:
    digit = 10.0 ** math.floor(math.log10(amount))
    text = f"{math.ceil(round(amount / digit, 6)) * digit:.12f}".rstrip("0").rstrip(".")
    return text or "0"


def pattern_of(path: str) -> str | None:
    """The pattern that means every place of a generalised path; None where the path is not whole."""
    where, whole = place(path)
    return pattern_of_place(where) if whole else None


def pattern_of_place(where: Path) -> str:
    """The pattern that means a generalised place."""
    return "$" + "".join(".*" if segment == ANY_ID else render((segment,))[1:] for segment in where)


def _percent(part: int, of: int) -> str:
    return f"{100 * part / of:.0f} %" if of else "- %"
