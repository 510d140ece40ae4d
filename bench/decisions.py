"""What one flag decision costs, remembered: by everybody's flag, and by one that keeps each user on a side."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from bench.bars import BARS
from bench.section import Section
from bench.stage import Say, client
from flags.decisions import Decisions
from flags.features import revision
from flags.snapshot import Context, Snapshot
from gateway import compiled

USERS = 1000
"""Who ask in turn: each of them is remembered."""
COUNT = 50_000
_COLUMNS = ["a decision", "µs", "of a remembered one, asked of the engine, µs"]


@dataclass(frozen=True)
class _Case:
    """A flag `f`, and how it is asked about."""

    what: str
    strategies: list[dict[str, object]]
    variants: bool = False


def _rollout(stickiness: str, **more: object) -> dict[str, object]:
    return {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": stickiness, "groupId": "f"}, **more}


_APP = {"contextName": "x-app-version", "operator": "SEMVER_GTE", "value": "4.0.0", "values": [], "inverted": False}
_METHOD = {"contextName": "method", "operator": "IN", "values": ["GET", "HEAD"], "inverted": False}
CASES = [
    _Case("constant: on for everybody", [{"name": "default"}]),
    _Case("sticky: 50 % by userId", [_rollout("userId")]),
    _Case("sticky: 50 % by Unleash's default", [_rollout("default")]),
    _Case("sticky, and two constraints", [_rollout("userId", constraints=[_APP, _METHOD])]),
    _Case("a variant of a sticky flag", [_rollout("userId")], variants=True),
]


def main() -> None:
    """`python -m bench.decisions`: the figures as JSON, from a process in which nothing else runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    found = {case.what: (_remembered(case, rounds), _asked(case)) for case in CASES}
    print(json.dumps({"cases": found, "compiled": compiled.state()}))


def _built(case: _Case) -> Decisions:
    share = {"weight": 500, "weightType": "variable", "stickiness": "default", "overrides": []}
    variants = [{"name": name, **share} for name in ("a", "b")] if case.variants else []
    feature = {"name": "f", "enabled": True, "strategies": case.strategies, "variants": variants}
    data = orjson.dumps({"version": 2, "features": [feature]})
    return Decisions.build(Snapshot(revision(data), data, "file", 0.0))


def _contexts() -> list[Context]:
    told = {"route": "reviews", "method": "GET", "x-app-version": "4.2.0"}
    return [Context(str(user), f"s{user}", "127.0.0.1", told) for user in range(USERS)]


def _ask(case: _Case, decisions: Decisions) -> Callable[[str, Context], object]:
    return decisions.variant if case.variants else decisions.enabled


def _remembered(case: _Case, rounds: int) -> float:
    """µs, in the best round: the others were disturbed. The loop itself, some 0.02 µs, is in it."""
    decisions, contexts = _built(case), _contexts()
    ask = _ask(case, decisions)
    for context in contexts:
        ask("f", context)
    turns = [context for _ in range(COUNT // USERS) for context in contexts]
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for context in turns:
            ask("f", context)
        best = min(best, time.perf_counter() - began)
    return best / COUNT * 1e6


def _asked(case: _Case) -> float:
    """The engine's own answer, µs."""
    decisions, contexts = _built(case), _contexts()
    ask = decisions.evaluate_variant if case.variants else decisions.evaluate
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for context in contexts:
            ask("f", context)
        best = min(best, time.perf_counter() - began)
    return best / USERS * 1e6


def run(*, only: Sequence[str] = (), rounds: int = 15, say: Say) -> Section:
    """`only` names peers, of which there are none here."""
    say("decisions: remembered ones")
    told = client("bench.decisions", "--rounds", str(rounds), timeout=120)
    cases: dict[str, tuple[float, float]] = told["cases"]
    say("decisions: a new state of 1,000 flags")
    pauses = client("bench.flagload", "1000", "--json", timeout=120)
    rows = [[what, f"{remembered:.2f}", f"{asked:.1f}"] for what, (remembered, asked) in cases.items()]
    verdicts = [
        BARS["decision"].judge(max(remembered for what, (remembered, _) in cases.items() if what.startswith(("constant", "sticky")))),
        BARS["flag-pause"].judge(pauses["largest"], f"an idle machine's {pauses['idle']:.0f} ms" if pauses["idle"] > _RESTLESS else ""),
    ]
    outro = _OUTRO.format(**pauses)
    data: dict[str, object] = {"cases": cases, "pauses": pauses}
    return Section("Flags: a decision", _COLUMNS, rows, _INTRO.format(state=told["compiled"]), outro, verdicts=verdicts, data=data)


_RESTLESS = 5.0
"""Milliseconds. Where the clock jumps as far while nothing happens, a pause says nothing of ours."""
_INTRO = f"""
`Decisions.enabled` and `variant` ({{state}}), asked in turn for {USERS:,} users who are all remembered; the best of the rounds, per
decision. Beside it what Unleash's engine takes for the same question, which is what a decision costs that may not be remembered (by chance
or time).
"""
_OUTRO = """
A new state of 1,000 flags is taken in {load:.0f} ms in a thread (`python -m bench.flagload`); the event loop beside it was held up for
{largest:.1f} ms at the most, of which {own:.1f} ms were its own making (with nothing to do: {idle:.1f} ms).
"""

if __name__ == "__main__":
    main()
