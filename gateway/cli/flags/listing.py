"""`banyan flags list`: every flag as it is where it lives, as routes read it, and as the running gateway has it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.flags.options import Admin, ConfigFile, Json
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flags.admin import FlagState
    from flags.snapshot import Snapshot
    from gateway.cli.flags.steering import Read, Steering
    from gateway.splits import Standing


@dataclass(slots=True)
class Row:
    """One flag."""

    name: str
    state: FlagState | None = None
    """Where it lives; None where it does not exist, or that could not be read."""
    running: bool | None = None
    """Enabled, says the running gateway; None where there is none, or it does not know the flag."""
    override: Mapping[str, Any] | None = None
    reads: list[Read] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shares: dict[str, Standing] = field(default_factory=dict)
    """By split route that reads it, the weights in force there."""


@dataclass(slots=True)
class Listing:
    """What there is to be shown."""

    where: Steering
    error: str
    """Why the flags could not be read where they live; "" where they were."""
    gateway: Mapping[str, Any] | None
    """Its GET /flags."""
    silence: str
    """Why no gateway answers; "" where one does."""
    rows: list[Row]


def show(*, config: ConfigFile = Path("banyan.toml"), admin: Admin = "", as_json: Json = False) -> int:
    """Every flag: its state and share, which route reads it, what is wrong with it, and what the running gateway makes of it.

    Example: banyan flags list

    Where the flags cannot be read (Unleash is down, or there is no admin_token), those are listed that the running gateway has, and the
    exit status is 1.
    """
    from gateway.cli.flags.steering import steering

    where = steering(config)
    where = replace(where, admin=admin or where.admin)
    listing = look(where)
    if listing.error:
        if listing.gateway is None:
            raise RefusalError(f"{listing.error}. And {listing.silence}, so there is nothing to list")
        stop = "" if listing.error.endswith("?") else "."
        print(f"note: {listing.error}{stop} Listed is what the gateway at {where.admin} has", file=sys.stderr)
    if as_json:
        print(json.dumps(_for_machines(listing), indent=2))
    else:
        from gateway.cli.flags.table import table

        for line in table(listing, time.time()):
            print(line)
    return 1 if listing.error else 0


def look(where: Steering) -> Listing:
    """Asks where the flags live, and the running gateway."""
    from flags.admin import AdminError
    from gateway.cli.admin import AdminPort, AdminPortError
    from gateway.cli.flags.home import home
    from gateway.cli.shapes import Flags

    error = silence = ""
    gateway: Mapping[str, Any] | None = None
    states: Sequence[FlagState] = ()
    try:
        gateway = AdminPort(where.admin).get("/flags", kind=Flags)
    except AdminPortError as why:
        silence = str(why)
    try:
        with home(where) as place:
            states = place.states()
    except AdminError as why:
        error = str(why)
    rows = _rows(where, states, gateway)
    snapshot = None
    if (gateway is None or "problems" not in gateway) and not error:  # else it has just been waited for, and gave nothing
        from gateway.cli.flags.fetched import fetched

        snapshot = fetched(where)
    _share(rows.values(), gateway, snapshot)
    for name, text in _problems(where, gateway, snapshot):
        if name in rows:
            rows[name].problems.append(text)
    return Listing(where, error, gateway, silence, list(rows.values()))


def _rows(where: Steering, states: Iterable[FlagState], gateway: Mapping[str, Any] | None) -> dict[str, Row]:
    """First the flags that routes read, in the order of banyan.toml; then all others."""
    rows = {name: Row(name) for name in where.flags}
    for read in where.reads:
        rows[read.flag].reads.append(read)
    for state in states:
        rows.setdefault(state.name, Row(state.name)).state = state
    for name, enabled in (gateway or {}).get("flags", {}).items():
        rows.setdefault(name, Row(name)).running = bool(enabled)
    for name, override in ((gateway or {}).get("overrides") or {}).items():
        rows.setdefault(name, Row(name)).override = override
    return rows


def _share(rows: Iterable[Row], gateway: Mapping[str, Any] | None, snapshot: Snapshot | None) -> None:
    """Finds the weights in force of those that split routes read: in the gateway that runs, else in one that would start now."""
    splitting = [row for row in rows if any(read.split for read in row.reads)]
    if not splitting or (gateway is None and snapshot is None):
        return
    from flags.features import EMPTY, parse
    from gateway.splits import standing

    definitions: Mapping[str, Any] = (gateway or {}).get("definitions") or {}
    if snapshot is not None:
        definitions = {feature["name"]: feature for feature in parse(snapshot.features or EMPTY)["features"]}
    for row in splitting:
        overridden = None if row.override is None else bool(row.override["enabled"])
        row.shares = {read.route: standing(definitions.get(row.name), overridden, read.split) for read in row.reads if read.split}


def _problems(where: Steering, gateway: Mapping[str, Any] | None, snapshot: Snapshot | None) -> list[tuple[str, str]]:
    """(flag, what is wrong with it). The running gateway has looked already; else it is looked for here, as the gateway would."""
    if gateway is not None and "problems" in gateway:
        return [(each["flag"], each["problem"]) for each in gateway.get("problems") or ()]
    if snapshot is None:
        return []
    from flags.problems import find
    from flags.splits import Split

    splits = [Split(read.flag, read.route, tuple(read.split)) for read in where.reads if read.split]
    return [(each.flag, each.text) for each in find(snapshot, where.flags, splits)]


def _for_machines(listing: Listing) -> dict[str, Any]:
    where = listing.where
    place = {"path": str(where.file)} if where.source == "file" else {"url": where.url, "project": where.project}
    gateway = {key: value for key, value in (listing.gateway or {}).items() if key not in ("flags", "overrides", "problems")}
    return {
        "source": where.source,
        **place,
        **({} if where.source == "file" else {"environment": where.environment}),
        "error": listing.error,
        "gateway": {"address": where.admin, "answers": listing.gateway is not None, "silence": listing.silence, **gateway},
        "flags": [_row_for_machines(row) for row in listing.rows],
    }


def _row_for_machines(row: Row) -> dict[str, Any]:
    state = row.state
    return {
        "name": row.name,
        "exists": state is not None,
        "enabled": None if state is None else state.enabled,
        "rollout": None if state is None else state.rollout,
        "conditional": None if state is None else state.conditional,
        "stickiness": (state.stickiness or None) if state else None,
        "type": state.type if state else None,
        "stale": state.stale if state else None,
        "description": state.description if state else None,
        "tags": list(state.tags) if state else [],
        "read_by": [_read_for_machines(row, read) for read in row.reads],
        "running": row.running,
        "override": row.override,
        "problems": row.problems,
    }


def _read_for_machines(row: Row, read: Read) -> dict[str, Any]:
    told: dict[str, Any] = {"role": read.role, "route": read.route, "match": read.match, "methods": list(read.methods)}
    if not read.split:
        return {**told, "candidate": read.candidate}
    found = row.shares.get(read.route)
    return {**told, "split": dict(read.split), "weights": found and dict(found.weights), "from": found and found.source}
