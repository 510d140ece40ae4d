"""Unleash's public client specification: what every SDK is held to. From npm, installed once for the machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo import npm
from demo.processes import StartError
from tests.support.required import missing

VERSION: Final = "6.1.0"
LOCK: Final = Path(__file__).resolve().parent.parent / "flags" / "specification"
_PACKAGE: Final = npm.Package(
    name="client-specification",
    title="Unleash's client specification",
    version=VERSION,
    lock=LOCK,
    wanted="@unleash/client-specification/specifications/index.json",
    size="a moment",
)

CASES: Final = "tests/flags/test_specification.py::test_specification["
"""What the ids of its cases begin with."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question of the specification's."""

    file: str
    state: Mapping[str, Any]
    description: str
    flag: str
    context: Mapping[str, Any]
    expected: bool | Mapping[str, Any]
    """Of a variant test, its variant."""


def folder() -> Path:
    """Where its files are. Skips the module where it cannot be had, unless everything is required."""
    try:
        return npm.install(_PACKAGE).parent
    except StartError as error:
        missing(f"Unleash's client specification can't be installed here: {error}", cause=error, module=True)


def cases(specifications: Path) -> Iterator[Case]:
    """All of it: each test of each file that its index names."""
    for name in json.loads((specifications / "index.json").read_bytes()):
        content = json.loads((specifications / name).read_bytes())
        for test in (*content.get("tests", ()), *content.get("variantTests", ())):
            yield Case(Path(name).stem, content["state"], test["description"], test["toggleName"], test["context"], test["expectedResult"])


def summary(passed: Set[str], others: Set[str]) -> str:
    """How many of its cases hold, of those that were to run. Ids of tests."""
    good, bad = (sum(name.startswith(CASES) for name in names) for names in (passed, others))
    return f"Unleash's client specification {VERSION}, by our decisions, each asked twice: {good} of {good + bad} cases"
