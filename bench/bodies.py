"""Large bodies, up, down and both at once: how fast they pass, what that costs, and that they are not kept."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cpu, peers
from bench.bars import BARS
from bench.load import PATH
from bench.memory import MIB, Sampler, rss
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, client, module, stage

MODES = ("upload", "download", "both")
_COLUMNS = ["peer", "MiB/s", "of nginx", "CPU a MiB, µs", "its core busy", "RSS before, MiB", "farthest from it, MiB"]


@dataclass
class Passed:
    """One peer's transfers of one kind, a figure for each round."""

    speed: list[float] = field(default_factory=list)
    """MiB/s by the clock."""
    cost: list[float] = field(default_factory=list)
    """CPU seconds a MiB."""
    busy: list[float] = field(default_factory=list)
    """CPU seconds a second."""


@dataclass
class _Memory:
    before: int
    lowest: int
    highest: int

    @property
    def farthest(self) -> int:
        return max(self.highest - self.before, self.before - self.lowest, key=abs)


def run(*, only: Sequence[str] = (), size: int = 100 * MIB, rounds: int = 7, say: Say) -> Section:
    """`size`: bytes of a body.

    Raises:
        ClientError: a body did not arrive, or not as it was sent.
    """
    passed: dict[str, dict[str, Passed]] = {}
    memory: dict[str, _Memory] = {}
    with stage(lambda folder: module("bench.bulk", folder, f"{PATH}/3"), peers.BODIES, only) as set_up:
        file = set_up.folder / "body"
        with file.open("wb") as out:
            for at in range(0, size, MIB):
                out.write(os.urandom(min(MIB, size - at)))
        ports = {"direct": set_up.upstream.port} | {name: peer.port for name, peer in set_up.peers.items()}
        for name, peer in set_up.peers.items():
            now = rss(peer.pids)
            memory[name] = _Memory(now, now, now)
        digests = set()
        for name, port in ports.items():
            say(f"bodies: {name}, every byte checked")
            passed[name] = {mode: Passed() for mode in MODES}
            digests.add(_transfer(name, port, "both", size, file, set_up.peers.get(name), memory, check=True)[2])
        if len(digests) != 1:
            raise ClientError("a download through a proxy is not what the upstream sent")
        for number in range(rounds):
            for mode in MODES:
                for name, port in ports.items():
                    say(f"bodies: {mode}, round {number + 1} of {rounds}, {name}")
                    seconds, used, _ = _transfer(name, port, mode, size, file, set_up.peers.get(name), memory)
                    mib = size / MIB * (2 if mode == "both" else 1)
                    into = passed[name][mode]
                    into.speed.append(mib / seconds)
                    into.cost.append(used / mib)
                    into.busy.append(used / seconds)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()} | {"direct": "no proxy"}
    return _section(passed, memory, versions, set_up.missing, size)


def _transfer(
    name: str, port: int, mode: str, size: int, file: Path, peer: Peer | None, memory: dict[str, _Memory], *, check: bool = False
) -> tuple[float, float, str]:
    """Seconds, CPU seconds of the proxy, digest."""
    arguments = [str(port), mode, str(size), str(file), *(["--check"] if check else [])]
    told: dict[str, Any]
    try:
        if peer is None:
            told = client("bench.transfer", *arguments, timeout=120)
            return told["seconds"], 0.0, told.get("digest", "")
        before = cpu.seconds(peer.pids)
        with Sampler(peer.pids) as seen:
            told = client("bench.transfer", *arguments, timeout=120)
        used = cpu.seconds(peer.pids) - before
    except ClientError as error:
        raise ClientError(f"{name}: {error}" + (f"\n{peer.process.tail()}" if peer else "")) from error
    memory[name].lowest = min(memory[name].lowest, *(each.rss for each in seen.samples))
    memory[name].highest = max(memory[name].highest, seen.highest.rss)
    return told["seconds"], used, told.get("digest", "")


def ratio(ours: Sequence[float], theirs: Sequence[Sequence[float]]) -> float:
    """The median over the rounds of our speed over that of the fastest of them."""
    return statistics.median(mine / max(each[number] for each in theirs) for number, mine in enumerate(ours))


def _section(
    passed: dict[str, dict[str, Passed]], memory: dict[str, _Memory], versions: dict[str, str], missing: dict[str, str], size: int
) -> Section:
    rows = []
    verdicts = []
    nginxes = [name for name in passed if name.startswith("nginx")]
    for mode in MODES:
        rows.append([f"**{mode}**", *[""] * (len(_COLUMNS) - 1)])
        for name in sorted(passed, key=lambda each: -statistics.median(passed[each][mode].speed)):
            each = passed[name][mode]
            kept = memory.get(name)
            rows.append(
                [
                    versions[name],
                    f"{statistics.median(each.speed):.0f}",
                    f"{ratio(each.speed, [passed[nginx][mode].speed for nginx in nginxes]):.2f}" if nginxes else "",
                    f"{statistics.median(each.cost) * 1e6:.0f}" if kept else "",
                    f"{statistics.median(each.busy):.0%}" if kept else "",
                    f"{kept.before / MIB:.1f}" if kept else "",
                    f"{kept.farthest / MIB:+.1f}" if kept else "",
                ]
            )
        if nginxes and "banyan" in passed:
            speeds = [passed[nginx][mode].speed for nginx in nginxes]
            verdicts.append(BARS[mode].judge(ratio(passed["banyan"][mode].speed, speeds)))
    if "banyan" in memory:
        verdicts.append(BARS["bodies-memory"].judge(abs(memory["banyan"].farthest) / MIB))
    return Section(
        f"Bodies of {size / MIB:g} MiB",
        _COLUMNS,
        rows,
        _INTRO,
        verdicts=verdicts,
        missing=missing,
        data={
            "peers": {
                name: {mode: {"mib_s": each.speed, "cpu_s_mib": each.cost} for mode, each in modes.items()}
                for name, modes in passed.items()
            },
            "rss": {name: {"before": each.before, "lowest": each.lowest, "highest": each.highest} for name, each in memory.items()},
        },
    )


_INTRO = """
One body up, one down, and both at once on two connections. The client sends with sendfile and throws away what it receives inside the
kernel, and so does the upstream: neither holds a proxy up, as the line without one shows. Once for each peer every byte is checked
(and the memory watched, too), then the clock is. nginx passes uploads on as they come (`proxy_request_buffering off`), and answers in
both its ways, `proxy_buffering` on, its default, and off; *of nginx* is over the faster one of the round. *CPU a MiB* is what the scheduler
counted for the proxy. The RSS was read every 10 ms in all transfers, from before the first of them.
"""
