"""What a rule would do, before it is made; and what ending one would undo.

Two kinds of knowledge, never mixed. From counts: exactly how many of the exchanges that differed would be matches, where the rule needs no
values. From samples: how many of the few that are kept would be, which says nothing about how many of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shadow import curl, gate_start, report, rulebook
from shadow.combinations import counted
from shadow.compare import Kind, Rules
from shadow.gate import GateResult, Terms
from shadow.models import Rule as Row
from shadow.models import Sample
from shadow.models import Signature as SignatureRow
from shadow.recompute import Combination, newly, recompute
from shadow.rejudge import SECONDS, Rejudged, Stored, rejudge
from shadow.report import RouteReport
from shadow.rules import COUNTED, Rule, applied, concerns, covers

MAX_SAMPLES = 200
"""Samples judged again for one preview, the newest: a second or two of work."""
MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Hidden:
    """A signature of which the rule would excuse something."""

    kind: str
    path: str
    exchanges: int
    """In the window, of those whose combination is kept; 0 of one that is open, was not seen in it, and would be expected all the same."""
    state: str


@dataclass(frozen=True, slots=True)
class Example:
    """A kept exchange that the rule would make a match of."""

    sample: int
    curl: str
    differences: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Preview:
    """The two sides of a change of rules."""

    rule: Rule
    counted: bool
    """Its effect on the past is known from counts, as that of ending any rule is. False: from samples alone, and no figure changes."""
    before: RouteReport
    after: RouteReport
    gate_before: GateResult
    gate_after: GateResult
    hidden: tuple[Hidden, ...] = ()
    samples: int = 0
    """Samples that were judged again."""
    of: int = 0
    """Exchanges in the window that show a signature which the rule concerns, as far as that is kept. The samples are some of them."""
    samples_matching: int = 0
    """Samples that differ now and would match."""
    samples_unread: int = 0
    examples: tuple[Example, ...] = ()
    settled: tuple[tuple[str, str], ...] = ()
    """Signatures of which every kept sample would be excused."""
    already: tuple[str, ...] = ()
    """Active rules that hide some of the same."""
    ending: bool = False
    """It is about ending the rule: `hidden` is what it hides now, and would no more."""

    @property
    def matches_gained(self) -> int:
        """Exchanges of the window that would become matches; below 0: that would be matches no more."""
        return self.after.matched - self.before.matched

    def rested_on(self) -> dict[str, Any]:
        """What is kept of it with the rule."""
        return {
            "counted": self.counted,
            "exchanges": self.matches_gained,
            "samples": self.samples,
            "of": self.of,
            "samples_matching": self.samples_matching,
            "settled": [list(each) for each in self.settled],
            "before": _told(self.before, self.gate_before),
            "after": _told(self.after, self.gate_after),
        }


def of_adding(route: str, rule: Rule, base: Rules, *, terms: Terms, since: float = 0.0, seconds: float | None = None) -> Preview:
    """What `rule` would change for `route`, whose configured rules are `base` and whose gate goes by `terms`.

    `seconds`: where somebody waits, for samples that are judged again; there is no time for the rest, nor for one that takes long.
    """
    held = rulebook.in_force([route], time.time())[route]
    then = [*held, rule]
    rows = list(SignatureRow.objects.filter(route=route, last_seen__gte=since))
    concerned = [row for row in rows if concerns(rule, Kind(row.kind), row.path)]
    places = {(row.kind, row.path) for row in concerned}
    stored = list(
        Sample.objects.filter(signatures__in=[row.pk for row in concerned], at__gte=since).distinct().order_by("-pk")[:MAX_SAMPLES]
    )
    samples = [Stored(row.pk, row.method, row.target, row.legacy, row.candidate) for row in stored]
    # A relative Location can't be resolved here: a sample does not say whom its client had asked.
    one, other = rejudge(
        samples, *(applied(base, rules) for rules in (held, then)), seconds=seconds or SECONDS, hurried=seconds is not None
    )
    gained = [number for number in other.matching if number not in set(one.matching)]
    examples = [row for row in stored if row.pk in set(gained)][:MAX_EXAMPLES]
    settled = _settled(concerned, samples, other) if rule.kind not in COUNTED else ()
    sides = _sides(route, held, then, terms, since, lambda after: _without(after, rule, settled))
    counts, moved = _moved(route, held, then, since)
    states = {(row.kind, row.path): row.state for row in rows}
    return Preview(
        rule,
        rule.kind in COUNTED,
        *sides,
        _hidden(sides[0], moved, states, [rule]),
        samples=other.judged,
        of=sum(count for members, count in counts if any((member.kind, member.path) in places for member in members)),
        samples_matching=len(gained),
        samples_unread=other.unread,
        examples=tuple(Example(row.pk, curl.line(row.method, row.target), row.differences[:3]) for row in examples),
        settled=settled,
        already=tuple(
            str(each) for each in held if each.kind in COUNTED and any(concerns(each, Kind(row.kind), row.path) for row in concerned)
        ),
    )


def _told(counted: RouteReport, gate: GateResult) -> dict[str, Any]:
    return {"matched": counted.matched, "compared": counted.compared, "gate": gate.passed}


@dataclass(frozen=True, slots=True)
class Together:
    """What several rules that need no values would change, all of them made at once."""

    before: RouteReport
    after: RouteReport
    gate_before: GateResult
    gate_after: GateResult
    hidden: tuple[Hidden, ...] = ()

    @property
    def matches_gained(self) -> int:
        return self.after.matched - self.before.matched


def of_adding_all(route: str, rules: Sequence[Rule], *, terms: Terms, since: float) -> Together:
    """`of_adding` of several of shadow.rules.COUNTED kinds since `since`: from counts alone."""
    held = rulebook.in_force([route], time.time())[route]

    def changed(after: RouteReport) -> RouteReport:
        for rule in rules:
            after = _without(after, rule, ())
        return after

    then = [*held, *rules]
    sides = _sides(route, held, then, terms, since, changed)
    states = dict(_states(route, since))
    return Together(*sides, _hidden(sides[0], _moved(route, held, then, since)[1], states, rules))


def of_ending(route: str, row: Row, base: Rules, *, terms: Terms, since: float = 0.0) -> Preview:
    """What ending the rule would change.

    Raises:
        shadow.rules.RuleError: the stored rule can't be used.
    """
    from shadow.rules import checked

    rule = checked(row.kind, row.path, row.value)
    held = rulebook.in_force([route], time.time())[route]
    left = [each for each in held if each != rule]
    sides = _sides(route, held, left, terms, since, lambda after: _with(after, row, rule))
    _, moved = _moved(route, left, held, since)
    hidden = _hidden(sides[0], moved, dict(_states(route, since)), ())
    return Preview(rule, True, *sides, hidden, ending=True)


def _sides(
    route: str, held: Sequence[Rule], then: Sequence[Rule], terms: Terms, since: float, changed: Callable[[RouteReport], RouteReport]
) -> tuple[RouteReport, RouteReport, GateResult, GateResult]:
    """Reports and gates before and after. `changed`: what becomes of the signatures that are open."""

    def both(begin: float) -> tuple[RouteReport, RouteReport]:
        one, other = (report.summary(route, begin, rules) for rules in (held, then))
        return one, changed(other)

    before, after = both(since)
    # The gate goes by its own window, whatever else is shown.
    begin = _gate_begin(route, terms, since)
    one, other = (_gate(each, terms) for each in ((before, after) if begin == since else both(begin)))
    return before, after, one, other


def _gate_begin(route: str, terms: Terms, since: float) -> float:
    """From when on the gate counts: since `since`, where that is said, or since somebody began it anew after that."""
    if not since:
        return gate_start.since([route], {route: terms}, time.time())[route]
    begun = gate_start.in_force(route)
    return max(since, begun.at) if begun is not None else since


def _moved(
    route: str, fewer: Sequence[Rule], more: Sequence[Rule], since: float
) -> tuple[list[tuple[Combination, int]], dict[tuple[str, str], int]]:
    """The combinations that are kept, and what of them `more` rules hide beyond what `fewer` do."""
    counts = counted(report.tallies([route], since)).get(route, [])
    return counts, newly(recompute(counts, fewer).hidden, recompute(counts, more).hidden)


def _states(route: str, since: float) -> Iterator[tuple[tuple[str, str], str]]:
    """(kind, path) and state of what was seen since then."""
    rows = SignatureRow.objects.filter(route=route, last_seen__gte=since)
    return (((kind, path), state) for kind, path, state in rows.values_list("kind", "path", "state"))


def _hidden(
    before: RouteReport, moved: Mapping[tuple[str, str], int], states: Mapping[tuple[str, str], str], rules: Sequence[Rule]
) -> tuple[Hidden, ...]:
    """What was seen and would be hidden, the most frequent first; then what is open and covered by `rules`, though it is not counted."""
    seen = [Hidden(kind, path, count, states.get((kind, path), "")) for (kind, path), count in moved.items()]
    also = [
        Hidden(line.kind, line.path, 0, line.state)
        for line in (*before.signatures, *before.unmended)
        if (line.kind, line.path) not in moved and any(covers(rule, Kind(line.kind), line.path) for rule in rules)
    ]
    return (*seen, *also)


def _gate(counted: RouteReport, terms: Terms) -> GateResult:
    return report.gate_of(counted, minimum=terms.minimum, match=terms.match, coverage=terms.coverage)


def _without(after: RouteReport, rule: Rule, settled: Collection[tuple[str, str]]) -> RouteReport:
    """What is open once the rule is there: what it covers or settles is expected, and in nobody's way."""
    left, unmended = (
        tuple(line for line in lines if not covers(rule, Kind(line.kind), line.path) and (line.kind, line.path) not in settled)
        for lines in (after.signatures, after.unmended)
    )
    return replace(after, signatures=left, unmended=unmended)


