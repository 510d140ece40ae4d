"""The scenarios that bench/proxies.py runs, as sections: CPU per request beside peers."""

from __future__ import annotations

import statistics

from bench.bars import BARS, Verdict
from bench.proxies import Result
from bench.section import Section

_COLUMNS = ["peer", "CPU a request, µs", "over the rounds", "of Envoy", "of nginx", "beside, µs", "p50 / p99, ms", "requests/s"]
_BARS = {"Pass-through": "passthrough", "Shadow at 100 %": "shadow"}


def section(result: Result) -> Section:
    """With the bar's verdict where it stands, which is as fast as answers come."""
    return Section(
        f"{result.title}, {result.load}",
        _COLUMNS,
        _rows(result),
        outro="All that is measured went before everything else on the machine (SCHED_RR)." if result.ahead else "",
        verdicts=verdicts(result),
        missing=result.missing,
        data={
            "scenario": result.title,
            "load": result.load,
            "peers": {
                name: {"version": each.version, "cpu_us": each.cpu, "beside_us": each.beside, "p50_ms": each.p50, "p99_ms": each.p99}
                for name, each in result.figures.items()
            },
        },
    )


def verdicts(result: Result) -> list[Verdict]:
    banyan, envoy = result.figures.get("banyan"), result.figures.get("envoy")
    if banyan is None or envoy is None or result.load.endswith("/s"):
        return []
    return [BARS[_BARS[result.title]].judge(banyan.ratio(envoy))]


def _rows(result: Result) -> list[list[str]]:
    envoy, nginx = result.figures.get("envoy"), result.figures.get("nginx")
    return [
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
