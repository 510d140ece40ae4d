"""A drill's picture: its charts below one another, and the bars. Drawn with Pillow and the font that it brings, so the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drills.report import Bar, Chart, Line, Report, machine

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

WIDTH: Final = 1200
CHART_HEIGHT: Final = 300
SCALE: Final = 2
"""Drawn larger and made smaller: lines are smooth."""

INK, PALE, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
WITH, WITHOUT, SPAN = "#0f766e", "#c2410c", "#eef1f4"
"""Told apart by their strokes too: the run without the gateway is dashed."""
LEFT, RIGHT = 80, 30
_ROUND: Final = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)


def draw(report: Report, path: Path) -> None:
    """Writes `report` to `path`, a PNG.

    Raises:
        ModuleNotFoundError: Pillow is missing; it comes with the extra `demo`.
        OSError: it cannot be written.
    """
    from PIL import Image, ImageDraw

    height = 74 + sum(_height(chart) for chart in report.charts) + 26 * len(report.bars) + 50
    image = Image.new("RGB", (WIDTH * SCALE, height * SCALE), PAPER)
    pen = _Pen(ImageDraw.Draw(image))
    pen.text(LEFT - 50, 22, report.title, INK, 24)
    top = 74.0
    for chart in report.charts:
        _chart(pen, chart, top)
        top += _height(chart)
    for bar in report.bars:
        _bar(pen, bar, top)
        top += 26
    pen.text(LEFT - 50, top + 14, f"banyan drill {report.drill}, on {machine()}{_busy(report)}", PALE, 13)
    small = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
    # 64 colours are enough for two inks and their edges, and a quarter of the bytes.
    small.quantize(64).save(path, "PNG", optimize=True)


class _Pen:
    """Draws in pixels of the picture as it will be."""

    def __init__(self, draw: ImageDraw) -> None:
        self._draw = draw
        self._fonts: dict[int, FreeTypeFont | ImageFont] = {}

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1, *, dashed: bool = False) -> None:
        for part in _dashes(points) if dashed else [points]:
            self._draw.line([(x * SCALE, y * SCALE) for x, y in part], fill=colour, width=round(width * SCALE), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self._draw.rectangle((left * SCALE, top * SCALE, right * SCALE, bottom * SCALE), fill=colour)

    def text(self, x: float, y: float, text: str, colour: str, size: int, anchor: str = "la") -> None:
        self._draw.text((x * SCALE, y * SCALE), text, fill=colour, font=self._font(size), anchor=anchor)

    def width(self, text: str, size: int) -> float:
        return self._draw.textlength(text, font=self._font(size)) / SCALE

    def _font(self, size: int) -> FreeTypeFont | ImageFont:
        if size not in self._fonts:
            from PIL import ImageFont

            self._fonts[size] = ImageFont.load_default(size * SCALE)
        return self._fonts[size]


def _dashes(points: Sequence[tuple[float, float]], on: float = 9, off: float = 5) -> Iterator[list[tuple[float, float]]]:
    """`points` as strokes of `on` pixels with gaps of `off`."""
    left, drawn = on, True
    part = [points[0]]
    for (x, y), (end_x, end_y) in pairwise(points):
        length = ((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5
        gone = 0.0
        while length - gone > left:
            gone += left
            at = (x + (end_x - x) * gone / length, y + (end_y - y) * gone / length)
            if drawn:
                yield [*part, at]
            drawn = not drawn
            part, left = [at], on if drawn else off
        left -= length - gone
        part.append((end_x, end_y))
    if drawn and len(part) > 1:
        yield part


def _height(chart: Chart) -> int:
    return 34 + CHART_HEIGHT + 34 + 20 * ((len(chart.marks) + 1) // 2) + 20


def _chart(pen: _Pen, chart: Chart, top: float) -> None:
    pen.text(LEFT - 50, top, f"{chart.title}, {chart.unit}", INK, 16)
    ceiling, bottom, end = top + 34, top + 34 + CHART_HEIGHT, WIDTH - RIGHT
    highest = _rounded(chart.top)
    seconds = chart.seconds or 1

    def x(at: float) -> float:
        return LEFT + min(1, at / seconds) * (end - LEFT)

    def y(value: float) -> float:
        return bottom - value / highest * CHART_HEIGHT

    for mark in chart.marks:
        if mark.until is not None:
            pen.box(x(mark.at), ceiling, x(mark.until), bottom, SPAN)
    for step in range(5):
        value = highest * step / 4
        pen.line([(LEFT, y(value)), (end, y(value))], GRID)
        pen.text(LEFT - 8, y(value), f"{value:,.4g}", PALE, 13, "rm")
    for at in _ticks(seconds):
        pen.line([(x(at), bottom), (x(at), bottom + 4)], PALE)
        pen.text(x(at), bottom + 8, f"{at:g} s", PALE, 13, "ma")
    for level in chart.levels:
        pen.line([(LEFT, y(level.value)), (end, y(level.value))], PALE, dashed=True)
    for number, mark in enumerate(chart.marks, 1):
        pen.line([(x(mark.at), ceiling), (x(mark.at), bottom)], PALE)
        pen.text(x(mark.at) + 4, ceiling + 2, str(number), PALE, 13)
    for line in chart.lines:
        # A value stands for its whole step, and is drawn at its middle.
        points = [(x((place + 0.5) * chart.step), y(value)) for place, value in enumerate(line.values)]
        if len(points) > 1:
            pen.line(points, _colour(line), 2.5, dashed=not line.with_gateway)
    for level in chart.levels:  # last, and on paper of their own: curves run close by
        wide = pen.width(level.label, 13)
        pen.box(end - wide - 10, y(level.value) - 22, end - 2, y(level.value) - 3, PAPER)
        pen.text(end - 6, y(level.value) - 5, level.label, PALE, 13, "rd")
    _legend(pen, chart.lines, top)
    for number, mark in enumerate(chart.marks):
        left = LEFT if number % 2 == 0 else LEFT + (end - LEFT) / 2
        pen.text(left, bottom + 34 + 20 * (number // 2), f"{number + 1}  {mark.label}", PALE, 14)


def _legend(pen: _Pen, lines: Sequence[Line], top: float) -> None:
    right = float(WIDTH - RIGHT)
    for line in reversed(lines):
        right -= pen.width(line.label, 15)
        pen.text(right, top, line.label, _colour(line), 15)
        pen.line([(right - 38, top + 10), (right - 8, top + 10)], _colour(line), 2.5, dashed=not line.with_gateway)
        right -= 62


def _bar(pen: _Pen, bar: Bar, top: float) -> None:
    pen.text(LEFT - 50, top, "held" if bar.ok else "MISSED", WITH if bar.ok else WITHOUT, 15)
    pen.text(LEFT + 20, top, f"{bar.name}: {bar.measured} (wanted: {bar.wanted})", INK, 15)


def _busy(report: Report) -> str:
    return "" if report.load_before is None else f"; load average before it began {report.load_before:.1f}"


def _colour(line: Line) -> str:
    return WITH if line.with_gateway else WITHOUT


def _rounded(value: float) -> float:
    """The next number that is easily divided by four or read."""
    power = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(power * factor for factor in _ROUND if power * factor >= value)


def _ticks(seconds: float) -> list[float]:
    step = next((step for step in (1, 2, 5, 10, 20, 30, 60) if seconds / step <= 13), 120)
    return [float(at) for at in range(0, int(seconds) + 1, step)]
