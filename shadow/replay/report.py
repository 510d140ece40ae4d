"""A replay in the forms of `banyan report`: the same documents, made of what is in memory, with no database behind them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import django
from django.conf import settings

from gateway.settings import Config
from shadow import counters
from shadow.gate import GateResult
from shadow.replay.outcome import NOISE, Outcome, RouteOutcome
from shadow.replay.plan import REASONS
from shadow.replay.tally import SPAN

if not settings.configured:  # the reports' classes stand beside their queries, which are never asked here
    settings.configure(INSTALLED_APPS=["shadow"], DATABASES={}, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    django.setup()

from shadow.report import RouteReport, SignatureLine
from shadow.reporting.document import Document
from shadow.series import FINE_STEPS, MOST_POINTS, STEPS, Point, Series
from shadow.states import NEW

_NO_WINDOW: Final = 0.0


def documents(found: Outcome, config: Config, *, recording: str, reference: str, other: str, began: float, made: float) -> list[Document]:
    """One for each route. `recording`: its name. `began`, `made`: Unix seconds."""
    configured = {route.name: route for route in config.routes}
    began = min([began, *(float(at) for route in found.routes for at in route.tally.spans)])  # of a run before, perhaps
    made_of = []
    for route in found.routes:
        terms = configured[route.name]
        counted = _counted(route, began)
        lines, examples = _lines(route)
        gate = GateResult(
            route.passed,
            route.compared,
            route.matched,
            route.interval[0],
            1,
            route.required,
            route.reasons,
            coverage=counted.coverage,
            open=sum(line.open for line in lines),
        )
        made_of.append(
            Document(
                route.name,
                terms.match,
                terms.candidate if other == "candidate" else other,
                made,
                began,
                counted,
                gate,
                began,
                _NO_WINDOW,
                _series(route),
                lines,
                {line.id: () for line in lines},
                examples,
                _noise(route),
                recording,
                reference,
            )
        )
    return made_of


def _noise(route: RouteOutcome) -> list[tuple[str, str, int]]:
    """What legacy shows against itself, the most frequent first."""
    found = [(str(kind), path, seen.own + seen.again) for (kind, path), seen in route.tally.signatures.items()]
    return sorted((each for each in found if each[2]), key=lambda each: (-each[2], each[0], each[1]))


def _counted(route: RouteOutcome, began: float) -> RouteReport:
    tally, skipped = route.tally, route.skipped
    asked = sum(number for reason, number in skipped.items() if counters.SKIPPED + reason in counters.AFTER_CAPTURE)
    return RouteReport(
        route.name,
        began,
        eligible=route.compared + sum(skipped.values()),
        captured=route.compared + asked,
        matched=route.matched,
        mismatched=route.mismatched,
        matched_by_configuration=tally.configured,
        matched_as_noise=route.noisy,
        skipped=skipped,
        noise_pairs=tally.noise_pairs + tally.proof_pairs,
        noise_different=tally.noise_different + tally.proof_different,
        signatures=tuple(line for line in _lines(route)[0] if line.open),
        sides=tally.figures(),
    )


def _lines(route: RouteOutcome) -> tuple[tuple[SignatureLine, ...], dict[int, Any]]:
    """What differs, the most frequent first, noise at the end; and an example of each by its number."""
    rows = sorted(
        ((signature in route.noise, -seen.count, *signature, seen) for signature, seen in route.tally.signatures.items() if seen.count),
        key=lambda row: row[:4],
    )
    lines, examples = [], {}
    for number, (noisy, _, kind, path, seen) in enumerate(rows, 1):
        lines.append(SignatureLine(number, str(kind), path, NOISE if noisy else NEW, seen.count, seen.first, seen.last))
        examples[number] = [seen.example] if seen.example is not None else []
    return tuple(lines), examples


def _series(route: RouteOutcome) -> Series:
    spans = route.tally.spans
    if not spans:
        return Series(STEPS[0])
    first, last = min(spans), max(spans)
    step = next((step for step in (*FINE_STEPS, *STEPS) if (last - first) / step <= MOST_POINTS), STEPS[-1])
    assert step % SPAN == 0  # noqa: S101 - spans are the finest steps
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for at, numbers in spans.items():
        counts[at // step * step] = [mine + more for mine, more in zip(counts[at // step * step], numbers, strict=True)]
    first, last = first // step * step, last // step * step
    first = max(first, last - 10 * MOST_POINTS * step)
    points = []
    for at in range(first, last + 1, step):
        matched, mismatched, skipped = counts.get(at, (0, 0, 0))
        points.append(Point(at, matched, mismatched, skipped, eligible=matched + mismatched + skipped))
    return Series(step, tuple(points))


def left_out(reasons: dict[str, int]) -> list[str]:
    """In words, the most frequent first."""
    return [f"{number} {REASONS.get(reason, reason)}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1])]
