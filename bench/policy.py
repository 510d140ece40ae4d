"""What all of the policy costs a request: gateways that ask more and more of it take turns under the same load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import beside, peers
from bench.bars import BARS
from bench.peers import Peer, Starter
from bench.section import Section
from bench.stage import Say

_COLUMNS = ["gateway", "CPU a request, µs", "over passing it on, µs", "over the rounds"]
PLAIN = "no route, no breaker"
FLAGS = "a route and its flags"
BREAKER = "the same, and a breaker"
ALL = "the same, an adaptive limit, a priority and a rate limit"
_LIMIT = 'concurrency = { limit = "adaptive", max = 256 }'
_RATE = 'priority = "critical"\nrate_limit = { per = "client", rate = 1000000, burst = 1000000 }'
_CASES = {
    PLAIN: ("breaker = false", ""),
    FLAGS: ("breaker = false", ""),
    BREAKER: ("breaker = { errors = 0.5 }", ""),
    ALL: (f"breaker = {{ errors = 0.5 }}, {_LIMIT}", _RATE),
}


def _gateway(case: str, folder: Path, legacy: int, mirror: int | None) -> Peer:
    upstream, more = _CASES[case]
    rollout = {"rollout": "0", "stickiness": "remoteAddress", "groupId": "reviews"}
    strategies = [{"name": "flexibleRollout", "parameters": rollout}]
    features = [{"name": name, "enabled": True, "strategies": strategies} for name in ("reviews", "reviews.shadow")]
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    route = f'[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\n{more}\n' if case != PLAIN else ""
    return peers.banyan_from(folder, legacy, route, upstream=upstream)


def run(*, only: Sequence[str] = (), rounds: int = 9, seconds: float = 1.5, say: Say) -> Section:
    """`only` names peers, of which there are none here.

    Raises:
        ClientError: a wrong answer.
    """
    starters: dict[str, Starter] = {case: partial(_gateway, case) for case in _CASES}

    load = partial(beside.as_fast_as_answers_come, seconds=seconds)
    found = beside.measure("policy", starters, PLAIN, load, rounds=rounds, say=say)
    rows = [found.cells(case) for case in _CASES]
    intro = _INTRO.format(rounds=rounds, seconds=seconds)
    verdicts = [BARS["policy"].judge(found.median(ALL))]
    return Section("Policy: all of it", _COLUMNS, rows, intro, verdicts=verdicts, data={"cpu_us": found.cpu_us})


_INTRO = """
The pass-through's load, as fast as answers come, on one worker of each of four gateways in turn, {rounds} rounds of {seconds:g} s. The
last of them matches a route, decides its two flags, counts the client's rate, finds a place at the upstream by a limit that its latency
sets, and tells the upstream's breaker how it ended. What is more is taken within a round, and its median counts.
"""
