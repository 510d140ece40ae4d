"""A gateway for a drill: a real `banyan run` on ports of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.processes import Running, StartError, python, start
from drills.stage import Stage

_SERVING: Final = re.compile(r"serving on \S+?:(\d+)\b.* admin on \S+?:(\d+)")


@dataclass(slots=True)
class Gateway(Running):
    """`port` is where clients go."""

    admin: int
    config: Path
    """Its banyan.toml."""


def start_gateway(stage: Stage, toml: str, *, workers: int = 2, name: str = "gateway", port: int = 0) -> Gateway:
    """`toml`: all but [gateway] listen, admin and workers. Its files are in the folder `name` of the stage's; no flag is on.

    `port`: where it is to listen; by default somewhere.

    Raises:
        StartError: it did not come up.
    """
    folder = stage.folder / name
    folder.mkdir(exist_ok=True)
    config = folder / "banyan.toml"
    ours = f'listen = ["127.0.0.1:{port}"]\nadmin = "127.0.0.1:0"\nworkers = {workers}\n'
    head, found, tail = toml.partition("[gateway]\n")
    config.write_text(f"{head}[gateway]\n{ours}{tail}" if found else f"[gateway]\n{ours}\n{toml}")
    flags = folder / "flags.json"
    if not flags.exists():
        flags.write_text(json.dumps({"version": 1, "features": []}))

    log = folder / f"{name}.log"
    before = log.stat().st_size if log.exists() else 0

    def said_where() -> re.Match[str] | None:
        return _SERVING.search(log.read_bytes()[before:].decode(errors="replace"))

    def begin() -> Gateway:
        command = python("-m", "gateway.cli", "run", "--config", str(config))
        running = start(name, command, log_dir=folder, ready=lambda running: said_where() is not None)
        said = said_where()
        if said is None:
            running.kill()
            raise StartError(f"{name} does not say where it serves:\n{running.tail()}")
        return Gateway(name, running.process, running.log, int(said[1]), int(said[2]), config)

    return stage.start(begin, interrupt)


def interrupt(running: Running) -> None:
    """The gateway takes SIGTERM for a rollout and waits for load balancers to look away; nobody has to here."""
    if running.alive():
        os.kill(running.pid, signal.SIGINT)
        try:
            running.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
    running.stop(timeout=0.1)
