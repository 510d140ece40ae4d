"""A route over time as an SVG picture: the match rate above, below what was compared of what was to be. Drawn by numbers alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import floor

from shadow.series import Point, Series
from shadow.words import percent, thousands

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT = 64, 12
RATE_TOP, RATE_BOTTOM = 14, 124
VOLUME_TOP, VOLUME_BOTTOM = 148, 228
_FLOORS = (0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.0)
"""Where the scale of the match rate may begin: 99.9 % and 100 % look alike on one that begins at nothing."""


def chart(series: Series) -> str:
    """The picture; "" where nothing was compared."""
    points = series.points
    rates = [point.match_rate for point in points if point.match_rate is not None]
    if not rates:
        return ""
    bottom = next(floor_ for floor_ in _FLOORS if floor_ <= min(rates))
    most = max(_wanted(point) for point in points)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_summary(series, rates, most)}">',
        *_scale(RATE_TOP, RATE_BOTTOM, "100 %", percent(bottom, 1).replace(".0 ", " ")),
        *_scale(VOLUME_TOP, VOLUME_BOTTOM, thousands(most), "0"),
        *_bars(points, most),
        *_line(points, bottom),
        *_times(series),
        "</svg>",
    ]
    return "".join(parts)


def _wanted(point: Point) -> int:
    """Exchanges that were to be compared: what a step compares may have been asked for in the step before."""
    return max(point.eligible, point.compared)


def _x(points: tuple[Point, ...], index: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * index / len(points)


def _scale(top: int, bottom: int, above: str, below: str) -> Iterator[str]:
    for y, text in ((top, above), (bottom, below)):
        yield f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="end" x="{LEFT - 8}" y="{y + 4}">{text}</text>'


def _bars(points: tuple[Point, ...], most: int) -> Iterator[str]:
    width = max(0.6, (WIDTH - LEFT - RIGHT) / len(points) * 0.8)
    for index, point in enumerate(points):
        if not _wanted(point):
            continue
        x = _x(points, index + 0.1)
        all_ = (VOLUME_BOTTOM - VOLUME_TOP) * _wanted(point) / most
        whole = (VOLUME_BOTTOM - VOLUME_TOP) * point.compared / most
        bad = 0.0 if not point.mismatched else max(1.0, whole * point.mismatched / point.compared)
        for name, top, height in (("left-out", all_, all_ - whole), ("matched", whole, whole - bad), ("mismatched", bad, bad)):
            if height > 0:
                y = VOLUME_BOTTOM - top
                yield f'<rect class="{name}" x="{x:.1f}" width="{width:.1f}" y="{y:.1f}" height="{height:.1f}"/>'


def _line(points: tuple[Point, ...], bottom: float) -> Iterator[str]:
    """Broken where nothing was compared: what is not known is not drawn."""
    run: list[str] = []
    for index, point in enumerate((*points, Point(0))):
        rate = point.match_rate
        if rate is not None:
            y = RATE_BOTTOM - (RATE_BOTTOM - RATE_TOP) * (rate - bottom) / (1 - bottom)
            run.append(f"{_x(points, index + 0.5):.1f},{y:.1f}")
            continue
        if len(run) == 1:
            x, y_text = run[0].split(",")
            yield f'<circle class="dot" cx="{x}" cy="{y_text}" r="2"/>'
        elif run:
            yield f'<polyline class="rate" points="{" ".join(run)}"/>'
        run = []


def _times(series: Series) -> Iterator[str]:
    points = series.points
    last = points[-1].at + series.step
    form = "%Y-%m-%d" if series.step >= 86400 else "%d %b %H:%M" if last - points[0].at > 86400 else "%H:%M"
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        moment = points[0].at + floor(share * (last - points[0].at))
        x = LEFT + (WIDTH - LEFT - RIGHT) * share
        yield f'<text class="{anchor}" x="{x:.0f}" y="{VOLUME_BOTTOM + 18}">{datetime.fromtimestamp(moment, UTC).strftime(form)}</text>'


def _summary(series: Series, rates: list[float], most: int) -> str:
    """For whoever does not see it."""
    covered = [point.compared / _wanted(point) for point in series.points if _wanted(point)]
    return (
        f"Match rate between {percent(min(rates))} and {percent(max(rates))}, coverage between {percent(min(covered))} and "
        f"{percent(max(covered))}, and up to {thousands(most)} exchanges to compare, in each of {len(series.points)} spans of "
        f"{span(series.step)}"
    )


def span(seconds: int) -> str:
    """60 as "a minute"."""
    return {60: "a minute", 300: "5 minutes", 900: "15 minutes", 3600: "an hour", 14400: "4 hours", 86400: "a day"}.get(
        seconds, f"{seconds} s"
    )
