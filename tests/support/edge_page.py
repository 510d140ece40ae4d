"""Reads docs/reference/edge.md: which tests hold which behaviour, and what a run of the tests says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.corpus import cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "edge.md"
CORPUS = "tests/integration/test_corpus.py::test_corpus"
COMES = "comes with "


@dataclass(frozen=True)
class Item:
    """One behaviour."""

    number: int
    text: str
    tests: tuple[str, ...]
    """`file::function`; "corpus" for the cases with this number."""
    comes_with: str = ""
    """What it waits for; then it has no tests."""

    @property
    def in_part(self) -> bool:
        return "In part:" in self.text

    def wanted(self, name: str, ran: set[str]) -> set[str]:
        """The ids of all tests that `name`, one of this item's, stands for. `ran`: those that ran."""
        if name == "corpus":
            return {f"{CORPUS}[{case.id}-{way}]" for case in cases() if case.item == self.number for way in case.ways}
        return {test for test in ran if test.partition("[")[0] == name} or {name}


@cache
def items() -> tuple[Item, ...]:
    """As they stand on the page."""
    found = []
    for number, text, tests in re.findall(r"^\| (\d+) \| (.*) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE):
        if tests.startswith(COMES):
            found.append(Item(int(number), text, (), tests.removeprefix(COMES)))
        else:
            found.append(Item(int(number), text, tuple(test.strip() for test in tests.split(";"))))
    return tuple(found)


def summary(passed: set[str], others: set[str], among: tuple[Item, ...] | None = None) -> str:
    """How many of the behaviours hold, by the tests that ran. `others`: the ids of those that did not pass, for whatever reason. `among`:
    in the place of those on the page."""
    among = items() if among is None else among
    ran = passed | others
    said: dict[str, list[int]] = {"hold": [], "hold in part": [], "BROKEN": [], "only some or none of their tests ran": [], "to come": []}
    for item in among:
        wanted = {test for name in item.tests for test in item.wanted(name, ran)}
        if item.comes_with:
            kind = "to come"
        elif wanted & others:
            kind = "BROKEN"
        elif not wanted <= passed:
            kind = "only some or none of their tests ran"
        else:
            kind = "hold in part" if item.in_part else "hold"
        said[kind].append(item.number)
    parts = [f"{len(said.pop('hold'))} of {len(among)} behaviours hold"]
    parts += [f"{len(numbers)} {what} ({', '.join(map(str, numbers))})" for what, numbers in said.items() if numbers]
    return "edge.md: " + "; ".join(parts)
