"""What a drill has found: figures of its two runs, bars, and charts. For people and for machines alike."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

type Value = int | float | str | None
"""None: this run has no such figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured in both runs."""

    key: str
    """For machines, such as "p99_ms"."""
    name: str
    """For people, such as "p99 of what was answered"."""
    without: Value
    with_gateway: Value
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """What the run with the gateway is held to."""

    name: str
    wanted: str
    measured: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: a value for each step of its chart."""

    label: str
    values: Sequence[float]
    with_gateway: bool
    """Which of the two runs it shows: this decides its colour and its stroke."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: a moment, in seconds from the beginning; with `until`, a span."""

    at: float
    label: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """A value to compare the curves with, such as a capacity."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over the same time."""

    title: str
    unit: str
    step: float
    """Seconds between two values."""
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    levels: Sequence[Level] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.step * max((len(line.values) for line in self.lines), default=0)

    @property
    def top(self) -> float:
        """The highest value; 1 where everything is 0, since it is divided by."""
        return max([*(value for line in self.lines for value in line.values), *(level.value for level in self.levels)], default=0) or 1


@dataclass(slots=True)
class Report:
    """Of one drill. Its two runs are called `without` and `with_gateway` throughout; people are told `sides`."""

    drill: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences that people need to read the figures rightly."""
    more: dict[str, Any] = field(default_factory=dict)
    """For machines only."""
    sides: tuple[str, str] = ("without", "with the gateway")
    """What the two runs differ in."""
    seconds: float = 0.0
    """How long all of it took."""
    load_before: float | None = None
    """The machine's load average, over a minute, before it began: others' work, which slows a drill down. None: not known."""

    @property
    def ok(self) -> bool:
        """Whether there are bars, and every one was reached."""
        return bool(self.bars) and all(bar.ok for bar in self.bars)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "drill": self.drill,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "machine": machine(),
            "load_before": self.load_before,
            "without": {figure.key: figure.without for figure in self.figures},
            "with": {figure.key: figure.with_gateway for figure in self.figures},
            "bars": [asdict(bar) for bar in self.bars],
            "charts": [asdict(chart) for chart in self.charts],
            "notes": self.notes,
            **self.more,
        }


def machine() -> str:
    """What it ran on, as far as it matters to the figures."""
    return f"{os.process_cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
