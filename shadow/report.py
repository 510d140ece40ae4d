"""What the comparison found about a route, in numbers that agree with each other: the CLI, the console and the demo all take them from
here.

Coverage stands beside the match rate: of the requests that shadow mode was asked to compare, the share that was compared.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from django.db.models import Q

from shadow import counters, gate_start, latency, rulebook, sums
from shadow.combinations import counted, known, total
from shadow.gate import GateResult, Terms, gate, wilson
from shadow.latency import SideFigures
from shadow.models import Noise, Signature
from shadow.recompute import Recomputed, recompute
from shadow.rules import Rule
from shadow.states import BUG, OPEN


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature as a report lists it."""

    id: int
    kind: str
    path: str
    state: str
    count: int
    first_seen: float
    last_seen: float
    state_since: float = 0.0
    """Unix seconds at which somebody gave it its state; 0: nobody has."""

    @property
    def open(self) -> bool:
        """Whether somebody still has to look at it, or to mend something."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class RouteReport:
    """Counts of one route since a moment."""

    route: str
    since: float
    legacy: int = 0
    candidate: int = 0
    fallback: int = 0
    """Answered by legacy because the candidate failed; counted in `legacy` too."""
    gateway: int = 0
    """Answered by the gateway itself, with an error: nobody else could or might be asked."""
    unfinished: int = 0
    """The answer broke off, or the client left: not among those that were answered."""
    eligible: int = 0
    """Requests that were to be compared: never less than what became of them. Workers report once a second, so comparisons may be counted
    before their requests are."""
    captured: int = 0
    matched: int = 0
    """Outright or by rules, counted anew by the rules that are active now."""
    mismatched: int = 0
    matched_by_rules: int = 0
    """Of `matched`, those that rest on reviewed rules."""
    matched_by_configuration: int = 0
    """Of `matched`, those that rest on the configuration's rules, and on no reviewed one."""
    matched_as_noise: int = 0
    """Of `matched`, those that differ only as legacy differs from itself. Of a replay: in live traffic nothing matches for that."""
    untold: int = 0
    """Of `mismatched`, those of which it is not kept what they showed together: no rule makes matches of them."""
    rules: int = 0
    """Reviewed ones, active now."""
    skipped: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    noise_pairs: int = 0
    noise_different: int = 0
    signatures: tuple[SignatureLine, ...] = ()
    """Open ones seen since then, the most frequent first. Their counts are those of all time."""
    unmended: tuple[SignatureLine, ...] = ()
    """Bugs that were not seen since then, and of which nobody has said that they are fixed."""
    sides: dict[str, SideFigures] = field(default_factory=dict)
    """By shadow.latency.SIDES: times and errors."""

    @property
    def served(self) -> int:
        return self.legacy + self.candidate + self.gateway

    @property
    def compared(self) -> int:
        return self.matched + self.mismatched

    @property
    def matched_outright(self) -> int:
        """Without the help of any rule."""
        return self.matched - self.matched_by_rules - self.matched_by_configuration - self.matched_as_noise

    @property
    def match_rate(self) -> float | None:
        """None while nothing was compared."""
        return self.matched / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the match rate."""
        return wilson(self.matched, self.compared)

    @property
    def coverage(self) -> float | None:
        """None while nothing was eligible."""
        return self.compared / self.eligible if self.eligible else None

    @property
    def coverage_of_sample(self) -> float | None:
        """`coverage` of what chance did not leave out: [routes.shadow] sample says nothing of the rest."""
        eligible = self.eligible - self.skipped.get(counters.SAMPLED_OUT, 0)
        return min(1.0, self.compared / eligible) if eligible > 0 else None

    @property
    def mode(self) -> str:
        """Who answered lately, in one word: idle, legacy, candidate, split."""
        if not self.legacy + self.candidate:
            return "idle"
        if not self.candidate:
            return "legacy"
        return "candidate" if self.legacy == self.fallback else "split"


def summary(route: str, since: float = 0.0, rules: Sequence[Rule] | None = None) -> RouteReport:
    """What is known of `route` since `since` (Unix seconds).

    Counted in whole seconds from the first that begins then or later; in whole minutes where that is over an hour ago. `rules`: as if these
    were the reviewed ones, instead of those that are active now.
    """
    return summaries([route], since, None if rules is None else {route: rules})[0]


def summaries(
    routes: Iterable[str], since: float = 0.0, rules: Mapping[str, Sequence[Rule]] | None = None, until: float | None = None
) -> list[RouteReport]:
    """`summary` of several routes, with five queries for all of them. `until`: Unix seconds; what came later is not counted."""
    names = list(routes)
    counts = tallies(names, since, until)
    lines: dict[str, list[SignatureLine]] = defaultdict(list)
    unmended: dict[str, list[SignatureLine]] = defaultdict(list)
    wanted = Q(state__in=OPEN, last_seen__gte=since) | Q(state=BUG)
    found_rows = Signature.objects.filter(wanted, route__in=names)
    if until is not None:
        found_rows = found_rows.filter(first_seen__lt=until)
    for route, *fields in found_rows.order_by("-count", "kind", "path").values_list("route", *_LINE):  # rows: there may be thousands
        line = SignatureLine(*fields)
        (lines if line.last_seen >= since else unmended)[route].append(line)
    active = rulebook.in_force(names, time.time()) if rules is None else rules
    ruled = {name for name in names if active.get(name)}
    combinations = counted({name: counts[name] for name in ruled if name in counts})
    told = {name: total(each) for name, each in combinations.items()}
    told |= known({name: each for name, each in counts.items() if name not in ruled})
    found = []
    for name in names:
        held = active.get(name, ())
        recomputed = recompute(combinations.get(name, []), held)
        seen, open_still = tuple(lines[name]), tuple(unmended[name])
        found.append(_report(name, since, counts.get(name, {}), seen, open_still, recomputed, told.get(name, 0), len(held)))
    return found


def glances(names: Sequence[str], since: float) -> dict[str, RouteReport]:
    """Who answered, and what was counted, without what differed: no rule is applied, and no signature is in it. One query."""
    counts = tallies(names, since)
    return {name: _report(name, since, counts.get(name, {}), (), (), Recomputed(), 0, 0) for name in names}


type _Asked = tuple[tuple[str, ...], int, float | None]

_remembered: ContextVar[dict[_Asked, dict[str, dict[str, int]]] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Within it the same counters are summed up once: a page asks for them under several sets of rules."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def tallies(names: Sequence[str], since: float, until: float | None = None) -> dict[str, dict[str, int]]:
    """Each route's counters, summed up since that moment."""
    had = _remembered.get()
    if had is None:
        return _tallies(names, since, until)
    key = tuple(names), math.ceil(since), until
    if key not in had:
        had[key] = _tallies(names, since, until)
    return had[key]


