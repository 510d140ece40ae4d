"""What stands in the record of overrides, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from flags.overrides import LONGEST, MAX_BYTES, Override, OverrideError, Overrides, read

NOW = 1_000_000.0


def entry(**more: object) -> dict[str, object]:
    return {"enabled": False, "since": NOW - 10, "until": NOW + 60, "by": "ana", "why": "x", **more}


def test_what_is_written_is_read() -> None:
    before, after = Overrides(), Overrides()
    before.put("reviews", Override(False, NOW, NOW + 60, "ana", "Unleash is down"))
    before.put("items", Override(True, NOW, NOW - 1))
    assert after.load(before.dump(), NOW) == []
    assert after.by_flag == {"reviews": before.by_flag["reviews"]}
    assert after.answers == {"reviews": False}
    assert after.next_end == NOW + 60
    assert after.end(NOW + 59) == {}
    assert list(after.end(NOW + 60)) == ["reviews"]
    assert after.next_end is None


@pytest.mark.parametrize(
    "wrong", [{}, [], 7, entry(enabled="no"), entry(until="soon"), entry(until=[]), entry(since=None), {"enabled": True, "until": NOW + 5}]
)
def test_one_entry_costs_no_other(wrong: object) -> None:
    overrides = Overrides()
    assert overrides.load(orjson.dumps({"odd": wrong, "reviews": entry()}), NOW) == ["odd"]
    assert overrides.answers == {"reviews": False}


def test_a_clock_that_was_set_back_costs_none_and_makes_none_hold_for_ever() -> None:
    overrides = Overrides()
    assert overrides.load(orjson.dumps({"reviews": entry(until=NOW + 10 * LONGEST)}), NOW) == []
    assert overrides.next_end == NOW + LONGEST


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"7", b"\xff"])
def test_what_is_no_record(data: bytes) -> None:
    overrides = Overrides()
    with pytest.raises(OverrideError, match="not a record"):
        overrides.load(data, NOW)
    assert overrides.answers == {}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


@pytest.mark.parametrize("make", [_pipe, _huge, lambda path: path.symlink_to("/dev/zero")])
def test_no_start_waits_for_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "flag-overrides.json"
    assert read(path) is None
    make(path)
    with pytest.raises(OverrideError, match="not a record of overrides"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OverrideError, match="not a record of overrides"):
        read(path)
