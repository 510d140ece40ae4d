"""`banyan flags sync`: every flag that a route reads exists."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from gateway.cli.flags.options import ConfigFile, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flags.admin import Synced, Wanted
    from gateway.cli.flags.steering import Read, Steering

_DONE: Final = {"made": "made, off", "tagged": "tagged", "kept": "was there"}
_TO_DO: Final = {"made": "to be made, off", "tagged": "to be tagged", "kept": "is there"}
_TYPES: Final = {"serve": "release", "shadow": "operational", "split": "operational"}
"""Unleash's words for them: "roll out new or incomplete features", and "transition between technical implementations with minimal risk"."""


def sync(
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Makes the flags of every route where they are missing, off. What is there keeps its state, strategies and description.

    Example: banyan flags sync --dry-run

    A route with a candidate reads two, a split route one, whose variants are the configured weights: turned on, it changes nothing before
    somebody moves them. In Unleash flags get a type, a description and the tag simple:banyan; in the file type and description. Flags that
    were made so and that no route reads any more are named, and left alone. Exit status 1: a name could not be had.

    Parameters
    ----------
    dry_run
        Only says what would be done.
    """
    from gateway.cli.flags.home import home, refusing
    from gateway.cli.flags.shown import plain
    from gateway.cli.flags.steering import steering

    where = steering(config)
    wants = wanted(where.reads)
    done = []
    with refusing(), home(where) as place:
        for each in place.sync(wants, dry_run):
            done.append(each)
            if not as_json:
                print(plain(_line(each, where, dry_run)), flush=True)
    if as_json:
        about = {flag.name: {"type": flag.type, "description": flag.description} for flag in wants}
        flags = [{**asdict(each), **about.get(each.name, {})} for each in done]
        print(json.dumps({"where": where.where, "dry_run": dry_run, "flags": flags}, indent=2))
    else:
        print(_sum(done, where, dry_run))
    return 1 if any(each.outcome == "refused" for each in done) else 0


def wanted(reads: Sequence[Read]) -> list[Wanted]:
    """The flags that routes read, each once, with what they do."""
    from flags.admin import Wanted
    from flags.admin.states import OURS

    found: dict[str, Wanted] = {}
    for read in reads:
        methods = f"{', '.join(read.methods)} " if read.methods else ""
        text = f"{OURS}{read.route} ({methods}{read.match}): {_effect(read)}."
        before = found.get(read.flag)
        found[read.flag] = Wanted(
            read.flag,
            f"{before.description} {text}" if before else text,
            before.type if before else _TYPES[read.role],
            before.variants if before else read.split,
        )
    return list(found.values())


def _effect(read: Read) -> str:
    if read.role == "serve":
        return f"on, the candidate ({read.candidate}) answers; off, legacy does"
    if read.role == "split":
        providers = ", ".join(read.split)
        return f"on, the weights of its variants are the shares of the providers ({providers}); off, those of banyan.toml are"
    return f"on, legacy and the candidate ({read.candidate}) are both asked and their answers compared; clients notice nothing"


def _line(each: Synced, where: Steering, dry_run: bool) -> str:
    width = max(map(len, where.flags), default=0)
    if each.outcome == "refused":
        return f"{each.name:{width}}  cannot be made: {each.why}"
    if each.outcome == "unread":
        return f"{each.name:{width}}  no route reads it any more. It was left as it is: remove it where it lives once nobody needs it"
    return f"{each.name:{width}}  {(_TO_DO if dry_run else _DONE)[each.outcome]}"


def _sum(done: Sequence[Synced], where: Steering, dry_run: bool) -> str:
    counts = {outcome: sum(each.outcome == outcome for each in done) for outcome in ("made", "tagged", "kept", "refused", "unread")}
    if not where.flags:
        return f"{where.path} has no routes, so there are no flags to make"
    if counts["made"] == counts["tagged"] == counts["refused"] == 0:
        return f"Nothing to do in {where.where}: all {counts['kept']} flags are there"
    parts = [f"{counts['made']} {'to make' if dry_run else 'made'}", f"{counts['kept']} there already"]
    if counts["tagged"]:
        parts.insert(1, f"{counts['tagged']} {'to tag' if dry_run else 'tagged'}")
    if counts["refused"]:
        parts.append(f"{counts['refused']} that cannot be made")
    return f"{where.where}: {', '.join(parts)}{'. Nothing was changed (--dry-run)' if dry_run else ''}"
