"""Charts for the terminal: one panel for each curve, all of a chart on the same scale. Blocks rather than colour tell high from low."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor
from typing import Final

from rich.text import Text

from drills.report import Chart, Line, Mark

HEIGHT: Final = 6
"""Lines of a panel. Each is eight steps high."""
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN: Final = "  ...:::#"
"""Where the terminal speaks no Unicode."""


def draw(chart: Chart, width: int, *, unicode: bool = True) -> Text:
    """`chart` for a terminal of `width` columns."""
    text = Text(f"{chart.title}\n", style="bold")
    gutter = max(len(_number(chart.top)), 4) + 1
    columns = max(10, min(width - gutter - 1, 100))
    for line in chart.lines:
        text.append(f"{'':{gutter}}{line.label}\n", style=_style(line))
        for row, cells in enumerate(_panel(line, chart, columns, unicode=unicode)):
            edge = _number(chart.top) if row == 0 else "0" if row == HEIGHT - 1 else ""
            text.append(f"{edge:>{gutter - 1}} ", style="dim")
            text.append(f"{cells}\n", style=_style(line))
    text.append(f"{'':{gutter}}{_axis(chart, columns)}\n", style="dim")
    for number, mark in enumerate(chart.marks, 1):
        when = f"{mark.at:.1f} s" if mark.until is None else f"{mark.at:.1f}-{mark.until:.1f} s"
        text.append(f"{'':{gutter}}{_sign(number)} {mark.label} ({when})\n", style="dim")
    for level in chart.levels:
        text.append(f"{'':{gutter}}{level.label}: {_number(level.value)} {chart.unit}\n", style="dim")
    return text


def _style(line: Line) -> str:
    return "green" if line.with_gateway else "red"


def _panel(line: Line, chart: Chart, columns: int, *, unicode: bool) -> Iterator[str]:
    """Its rows, from the top."""
    blocks = _BLOCKS if unicode else _PLAIN
    steps = max(1, round(chart.seconds / chart.step))
    heights = [round(8 * HEIGHT * value / chart.top) for value in _resampled(line.values, steps, columns)]
    for row in range(HEIGHT - 1, -1, -1):
        yield "".join(blocks[max(0, min(8, height - 8 * row))] for height in heights).rstrip()


def _resampled(values: Sequence[float], steps: int, columns: int) -> list[float]:
    """The mean of what falls into each column; where columns are more than steps, steps are as wide as it takes."""
    found = []
    for column in range(columns):
        first = floor(column * steps / columns)
        last = max(first + 1, floor((column + 1) * steps / columns))
        part = values[first:last]
        found.append(sum(part) / len(part) if part else 0.0)
    return found


def _axis(chart: Chart, columns: int) -> str:
    """The time line: marks by their numbers, and the end."""
    cells = ["-"] * columns
    for number, mark in enumerate(chart.marks, 1):
        cells[_place(mark, chart, columns)] = _sign(number)
    return "".join(cells) + f" {chart.seconds:.0f} s"


def _place(mark: Mark, chart: Chart, columns: int) -> int:
    return min(columns - 1, max(0, int(mark.at / (chart.seconds or 1) * columns)))


def _sign(number: int) -> str:
    return str(number) if number < 10 else chr(ord("a") + (number - 10) % 26)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
