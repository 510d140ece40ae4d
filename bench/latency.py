"""What a proxy adds to the time that an answer takes, at half of the load that Banyan carries."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import cpu, peers
from bench.bars import BARS
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, client, stage

PEERS = ("nginx", "haproxy", "envoy", "banyan")
_COLUMNS = ["peer", "p50, ms", "p99, ms", "p50 added, ms", "p99 added, ms", "over the rounds", "its core busy"]


@dataclass
class Times:
    """Milliseconds, one figure for each round."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """CPU seconds a second."""

    def added(self, direct: Times) -> list[float]:
        """p99 over that of asking the upstream directly, within each round."""
        return [mine - its for mine, its in zip(self.p99, direct.p99, strict=True)]


def run(*, only: Sequence[str] = (), rounds: int = 15, seconds: float = 1.2, say: Say) -> Section:
    """Raises ClientError where there were wrong answers."""
    starters = {name: peers.ALL[name] for name in PEERS}
    with stage(peers.upstream, starters, only) as set_up:
        measured = set_up.peers.get("banyan") or next(iter(set_up.peers.values()))
        say(f"latency: what {measured.name} carries")
        carried = statistics.median(_carried(measured.port, 1.0) for _ in range(3))
        rate = carried / 2
        times: dict[str, Times] = {name: Times() for name in ("direct", *set_up.peers)}
        for number in range(-1, rounds):  # the first is for warming up
            for name, into in times.items():
                say(f"latency: {rate:.0f} requests/s, round {number + 1} of {rounds}, {name}")
                peer = set_up.peers.get(name)
                port = peer.port if peer else set_up.upstream.port
                took = _round(port, rate, seconds if number >= 0 else 0.5, peer)
                if number >= 0:
                    for kept, value in zip((into.p50, into.p99, into.busy), took, strict=True):
                        kept.append(value)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()} | {"direct": "no proxy"}
        missing = set_up.missing
    direct = times["direct"]
    rows = [
        [
            versions[name],
            f"{statistics.median(each.p50):.2f}",
            f"{statistics.median(each.p99):.2f}",
            "" if each is direct else f"{statistics.median(a - b for a, b in zip(each.p50, direct.p50, strict=True)):+.2f}",
            "" if each is direct else f"{statistics.median(each.added(direct)):+.2f}",
            "" if each is direct else f"{min(each.added(direct)):+.2f} to {max(each.added(direct)):+.2f}",
            "" if each is direct else f"{statistics.median(each.busy):.0%}",
        ]
        for name, each in sorted(times.items(), key=lambda item: statistics.median(item[1].p99))
    ]
    verdicts = [BARS["latency"].judge(statistics.median(times["banyan"].added(direct)))] if "banyan" in times else []
    data: dict[str, object] = {"rate": rate, "peers": {name: vars(each) for name, each in times.items()}}
    intro = _INTRO.format(rate=rate, carried=carried, name=measured.name)
    return Section("Latency at half load", _COLUMNS, rows, intro, verdicts=verdicts, missing=missing, data=data)


def _carried(port: int, seconds: float) -> float:
    """Requests a second, as fast as answers come."""
    told = client("bench.load", str(port), "--seconds", str(seconds), timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{told['wrong']:.0f} wrong answers of {told['requests']:.0f}")
    return float(told["requests"] / told["seconds"])


def _round(port: int, rate: float, seconds: float, peer: Peer | None) -> tuple[float, float, float]:
    before = cpu.seconds(peer.pids) if peer else 0.0
    told = client("bench.open_loop", str(port), f"{rate:.3f}", str(seconds), timeout=seconds + 60)
    used = cpu.seconds(peer.pids) - before if peer else 0.0
    return told["p50"] * 1e3, told["p99"] * 1e3, used / seconds


_INTRO = """
{rate:.0f} requests/s for everyone, half of the {carried:.0f} that {name} carried as fast as answers come in this run; the requests are
those of the pass-through. Open loop over 64 connections: every request has its time, and its latency counts from then, also where it could
only be sent later because all connections were waiting (no coordinated omission). Asking the upstream directly and through each proxy take
turns; what is added is taken within a round, and its median over the rounds is shown.
"""
