"""Upstream and peers, started side by side and each on its core, for as long as a scenario runs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cpu
from bench.peers import MissingError, Peer, Starter
from demo.processes import ROOT, Running, answers, listen, python, start

Say = Callable[[str], None]


class ClientError(Exception):
    """The load met something that must not be. The message holds what it said."""


@dataclass
class Stage:
    """What runs."""

    folder: Path
    upstream: Running
    peers: dict[str, Peer] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@contextmanager
def stage(upstream: Callable[[Path], Running], starters: Mapping[str, Starter], only: Sequence[str]) -> Iterator[Stage]:
    """Starts those of `starters` that are in `only` (empty: all), before one upstream.

    Raises:
        ClientError: none of them is there.
    """
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "upstream").mkdir()
        set_up = Stage(folder, upstream(folder / "upstream"))
        try:
            cpu.pin([set_up.upstream.pid, *cpu.children(set_up.upstream.pid)], cpu.LOAD_CORE)
            for peer, starter in starters.items():
                if only and peer not in only:
                    continue
                (folder / peer).mkdir()
                try:
                    proxy = set_up.peers[peer] = starter(folder / peer, set_up.upstream.port, None)
                except MissingError as error:
                    set_up.missing[peer] = str(error)
                    continue
                cpu.pin(proxy.pids, cpu.PROXY_CORE)
            if starters and not set_up.peers:
                raise ClientError(f"nobody to measure: {'; '.join(set_up.missing.values()) or f'only {", ".join(starters)} take part'}")
            yield set_up
        finally:
            for proxy in set_up.peers.values():
                proxy.stop()
            set_up.upstream.stop(5.0)


def module(name: str, folder: Path, ready: str) -> Running:
    """A server of this package, on the load's core: `python -m NAME FD`. `ready`: a path that it answers."""
    return start(name, python("-m", name, "{fd}"), log_dir=folder, sock=listen(), ready=answers(ready))


def client(name: str, *arguments: str, timeout: float) -> Any:
    """Runs a client of this package on the load's core. What it printed, which is JSON."""
    command = [sys.executable, "-m", name, *arguments]
    with cpu.on(cpu.LOAD_CORE):
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)  # noqa: S603 - our own
    if ended.returncode:
        raise ClientError(f"{name} {' '.join(arguments)} ended with status {ended.returncode}:\n{ended.stderr.strip()}")
    return json.loads(ended.stdout)
