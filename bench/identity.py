"""What it costs to know who calls: CPU a request more than on a route that ignores it, and how many requests legacy is asked about."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import beside, peers
from bench.bars import BARS
from bench.peers import Peer, Starter
from bench.section import Section
from bench.stage import ClientError, Say, client, stage

_COLUMNS = ["gateway", "CPU a request, µs", "over nobody asking, µs", "over the rounds", "requests that legacy is asked about"]
USERS = 50
RATE = 500
"""Requests a second."""
CACHE_SECONDS = 10
"""[identity] cache, its default."""
PLAIN = "nobody asks"
STAMPED = "who calls is remembered, and stamped"
_CASES = {
    PLAIN: ("ignored", ""),
    "who calls is remembered": ("optional", ""),
    STAMPED: ("optional", 'stamp = { key = "a-key-for-benches-alone-0123456789" }\n'),
}


def _gateway(case: str, folder: Path, legacy: int, mirror: int | None, workers: int = 1) -> Peer:
    need, stamp = _CASES[case]
    rollout = {"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "default", "groupId": "reviews"}}
    features = [{"name": name, "enabled": False, "strategies": [rollout]} for name in ("reviews", "reviews.shadow")]
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    # legacy is nginx, to which every session is a user of its own: peers.upstream.
    settings = f'[identity]\nsource = "introspection"\nhost = "shop.example.com"\n{stamp}'
    route = f'[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\nidentity = "{need}"\n'
    return peers.banyan_from(folder, legacy, settings + route, workers=workers)


def run(*, only: Sequence[str] = (), rounds: int = 9, seconds: float = 1.5, periods: int = 3, say: Say) -> Section:
    """`only` names peers, of which there are none here. `periods`: of CACHE_SECONDS, in which the questions are counted.

    Raises:
        ClientError: a wrong answer.
    """
    starters: dict[str, Starter] = {case: partial(_gateway, case) for case in _CASES}
    found = beside.measure("identity", starters, PLAIN, lambda peer: _load(peer, seconds)["requests"], rounds=rounds, say=say)
    shares = {}
    for workers in (1, 2):
        say(f"identity: {USERS} users at {RATE} requests/s, {workers} workers")
        shares[workers] = _share(workers, periods)
    asked = ", ".join(f"{share:.1f} % ({count} worker{'s' * (count > 1)})" for count, share in shares.items())
    rows = [[*found.cells(case), asked if case == STAMPED else ""] for case in _CASES]
    verdicts = [BARS["identity"].judge(found.median(STAMPED)), BARS["identity-asked"].judge(max(shares.values()))]
    intro = _INTRO.format(rounds=rounds, seconds=seconds, users=USERS, rate=RATE, cache=CACHE_SECONDS, counted=periods * CACHE_SECONDS)
    return Section("Identity", _COLUMNS, rows, intro, verdicts=verdicts, data={"cpu_us": found.cpu_us, "asked_percent": shares})


def _load(peer: Peer, seconds: float, rate: int = 0) -> dict[str, float]:
    arguments = ["--seconds", str(seconds), "--rate", str(rate), "--users", str(USERS)]
    told: dict[str, float] = client("bench.load", str(peer.port), *arguments, timeout=seconds + 60)
    if told["wrong"]:
        raise ClientError(f"{peer.name}: {told['wrong']:.0f} wrong answers of {told['requests']:.0f}")
    return told


def _share(workers: int, periods: int) -> float:
    """In percent. Of a gateway that has been asked by all of the users already: a steady state, over whole periods."""
    with stage(peers.upstream, {STAMPED: partial(_gateway, STAMPED, workers=workers)}, ()) as set_up:
        (peer,) = set_up.peers.values()
        _load(peer, CACHE_SECONDS if periods else 1, RATE)
        before = _counted(peer)
        _load(peer, (periods or 0.2) * CACHE_SECONDS, RATE)
        after = _counted(peer)
    asked, requests = (now - then for now, then in zip(after, before, strict=True))
    return 100 * asked / requests if requests else float("nan")


def _counted(peer: Peer) -> tuple[float, float]:
    """(questions, requests that have a caller), when the workers have said what they counted."""
    time.sleep(1.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{peer.admin}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    asked, requests = (
        sum(float(each) for each in re.findall(rf"^{name}{{[^}}]*}} (\S+)", text, re.MULTILINE))
        for name in ("banyan_identity_questions_total", "banyan_identity_callers_total")
    )
    return asked, requests


_INTRO = """
The pass-through's load, as fast as answers come, on one worker of each of three gateways in turn, {rounds} rounds of {seconds:g} s; the
request's session cookie is that of the next of {users} users each time, on every connection, so that nothing known of a connection spares
the looking. All three relay the cookie; the first route ignores who calls. Then {users} users at {rate} requests/s before a gateway that
has met each of them, with the default cache of {cache} s, for {counted} s: each worker remembers for itself, so the share grows with them.
"""
