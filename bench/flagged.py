"""What a route with flags costs a request more than one without: three gateways, alike but for that, take turns under the same load."""

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

_COLUMNS = ["gateway", "CPU a request, µs", "over no route, µs", "over the rounds"]
PLAIN = "no route"
_HALF = {"rollout": "50", "stickiness": "remoteAddress", "groupId": "reviews"}
_NOBODY = {**_HALF, "rollout": "0"}
_ROLLOUT: dict[str, object] = {"name": "flexibleRollout", "parameters": _HALF}
_HEADER = {"contextName": "x-requested-with", "operator": "IN", "values": ["XMLHttpRequest"], "inverted": False}
_CASES: dict[str, tuple[bool, list[dict[str, object]]]] = {
    PLAIN: (False, []),
    "a route, flags sticky by the client's address": (True, [_ROLLOUT]),
    "the same, and a constraint on a header field": (True, [{**_ROLLOUT, "constraints": [_HEADER]}]),
}


def _gateway(case: str, folder: Path, legacy: int, mirror: int | None) -> Peer:
    routed, strategies = _CASES[case]
    features = [
        {"name": "reviews", "enabled": True, "strategies": strategies},
        # Read as well, and off for everybody who asks here: what a shadow costs is measured elsewhere.
        {"name": "reviews.shadow", "enabled": True, "strategies": [{**each, "parameters": _NOBODY} for each in strategies]},
    ]
    (folder / "flags.json").write_text(json.dumps({"version": 1, "features": features}))
    settings = '[flags]\nheaders = ["x-requested-with"]\n' if strategies and "constraints" in strategies[0] else ""
    route = '[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\n' if routed else ""
    return peers.banyan_from(folder, legacy, settings + route)


def run(*, only: Sequence[str] = (), rounds: int = 9, seconds: float = 1.5, say: Say) -> Section:
    """`only` names peers, of which there are none here.

    Raises:
        ClientError: a wrong answer.
    """
    starters: dict[str, Starter] = {case: partial(_gateway, case) for case in _CASES}

    load = partial(beside.as_fast_as_answers_come, seconds=seconds)
    found = beside.measure("flagged", starters, PLAIN, load, rounds=rounds, say=say)
    rows = [found.cells(case) for case in _CASES]
    verdicts = [BARS["flagged"].judge(max(found.median(case) for case in _CASES if case != PLAIN))]
    intro = _INTRO.format(rounds=rounds, seconds=seconds)
    return Section("Flags: a route", _COLUMNS, rows, intro, verdicts=verdicts, data={"cpu_us": found.cpu_us})


_INTRO = """
The pass-through's load, as fast as answers come, on one worker of each of three gateways in turn, {rounds} rounds of {seconds:g} s. Of a
route both flags are decided for every request. Half of the addresses would be the candidate's, which is the same upstream; the header field
is looked for in each request's head, of which no two are alike. What is more is taken within a round, and its median counts.
"""