def _with(after: RouteReport, row: Row, rule: Rule) -> RouteReport:
    """What is open once the rule is gone: what is expected because of it alone, covered by it or settled when it was made."""
    others = [
        (each, known)
        for each in rulebook.active(after.route, time.time())
        if each.pk != row.pk and (known := rulebook.rule_of(each)) is not None
    ]
    again = [
        replace(report.signature_line(each), state=rulebook.unexpected(each))
        for each in SignatureRow.objects.filter(route=after.route, state=SignatureRow.State.EXPECTED)
        if rulebook.expects(row, rule, each) and not any(rulebook.expects(other, known, each) for other, known in others)
    ]
    seen = tuple(line for line in again if line.last_seen >= after.since)
    unmended = tuple(line for line in again if line.last_seen < after.since and line.state == SignatureRow.State.BUG)
    return replace(after, signatures=(*after.signatures, *seen), unmended=(*after.unmended, *unmended))


def _settled(rows: Sequence[SignatureRow], samples: Sequence[Stored], judged: Rejudged) -> tuple[tuple[str, str], ...]:
    """The signatures that no kept sample shows any more."""
    from shadow.models import Sighting

    left = dict(judged.left)
    known = {sample.id for sample in samples}
    found = []
    for row in rows:
        shown = set(Sighting.objects.filter(signature=row).values_list("sample_id", flat=True))
        # Not where one could not be judged, or was too old to be looked at.
        if shown and shown <= known and all(number in left and (Kind(row.kind), row.path) not in left[number] for number in shown):
            found.append((row.kind, row.path))
    return tuple(found)
