"""Gateways that are alike but for one thing take turns under the same load: what that thing costs a request."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import cpu, peers
from bench.peers import Peer, Starter
from bench.stage import ClientError, Say, client, stage


@dataclass(frozen=True)
class Beside:
    """CPU a request in µs, round by round. `plain`: the case that the others are held against."""

    plain: str
    cpu_us: dict[str, list[float]]

    def more(self, case: str) -> list[float]:
        """Than the plain one took, within each round: what else the machine does in a round, it does to both."""
        return [mine - plain for mine, plain in zip(self.cpu_us[case], self.cpu_us[self.plain], strict=True)]

    def median(self, case: str) -> float:
        """Of what is more."""
        return statistics.median(self.more(case))

    def cells(self, case: str) -> list[str]:
        """Of a table: the case, its CPU, what is more, and over which range."""
        figures = f"{statistics.median(self.cpu_us[case]):.1f}"
        if case == self.plain:
            return [case, figures, "", ""]
        more = self.more(case)
        return [case, figures, f"{self.median(case):+.1f}", f"{min(more):+.1f} to {max(more):+.1f}"]


def as_fast_as_answers_come(peer: Peer, seconds: float) -> float:
    """The pass-through's load: how many requests were answered.

    Raises:
        ClientError: a wrong answer.
    """
    told = client("bench.load", str(peer.port), "--seconds", str(seconds), timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{peer.name}: {told['wrong']:.0f} wrong answers of {told['requests']:.0f}")
    return float(told["requests"])


def measure(name: str, cases: Mapping[str, Starter], plain: str, load: Callable[[Peer], float], *, rounds: int, say: Say) -> Beside:
    """`load` puts a gateway under load, and returns how many requests it has answered.

    Raises:
        ClientError: from `load`, or none of them can be started.
    """
    found: dict[str, list[float]] = {case: [] for case in cases}
    with stage(peers.upstream, cases, ()) as set_up:
        for number in range(-1, rounds):  # the first is for warming up
            for case, peer in set_up.peers.items():
                say(f"{name}: round {number + 1} of {rounds}, {case}")
                before = cpu.seconds(peer.pids)
                requests = load(peer)
                if number >= 0:
                    found[case].append((cpu.seconds(peer.pids) - before) / requests * 1e6)
    return Beside(plain, found)
