"""Idle kept-alive connections: what each of them costs in memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import cpu, descriptors, peers
from bench.bars import BARS
from bench.idlers import REQUESTS
from bench.memory import MIB, rss
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, stage
from demo.processes import ROOT

SETTLE_SECONDS = 6.0
"""From the last answer until memory is read: by then the connections to the upstream, which are not what is measured, have been let go."""
_COLUMNS = ["peer", "RSS before, MiB", "with them, MiB", "KiB a connection", "KiB at most"]


@dataclass
class Held:
    """Bytes resident."""

    before: int
    after: int
    opening: int
    """While the connections were opened and asked on; the idle ones are what is measured."""


def run(*, only: Sequence[str] = (), count: int = 10_000, settle: float = SETTLE_SECONDS, say: Say) -> Section:
    """`count` connections to each peer in turn.

    Raises:
        TooFewError: the limit of open files does not allow them.
        ClientError: one was refused, closed or answered wrongly.
    """
    descriptors.allow(count + 1000)  # for proxies, which inherit it, and this
    held: dict[str, Held] = {}
    with stage(peers.upstream, peers.IDLE, only) as set_up:
        for name, peer in set_up.peers.items():
            say(f"idle: {count} connections to {peer.name}")
            held[name] = _hold(peer, count, settle)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()}
        missing = set_up.missing
    rows = [
        [
            versions[name],
            f"{each.before / MIB:.1f}",
            f"{each.after / MIB:.1f}",
            f"{_each(each.before, each.after, count):.1f}",
            f"{_each(each.before, max(each.opening, each.after), count):.1f}",
        ]
        for name, each in sorted(held.items(), key=lambda item: item[1].after - item[1].before)
    ]
    verdicts = [BARS["idle"].judge(_each(held["banyan"].before, held["banyan"].after, count))] if "banyan" in held else []
    data: dict[str, object] = {"peers": {name: vars(each) for name, each in held.items()}}
    return Section(
        f"Idle connections, {count:,}",
        _COLUMNS,
        rows,
        _INTRO.format(count=count, requests=REQUESTS),
        verdicts=verdicts,
        missing=missing,
        data=data,
    )


def _each(before: int, after: int, count: int) -> float:
    """KiB a connection."""
    return (after - before) / count / 1024


def _hold(peer: Peer, count: int, settle: float) -> Held:
    # Some requests first: what a proxy needs for the first of them is not a connection's.
    _visit(peer, min(count, 100), 0.0)
    time.sleep(0.5)
    before = rss(peer.pids)
    opening, after = _visit(peer, count, settle)
    return Held(before, after, opening)


def _visit(peer: Peer, count: int, settle: float) -> tuple[int, int]:
    """RSS when all have been answered, and `settle` seconds later."""
    command = [sys.executable, "-m", "bench.idlers", str(peer.port), str(count)]
    with cpu.on(cpu.LOAD_CORE):
        idlers = subprocess.Popen(  # noqa: S603 - our own module
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with idlers:
        try:
            assert idlers.stdout is not None  # noqa: S101 - asked for
            if idlers.stdout.readline() != "held\n":
                raise ClientError(_why(peer, idlers))
            opening = rss(peer.pids)
            time.sleep(settle)
            after = rss(peer.pids)
            said, wrong = idlers.communicate("again\n", timeout=120)
            if said != "alive\n":
                raise ClientError(f"{peer.name}: {wrong.strip()}\n{peer.process.tail()}")
        finally:
            idlers.kill()
    return opening, after


def _why(peer: Peer, idlers: subprocess.Popen[str]) -> str:
    _, said = idlers.communicate(timeout=20)
    return f"{peer.name}: {said.strip()}\n{peer.process.tail()}"


_INTRO = """
{count:,} connections, opened by the hundred; each has got {requests} answers, and then nothing happens on it. RSS
(`/proc/PID/smaps_rollup`) before them, after a few hundred requests on connections that have ended, and 6 s after the last answer. Banyan's
two workers share them, as one would need twice as many open files (a client's and its upstream's), and are taken together. Then one
more request is made on each of them: all must still be there. *At most* is with the connections to the upstream that were open when the
last answer came.
"""
