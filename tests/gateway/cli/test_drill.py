"""`banyan drill`: wrong use is said at once, and whoever interrupts one leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from demo.processes import ROOT, python


def drill(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "drill", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["provider", "--picture", "/nowhere/at/all.png"], "there is no folder /nowhere/at"),
        (["provider", "--payments", "0"], "--payments: at least 1"),
        (["provider", "--rate", "0"], "--rate: from 0.1"),
        (["surge", "--seconds", "0"], "--seconds: from 1 to 600"),
        (["surge", "--seconds", "nan"], "--seconds: from 1 to 600"),
        (["surge", "--times", "inf"], "--times: from 0.1 to 100"),
        (["timedeal", "--buyers", "0"], "--buyers: from 1 to 1000"),
        (["timedeal", "--seconds", "0.5"], "--seconds: from 1 to 600"),
    ],
    ids=["picture", "payments", "rate", "surge", "surge-nan", "surge-inf", "buyers", "seconds"],
)
def test_wrong_use_is_said_before_anything_is_started(arguments: list[str], said: str) -> None:
    done = drill(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def of_folder(folder: Path) -> list[int]:
    """The processes that have `folder` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"TMPDIR={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except (OSError, ValueError):
                pass  # another user's, or gone meanwhile
    return found


@pytest.mark.parametrize(
    ("arguments", "moment"),
    [
        (["provider", "--payments", "20", "--rate", "5"], "seeding"),
        (["provider", "--payments", "20", "--rate", "5"], "without the gateway"),
        (["timedeal", "--buyers", "20"], "seeding"),
        (["timedeal", "--buyers", "20"], "as it was"),
    ],
)
def test_interrupted_it_ends_what_it_started_and_leaves_nothing(tmp_path: Path, arguments: list[str], moment: str) -> None:
    command = python("-m", "gateway.cli", "drill", *arguments)
    running = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    try:
        for line in running.stderr:
            if moment in line:
                break
        time.sleep(4 if moment != "seeding" else 0.5)  # somewhere in the middle of what it says it does
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            running.kill()
    assert running.returncode == 130, said
    for _ in range(50):
        if not of_folder(tmp_path):
            break
        time.sleep(0.1)  # what was killed is a moment later gone
    assert of_folder(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
