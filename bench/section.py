"""What a scenario found, ready to be shown in a terminal, as JSON and in docs/benchmarks.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.bars import Verdict


@dataclass
class Section:
    """One table with what has to be known to read it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    intro: str = ""
    """Markdown before the table: how it was measured."""
    outro: str = ""
    """Markdown after it: what it shows."""
    verdicts: list[Verdict] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that could not take part, and why."""
    data: dict[str, object] = field(default_factory=dict)
    """The figures, for --json."""

    def all_rows(self) -> list[list[str]]:
        """The table's, with a line for each peer that is missing."""
        blank = [""] * (len(self.columns) - 1)
        return [*self.rows, *([f"{name}: {why}", *blank] for name, why in self.missing.items())]

    def markdown(self, measured: str) -> str:
        """`measured`: the line that says by what command, when and on what."""
        lines = [f"## {self.title}", ""]
        if self.intro:
            lines += [self.intro.strip(), ""]
        lines += [measured, "", f"| {' | '.join(self.columns)} |", f"|{' --- |' * len(self.columns)}"]
        lines += [f"| {' | '.join(row)} |" for row in self.all_rows()]
        if self.verdicts:
            lines += ["", *(f"- {verdict}." for verdict in self.verdicts)]
        if self.outro:
            lines += ["", self.outro.strip()]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, object]:
        return {
            "scenario": self.title,
            "missing": self.missing,
            "bars": [verdict.as_json() for verdict in self.verdicts],
            **self.data,
        }
