"""`make bench`: every benchmark, side by side in one run, checked against the bars. Exit 1 when one is missed."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import cpu
from bench.peers import ALL
from bench.proxies import SLOW, Result, SpoiltError, run
from demo.processes import ROOT

BARS = {"Pass-through": 0.65, "Shadow at 100 %": 0.65}
"""The edge worker's CPU per request over Envoy's, at the most, with one core each and as many requests as it carries: so were the figures
measured from which the bar was taken (docs/adr/0001). The fixed rate is shown beside it."""

_DOC = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=["passthrough", "shadow", []], default=[])
    parser.add_argument("--only", default=",".join(ALL), help="peers, by comma")
    parser.add_argument("--rate", type=int, default=2000, help="requests a second; 0: as fast as answers come")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of one run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-bars", action="store_true", help="only look")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    console = Console(stderr=True)
    results = []
    try:
        for scenario in given.scenario or ["passthrough", "shadow"]:
            # The rate that is asked for, where the bars are; and how it looks when there is no idle moment.
            for rate in dict.fromkeys([given.rate, 0]):
                with console.status("starting the peers") as status:
                    only = [name for name in given.only.split(",") if rate or name not in SLOW]
                    results.append(run(scenario, only=only, rate=rate, rounds=given.rounds, seconds=given.seconds, say=status.update))
    except SpoiltError as error:
        print(f"bench: spoilt: {error}", file=sys.stderr)
        return 1
    missed = [] if given.no_bars else _missed(results)
    if given.json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    else:
        for result in results:
            Console().print(_table(result))
    if given.write:
        _DOC.write_text(_page(results, sys.argv[1:]))
    for line in missed:
        print(f"bench: missed: {line}", file=sys.stderr)
    return 1 if missed else 0


def _missed(results: list[Result]) -> list[str]:
    missed = []
    for result in results:
        banyan, envoy = result.figures.get("banyan"), result.figures.get("envoy")
        if banyan is None or envoy is None or result.load.endswith("/s"):
            continue
        ratio, bar = banyan.ratio(envoy), BARS[result.title]
        if ratio > bar:
            missed.append(f"{result.title}: {ratio:.2f} of Envoy, the bar is {bar}")
    return missed


def _rows(result: Result) -> list[list[str]]:
    envoy, nginx = result.figures.get("envoy"), result.figures.get("nginx")
    rows = [
        [
            f"{figures.name} {figures.version}".strip(),
            f"{statistics.median(figures.cpu):.1f}",
            f"{min(figures.cpu):.1f} to {max(figures.cpu):.1f}",
            f"{figures.ratio(envoy):.2f}" if envoy else "",
            f"{figures.ratio(nginx):.2f}" if nginx else "",
            f"{statistics.median(figures.beside):.1f}" if any(figures.beside) else "",
            f"{statistics.median(figures.p50):.2f} / {statistics.median(figures.p99):.2f}",
            f"{statistics.median(figures.rate):.0f}",
        ]
        for figures in sorted(result.figures.values(), key=lambda each: statistics.median(each.cpu))
    ]
    rows += [[f"{name}: {why}", *[""] * 7] for name, why in result.missing.items()]
    return rows


_COLUMNS = ["peer", "CPU a request, µs", "over the rounds", "of Envoy", "of nginx", "beside, µs", "p50 / p99, ms", "requests/s"]


def _table(result: Result) -> Table:
    table = Table(title=f"{result.title}, {result.load}")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "peer" else "right")
    for row in _rows(result):
        table.add_row(*row)
    return table


def _as_json(result: Result) -> dict[str, object]:
    return {
        "scenario": result.title,
        "load": result.load,
        "missing": result.missing,
        "peers": {
            name: {"version": each.version, "cpu_us": each.cpu, "beside_us": each.beside, "p50_ms": each.p50, "p99_ms": each.p99}
            for name, each in result.figures.items()
        },
    }


def _page(results: list[Result], arguments: list[str]) -> str:
    facts = cpu.machine()
    parts = [(Path(__file__).parent / "preface.md").read_text()]
    parts.append(
        f"Written by `make bench` (`python -m bench {' '.join(arguments)}`) on {datetime.now(UTC):%Y-%m-%d}: {facts['cpu']}, "
        f"{facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}.\n"
    )
    for result in results:
        parts.append(f"\n## {result.title}, {result.load}\n\n| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}\n")
        parts += [f"| {' | '.join(row)} |\n" for row in _rows(result)]
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main())
