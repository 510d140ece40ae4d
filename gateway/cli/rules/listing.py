"""`banyan rules list`: the rules in force, the configuration's among them, and on demand all that ever were."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.comparison import moment, opened
from gateway.cli.rules.shared import ConfigFile, Json, Since, base_of, day, matched, plain, standing, told

if TYPE_CHECKING:
    from shadow.models import Rule as Row


def show(
    route: str,
    /,
    *,
    every: Annotated[bool, Parameter(name="--all", negative=(), help="Those that have ended or expired, too.")] = False,
    since: Since = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """The rules of a route: what each lets pass, who made it and why, until when, and in how many exchanges it took part.

    Example: banyan rules list reviews --all

    Parameters
    ----------
    route
        Its name.
    """
    start = moment(since)
    now = time.time()
    with opened(config, route) as configured:
        from shadow import report, rulebook
        from shadow.combinations import counted
        from shadow.recompute import recompute
        from shadow.rules import configured as own

        rows = list(rulebook.every(route))
        shown = [row for row in rows if every or standing(row, now) == "in force"]
        base = own(base_of(configured))
        found = report.summary(route, start)
        recomputed = recompute(counted(report.tallies([route], start)).get(route, []), rulebook.in_force([route], now)[route])
        took_part = {rule.text: count for rule, count in recomputed.by_rule.items()}
        counts = {row.pk: took_part.get(rule.text, 0) for row in shown if (rule := rulebook.rule_of(row)) is not None}
        unused = [row.pk for row in shown if row.pk not in counts]
    if as_json:
        listed: list[dict[str, Any]] = [
            *({**told(row, now), "usable": row.pk not in unused, "exchanges": counts.get(row.pk, 0)} for row in shown),
            *({"id": None, "kind": rule.kind, "path": rule.path, "value": rule.value, "state": "configuration"} for rule in base),
        ]
        figures = {name: getattr(found, name) for name in ("compared", "matched", "matched_by_rules", "matched_by_configuration")}
        print(json.dumps({"route": route, **figures, "rules": listed}, indent=2))
        return 0
    print(f"{route}: match rate {matched(found)}")
    for row in shown:
        for line in _lines(row, counts.get(row.pk, 0), now, usable=row.pk not in unused):
            print(plain(line))
    for rule in base:
        print(plain(f"  banyan.toml  {rule}"))
    if not shown and not base:
        print("  no rules")
    return 0


def _lines(row: Row, exchanges: int, now: float, *, usable: bool) -> list[str]:
    state = standing(row, now)
    what = " ".join(part for part in (row.kind, row.path, row.value) if part)
    told = f"in {exchanges} exchanges" if state == "in force" and usable else state if usable else "passed over: it can't be read"
    until = "" if row.expires is None else f", until {day(row.expires)}"
    lines = [f"  {f'rule {row.pk}':11}  {what} ({told})", f"               {row.author}, {day(row.created)}{until}: {row.reason}"]
    if row.ended_at is not None and row.ended_by:
        lines.append(f"               ended by {row.ended_by}, {day(row.ended_at)}: {row.ended_why}")
    return lines
