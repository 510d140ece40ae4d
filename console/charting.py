"""What a route's charts draw: figures over time as columns, and what happened as marks on the same axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from django.utils.translation import gettext_lazy

from console.ranges import Range
from console.timeline import Mark
from shadow import series as stored
from shadow.gate import wilson
from shadow.latency import CANDIDATE, LEGACY, best
from shadow.series import Point, Series
from shadow.words import visible

FINE: Final = 20 * 60.0
"""Seconds: what is shorter than this, and of the last hour, is drawn in steps of ten seconds."""

COLUMNS: Final = {
    "rate": gettext_lazy("match rate"),
    "low": gettext_lazy("at least (95 %)"),
    "high": gettext_lazy("at most (95 %)"),
    "coverage": gettext_lazy("coverage"),
    "legacy_p50": gettext_lazy("legacy p50"),
    "legacy_p95": gettext_lazy("legacy p95"),
    "candidate_p50": gettext_lazy("candidate p50"),
    "candidate_p95": gettext_lazy("candidate p95"),
    "legacy_errors": gettext_lazy("legacy errors"),
    "candidate_errors": gettext_lazy("candidate errors"),
    "share": gettext_lazy("served by the candidate"),
    "served": gettext_lazy("requests"),
    "compared": gettext_lazy("comparisons"),
}
"""Shares are of 1, times in seconds."""
TIMES: Final = ("legacy_p50", "legacy_p95", "candidate_p50", "candidate_p95")
NUMBERS: Final = ("served", "compared")


def read(route: str, shown: Range) -> Series:
    """What was counted, in as many points as a chart can show."""
    length = shown.until - shown.since
    step = 10 if length <= FINE and shown.live else stored.step_for(length)
    return stored.series(route, shown.since, shown.until + 1, step if shown.since else None)


def columns(points: Iterable[Point]) -> dict[str, list[float | None]]:
    """By name, as COLUMNS has them, and `at`. Nothing is None: no value is known there."""
    found: dict[str, list[float | None]] = {name: [] for name in ("at", *COLUMNS)}
    for point in points:
        low, high = wilson(point.matched, point.compared) if point.compared else (None, None)
        legacy, candidate = best(point.sides, LEGACY)[0], best(point.sides, CANDIDATE)[0]
        served = point.legacy + point.candidate + point.gateway
        values = {
            "at": point.at,
            "rate": point.match_rate,
            "low": low,
            "high": high,
            "coverage": min(1.0, point.compared / point.eligible) if point.eligible else None,
            "legacy_p50": legacy.p50,
            "legacy_p95": legacy.p95,
            "candidate_p50": candidate.p50,
            "candidate_p95": candidate.p95,
            "legacy_errors": legacy.error_rate,
            "candidate_errors": candidate.error_rate,
            "share": point.candidate / served if served else None,
            "served": served,
            "compared": point.compared,
        }
        for name, value in values.items():
            found[name].append(None if value is None else round(value, 6))
    return found


def document(found: Series, marks: Iterable[Mark], shown: Range) -> dict[str, Any]:
    """For the page's script: series.json."""
    points = found.points
    since = shown.since or (points[0].at if points else shown.until)
    return {
        "since": since,
        "until": shown.until,
        "live": shown.live,
        "step": found.step,
        "columns": columns(points),
        "marks": [{**asdict(mark), "text": visible(mark.text)} for mark in marks],
    }
