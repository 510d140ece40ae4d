"""The image's folders below a test's own, and its two programs, so that what deploy/ says to run can be run as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.processes import Running, start
from tests.support.deploying import DOCKER, ROOT, adapted_program

AWAY = "127.0.0.1:1"
"""Where nobody listens."""


@dataclass
class Placed:
    """/etc/banyan, /srv/banyan, /run/secrets and the PATH of one container."""

    folder: Path
    secrets: Mapping[str, str]
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "secrets", "srv/var"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name, value in self.secrets.items():
            (self.folder / "secrets" / name).write_text(value)
        python = f"{sys.executable} -m gateway.cli"
        adapted_program(DOCKER / "banyan", self.folder / "bin", {"/opt/banyan/venv/bin/banyan": python})
        ask = adapted_program(DOCKER / "ask.py", self.folder / "bin", {"#!/usr/local/bin/python3 ": f"#!{sys.executable} "})
        ask.rename(ask.with_name("banyan-ask"))
        self.env |= {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "BANYAN_SECRETS": str(self.folder / "secrets"),
        }

    def configure(self, etc: Path) -> None:
        """As the image has it: a link to the file that is mounted at `etc`."""
        (self.folder / "srv" / "banyan.toml").symlink_to(etc / "banyan.toml")

    def start(self, name: str, arguments: list[str], ready: Callable[[Running], bool] | None = None, **env: str) -> Running:
        """`banyan` with these arguments, in the folder that it has in the image."""
        command = ["/bin/sh", "-c", 'cd "$0" && exec banyan "$@"', str(self.folder / "srv"), *arguments]
        return start(name, command, log_dir=self.folder / "log", env={**self.env, **env}, ready=ready, timeout=60)

    def execute(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        """A probe, a hook, or what somebody runs in the container."""
        env = {**os.environ, **self.env, **env}
        return subprocess.run(command, cwd=self.folder / "srv", env=env, capture_output=True, text=True, timeout=60, check=False)


def said(running: Running, pattern: str) -> re.Match[str]:
    """What it has written."""
    found = re.search(pattern, running.log.read_text())
    assert found, running.tail()
    return found


def until(true: Callable[[], bool], what: str, tries: int = 300) -> None:
    """Waits, half a minute at most."""
    for _ in range(tries):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(f"it did not come to pass: {what}")
