"""What a drill says in the end: for people a table, the bars and the charts; for machines JSON. The exit status is the bars'."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from drills import picture, terminal
from drills.report import Report, Value

if TYPE_CHECKING:
    from drills.stage import Say

PLAIN_WIDTH: Final = 110
"""Where nobody says how wide the terminal is."""


def tell(report: Report, say: Say, *, as_json: bool, to: Path | None) -> int:
    """Prints `report` and, with `to`, draws its picture. Returns the exit status: 0 where every bar was reached, else 1.

    Raises:
        OSError: the picture cannot be written; all has been printed before.
    """
    if as_json:
        print(json.dumps(report.plain(), indent=2), flush=True)
    else:
        _print(report)
    if to is not None:
        picture.draw(report, to)
        say(f"the picture is in {to}")
    return 0 if report.ok else 1


def _print(report: Report) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    unicode = console.encoding.lower().startswith("utf")
    for chart in report.charts:
        console.print(terminal.draw(chart, console.width, unicode=unicode))
    table = Table(title=f"{report.title}: {report.seconds:.0f} s", title_justify="left")
    table.add_column("")
    for side, style in zip(report.sides, ("red", "green"), strict=True):
        table.add_column(side, justify="right", style=style)
    for figure in report.figures:
        table.add_row(figure.name, _shown(figure.without, figure.unit), _shown(figure.with_gateway, figure.unit))
    console.print(table)
    for bar in report.bars:
        verdict = Text("held    ", "green") if bar.ok else Text("MISSED  ", "bold red")
        console.print(verdict + Text(f"{bar.name}: {bar.measured} (wanted: {bar.wanted})", "default"))
    for note in report.notes:
        console.print(Text(note, "dim"))


def _shown(value: Value, unit: str) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    return f"{text} {unit}".rstrip()
