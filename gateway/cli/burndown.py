"""`banyan burndown`: how much of legacy is left, and what of it can be removed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.comparison import percent, stored
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from shadow.burndown import Burndown

ROWS = 20
BAR = 30
"""Characters."""


def burndown(
    *,
    days: int = 7,
    urlconf: str = "",
    openapi: Path | None = None,
    python: str = "",
    limit: int = ROWS,
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """How much of the traffic and of the endpoints legacy still answers, which endpoints nobody asks for any more, and of which routes
    legacy's code can be removed, with the evidence. What the console has kept is read; it keeps figures while it runs.

    Example: banyan burndown --days 14 --urlconf shop.urls

    Parameters
    ----------
    days
        How far back: what was not asked for in so many days is dead, what only the candidate answered for so many can be removed.
    urlconf
        Your Django URLconf, such as shop.urls: what is in it and was never asked for is named too. As of `banyan top`.
    openapi
        An OpenAPI document, JSON or YAML, for the same.
    python
        The Python that has your Django, if it is not the one that Banyan runs with.
    limit
        How many endpoints of a kind are listed.
    config
        The configuration.
    as_json
        For machines: everything.
    """
    if not 1 <= days <= 365:
        raise RefusalError("--days is from 1 to 365")
    if not 1 <= limit <= 10_000:
        raise RefusalError("--limit is from 1 to 10000")
    if python and not urlconf:
        raise RefusalError("--python goes with --urlconf")
    if urlconf and openapi is not None:
        raise RefusalError("--urlconf and --openapi: one of them")
    from gateway.cli.flags.shown import plain
    from gateway.cli.top.known import declared

    known = declared(urlconf, openapi, python)
    with stored(config) as loaded:
        from shadow.burndown import burndown as worked_out

        found = worked_out(loaded, days, time.time(), known)
    if as_json:
        print(json.dumps(told(found), indent=2))
    else:
        for line in _lines(found, limit):
            print(plain(line))
    return 0


def told(found: Burndown) -> dict[str, Any]:
    """For machines."""
    return {
        "at": found.now,
        "days": found.days,
        "since": found.since or None,
        "whole": found.whole,
        "traffic_left": found.traffic_left,
        "endpoints_left": found.endpoints_left,
        "history": [{**asdict(day), "share": day.share} for day in found.history],
        "endpoints": [asdict(one) for one in found.endpoints],
        "rest": round(found.rest),
        "routes": [
            {
                "route": note.name,
                "match": note.match,
                "methods": list(note.methods),
                "ready": note.ready,
                "evidence": [{"code": each.code, "good": each.good, "text": str(each), **each.values} for each in note.evidence],
            }
            for note in found.routes
        ],
        "unasked": None if found.unasked is None else list(found.unasked),
    }


def _lines(found: Burndown, limit: int) -> Iterator[str]:
    if not found.since:
        yield "Nothing is kept of all traffic yet: `banyan console` keeps it while it runs. Routes alone are judged here."
    else:
        alive = found.alive
        left = sum(one.state != "candidate" for one in alive)
        traffic = percent(found.traffic_left)
        yield f"of the last {found.days:g} days: legacy answers {traffic} of the traffic, and {left} of {len(alive)} endpoints"
        yield from _history(found)
    yield ""
    yield "which routes' code can be removed from legacy:"
    for note in found.routes:
        yield f"  {note.name} ({' '.join((*note.methods, note.match))}): {'ready to remove' if note.ready else 'not yet'}"
        for each in note.evidence:
            yield f"    {'+' if each.good else '-'} {each}"
    if not found.routes:
        yield "  there are no routes yet: `banyan top --suggest` says with which to begin"
    else:
        yield "  Only what comes through the gateway is seen: look whether anybody calls legacy past it, or imports its code."
    yield from _left(found, limit)


def _history(found: Burndown) -> Iterator[str]:
    for day in found.history[-14:]:
        if (share := day.share) is not None:
            bar, whole = "#" * round(BAR * share), day.legacy + day.candidate
            yield f"  {time.strftime('%Y-%m-%d', time.gmtime(day.at))}  {bar:{BAR}}  {percent(share):>8}  of {whole:,.0f}"


def _left(found: Burndown, limit: int) -> Iterator[str]:
    legacy = [one for one in found.endpoints if one.state in ("legacy", "both")]
    if legacy:
        yield ""
        yield "what legacy still answers:"
        for one in legacy[:limit]:
            where = f", route {one.route}" if one.route else ""
            yield f"  {one.method:7}{one.template}  {one.legacy:,.0f} requests, {percent(one.legacy / (one.legacy + one.candidate))}{where}"
        yield from _more(len(legacy) - limit)
    dead = [one for one in found.endpoints if one.state == "dead"]
    covered = [one for one in found.endpoints if one.state == "covered"]
    yield ""
    if not found.whole:
        yield f"Which endpoints are dead cannot be said yet: nothing is kept of {found.days:g} days ago."
    elif dead:
        yield f"not asked for in {found.days:g} days:"
        for one in dead[:limit]:
            yield f"  {one.method:7}{one.template}  last {time.strftime('%Y-%m-%d', time.gmtime(one.seen))}"
        yield from _more(len(dead) - limit)
    elif not covered:
        yield f"Of what is kept, everything was asked for in these {found.days:g} days."
    if found.whole and covered:
        yield f"not asked for by this name in {found.days:g} days, but what was asked for may have been it (no proof that it is dead):"
        for one in covered[:limit]:
            yield f"  {one.method:7}{one.template}  last {time.strftime('%Y-%m-%d', time.gmtime(one.seen))}, perhaps among {one.covered}"
        yield from _more(len(covered) - limit)
    if found.rest and (dead or covered or found.unasked):
        yield f"  ({found.rest:,.0f} requests were of endpoints too rare to be listed: what is called dead may be among them)"
    if found.unasked:
        yield ""
        yield "declared, and nothing is kept of it:"
        for template in found.unasked[:limit]:
            yield f"  {template}"
        yield from _more(len(found.unasked) - limit)


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"  and {count:,} more (--limit)"
