"""A running `banyan demo`, and what it has left behind."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from demo.processes import python


class Demo:
    """A running `banyan demo`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out = folder / "out"
        self.err = folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            # As a shell's & starts it, with Ctrl-C ignored; the demo is to end by it all the same.
            self.process = subprocess.Popen(
                ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *python("-m", "gateway.cli", "demo", *arguments)],
                stdout=out,
                stderr=err,
                env={**os.environ, "TMPDIR": str(folder)},
            )

    def wait_for(self, text: str, file: Path, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while text not in (said := file.read_text()):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, f"no {text!r} in {said}\n{self.err.read_text()}"
            time.sleep(0.1)
        return said

    def descendants(self) -> set[int]:
        found: set[int] = set()
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    waiting += (fresh := [int(child) for child in children.read_text().split()])
                except FileNotFoundError:
                    continue
                found.update(fresh)
        return found


def left(pids: set[int]) -> list[str]:
    """The command lines of those that still run; a killed grandchild may take its parent's parent a moment to bury."""
    deadline = time.monotonic() + 3
    while True:
        alive = []
        for pid in pids:
            try:
                alive.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
            except FileNotFoundError:
                continue
        alive = [command for command in alive if command]  # a zombie has none
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)


def folders(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("banyan*"))
