"""What the verbs of `banyan rules` share."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.cli.comparison import percent
from gateway.cli.shared import RefusalError

if TYPE_CHECKING:
    from gateway.settings import Route
    from shadow.compare import Rules
    from shadow.models import Rule as Row
    from shadow.preview import Preview
    from shadow.report import RouteReport
    from shadow.rules import Rule

ConfigFile = Annotated[Path, Parameter(name="--config", help="The configuration.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="For machines.")]
Since = Annotated[str, Parameter(help="How far back to look, such as 15m, 2h or 7d; by default all that is kept.")]
Reason = Annotated[str, Parameter(help="Why, for whoever meets it later.")]
By = Annotated[str, Parameter(help="Who. By default your login name.")]
For = Annotated[str, Parameter(name="--for", help="How long it holds, such as 30d; by default until somebody ends it.")]
Kind = Annotated[str, Parameter(help="ignore, unordered, key, tolerance, time, pattern, header or drift.")]
Place = Annotated[str, Parameter(help="The path, such as $.items[*].updated; of a header rule, the header's name.")]
Value = Annotated[str, Parameter(help="What key, tolerance and pattern need: a field, an amount, an expression.")]


def who(by: str) -> str:
    """`by`, or the system's user."""
    if by.strip():
        return by.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        raise RefusalError("this system has no name for you: say who with --by") from None


def needed(reason: str, what: str) -> str:
    """`reason`, which has to say something.

    Raises:
        RefusalError: it does not.
    """
    if not reason.strip():
        raise RefusalError(f"say why: {what} --reason 'TEXT'")
    return reason.strip()


def asked(kind: str, path: str, value: str) -> Rule:
    """The rule that was typed.

    Raises:
        RefusalError: it is none.
    """
    from shadow.rules import RuleError, checked

    try:
        return checked(kind, path, value)
    except RuleError as error:
        raise RefusalError(str(error)) from error


def base_of(route: Route) -> Rules:
    """The route's configured rules."""
    from shadow.rules import from_configuration

    return from_configuration(route.shadow.compare.model_dump())


def lifetime(text: str, now: float) -> float | None:
    """When a rule that holds for "30d" expires; None for "".

    Raises:
        RefusalError: it is no duration.
    """
    from gateway.units import seconds

    if not text:
        return None
    try:
        found = seconds(text)
    except ValueError as error:
        raise RefusalError(f"--for: {error}") from None
    if found < 60:
        raise RefusalError(f"--for {text}: a rule holds for a minute at least")
    return now + found


def told(row: Row, now: float) -> dict[str, Any]:
    """A stored rule, for machines."""
    names = ("kind", "path", "value", "author", "reason", "created", "expires", "ended_at", "ended_by", "ended_why", "origin", "about")
    return {"id": row.pk, **{name: getattr(row, name) for name in names}, "state": standing(row, now), "rested_on": row.rested_on}


def standing(row: Row, now: float) -> str:
    """in force, expired or ended."""
    if row.expires is not None and row.expires <= (now if row.ended_at is None else row.ended_at):
        return "expired"
    return "in force" if row.ended_at is None else "ended"


def day(moment: float) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def plain(text: str) -> str:
    """Text of somebody else's, for a terminal: on one line, and nothing in it that moves a cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def matched(counted: RouteReport) -> str:
    """Such as "99.10 % (991 of 1000: 900 outright, 91 by rules), coverage 100.00 %"."""
    parts = [f"{counted.matched_outright} outright"]
    if counted.matched_by_configuration:
        parts.append(f"{counted.matched_by_configuration} by the configuration's rules")
    if counted.matched_by_rules:
        parts.append(f"{counted.matched_by_rules} by reviewed rules")
    rate = f"{percent(counted.match_rate)} ({counted.matched} of {counted.compared}: {', '.join(parts)})"
    return f"{rate}, coverage {percent(counted.coverage)}"


def for_machines(found: Preview) -> dict[str, Any]:
    """A preview as JSON has it."""
    from dataclasses import asdict

    def side(report: RouteReport, gate: Any) -> dict[str, Any]:
        names = (
            "compared",
            "matched",
            "matched_outright",
            "matched_by_rules",
            "matched_by_configuration",
            "mismatched",
            "match_rate",
            "coverage",
        )
        return {**{name: getattr(report, name) for name in names}, "gate": asdict(gate)}

    return {
        "rule": str(found.rule),
        "counted": found.counted,
        "exchanges": found.matches_gained,
        "before": side(found.before, found.gate_before),
        "after": side(found.after, found.gate_after),
        "hidden": [asdict(each) for each in found.hidden],
        "samples": {
            "judged": found.samples,
            "of_exchanges": found.of,
            "matching": found.samples_matching,
            "unread": found.samples_unread,
        },
        "settled": [list(each) for each in found.settled],
        "examples": [asdict(each) for each in found.examples],
        "overlaps": list(found.already),
    }
