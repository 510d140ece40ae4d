"""`banyan rules suggest`, `accept` and `decline`: rules that legacy's own noise speaks for, and what a person says to them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.comparison import opened, percent
from gateway.cli.rules.changing import report_made
from gateway.cli.rules.shared import By, ConfigFile, For, Json, Place, Reason, asked, base_of, lifetime, needed, plain, who
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from shadow.suggest import Suggestion


def suggest(route: str, /, *, config: ConfigFile = Path("banyan.toml"), as_json: Json = False) -> int:
    """Rules that legacy's own noise speaks for: places in which it differs from itself about as often as from the candidate.

    Example: banyan rules suggest reviews

    Nothing of it is applied before somebody accepts it. Exit status 1: nothing is suggested.

    Parameters
    ----------
    route
        Its name.
    """
    with opened(config, route) as configured:
        from shadow import report, suggesting

        found = suggesting.of(route)
        pairs = report.summary(route).noise_pairs
    if as_json:
        print(json.dumps({"route": route, "noise_pairs": pairs, "suggestions": [_for_machines(each) for each in found]}, indent=2))
    elif not found:
        print(f"{route}: nothing is suggested, after {pairs} pairs of legacy's own answers")
        if not configured.shadow.noise:
            print("  none are made: [routes.shadow] noise = 0.05 sends one request in twenty to legacy twice")
    else:
        for each in found:
            for line in _lines(each):
                print(plain(line))
    return 0 if any(each.explained for each in found) else 1


def _lines(found: Suggestion) -> list[str]:
    interval = f"95 %: {percent(found.lower)} to {percent(found.upper)}"
    lines = [f"{found.rule}" if found.explained else f"{found.path}: no suggestion", f"  {found.sentence}; {interval}"]
    if not found.explained:
        lines.append("  the candidate differs there more often than legacy's noise explains: a rule would hide that")
    if found.beside:
        lines.append(f"  legacy never differs there by {', '.join(found.beside)}, and the candidate does: look at that first")
    for left, right in found.examples:
        lines.append(f"  legacy, twice: {json.dumps(left, ensure_ascii=False)} | {json.dumps(right, ensure_ascii=False)}")
    return lines


def _for_machines(found: Suggestion) -> dict[str, Any]:
    rule = {"kind": found.rule.kind, "path": found.rule.path, "value": found.rule.value}
    names = (
        "path",
        "pairs",
        "present",
        "different",
        "lower",
        "upper",
        "compared",
        "candidate_different",
        "explained",
        "beside",
        "sentence",
    )
    return {"rule": rule, **{name: getattr(found, name) for name in names}, "examples": [list(each) for each in found.examples]}


def accept(
    route: str,
    path: Place,
    /,
    *,
    kind: Annotated[str, Parameter(name="--as", help="Another kind of rule than the suggested one.")] = "",
    value: Annotated[str, Parameter(help="What that kind needs.")] = "",
    reason: Annotated[str, Parameter(help="Why. By default the evidence.")] = "",
    duration: For = "",
    by: By = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Makes a suggested rule, with the evidence kept beside it.

    Example: banyan rules accept reviews '$.generated_at' --for 90d

    Exit status 1: nothing is suggested for that path.

    Parameters
    ----------
    route
        Its name.
    """
    if value and not kind:
        raise RefusalError("--value goes with --as, as in --as tolerance --value 0.01")
    author = who(by)
    now = time.time()
    expires = lifetime(duration, now)
    with opened(config, route) as configured:
        from shadow import preview, suggesting
        from shadow.rules import RuleError

        try:
            found = suggesting.find(route, path)
            if not (found.explained or kind):
                raise RefusalError(
                    f"{found.sentence}: more often than legacy's noise explains. If that is meant, say so: `banyan rules add`", status=1
                )
            rule = asked(kind, found.rule.path, value) if kind else found.rule
            base = base_of(configured)
            looked = preview.of_adding(route, rule, base, terms=configured.gate)
            row = suggesting.accept(
                route, found, base, author=author, reason=reason, at=now, expires=expires, instead=rule, rested_on=looked.rested_on()
            )
        except RuleError as error:
            raise RefusalError(str(error), status=1) from error
    report_made(route, row, looked, now, as_json=as_json)
    return 0


def decline(
    route: str,
    path: Place,
    /,
    *,
    reason: Reason = "",
    by: By = "",
    config: ConfigFile = Path("banyan.toml"),
    as_json: Json = False,
) -> int:
    """Says no to a suggested rule. It is suggested again when legacy's own rate has become another.

    Example: banyan rules decline reviews '$.price' --reason "prices have to be right"

    Exit status 1: nothing is suggested for that path.

    Parameters
    ----------
    route
        Its name.
    """
    why = needed(reason, f"banyan rules decline {route} '{path}'")
    author = who(by)
    with opened(config, route):
        from shadow import suggesting
        from shadow.rules import RuleError

        try:
            found = suggesting.find(route, path)
            suggesting.decline(route, found, by=author, reason=why, at=time.time())
        except RuleError as error:
            raise RefusalError(str(error), status=1) from error
    if as_json:
        print(json.dumps({"route": route, "by": author, "reason": why, **_for_machines(found)}, indent=2))
    else:
        print(plain(f"{route}: {found.rule} is not suggested any more, while legacy's own rate stays what it is"))
    return 0
