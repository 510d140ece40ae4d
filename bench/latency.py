"""What a proxy adds to the time that an answer takes, at half of the load that Banyan carries.

A p99 is what a neighbour does to it before it is what a proxy does: one program that takes 2 % of a core in slices of 3 ms moves it by
3 ms, for whoever is measured. So what is measured goes before everything else on the machine, where that is allowed, in short rounds (the
kernel gives the others 50 ms of a second even so). What others took of the two cores is counted all the same; where going before them is
not allowed and they took more than DISTURBED, nothing is judged.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench import cpu, peers
from bench.bars import BARS
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, Stage, client, stage

PEERS = ("nginx", "haproxy", "envoy", "banyan")
DISTURBED = 0.1
"""CPU seconds a second of the two cores."""
_COLUMNS = ["peer", "p50, ms", "p99, ms", "p99 added, ms", "over the rounds", "its CPU", "others' CPU"]


@dataclass
class Times:
    """Milliseconds, one figure for each round."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """CPU seconds a second."""
    others: list[float] = field(default_factory=list)
    """CPU seconds a second that programs which have no part in this took of the two cores."""

    def added(self, direct: Times) -> list[float]:
        """p99 over that of asking the upstream directly, within each round."""
        return [mine - its for mine, its in zip(self.p99, direct.p99, strict=True)]


def run(*, only: Sequence[str] = (), rounds: int = 21, seconds: float = 0.4, say: Say) -> Section:
    """Raises ClientError where there were wrong answers."""
    starters = {name: peers.ALL[name] for name in PEERS}
    with cpu.ahead() as ahead, stage(peers.upstream, starters, only) as set_up:
        measured = set_up.peers.get("banyan") or next(iter(set_up.peers.values()))
        say(f"latency: what {measured.name} carries")
        most = max(carried(measured.port, 0.7) for _ in range(5))
        rate = most / 2
        times: dict[str, Times] = {name: Times() for name in ("direct", *set_up.peers)}
        for number in range(-1, rounds):  # the first is for warming up
            for name, into in times.items():
                say(f"latency: {rate:.0f} requests/s, round {number + 1} of {rounds}, {name}")
                took = paced(set_up, set_up.peers.get(name), rate, seconds if number >= 0 else 0.5)
                if number >= 0:
                    for kept, value in zip((into.p50, into.p99, into.busy, into.others), took, strict=True):
                        kept.append(value)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()} | {"direct": "no proxy"}
        missing = set_up.missing
    direct = times["direct"]
    rows = [
        [
            versions[name],
            f"{statistics.median(each.p50):.2f}",
            f"{statistics.median(each.p99):.2f}",
            "" if each is direct else f"{statistics.median(added):+.2f}",
            "" if each is direct else f"{min(added):+.2f} to {max(added):+.2f}",
            "" if each is direct else f"{statistics.median(each.busy):.0%}",
            f"{statistics.median(each.others):.0%}",
        ]
        for name, each in sorted(times.items(), key=lambda item: statistics.median(item[1].p99))
        for added in [each.added(direct)]
    ]
    verdicts = []
    if "banyan" in times:
        ours = times["banyan"]
        others = max(statistics.median(each.others) for each in (ours, direct))
        void = "" if ahead or others <= DISTURBED else f"others took {others:.0%} of the two cores"
        verdicts.append(BARS["latency"].judge(statistics.median(ours.added(direct)), void))
    data: dict[str, object] = {"rate": rate, "peers": {name: vars(each) for name, each in times.items()}}
    intro = _INTRO.format(rate=rate, carried=most, name=measured.name, rounds=rounds, seconds=seconds)
    outro = "All that is measured went before everything else on the machine (SCHED_RR)." if ahead else ""
    return Section("Latency at half load", _COLUMNS, rows, intro, outro, verdicts=verdicts, missing=missing, data=data)


def carried(port: int, seconds: float) -> float:
    """Requests a second, as fast as answers come."""
    told = client("bench.load", str(port), "--seconds", str(seconds), timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{told['wrong']:.0f} wrong answers of {told['requests']:.0f}")
    return float(told["requests"] / told["seconds"])


def paced(set_up: Stage, peer: Peer | None, rate: float, seconds: float) -> tuple[float, float, float, float]:
    """p50 and p99, ms; the proxy's CPU seconds a second, and others'."""
    port = peer.port if peer else set_up.upstream.port
    upstream = [set_up.upstream.pid, *cpu.children(set_up.upstream.pid)]
    proxy = peer.pids if peer else []
    ours, cores, began = cpu.seconds(proxy), cpu.cores_busy(), time.monotonic()
    served = cpu.seconds(upstream)
    told = client("bench.open_loop", str(port), f"{rate:.3f}", str(seconds), timeout=seconds + 60)
    took = time.monotonic() - began
    used = cpu.seconds(proxy) - ours
    known = used + cpu.seconds(upstream) - served + told["cpu"]
    others = max(0.0, cpu.cores_busy() - cores - known) / took
    return told["p50"] * 1e3, told["p99"] * 1e3, used / seconds, others


_INTRO = """
{rate:.0f} requests/s for everyone, half of the {carried:.0f} that {name} carried as fast as answers come in this run; the requests are
those of the pass-through. Open loop over 64 connections: every request has its time, and its latency counts from then, also where it could
only be sent later because all connections were waiting (no coordinated omission). Asking the upstream directly and through each proxy take
turns in {rounds} rounds of {seconds:g} s; what is added is taken within a round, and its median over the rounds is what counts.
*Others' CPU* is what programs that have no part in this took of the two cores meanwhile.
"""
