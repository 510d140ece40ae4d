"""Where the pass-through's CPU goes: what the kernel takes, what the event loop takes, and what is Banyan's own."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import cpu, parts, peers, perf
from bench.load import PATH
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, client, stage
from demo.processes import ROOT, answers, listen, python, start

PEERS = ("nginx", "envoy", "banyan")
_COLUMNS = ["part", "µs a request", "share"]


@dataclass
class Spent:
    """Microseconds of CPU a request, one figure for each round."""

    user: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return statistics.median(self._totals())

    def of(self, other: Spent) -> float:
        """The ratio of both totals, taken within a round."""
        return statistics.median(a / b for a, b in zip(self._totals(), other._totals(), strict=True))

    def _totals(self) -> list[float]:
        return [a + b for a, b in zip(self.user, self.system, strict=True)]


def relay(folder: Path, legacy: int, mirror: int | None) -> Peer:
    """The bare relay, as a peer."""
    sock = listen()
    port: int = sock.getsockname()[1]
    command = python("-m", "bench.floor", "{fd}", str(legacy))
    process = start("floor", command, log_dir=folder, sock=sock, ready=answers(f"{PATH}/3"))
    return Peer("a bare relay on uvloop", port, process, [process.pid])


def run(*, only: Sequence[str] = (), rounds: int = 5, seconds: float = 2.5, deep: bool = True, say: Say) -> Section:
    """`deep`: with the engine alone, perf and callgrind, too.

    Raises:
        ClientError: wrong answers.
    """
    starters = {"floor": relay} | {name: peers.ALL[name] for name in PEERS}
    chosen = ["floor", "banyan", *only] if only else []
    with stage(peers.upstream, starters, chosen) as set_up:
        spent = {name: Spent() for name in set_up.peers}
        for number in range(rounds):
            for name, peer in set_up.peers.items():
                say(f"profile: round {number + 1} of {rounds}, {peer.name}")
                if number == 0:
                    _load(peer, 0.5)
                _measure(spent[name], peer, seconds)
        sampled: dict[str, float] | str = "not asked for"
        banyan = set_up.peers["banyan"]
        if deep:
            say("profile: perf")
            sampled = perf.shares(banyan.pids[0], set_up.folder / "perf.data", lambda: _load(banyan, seconds))
        names = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()}
        missing = set_up.missing
        say("profile: the engine alone")
        alone = _alone() if deep else 0.0
        split = parts.shares(set_up.folder / "callgrind.out") if deep else "not asked for"
    return _section(spent, names, missing, alone, split, sampled)


def _load(peer: Peer, seconds: float) -> float:
    """Requests answered."""
    told = client("bench.load", str(peer.port), "--seconds", str(seconds), timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{peer.name}: {told['wrong']:.0f} wrong answers of {told['requests']:.0f}\n{peer.process.tail()}")
    return float(told["requests"])


def _measure(into: Spent, peer: Peer, seconds: float) -> None:
    before, ticks = cpu.seconds(peer.pids), cpu.ticks(peer.pids)
    requests = _load(peer, seconds)
    each = (cpu.seconds(peer.pids) - before) / requests * 1e6
    share = cpu.system_share(peer.pids, ticks)
    into.user.append(each * (1 - share))
    into.system.append(each * share)


def _alone() -> float:
    """Microseconds that the engine takes for a request without sockets."""
    command = [sys.executable, "-m", "bench.engine", "passthrough"]
    with cpu.on(cpu.PROXY_CORE):
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603 - our own
    found = re.search(r"([\d.]+) µs", ended.stdout)
    if found is None:
        raise ClientError(f"bench.engine said {ended.stdout!r}")
    return float(found[1])


def _section(
    spent: dict[str, Spent],
    names: dict[str, str],
    missing: dict[str, str],
    alone: float,
    split: dict[str, float] | str,
    sampled: dict[str, float] | str,
) -> Section:
    banyan, floor = spent["banyan"], spent["floor"]

    own = statistics.median(ours - its for ours, its in zip(banyan.user, floor.user, strict=True))
    kernel, loop = statistics.median(banyan.system), statistics.median(floor.user)
    total = kernel + loop + own
    rows = [
        ["kernel", f"{kernel:.1f}", f"{kernel / total:.0%}"],
        ["event loop", f"{loop:.1f}", f"{loop / total:.0%}"],
        ["Banyan's own", f"{own:.1f}", f"{own / total:.0%}"],
    ]
    if isinstance(split, dict):
        rows += [[f"— {part}", f"{own * share:.1f}", f"{own * share / total:.0%}"] for part, share in split.items()]
    rows.append(["**together**", f"**{total:.1f}**", "100%"])
    rows += [[f"beside: {names[name]}, all of it", f"{each.total:.1f}", ""] for name, each in spent.items() if name != "banyan"]
    floors = f"A bare relay takes {statistics.median(floor.system):.1f} µs in the kernel and {loop:.1f} in the event loop"
    if "envoy" in spent:
        floors += f": together {floor.of(spent['envoy']):.2f} of Envoy. No floor: who is quicker works in smaller batches"
    said = [f"{floors}."]
    if alone:
        said.append(f"The engine alone, without sockets (`python -m bench.engine`), took {alone:.1f} µs a request.")
    if isinstance(sampled, dict):
        said.append(f"perf, samples of the worker: {', '.join(f'{place} {share:.0%}' for place, share in sampled.items())}.")
    elif alone:
        said.append(f"Without perf's word: {sampled}.")
    if isinstance(split, str) and alone:
        said.append(f"Banyan's own is not split here: {split}.")
    data: dict[str, object] = {
        "peers": {name: vars(each) for name, each in spent.items()},
        "engine_us": alone,
        "parts": split,
        "perf": sampled,
    }
    return Section("Where the pass-through's CPU goes", _COLUMNS, rows, _INTRO, "\n\n".join(said), missing=missing, data=data)


_INTRO = """
As fast as answers come, as above. *A bare relay* is two sockets on uvloop and bytes copied without a look at them (`bench/floor.py`).
*Kernel* is Banyan's system time; *event loop* is the bare relay's user time; *Banyan's own* is what its user time is above that, in the
same rounds. User and system time are told apart by the kernel (`/proc/PID/stat`). The parts of Banyan's own are its time by their shares of
the engine's instructions, as callgrind counts them (`bench/parts.py`).
"""