def _tallies(names: Sequence[str], since: float, until: float | None) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for route, name, count in sums.totals(names, since, until):
        found[route][name] = count
    return found


def known_routes() -> list[str]:
    """Every route of which anything is stored."""
    return sums.routes()


_LINE = ("pk", *(each.name for each in dataclass_fields(SignatureLine) if each.name != "id"))
"""The fields of a SignatureLine, in order."""


def signature_line(row: Signature) -> SignatureLine:
    """`row` without its database."""
    return SignatureLine(row.pk, row.kind, row.path, row.state, row.count, row.first_seen, row.last_seen, row.state_since)


def plain_line(line: SignatureLine) -> dict[str, Any]:
    """`line` for machines."""
    return {**asdict(line), "open": line.open}


def signatures(route: str, since: float = 0.0) -> list[SignatureLine]:
    """Every signature that was seen since `since` (Unix seconds), and every bug that is not mended: open ones first, then the most
    frequent."""
    rows = Signature.objects.filter(Q(last_seen__gte=since) | Q(state=BUG), route=route).order_by("-count", "kind", "path")
    return sorted(map(signature_line, rows), key=lambda line: not line.open)


def signature(number: int) -> tuple[str, SignatureLine] | None:
    """The signature of that number, and its route; None where there is none."""
    row = Signature.objects.filter(pk=number).first()
    return None if row is None else (row.route, signature_line(row))


