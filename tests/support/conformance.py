"""How many tests of tests/conformance ran on which engine: the same ones on both, or the second opinion is none."""

from __future__ import annotations

import re

from gateway.cli.run import ENGINES

FOLDER = "tests/conformance/"
_ENGINE = re.compile(rf"(?<=[\[-])({'|'.join(ENGINES)})(?=[\]-])")


def summary(passed: set[str], others: set[str]) -> str:
    """What to say of a run: the ids of those that passed, and of those that did not."""
    ran = {name: {_ENGINE.sub("", test) for test in passed | others if _on(test) == name} for name in ENGINES}
    said = "conformance: " + ", ".join(f"{len(tests)} tests on {name}" for name, tests in ran.items())
    failed = [f"{count} on {name}" for name in ENGINES if (count := sum(_on(test) == name for test in others))]
    if failed:
        said += f"; NOT PASSED: {', '.join(failed)}"
    only = set[str].union(*ran.values()) - set[str].intersection(*ran.values())
    return said + (f"; {len(only)} on one alone" if only else "")


def _on(test: str) -> str:
    found = _ENGINE.search(test) if test.startswith(FOLDER) else None
    return found[1] if found is not None else ""
