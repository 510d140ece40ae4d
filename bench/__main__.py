"""`make bench`: every benchmark, side by side in one run, checked against the bars. Exit 1 when one is missed.

Scenarios: passthrough and shadow (CPU per request), bodies, idle, busy, latency, profile (where the pass-through's CPU goes); hung (the
client's p99 and the worker's memory while a candidate in the shadow hangs); decisions, flagged (a route with flags beside none) and flips
(until the last worker goes by one); policy (all of it beside none); identity (a caller who is remembered, and stamped); compare (what
comparing two answers costs, beside DeepDiff); console (how long its pages take with a million exchanges stored); replay (pairs
a second of `banyan replay`); top (an access log of a million lines).
`edge` stands for the first of these but shadow, the pass-through as fast as answers come; `flags` for decisions, flagged and flips.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from bench import (
    bodies,
    busy,
    compare,
    decisions,
    flagged,
    flips,
    hung,
    identity,
    idle,
    latency,
    page,
    pages,
    passthrough,
    policy,
    profile,
    proxies,
    replay,
    toplog,
)
from bench.descriptors import TooFewError
from bench.peers import ALL, BODIES
from bench.proxies import SLOW, SpoiltError
from bench.section import Section
from bench.stage import ClientError, Say

RUN: dict[str, Callable[[Sequence[str], Say], Section]] = {
    "profile": lambda only, say: profile.run(only=only, say=say),
    "bodies": lambda only, say: bodies.run(only=only, say=say),
    "idle": lambda only, say: idle.run(only=only, say=say),
    "busy": lambda only, say: busy.run(only=only, say=say),
    "latency": lambda only, say: latency.run(only=only, say=say),
    "hung": lambda only, say: hung.run(only=only, say=say),
    "decisions": lambda only, say: decisions.run(only=only, say=say),
    "flagged": lambda only, say: flagged.run(only=only, say=say),
    "policy": lambda only, say: policy.run(only=only, say=say),
    "identity": lambda only, say: identity.run(only=only, say=say),
    "flips": lambda only, say: flips.run(only=only, say=say),
    "compare": lambda only, say: compare.run(only=only, say=say),
    "top": lambda only, say: toplog.run(only=only, say=say),
    "console": lambda only, say: pages.run(only=only, say=say),
    "replay": lambda only, say: replay.run(only=only, say=say),
}
GROUPS = {
    "edge": ["passthrough", "profile", "bodies", "idle", "busy", "latency"],
    "flags": ["decisions", "flagged", "flips"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", choices=[*GROUPS, "passthrough", "shadow", *RUN, []], default=[])
    parser.add_argument("--only", default="", help="peers, by comma")
    parser.add_argument("--rate", type=int, help="of passthrough and shadow, requests a second; 0: as fast as answers come (default: both)")
    parser.add_argument("--rounds", type=int, default=5, help="of passthrough and shadow")
    parser.add_argument("--seconds", type=float, default=2.5, help="of one of their runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-bars", action="store_true", help="only look")
    parser.add_argument("--write", action="store_true", help="put what was measured into docs/benchmarks.md")
    given = parser.parse_args()
    strangers = [name for name in given.only.split(",") if name and name not in ALL | BODIES]
    if strangers:
        parser.error(f"--only: no peer is called {strangers[0]}: {', '.join(ALL | BODIES)}")
    sections = []
    try:
        with Console(stderr=True).status("starting the peers") as status:
            for section in _run(given, status.update):
                sections.append(section)
                if not given.json:
                    Console().print(_table(section))
    except (SpoiltError, ClientError, TooFewError) as error:
        print(f"bench: spoilt: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps([section.as_json() for section in sections], indent=2))
    if given.write:
        page.write(sections, sys.argv[1:])
    missed = [] if given.no_bars else [verdict for section in sections for verdict in section.verdicts if not verdict.held]
    for verdict in missed:
        print(f"bench: missed: {verdict}", file=sys.stderr)
    return 1 if missed else 0


def _run(given: argparse.Namespace, say: Say) -> Iterator[Section]:
    only = [name for name in given.only.split(",") if name]
    for scenario in dict.fromkeys(given.scenario or ["passthrough", "shadow", *RUN]):
        for each in GROUPS.get(scenario, [scenario]):
            if each in RUN:
                yield RUN[each](only, say)
                continue
            # The rate of before, unless another was asked for; and how it is without an idle moment, where the bars are.
            for rate in dict.fromkeys([2000 if given.rate is None else given.rate, 0]):
                if scenario == "edge" and rate:
                    continue
                chosen = [name for name in only or ALL if rate or name not in SLOW]
                result = proxies.run(each, only=chosen, rate=rate, rounds=given.rounds, seconds=given.seconds, say=say)
                yield passthrough.section(result)


def _table(section: Section) -> Table:
    caption = "\n".join(str(verdict) for verdict in section.verdicts)
    table = Table(title=section.title, caption=caption or None, caption_justify="left")
    for column in section.columns:
        table.add_column(column, justify="left" if column == section.columns[0] else "right")
    for row in section.all_rows():
        table.add_row(*(cell.replace("**", "") for cell in row))
    return table


if __name__ == "__main__":
    sys.exit(main())
