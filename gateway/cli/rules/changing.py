"""`banyan rules add` and `end`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gateway.cli.comparison import opened
from gateway.cli.rules.shared import (
    By,
    ConfigFile,
    For,
    Json,
    Kind,
    Place,
    Reason,
    Value,
    asked,
    base_of,
    day,
    for_machines,
    lifetime,
    matched,
    needed,
    plain,
    told,
    who,
)
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from shadow.models import Rule as Row
    from shadow.preview import Preview


def add(
    route: str,
    kind: Kind,
    path: Place,
    value: Value = "",
    /,
    *,
    reason: Reason = "",
    duration: For = "",
    by: By = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Makes a rule. Running gateways compare by it within about two seconds, and the past is counted anew at once.

    Example: banyan rules add reviews ignore '$.generated_at' --reason "the time of the answer" --for 90d

    Exit status 1: there is such a rule already, or too many.

    Parameters
    ----------
    route
        Its name.
    """
    rule = asked(kind, path, value)
    why = needed(reason, f"banyan rules add {route} {kind} '{path}'")
    author = who(by)
    now = time.time()
    expires = lifetime(duration, now)
    with opened(config, route) as configured:
        from shadow import preview, rulebook
        from shadow.rules import RuleError

        base = base_of(configured)
        found = preview.of_adding(route, rule, base, terms=configured.gate)
        try:
            row = rulebook.add(route, rule, base, author=author, reason=why, at=now, expires=expires, rested_on=found.rested_on())
        except RuleError as error:
            raise RefusalError(str(error), status=1) from error
    report_made(route, row, found, now, as_json=as_json)
    return 0


def report_made(route: str, row: Row, found: Preview, now: float, *, as_json: bool) -> None:
    """Says which rule was made, and what it came to."""
    if as_json:
        print(json.dumps({"route": route, **told(row, now), "preview": for_machines(found)}, indent=2))
        return
    until = "" if row.expires is None else f", until {day(row.expires)}"
    print(plain(f"{route}: rule {row.pk}: {found.rule}, by {row.author}{until}"))
    if found.counted:
        print(f"  {found.matches_gained} exchanges that differed are matches now; match rate {matched(found.after)}")
    else:
        print(f"  of what was compared before, {found.samples_matching} of {found.samples} samples (of {found.of} exchanges) would match;")
        print("  the counts of the past stay, for they can't tell. What is compared from now on goes by it")


def end(
    route: str,
    number: int,
    /,
    *,
    reason: Reason = "",
    by: By = "",
    dry_run: Annotated[bool, Parameter(negative=(), help="Says what would differ again, and ends nothing.")] = False,
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Ends a rule. It stays in the list of all rules, with who ended it and why; what it excused counts as differing again.

    Example: banyan rules end reviews 4 --reason "the candidate sends it in UTC now"

    Exit status 1: it has ended already, or there is no such rule.

    Parameters
    ----------
    route
        Its name.
    number
        The rule's, as `banyan rules list` has it.
    """
    if dry_run:
        return _try_to_end(route, number, config, as_json=as_json)
    why = needed(reason, f"banyan rules end {route} {number}")
    author = who(by)
    now = time.time()
    with opened(config, route):
        from shadow import report, rulebook
        from shadow.rules import RuleError

        before = report.summary(route)
        try:
            row = rulebook.end(route, number, by=author, why=why, at=now)
        except RuleError as error:
            raise RefusalError(str(error), status=1) from error
        after = report.summary(route)
    if as_json:
        print(json.dumps({"route": route, **told(row, now), "exchanges": after.matched - before.matched}, indent=2))
    else:
        print(plain(f"{route}: rule {row.pk} has ended: {row.kind} {row.path} {row.value}".rstrip()))
        print(f"  {before.matched - after.matched} exchanges count as differing again; match rate {matched(after)}")
    return 0


def _try_to_end(route: str, number: int, config: Path, *, as_json: bool) -> int:
    from gateway.cli.rules.previewing import lines

    with opened(config, route) as configured:
        from shadow import preview, rulebook
        from shadow.rules import RuleError

        row = next((row for row in rulebook.active(route, time.time()) if row.pk == number), None)
        if row is None:
            raise RefusalError(f"{route} has no rule {number} that is in force", status=1)
        gate = configured.gate
        try:
            found = preview.of_ending(route, row, base_of(configured), terms=gate)
        except RuleError as error:
            raise RefusalError(str(error), status=1) from error
    if as_json:
        print(json.dumps({"route": route, "dry_run": True, **for_machines(found)}, indent=2))
    else:
        for line in lines(found):
            print(plain(line))
    return 0
