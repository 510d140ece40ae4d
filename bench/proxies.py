"""Runs the peers in turn, round after round, and compares within a round: what a noisy machine does to one it does to its neighbour."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench import cpu, peers
from bench.peers import MissingError, Peer
from demo.processes import ROOT

SLOW = {"mitmproxy": 100, "banyan-mitmproxy": 100}
"""Requests a second that this peer can be given, where that is less than the others."""


class SpoiltError(Exception):
    """A run had wrong answers, or too few: its figures mean nothing."""


@dataclass
class Figures:
    """One peer's runs."""

    name: str
    version: str
    cpu: list[float] = field(default_factory=list)
    """Microseconds a request, one for each round."""
    beside: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def ratio(self, other: Figures) -> float:
        """The median of this peer's CPU over the other's, round by round."""
        return statistics.median(a / b for a, b in zip(self.cpu, other.cpu, strict=True))


@dataclass
class Result:
    """A scenario's figures, and who could not take part."""

    title: str
    load: str
    figures: dict[str, Figures]
    missing: dict[str, str]
    ahead: bool = False
    """What was measured went before everything else on the machine."""


def run(scenario: str, *, only: list[str], rate: int, rounds: int, seconds: float, say: Callable[[str], None]) -> Result:
    """`scenario` is passthrough or shadow. `rate` 0 is as fast as answers come.

    Raises:
        SpoiltError: a wrong answer, or a peer that could not keep up with the rate.
    """
    mirrored = scenario == "shadow"
    load = f"{rate} requests/s" if rate else "as fast as answers come"
    result = Result({"passthrough": "Pass-through", "shadow": "Shadow at 100 %"}[scenario], load, {}, {})
    # So neighbours do not matter, who disturb some peers more than others. Banyan's shipper, else niced, takes turns with the worker then.
    # Not where the load keeps to its times: it looks at the clock all the while, and nobody on its core would have a turn.
    with nullcontext(enter_result=False) if rate else cpu.ahead() as ahead, tempfile.TemporaryDirectory(prefix="banyan-bench-") as name:
        result.ahead = ahead
        folder = Path(name)
        folder.chmod(0o755)
        running: dict[str, Peer] = {}
        started = []
        try:
            for side in ("legacy", "candidate") if mirrored else ("legacy",):
                (folder / side).mkdir()
                started.append(peers.upstream(folder / side))
                cpu.pin([started[-1].pid, *cpu.children(started[-1].pid)], cpu.LOAD_CORE)
            candidate = started[1].port if mirrored else None
            for peer in only:
                here = folder / peer
                here.mkdir()
                try:
                    running[peer] = peers.ALL[peer](here, started[0].port, candidate)
                except MissingError as error:
                    result.missing[peer] = str(error)
                    continue
                cpu.pin(running[peer].pids, cpu.PROXY_CORE)
                result.figures[peer] = Figures(running[peer].name, running[peer].version)
            for peer, proxy in running.items():
                _once(peer, proxy, rate, 1.0)
            for number in range(rounds):
                for peer, proxy in running.items():
                    say(f"{scenario}, {load}: round {number + 1} of {rounds}, {proxy.name}")
                    _measure(result.figures[peer], peer, proxy, rate, seconds)
        finally:
            for proxy in running.values():
                proxy.stop()
            for server in started:
                server.stop(5.0)
    return result


def _measure(figures: Figures, peer: str, proxy: Peer, rate: int, seconds: float) -> None:
    helpers = [pid for pids in proxy.beside.values() for pid in pids]
    before, beside = cpu.seconds(proxy.pids), cpu.seconds(helpers)
    counts = _once(peer, proxy, rate, seconds)
    requests, asked = counts["requests"], _asked(peer, rate) * counts["seconds"]
    if requests < 0.5 * asked:
        raise SpoiltError(f"{proxy.name} answered {requests:.0f} of {asked:.0f}: lower --rate")
    figures.cpu.append((cpu.seconds(proxy.pids) - before) / requests * 1e6)
    figures.beside.append((cpu.seconds(helpers) - beside) / requests * 1e6)
    figures.p50.append(counts["p50"] * 1e3)
    figures.p99.append(counts["p99"] * 1e3)
    figures.rate.append(requests / counts["seconds"])


def _once(peer: str, proxy: Peer, rate: int, seconds: float) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "bench.load",
        str(proxy.port),
        "--rate",
        str(_asked(peer, rate)),
        "--seconds",
        str(seconds),
    ]
    with cpu.on(cpu.LOAD_CORE):
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 30, check=True)  # noqa: S603 - our own
    counts: dict[str, float] = json.loads(ended.stdout)
    if counts["wrong"]:
        raise SpoiltError(f"{proxy.name}: {counts['wrong']:.0f} wrong answers of {counts['requests']:.0f}\n{proxy.process.tail()}")
    return counts


def _asked(peer: str, rate: int) -> int:
    return min(rate, SLOW.get(peer, rate)) if rate else SLOW.get(peer, 0)
