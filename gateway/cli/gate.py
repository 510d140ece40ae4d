"""`banyan gate`: may the route be promoted? The exit status is the answer, so that a pipeline can ask."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.cli.comparison import judged, moment, opened, percent


def gate(
    route: str,
    *,
    since: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Exit status 0: enough was compared and matched; 1: not, and why.

    Example: banyan gate reviews --since 2h && banyan flags set reviews 10%

    Parameters
    ----------
    route
        Its name.
    since
        How far back, such as 15m, 2h or 7d: since the candidate was last changed. By default all that is kept.
    config
        The configuration.
    as_json
        For machines.
    """
    start = moment(since)
    with opened(config, route) as configured:
        counted, result = judged(configured, start)
    if as_json:
        print(
            json.dumps(
                {"route": route, **asdict(result), "matched_by_rules": counted.matched_by_rules, "coverage": counted.coverage}, indent=2
            )
        )
    elif result.passed:
        share = f"{percent(result.lower)} or more at 95 % confidence, {percent(result.required)} is needed"
        rules = f", {counted.matched_by_rules} of them by reviewed rules" if counted.matched_by_rules else ""
        print(f"{route}: passed. {result.matched} of {result.compared} match{rules} ({share}); coverage {percent(counted.coverage)}")
    else:
        print(f"{route}: not passed. {'; '.join(result.reasons)}; coverage {percent(counted.coverage)}")
    return 0 if result.passed else 1
