"""How a command ends when nobody, or nothing, takes what it prints."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from demo.processes import ROOT, python

FLUSHED = [pytest.param("1", id="at once"), pytest.param("", id="at the end")]
"""PYTHONUNBUFFERED: what is printed meets the pipe in the verb, or when it has returned."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "banyan.toml").write_text('[upstreams]\nlegacy = "http://127.0.0.1:1"\n')
    return python("-m", "gateway.cli", "flags", "list", "--config", str(tmp_path / "banyan.toml"))


def write(folder: Path, flags: int) -> None:
    features = [{"name": f"f{number}", "enabled": False, "strategies": []} for number in range(flags)]
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": features}))


@pytest.mark.parametrize("unbuffered", FLUSHED)
@pytest.mark.parametrize("flags", [1, 5000])
def test_a_reader_that_has_read_enough(tmp_path: Path, command: list[str], unbuffered: str, flags: int) -> None:
    write(tmp_path, flags)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", FLUSHED)
@pytest.mark.parametrize("verb", ["flags list", "check", "--help", "--version"])
def test_a_disk_that_is_full(tmp_path: Path, command: list[str], unbuffered: str, verb: str) -> None:
    write(tmp_path, 1)
    if verb != "flags list":
        command = python("-m", "gateway.cli", *verb.split())
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
            timeout=60,
            check=False,
        )
    what = b"standard output, or a file," if unbuffered else b"standard output"
    assert (done.returncode, done.stderr) == (2, b"banyan: %b cannot be written: No space left on device\n" % what)


def test_the_status_is_the_verbs_own(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "there is no such file" in done.stderr
