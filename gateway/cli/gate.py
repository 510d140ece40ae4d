"""`banyan gate`: may the route be promoted? The exit status is the answer, so that a pipeline can ask."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.comparison import judged, opened, percent
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from gateway.settings import Route
    from shadow.gate import GateResult
    from shadow.report import RouteReport

WAIT_FOR = "1h"
ASKED_SECONDS = 5.0
"""Within which what was asked of the database is shown."""


def gate(
    route: str,
    *,
    since: str = "",
    wait: Annotated[bool, Parameter(negative=())] = False,
    duration: Annotated[str, Parameter(name="--for")] = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Exit status 0: enough was compared and matched, and no signature is open; 1: not, and why; 2: it could not be found out.

    Example: banyan gate reviews --wait --for 2h && banyan flags set reviews 10%

    Parameters
    ----------
    route
        Its name.
    since
        How far back, such as 15m, 2h or 7d: since the candidate was last changed. By default the window in [routes.gate].
    wait
        Asks again until it is passed, and says on standard error what is missing and how long that takes at the present rate.
    duration
        How long to wait at most, such as 90s, 30m or 2h; an hour, if you say nothing.
    config
        The configuration.
    as_json
        For machines.
    """
    if duration and not wait:
        raise RefusalError("--for says how long to wait: it goes with --wait")
    if wait:
        from gateway.cli.waiting import passed

        configured, counted, result = passed(config, route, since, _seconds(duration or WAIT_FOR))
    else:
        with opened(config, route) as configured:
            counted, result = judged(configured, since)
    print(
        json.dumps(told(configured, counted, result), indent=2)
        if as_json
        else in_words(counted, result, 0 if since else configured.gate.window)
    )
    return 0 if result.passed else 1


def told(route: Route, counted: RouteReport, result: GateResult) -> dict[str, Any]:
    """For machines."""
    from shadow.report import plain_line

    return {
        "route": route.name,
        **asdict(result),
        "since": counted.since,
        "window": route.gate.window,
        "matched_outright": counted.matched_outright,
        "matched_by_configuration": counted.matched_by_configuration,
        "matched_by_rules": counted.matched_by_rules,
        "untold": counted.untold,
        "coverage": counted.coverage,
        "coverage_of_sample": counted.coverage_of_sample,
        "eligible": counted.eligible,
        "skipped": counted.skipped,
        "dropped": counted.dropped,
        "signatures": [plain_line(line) for line in (*counted.signatures, *counted.unmended)],
    }


def in_words(counted: RouteReport, result: GateResult, window: float) -> str:
    """On one line. `window`: seconds that it counts by itself; 0: it was asked for another span."""
    from flags.admin.states import plain

    what = f"coverage {percent(counted.coverage)}{_lost(counted)}" + (f"; {spanned(counted.since, window)}" if window else "")
    if result.passed:
        share = f"{percent(result.lower)} or more at 95 % confidence, {percent(result.required)} is needed"
        rules = f", {counted.matched_by_rules} of them by reviewed rules" if counted.matched_by_rules else ""
        return f"{counted.route}: passed. {result.matched} of {result.compared} match{rules} ({share}); {what}"
    ask = f" (`banyan signatures list {counted.route}`)" if result.open else ""
    return plain(f"{counted.route}: not passed. {'; '.join(result.reasons)}{ask}; {what}")


def spanned(since: float, window: float) -> str:
    """Over what it counts by itself: its window, where nobody began it anew within that."""
    from gateway.cli.flags.shown import duration

    age = time.time() - since
    return f"begun anew {duration(age)} ago" if age < window - ASKED_SECONDS else f"of the last {duration(window)}"


def _lost(counted: RouteReport) -> str:
    """What was not compared: a share of nothing but what happened to be compared shows nothing of the rest."""
    counts = {"skipped": sum(counted.skipped.values()), "dropped": sum(counted.dropped.values())}
    lost = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    return f" ({lost})" if lost else ""


def _seconds(text: str) -> float:
    from gateway.units import seconds

    try:
        found = seconds(text)
    except ValueError as error:
        raise RefusalError(f"--for: {error}") from None
    if found <= 0:
        raise RefusalError("--for 0: without --wait it is asked once")
    return found
