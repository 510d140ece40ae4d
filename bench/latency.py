"""What a proxy adds to the time that an answer takes, at half of the load that Banyan carries.

A p99 is what a neighbour does to it before it is what a proxy does: one program that takes 2 % of a core in slices of 3 ms moves it by
3 ms, for whoever is measured. So what is measured goes before everything else on the machine, where that is allowed; what others took
of the two cores meanwhile is counted all the same, and the rounds in which they took least are those that count: chosen by that alone,
never by the latencies. Where it is not allowed, and others took more than DISTURBED even then, nothing is judged.
"""

from __future__ import annotations

import math
import os
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
QUIET = 1 / 3
"""Of the rounds, those that count."""
DISTURBED = 0.1
"""CPU seconds a second. What goes before everything else is not disturbed by the others' share, only by their being there."""
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

    def quiet(self, direct: Times, count: int) -> list[int]:
        """The `count` rounds in which others took least, while this one and while the upstream was asked."""
        return sorted(range(len(self.others)), key=lambda number: self.others[number] + direct.others[number])[:count]

    def added(self, direct: Times, rounds: Sequence[int]) -> list[float]:
        """p99 over that of asking the upstream directly, within each of these rounds."""
        return [self.p99[number] - direct.p99[number] for number in rounds]


def run(*, only: Sequence[str] = (), rounds: int = 15, seconds: float = 1.2, say: Say) -> Section:
    """Raises ClientError where there were wrong answers."""
    starters = {name: peers.ALL[name] for name in PEERS}
    with stage(peers.upstream, starters, only) as set_up:
        measuring = [os.getpid(), set_up.upstream.pid, *cpu.children(set_up.upstream.pid)]
        ahead = cpu.go_before([*measuring, *(pid for peer in set_up.peers.values() for pid in peer.pids)])
        measured = set_up.peers.get("banyan") or next(iter(set_up.peers.values()))
        say(f"latency: what {measured.name} carries")
        carried = max(_carried(measured.port, 0.7) for _ in range(5))
        rate = carried / 2
        times: dict[str, Times] = {name: Times() for name in ("direct", *set_up.peers)}
        for number in range(-1, rounds):  # the first is for warming up
            for name, into in times.items():
                say(f"latency: {rate:.0f} requests/s, round {number + 1} of {rounds}, {name}")
                took = _round(set_up, set_up.peers.get(name), rate, seconds if number >= 0 else 0.5)
                if number >= 0:
                    for kept, value in zip((into.p50, into.p99, into.busy, into.others), took, strict=True):
                        kept.append(value)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()} | {"direct": "no proxy"}
        missing = set_up.missing
    direct = times["direct"]
    counted = {name: each.quiet(direct, math.ceil(rounds * QUIET)) for name, each in times.items()}
    rows = [
        [
            versions[name],
            f"{_median(each.p50, counted[name]):.2f}",
            f"{_median(each.p99, counted[name]):.2f}",
            "" if each is direct else f"{statistics.median(added):+.2f}",
            "" if each is direct else f"{min(added):+.2f} to {max(added):+.2f}",
            "" if each is direct else f"{_median(each.busy, counted[name]):.0%}",
            f"{_median(each.others, counted[name]):.0%}",
        ]
        for name, each in sorted(times.items(), key=lambda item: _median(item[1].p99, counted[item[0]]))
        for added in [each.added(direct, counted[name])]
    ]
    verdicts = []
    if "banyan" in times:
        ours = times["banyan"]
        others = max(_median(each.others, counted["banyan"]) for each in (ours, direct))
        void = "" if ahead or others <= DISTURBED else f"others took {others:.0%} of the two cores"
        verdicts.append(BARS["latency"].judge(statistics.median(ours.added(direct, counted["banyan"])), void))
    data: dict[str, object] = {"rate": rate, "peers": {name: vars(each) for name, each in times.items()}}
    used = len(counted["direct"])
    intro = _INTRO.format(rate=rate, carried=carried, name=measured.name, rounds=rounds, used=used, seconds=seconds)
    outro = (
        f"{'All that is measured went before everything else on the machine (nice -20). ' if ahead else ''}Over all {rounds} rounds others "
        f"took {statistics.median(direct.others):.0%} of the two cores in the median."
    )
    return Section("Latency at half load", _COLUMNS, rows, intro, outro, verdicts=verdicts, missing=missing, data=data)


def _median(values: Sequence[float], rounds: Sequence[int]) -> float:
    return statistics.median(values[number] for number in rounds)


def _carried(port: int, seconds: float) -> float:
    """Requests a second, as fast as answers come."""
    told = client("bench.load", str(port), "--seconds", str(seconds), timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{told['wrong']:.0f} wrong answers of {told['requests']:.0f}")
    return float(told["requests"] / told["seconds"])


def _round(set_up: Stage, peer: Peer | None, rate: float, seconds: float) -> tuple[float, float, float, float]:
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
turns in {rounds} rounds of {seconds:g} s; what is added is taken within a round. What counts are the {used} rounds in which programs that
have no part in this took the least CPU on the two cores (*others*), and of these the median: what a neighbour takes moves everybody's p99.
"""
