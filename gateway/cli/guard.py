"""`banyan guard`: what the guard sees of a route now, and what it did. The running gateway is asked: the figures are its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.cli.shared import RefusalError, load_config


def guard(
    route: str,
    *,
    admin: str = "",
    config: Path = Path("banyan.toml"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """What the guard of a route sees now: both sides' figures, since when, the verdict; and what it did. Exit status 1: it is a breach, or
    the flag is being turned off.

    Example: banyan guard reviews

    Parameters
    ----------
    route
        Its name.
    admin
        The gateway's admin port, HOST:PORT, if not [gateway] admin.
    config
        The configuration.
    as_json
        For machines.
    """
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.flags.shown import plain
    from gateway.cli.shapes import Guards

    loaded = load_config(config)
    configured = next((each for each in loaded.routes if each.name == route), None)
    if configured is None:
        known = ", ".join(each.name for each in loaded.routes) or "none"
        raise RefusalError(f"{config}: there is no route {route!r}; there are: {known}")
    place = admin or loaded.gateway.admin
    try:
        answer = AdminPort(place).get("/guard", kind=Guards)
    except AdminPortError as error:
        raise RefusalError(f"{error}. What the guard sees, only a running gateway knows; what it did is in the console") from None
    found = next((each for each in answer["routes"] if each["route"] == route), None)
    if found is None:
        hint = "the gateway has not taken its [routes.guard] yet" if configured.guard else "add a [routes.guard] to it"
        raise RefusalError(f"nobody watches the route {route!r} at {place}: {hint}")
    trips = [trip for trip in answer["trips"] if trip["route"] == route]
    if as_json:
        print(json.dumps({**found, "trips": trips, "clerk": answer["clerk"], "gateway": place}, indent=2))
    else:
        for line in _lines(found, trips, answer["clerk"]):
            print(plain(line))
    return 1 if found["state"] in ("breach", "turning-off") else 0


def _lines(found: Mapping[str, Any], trips: list[dict[str, Any]], clerk: Mapping[str, Any]) -> Iterator[str]:
    from gateway.cli.flags.shown import clock

    since = f" since {clock(found['since'])}" if found["since"] is not None else ""
    standing = {
        "off": f"off: {found['flag']} is off, so there is nothing to turn off",
        "not-enough": f"not enough to say anything: {found['text'] or 'it has only just been turned on'}",
        "healthy": "healthy: the candidate does no worse than legacy, as far as can be told",
        "breach": f"breach: {found['text']}",
        "turning-off": f"breach: {found['flag']} is being turned off",
    }
    yield f"{found['route']}: {standing[found['state']]}"
    if since:
        yield f"  {found['flag']} is on{since}"
    figures, limits = found["figures"], found["limits"]
    for side in ("candidate", "legacy"):
        if figures[side] is not None:
            yield f"  {side:9}  {_side(figures[side])}{_basis(figures) if side == 'legacy' else ''}"
    if figures["candidate"] is not None and figures["legacy"] is None:
        yield "  legacy     nothing is known: errors are judged as if it made none, latency is not judged"
    if figures["compared"] is not None:
        pairs = figures["compared"]
        late = pairs.get("late_seconds") or 0  # a gateway of the version before does not say
        lag = f"; the newest is of {late:.0f} s ago" if late > limits["window"] else ""
        yield f"  compared   {pairs['pairs']:,} pairs, {pairs['mismatched']:,} differ{lag}"
        if not clerk["answers"]:
            yield f"  mismatches are not watched: {clerk['error'] or 'the comparisons cannot be counted; see the log'}"
    mismatch = "" if limits["mismatch"] is None else f", mismatches {limits['mismatch']:.2%}"
    yield (
        f"  allowed    errors legacy's and {limits['errors']:.2%}, p95 {limits['latency']:g} times legacy's{mismatch}; within "
        f"{limits['window']:g} s, of {limits['minimum']} requests or more"
    )
    for trip in trips[-5:]:
        yield f"  {clock(trip['at'])}  {_OUTCOMES[trip['outcome']]}: {trip['why']}"
        if trip["overridden"] and trip["outcome"] == "pending":
            yield f"             overridden off on this gateway meanwhile; {trip['error'] or 'the flag takes its time'}"


_OUTCOMES = {
    "pending": "is being turned off",
    "switched-off": "turned off",
    "already-off": "was off already",
    "on-again": "turned on again by somebody",
}


def _side(figures: Mapping[str, Any]) -> str:
    rate = f"{figures['error_rate']:.2%}" if figures["error_rate"] is not None else "-"
    p95 = f"{1000 * figures['p95']:.1f} ms" if figures["p95"] is not None else "-"
    return f"{figures['requests']:>7,} requests, errors {rate}, p95 {p95}"


def _basis(figures: Mapping[str, Any]) -> str:
    if figures["basis"] == "shadow":
        return ", asked beside the candidate"
    if figures["basis"] == "baseline":
        return f", as it was {figures['age_seconds']:.0f} s ago"
    return ""