def noise(route: str) -> list[tuple[str, str, int]]:
    """(kind, path, exchanges) of what legacy shows against itself."""
    return list(Noise.objects.filter(route=route).order_by("-count").values_list("kind", "path", "count"))


def gate_of(report: RouteReport, *, minimum: int, match: float, coverage: float = 0.0) -> GateResult:
    """The gate on what `report` counted: what is open is a new signature that was seen in that time, and any bug that is not fixed."""
    return gate(
        report.matched,
        report.compared,
        minimum=minimum,
        match=match,
        coverage=report.coverage_of_sample,
        least_coverage=coverage,
        signatures=[f"{line.kind} {line.path} ({line.state})" for line in (*report.signatures, *report.unmended)],
        stale=report.skipped.get(counters.STALE, 0),
    )


def gates(
    terms: Mapping[str, Terms], now: float, known: Mapping[str, RouteReport] | None = None
) -> dict[str, tuple[RouteReport, GateResult]]:
    """Of each route by its own terms what was counted within their window, or since somebody began its gate anew, and the gate on it.

    One query, and five for each length of window and each such beginning. `known`: reports that the caller has; those since the same second
    are taken instead.
    """
    windows: dict[float, list[str]] = defaultdict(list)
    for name, since in gate_start.since(terms, terms, now).items():
        windows[since].append(name)
    found: dict[str, tuple[RouteReport, GateResult]] = {}
    for since, names in windows.items():
        had = [known[name] for name in names if known and name in known and math.ceil(known[name].since) == math.ceil(since)]
        for report in had if len(had) == len(names) else summaries(names, since):
            asked = terms[report.route]
            found[report.route] = report, gate_of(report, minimum=asked.minimum, match=asked.match, coverage=asked.coverage)
    return found


def _report(
    route: str,
    since: float,
    counts: dict[str, int],
    signatures: tuple[SignatureLine, ...],
    unmended: tuple[SignatureLine, ...],
    recomputed: Recomputed,
    told: int,
    rules: int,
) -> RouteReport:
    def by_reason(prefix: str) -> dict[str, int]:
        reasons = {name.removeprefix(prefix): total for name, total in counts.items() if name.startswith(prefix)}
        return dict(sorted(reasons.items(), key=lambda item: -item[1]))

    skipped, dropped = by_reason(counters.SKIPPED), by_reason(counters.DROPPED)
    differed = counts.get(counters.MISMATCHED, 0) + counts.get(counters.EXCUSED, 0)
    by_rules = min(recomputed.matched, differed)
    matched, mismatched = counts.get(counters.MATCHED, 0) + by_rules, differed - by_rules
    accounted = matched + mismatched + sum(skipped.values()) + sum(dropped.values())
    return RouteReport(
        route,
        since,
        legacy=counts.get(counters.SERVED_LEGACY, 0),
        candidate=counts.get(counters.SERVED_CANDIDATE, 0),
        fallback=counts.get(counters.FALLBACK, 0),
        gateway=counts.get(counters.SERVED_GATEWAY, 0),
        unfinished=counts.get(counters.UNFINISHED, 0),
        eligible=max(accounted, counts.get(counters.ELIGIBLE, 0)),
        captured=counts.get(counters.CAPTURED, 0),
        matched=matched,
        mismatched=mismatched,
        matched_by_rules=by_rules,
        matched_by_configuration=counts.get(counters.CONFIGURED, 0),
        untold=max(0, differed - told),
        rules=rules,
        skipped=skipped,
        dropped=dropped,
        noise_pairs=counts.get(counters.NOISE_PAIRS, 0),
        noise_different=counts.get(counters.NOISE_DIFFERENT, 0),
        signatures=signatures,
        unmended=unmended,
        sides=latency.figures(counts),
    )
