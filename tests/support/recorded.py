"""An upstream in a process of its own that has written down what it executed, however it ended (tests/support/faulty.py)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from demo.processes import Running, listen, python, start
from tests.support.ledgers import Executed


@dataclass
class Process:
    """A recording upstream (tests/support/faulty.py), on one port for all its lives."""

    name: str
    folder: Path
    port: int = 0
    running: Running | None = None
    wait: float = 0.0
    """Seconds that each of its executions takes beyond what it is told to."""

    async def start(self) -> None:
        sock = listen(self.port)
        self.port = sock.getsockname()[1]
        command = python(
            "-m", "tests.support.faulty", "--fd", "{fd}", "--name", self.name, "--record", str(self.record), "--wait", str(self.wait)
        )
        self.running = await asyncio.to_thread(start, self.name, command, log_dir=self.folder / "log", sock=sock)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.running is not None
        self.running.kill()

    async def stop(self) -> None:
        if self.running is not None:
            await asyncio.to_thread(self.running.stop)

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def executed(self) -> list[Executed]:
        return [Executed(line["id"], line["upstream"], line["method"], frozenset(line["said"])) for line in self.lines()]

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []
