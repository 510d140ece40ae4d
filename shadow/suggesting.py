"""Suggested rules, from what is stored: worked out whenever somebody asks; only what a person said to one is kept."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from shadow import report, rulebook
from shadow.combinations import counted
from shadow.noise_store import evidence
from shadow.rules import Rule, RuleError, checked
from shadow.storable import storable
from shadow.suggest import Declined, Evidence, Suggestion, suggestions

if TYPE_CHECKING:
    from shadow.compare import Rules
    from shadow.models import Decline
    from shadow.models import Rule as Row


def of(route: str) -> list[Suggestion]:
    """What legacy's own noise speaks for on `route`."""
    from shadow.models import Decline, Signature

    known = evidence(route)
    if not known:
        return []
    open_ = Signature.objects.filter(route=route, state=Signature.State.NEW).values_list("kind", "path")
    declined = []
    for row in Decline.objects.filter(route=route).order_by("pk"):
        try:
            declined.append(Declined(checked(row.kind, row.path, row.value), row.lower, row.upper))
        except RuleError:
            continue  # of another version; what it said no to is not suggested by this one
    active = rulebook.in_force([route], time.time())[route]
    return suggestions(_with_candidate(route, known), open_, active, declined)


def _with_candidate(route: str, known: list[Evidence]) -> list[Evidence]:
    """The evidence with how often the candidate differs in the same places, of all that is kept."""
    compared = report.summary(route).compared
    places: dict[str, int] = {}
    for members, count in counted(report.tallies([route], 0)).get(route, []):
        for path in {member.path for member in members}:
            places[path] = places.get(path, 0) + count
    return [replace(each, compared=compared, candidate_different=min(places.get(each.path, 0), compared)) for each in known]


def find(route: str, path: str) -> Suggestion:
    """The suggestion for the place that was seen at `path`, or whose rule has that path.

    Raises:
        RuleError: there is none.
    """
    listed = of(route)
    for each in listed:
        if path in (each.path, each.rule.path):
            return each
    raise RuleError(f"nothing is suggested for {path}; suggested are: {', '.join(each.path for each in listed) or 'none'}")


def accept(
    route: str,
    suggestion: Suggestion,
    base: Rules,
    *,
    author: str,
    reason: str,
    at: float,
    expires: float | None = None,
    instead: Rule | None = None,
    rested_on: dict[str, object] | None = None,
    settling: bool = True,
) -> Row:
    """Makes the suggested rule, or the one that a person would have `instead`. Without a reason, the evidence is it. `settling`: as
    shadow.rulebook.add has it.

    Raises:
        RuleError: it can't be made.
    """
    why = reason.strip() or suggestion.sentence
    return rulebook.add(
        route,
        instead or suggestion.rule,
        base,
        author=author,
        reason=why,
        at=at,
        expires=expires,
        origin="suggestion",
        about=suggestion.sentence,
        rested_on=rested_on,
        settling=settling,
    )


def decline(route: str, suggestion: Suggestion, *, by: str, reason: str, at: float) -> Decline:
    """Remembers that somebody does not want it: it is suggested again when its evidence has changed, and not before.

    Raises:
        RuleError: a reason is missing.
    """
    from shadow.models import Decline

    if not reason.strip():
        raise RuleError("say why, for whoever wonders later")
    return Decline.objects.create(
        route=route,
        kind=suggestion.rule.kind,
        path=suggestion.rule.path,
        value=suggestion.rule.value,
        by=storable(by)[:200],
        reason=storable(reason).strip(),
        at=at,
        about=storable(suggestion.sentence)[:400],
        lower=suggestion.lower,
        upper=suggestion.upper,
    )
