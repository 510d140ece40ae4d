"""Everything that a report says, read once, so that all of its forms say the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from shadow import report, states
from shadow.examples import Example, examples
from shadow.gate import GateResult, Terms
from shadow.reconcile import reconcile
from shadow.report import RouteReport, SignatureLine
from shadow.series import Series, plain_sides, series
from shadow.series import plain as plain_series
from shadow.states import Change

VERSION = 1
"""Of the JSON form: a key may be added, and none changes its meaning without a new number."""
WITH_EXAMPLES = 50
"""Signatures, the open ones first, that a report shows an example of."""


@dataclass(frozen=True, slots=True)
class Document:
    """One route, from `since` to `made`."""

    route: str
    match: str
    """Its path pattern."""
    candidate: str
    """The upstream."""
    made: float
    """Unix seconds."""
    since: float
    """Unix seconds; 0: all that is kept."""
    counted: RouteReport
    gate: GateResult
    gate_since: float
    """Unix seconds: the gate counts within its own window, unless the report was asked for another."""
    window: float
    """Seconds."""
    series: Series
    signatures: tuple[SignatureLine, ...]
    """Those seen in that time, and bugs that are not mended; open ones first, then the most frequent."""
    histories: dict[int, tuple[Change, ...]]
    examples: dict[int, list[Example]]
    noise: list[tuple[str, str, int]]
    """Kind, path and how often: of all that is kept."""
    replayed: str = ""
    """Of a replay: the recording's name. Then all that was counted is the replay's, and the gate is what was asked of it."""
    reference: str = "legacy"
    """What the candidate was compared with: legacy, or the answers in the recording."""


def collect(route: str, match: str, candidate: str, terms: Terms, since: float, now: float) -> Document:
    """Reads it. `since`: Unix seconds; 0 is all that is kept, and then the gate goes by its own window.

    Raises:
        django.db.Error: the database refused.
    """
    counted = report.summary(route, since)
    if since:
        result = report.gate_of(counted, minimum=terms.minimum, match=terms.match, coverage=terms.coverage)
        gate_since = since
    else:
        judged, result = report.gates({route: terms}, now)[route]
        gate_since = judged.since
    lines = report.signatures(route, since)
    return Document(
        route,
        match,
        candidate,
        now,
        since,
        counted,
        result,
        gate_since,
        terms.window,
        series(route, since, now + 1),
        tuple(lines),
        states.histories(line.id for line in lines),
        examples(line.id for line in lines[:WITH_EXAMPLES]),
        report.noise(route),
    )


def plain(document: Document) -> dict[str, Any]:
    """For machines: the keys that docs/reference/commands.md lists."""
    counted = document.counted
    summed = reconcile(counted)
    return {
        "version": VERSION,
        "route": document.route,
        "match": document.match,
        "candidate_upstream": document.candidate,
        "made": document.made,
        "since": document.since,
        "mode": counted.mode,
        "served": counted.served,
        "legacy": counted.legacy,
        "candidate": counted.candidate,
        "fallback": counted.fallback,
        "gateway": counted.gateway,
        "unfinished": counted.unfinished,
        "eligible": counted.eligible,
        "captured": counted.captured,
        "compared": counted.compared,
        "matched": counted.matched,
        "matched_outright": counted.matched_outright,
        "matched_by_configuration": counted.matched_by_configuration,
        "matched_by_rules": counted.matched_by_rules,
        "matched_as_noise": counted.matched_as_noise,
        "untold": counted.untold,
        "rules": counted.rules,
        "mismatched": counted.mismatched,
        "match_rate": counted.match_rate,
        "interval": list(counted.interval),
        "coverage": counted.coverage,
        "coverage_of_sample": counted.coverage_of_sample,
        "skipped": counted.skipped,
        "dropped": counted.dropped,
        "reconciliation": {**asdict(summed), "adds_up": summed.adds_up},
        "noise_pairs": counted.noise_pairs,
        "noise_different": counted.noise_different,
        "noise": [{"kind": kind, "path": path, "count": count} for kind, path, count in document.noise],
        "gate": {**asdict(document.gate), "since": document.gate_since, "window": document.window},
        "signatures": [
            {
                **report.plain_line(line),
                "history": [asdict(change) for change in document.histories[line.id]],
                "examples": [asdict(example) for example in document.examples.get(line.id, ())],
            }
            for line in document.signatures
        ],
        "sides": plain_sides(counted.sides),
        "series": plain_series(document.series),
    }
