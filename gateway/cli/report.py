"""`banyan report`: what the comparison found about a route."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gateway.cli.comparison import judged, moment, opened, percent

if TYPE_CHECKING:
    from shadow.gate import GateResult
    from shadow.report import RouteReport


def report(
    route: str,
    *,
    since: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Who answered, what was compared, how much of it matched, and what differs.

    Example: banyan report reviews --since 15m

    Parameters
    ----------
    route
        Its name.
    since
        How far back, such as 15m, 2h or 7d; by default all that is kept.
    config
        The configuration.
    as_json
        For machines.
    """
    start = moment(since)
    with opened(config, route) as configured:
        counted, gate = judged(configured, start)
    if as_json:
        told = asdict(counted)
        for name in ("served", "compared", "matched_outright", "match_rate", "coverage", "mode"):
            told[name] = getattr(counted, name)
        print(json.dumps({**told, "gate": asdict(gate)}, indent=2))
    else:
        print("\n".join(_text(counted, gate)))
    return 0


def _text(counted: RouteReport, gate: GateResult) -> list[str]:
    lower, upper = counted.interval
    answered = f"legacy {counted.legacy} ({counted.fallback} as fallback), candidate {counted.candidate}"
    if counted.gateway:
        answered += f", the gateway itself {counted.gateway} (errors)"
    lines = [
        f"{counted.route}: {counted.mode}",
        f"  answered    {counted.served}: {answered}",
        *([f"  unfinished  {counted.unfinished}: broken off, or the client left"] if counted.unfinished else []),
        f"  compared    {counted.compared} of {counted.eligible}, coverage {percent(counted.coverage)}",
    ]
    for what, reasons in (("skipped", counted.skipped), ("dropped", counted.dropped)):
        lines += [f"  {what:11} {count} {reason}" for reason, count in reasons.items()]
    rate = percent(counted.match_rate)
    lines.append(f"  match rate  {rate}" + (f" (95 %: {percent(lower)} to {percent(upper)})" if counted.compared else ""))
    if counted.matched_by_rules or counted.matched_by_configuration:
        by = f"{counted.matched_by_configuration} by the configuration's rules, {counted.matched_by_rules} by reviewed ones"
        lines.append(f"  matched     {counted.matched}: {counted.matched_outright} outright, {by} ({counted.rules} in force)")
    lines.append(f"  gate        {'passed' if gate.passed else 'not passed: ' + '; '.join(gate.reasons)}")
    lines += [f"  {line.count:>9} x {line.kind} {line.path} ({line.state})" for line in counted.signatures]
    return lines
