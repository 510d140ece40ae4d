"""What the long fault runs have shown: each writes down a line; at the end of the run there is a table, for docs/benchmarks.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from tests.support.ledgers import Asked, Outcome, Verdict
from tests.support.load import Load

SOAK: Final = bool(os.environ.get("BANYAN_SOAK"))
RATE: Final = 300.0 if SOAK else 100.0
"""Requests a second."""
NEAR: Final = 0.05
"""By how much less than that may have been sent in a long run: an open loop sends late what it could not send in time."""

_rows: list[Row] = []
_notes: list[str] = []


@dataclass(frozen=True)
class Row:
    """One run under load."""

    what: str
    seconds: float
    asked: list[Asked]
    verdict: Verdict
    rate: float

    def line(self) -> str:
        gets = [each for each in self.asked if each.method == "GET"]
        good = sum(each.outcome is Outcome.ANSWERED for each in gets)
        found = self.verdict
        wrong = " / ".join(str(len(each)) for each in (found.lost, found.doubled, found.crossed))
        told = sum(each.outcome in (Outcome.REFUSED, Outcome.CUT) for each in self.asked)
        cells = (
            self.what,
            f"{self.seconds:.0f}",
            f"{len(self.asked):,}",
            f"{self.rate:.0f}",
            f"{100 * good / len(gets):.3f} %" if gets else "",
            str(told),
            wrong,
        )
        return f"| {' | '.join(cells)} |"


def record(what: str, running: Load, verdict: Verdict) -> None:
    """Of a run at RATE. That it was one at RATE is part of what is shown."""
    assert running.unsent == 0, f"{running.unsent} requests found no room: it was no open loop"
    assert not SOAK or running.rate >= RATE * (1 - NEAR), f"{running.rate:.1f} requests a second, and not {RATE:g}"
    _rows.append(Row(what, running.seconds, running.asked, verdict, running.rate))


def note(text: str) -> None:
    """Whatever else a long run has to say, in a line."""
    _notes.append(text)


def summary() -> list[str]:
    """All of it, as Markdown; nothing where nothing ran long."""
    if not SOAK or not (_rows or _notes):
        return []
    lines = []
    if _rows:
        lines += [
            "| what goes wrong | seconds | requests | a second | GETs answered | told so, or cut off | lost / doubled / crossed |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(row.line() for row in _rows),
            "",
        ]
    return lines + [f"- {text}" for text in _notes]
