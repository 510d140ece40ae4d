"""What a candidate that hangs in the shadow costs the client, and what it makes the worker hold.

Two gateways stand before the same legacy, and take turns: one compares nothing, the other mirrors every request to a candidate that takes
it and never answers. What the second adds to the p99 is taken within a round, as in bench/latency.py, and with its precautions.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import cpu, memory, peers
from bench.bars import BARS
from bench.latency import DISTURBED, Times, carried, paced
from bench.peers import Peer
from bench.section import Section
from bench.stage import Say, module, stage

_COLUMNS = ["gateway", "p50, ms", "p99, ms", "p99 moved, ms", "over the rounds", "RSS, MiB", "RSS at most, over before, MiB"]


def run(*, only: Sequence[str] = (), rounds: int = 15, seconds: float = 0.4, say: Say) -> Section:
    """Raises ClientError where there were wrong answers. `only` has no meaning here: nobody else takes part."""
    del only

    def hung(folder: Path, legacy: int, mirror: int | None) -> Peer:
        return peers.banyan(folder, legacy, silent.port)

    with cpu.ahead() as ahead, tempfile.TemporaryDirectory(prefix="banyan-bench-") as log:
        silent = module("bench.silent", Path(log), "/ready")
        try:
            cpu.pin([silent.pid], cpu.LOAD_CORE)
            with stage(peers.upstream, {"alone": peers.banyan, "hung": hung}, ()) as set_up:
                alone, shadowed = set_up.peers["alone"], set_up.peers["hung"]
                say("hung: what is carried with a candidate that hangs")
                rate = carried(shadowed.port, 0.7) / 2
                before = memory.rss(shadowed.pids)
                times = {"alone": Times(), "hung": Times()}
                with memory.Sampler(shadowed.pids, 0.05) as seen:
                    for number in range(-1, rounds):  # the first is for warming up
                        for name, into in times.items():
                            say(f"hung: {rate:.0f} requests/s, round {number + 1} of {rounds}, {name}")
                            took = paced(set_up, set_up.peers[name], rate, seconds)
                            if number >= 0:
                                for kept, value in zip((into.p50, into.p99, into.busy, into.others), took, strict=True):
                                    kept.append(value)
                grown = (seen.highest.rss - before) / memory.MIB
                holds = {"alone": memory.rss(alone.pids), "hung": memory.rss(shadowed.pids)}
        finally:
            silent.stop(5.0)
    moved = times["hung"].added(times["alone"])
    rows = [
        [
            {"alone": "nothing is compared", "hung": "every request is mirrored to a candidate that hangs"}[name],
            f"{statistics.median(each.p50):.2f}",
            f"{statistics.median(each.p99):.2f}",
            f"{statistics.median(moved):+.2f}" if name == "hung" else "",
            f"{min(moved):+.2f} to {max(moved):+.2f}" if name == "hung" else "",
            f"{holds[name] / memory.MIB:.1f}",
            f"{grown:+.1f}" if name == "hung" else "",
        ]
        for name, each in times.items()
    ]
    others = max(statistics.median(each.others) for each in times.values())
    void = "" if ahead or others <= DISTURBED else f"others took {others:.0%} of the two cores"
    verdicts = [BARS["hung"].judge(statistics.median(moved), void), BARS["hung-memory"].judge(grown)]
    data: dict[str, object] = {"rate": rate, "moved": moved, "grown": grown, "gateways": {name: vars(each) for name, each in times.items()}}
    intro = _INTRO.format(rate=rate, rounds=rounds, seconds=seconds)
    return Section("A candidate that hangs", _COLUMNS, rows, intro, verdicts=verdicts, data=data)


_INTRO = """
{rate:.0f} requests/s, half of what the gateway carries while the candidate hangs; open loop over 64 connections, {rounds} rounds of
{seconds:g} s in which the two gateways take turns. With 64 mirrored requests under way, and a timeout of 5 s for each, most requests are
not mirrored any more, and counted as dropped: that is what keeps the client's time and the worker's memory as they were.
"""
