"""docs/benchmarks.md: the sections that a run measured are put in the place of those of the run before, the others stay."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from bench import cpu
from bench.section import Section
from demo.processes import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
_ORDER = ("Pass-through", "Shadow", "Where", "Bodies", "Idle", "Busy", "Latency", "Flags")
"""What the headings begin with."""


def write(sections: list[Section], arguments: list[str]) -> None:
    """`arguments`: the command line's, after `python -m bench`."""
    facts = cpu.machine()
    command = " ".join(["python -m bench", *arguments])
    measured = (
        f"*`{command}` on {datetime.now(UTC):%Y-%m-%d}: {facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']}, "
        f"Python {facts['python']}.*"
    )
    preface = (Path(__file__).parent / "preface.md").read_text()
    before = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(merge(preface, before, {section.title: section.markdown(measured) for section in sections}))


def merge(preface: str, before: str, sections: dict[str, str]) -> str:
    """The new page. `sections`: markdown by heading."""
    old = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in re.split(r"^## ", before, flags=re.MULTILINE)[1:]}
    parts = old | sections
    return "\n".join([preface.strip() + "\n", *(parts[title] for title in sorted(parts, key=_place))])


def _place(title: str) -> int:
    return next((place for place, begin in enumerate(_ORDER) if title.startswith(begin)), len(_ORDER))
