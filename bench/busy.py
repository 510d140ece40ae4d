"""Many connections with a request under way on each: how much memory a worker takes."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from dataclasses import dataclass

from bench import descriptors, peers
from bench.bars import BARS
from bench.memory import MIB, Sampler, rss
from bench.section import Section
from bench.slow import DELAY
from bench.stage import ClientError, Say, client, module, stage

_COLUMNS = ["peer", "RSS before, MiB", "RSS at most, MiB", "PSS then, MiB", "KiB a connection", "requests/s"]


@dataclass
class Crowded:
    """Bytes, and requests a second."""

    before: int
    highest: int
    proportional: int
    """The PSS at that time."""
    rate: float


def run(*, only: Sequence[str] = (), count: int = 1000, seconds: float = 6.0, say: Say) -> Section:
    """`count` connections for `seconds`, each with a request under way.

    Raises:
        ClientError: a wrong answer, or fewer requests under way at one time than there are connections.
    """
    descriptors.allow(2 * count + 1000)
    crowded: dict[str, Crowded] = {}
    with stage(lambda folder: module("bench.slow", folder, "/ready"), peers.MANY, only) as set_up:
        for name, peer in set_up.peers.items():
            say(f"busy: {count} connections to {peer.name}")
            _most_waiting(set_up.upstream.port)
            before = rss(peer.pids)
            with Sampler(peer.pids) as seen:
                told = client("bench.crowd", str(peer.port), str(count), str(seconds), timeout=seconds + 60)
            at_once = _most_waiting(set_up.upstream.port)
            if at_once < count:
                raise ClientError(f"{peer.name}: {at_once} requests were under way at one time, not {count}\n{peer.process.tail()}")
            crowded[name] = Crowded(before, seen.highest.rss, seen.highest.pss, told["answered"] / seconds)
        versions = {name: f"{peer.name} {peer.version}".strip() for name, peer in set_up.peers.items()}
        missing = set_up.missing
    rows = [
        [
            versions[name],
            f"{each.before / MIB:.1f}",
            f"{each.highest / MIB:.1f}",
            f"{each.proportional / MIB:.1f}",
            f"{(each.highest - each.before) / count / 1024:.1f}",
            f"{each.rate:.0f}",
        ]
        for name, each in sorted(crowded.items(), key=lambda item: item[1].highest)
    ]
    verdicts = [BARS["busy"].judge(crowded["banyan"].highest / MIB)] if "banyan" in crowded else []
    data: dict[str, object] = {"peers": {name: vars(each) for name, each in crowded.items()}}
    intro = _INTRO.format(count=count, delay=DELAY)
    return Section(f"Busy connections, {count:,}", _COLUMNS, rows, intro, verdicts=verdicts, missing=missing, data=data)


def _most_waiting(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/waiting")
        return int(connection.getresponse().read())
    finally:
        connection.close()


_INTRO = """
{count:,} connections to one worker, each with a request under way all the time: the upstream answers {delay:g} s after it was asked, and
counts how many it holds at once, which has to come to {count:,}. Three in four are a GET, the fourth is a POST of 16 KiB; every answer has
16 KiB. The RSS (`/proc/PID/smaps_rollup`) was read every 10 ms; it is what the bar is about. The PSS divides pages between the processes
that share them (Banyan's worker shares the interpreter and its libraries with the supervisor and the shipper).
"""
