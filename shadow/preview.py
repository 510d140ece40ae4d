"""What a rule would do, before it is made; and what ending one would undo.

Two kinds of knowledge, never mixed. From counts: exactly how many of the exchanges that differed would be matches, where the rule needs no
values. From samples: how many of the few that are kept would be, which says nothing about how many of the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shadow import curl, report, rulebook
from shadow.combinations import counted
from shadow.compare import Kind, Rules
from shadow.gate import GateResult, Terms
from shadow.models import Rule as Row
from shadow.models import Sample
from shadow.models import Signature as SignatureRow
from shadow.recompute import newly, recompute
from shadow.rejudge import Rejudged, Stored, rejudge
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
    """In the window, of those whose combination is kept."""
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

    `seconds`: for samples that are judged again; there is no time for the rest.
    """
    now = time.time()
    held = rulebook.in_force([route], now)[route]
    return _preview(route, rule, base, held, [*held, rule], terms=terms, since=since, adding=True, seconds=seconds)


def _told(counted: RouteReport, gate: GateResult) -> dict[str, Any]:
    return {"matched": counted.matched, "compared": counted.compared, "gate": gate.passed}


@dataclass(frozen=True, slots=True)
class Together:
    """What several rules that need no values would change, all of them made at once."""

    before: RouteReport
    after: RouteReport
    gate_before: GateResult
    gate_after: GateResult

    @property
    def matches_gained(self) -> int:
        return self.after.matched - self.before.matched


def of_adding_all(route: str, rules: Sequence[Rule], *, terms: Terms, since: float) -> Together:
    """`of_adding` of several of shadow.rules.COUNTED kinds since `since`: from counts alone."""
    held = rulebook.in_force([route], time.time())[route]
    before, after = (report.summary(route, since, each) for each in (held, [*held, *rules]))
    for rule in rules:
        after = _without(after, rule)
    return Together(before, after, _gate(before, terms), _gate(after, terms))


def of_ending(route: str, row: Row, base: Rules, *, terms: Terms, since: float = 0.0) -> Preview:
    """What ending the rule would change.

    Raises:
        shadow.rules.RuleError: the stored rule can't be used.
    """
    from shadow.rules import checked

    rule = checked(row.kind, row.path, row.value)
    held = rulebook.in_force([route], time.time())[route]
    left = [each for each in held if each != rule]
    return _preview(route, rule, base, held, left, terms=terms, since=since, adding=False)


def _preview(
    route: str,
    rule: Rule,
    base: Rules,
    held: Sequence[Rule],
    then: Sequence[Rule],
    *,
    terms: Terms,
    since: float,
    adding: bool,
    seconds: float | None = None,
) -> Preview:
    def both(begin: float) -> tuple[RouteReport, RouteReport]:
        one, other = (report.summary(route, begin, rules) for rules in (held, then))
        return one, _without(other, rule) if adding else _with(other, rule, then)

    before, after = both(since)
    # The gate goes by its own window, whatever else is shown.
    gates = [_gate(each, terms) for each in ((before, after) if since else both(time.time() - terms.window))]
    counts = counted(report.tallies([route], since)).get(route, [])
    now, next_ = recompute(counts, held), recompute(counts, then)
    rows = list(SignatureRow.objects.filter(route=route, last_seen__gte=since))
    states = {(row.kind, row.path): row.state for row in rows}
    moved = newly(now.hidden, next_.hidden) if adding else newly(next_.hidden, now.hidden)
    hidden = tuple(Hidden(kind, path, count, states.get((kind, path), "")) for (kind, path), count in moved.items())
    if not adding:
        return Preview(rule, True, before, after, gates[0], gates[1], hidden, ending=True)
    concerned = [row for row in rows if concerns(rule, Kind(row.kind), row.path)]
    places = {(row.kind, row.path) for row in concerned}
    stored = list(
        Sample.objects.filter(signatures__in=[row.pk for row in concerned], at__gte=since).distinct().order_by("-pk")[:MAX_SAMPLES]
    )
    samples = [Stored(row.pk, row.method, row.target, row.legacy, row.candidate) for row in stored]
    # A relative Location can't be resolved here: a sample does not say whom its client had asked.
    one, other = (
        rejudge(samples, applied(base, rules), None if seconds is None else time.monotonic() + seconds / 2) for rules in (held, then)
    )
    differing = {number for number, _ in one.left} - set(one.matching)
    gained = [number for number in other.matching if number in differing]
    examples = [row for row in stored if row.pk in set(gained)][:MAX_EXAMPLES]
    return Preview(
        rule,
        rule.kind in COUNTED,
        before,
        after,
        gates[0],
        gates[1],
        hidden,
        samples=other.judged,
        of=sum(count for members, count in counts if any((member.kind, member.path) in places for member in members)),
        samples_matching=len(gained),
        samples_unread=other.unread,
        examples=tuple(Example(row.pk, curl.line(row.method, row.target), row.differences[:3]) for row in examples),
        settled=_settled(concerned, samples, other) if rule.kind not in COUNTED else (),
        already=tuple(
            str(each) for each in held if each.kind in COUNTED and any(concerns(each, Kind(row.kind), row.path) for row in concerned)
        ),
    )


def _gate(counted: RouteReport, terms: Terms) -> GateResult:
    return report.gate_of(counted, minimum=terms.minimum, match=terms.match, coverage=terms.coverage)


def _without(after: RouteReport, rule: Rule) -> RouteReport:
    """What is open once the rule is there: what it covers is expected, and in nobody's way."""
    left, unmended = (
        tuple(line for line in lines if not covers(rule, Kind(line.kind), line.path)) for lines in (after.signatures, after.unmended)
    )
    return replace(after, signatures=left, unmended=unmended)


def _with(after: RouteReport, rule: Rule, then: Sequence[Rule]) -> RouteReport:
    """What is open once the rule is gone: what it alone covered is new again."""
    rows = SignatureRow.objects.filter(route=after.route, state=SignatureRow.State.EXPECTED, last_seen__gte=after.since)
    again = [
        replace(report.signature_line(row), state=SignatureRow.State.NEW.value)
        for row in rows
        if covers(rule, Kind(row.kind), row.path) and not any(covers(each, Kind(row.kind), row.path) for each in then)
    ]
    return replace(after, signatures=(*after.signatures, *again))


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
