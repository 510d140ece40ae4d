"""docs/reference/console.md has every variable of the environment, every limit, and how long things are kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console import audit, limits, timeline
from console.roles import Role

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "console.md").read_text()


def test_every_variable_is_there_and_no_other() -> None:
    sources = [*(ROOT / "console").rglob("*.py"), *(ROOT / "gateway" / "cli" / "console").rglob("*.py")]
    read = {name for path in sources for name in re.findall(r"\bBANYAN_CONSOLE_[A-Z_]+[A-Z]\b", path.read_text())}
    assert len(read) > 8
    assert read == set(re.findall(r"\bBANYAN_CONSOLE_[A-Z_]+[A-Z]\b", PAGE))


@pytest.mark.parametrize(
    ("limit", "row"),
    [
        (limits.NAME, "a name, from wherever"),
        (limits.BROWSER, "a name, from a browser"),
        (limits.OWN, "the old password"),
        (limits.ADDRESS, "an address"),
    ],
    ids=["name", "browser", "own", "address"],
)
def test_every_limit_is_there(limit: limits.Limit, row: str) -> None:
    (found,) = re.findall(rf"(?m)^\| {row}.*\| (\d+) \| (one a minute|one each (\d+) s)", PAGE)
    assert int(found[0]) == limit.burst
    assert (60 if found[1] == "one a minute" else int(found[2])) == limit.seconds


def test_how_long_things_are_kept_and_the_roles() -> None:
    assert f"Kept for {audit.RETENTION / 86400:.0f} days" in PAGE
    assert f"for {audit.FAILURES_RETENTION / 86400:.0f} days" in PAGE
    for role in Role:
        assert f"| {role.word} |" in PAGE


def test_every_kind_of_the_timeline_is_there() -> None:
    part = PAGE.partition("## Timeline")[2].partition("\n## ")[0]
    for word in timeline.KINDS.values():
        assert re.search(rf"(?m)^\| [^|]*\b{word}\b", part), word
