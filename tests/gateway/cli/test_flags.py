"""`banyan flags` on a file: a slip of the hand is not taken for a flip."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from demo.processes import python

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    return tmp_path


def flags(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "flags", *arguments, "--config", str(folder / "banyan.toml"))
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def states(folder: Path) -> dict[str, bool]:
    return {feature["name"]: feature["enabled"] for feature in json.loads((folder / "flags.json").read_text())["features"]}


def test_what_a_route_reads_is_switched(folder: Path) -> None:
    for arguments in (["on", "reviews.shadow"], ["set", "reviews", "25%"], ["off", "reviews"]):
        done = flags(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert states(folder) == {"reviews.shadow": True, "reviews": False}


@pytest.mark.parametrize("arguments", [["on", "revews"], ["off", "revews"], ["set", "revews", "5%"]])
def test_what_no_route_reads_is_refused_with_what_was_meant(folder: Path, arguments: list[str]) -> None:
    done = flags(folder, *arguments)
    assert done.returncode == 2
    assert done.stderr == (
        f"banyan: {folder}/banyan.toml: no route reads a flag 'revews'. Did you mean 'reviews'? "
        "Routes read 'reviews', 'reviews.shadow'. Nothing was changed; --force makes it all the same\n"
    )
    assert not (folder / "flags.json").exists()
    assert flags(folder, *arguments, "--force").returncode == 0
    assert "revews" in states(folder)


def test_what_is_like_nothing_is_refused_with_what_there_is(folder: Path) -> None:
    assert flags(folder, "off", "zzz").stderr == (
        f"banyan: {folder}/banyan.toml: no route reads a flag 'zzz'. "
        "Routes read 'reviews', 'reviews.shadow'. Nothing was changed; --force makes it all the same\n"
    )


def test_what_no_route_reads_and_is_there_is_switched_with_a_note(folder: Path) -> None:
    (folder / "flags.json").write_text('{"version": 1, "features": [{"name": "revews", "enabled": true, "strategies": []}]}')
    done = flags(folder, "off", "revews", "--json")
    assert (done.returncode, json.loads(done.stdout)[0]["enabled"]) == (0, False)
    assert done.stderr == (
        f"note: {folder}/banyan.toml: no route reads a flag 'revews'. Did you mean 'reviews'? Routes read 'reviews', 'reviews.shadow'\n"
    )
    assert states(folder) == {"revews": False}
