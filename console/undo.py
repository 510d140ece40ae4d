"""Taking back the last change of a signature or a rule, whoever made it, for an hour.

Nothing is deleted: a rule that was made is ended, one that was ended is made again, a state is set back, each as a new entry that says so.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from django.utils.translation import gettext as _

from console import glossary
from console.terms import configured
from shadow import rulebook, states
from shadow.models import Rule, Signature, StateChange
from shadow.rules import RuleError, checked

UNDO_SECONDS = 3600.0
_MADE = re.compile(r"rule (\d{1,18}): ")
_ENDED = re.compile(r"rule (\d{1,18}) ended: ")


@dataclass(frozen=True, slots=True)
class Undoable:
    """The last change, and what taking it back does."""

    words: str
    at: float
    by: str
    change: int = 0
    """Its StateChange; 0: it is a rule's."""
    rule: int = 0
    """The rule that was made or ended; 0: none was."""


def of_signature(row: Signature, now: float) -> Undoable | None:
    """What can be taken back of `row`: None where nothing changed lately, or nobody changed it."""
    last = row.changes.order_by("-pk").first()
    if last is None or last.at < now - UNDO_SECONDS or last.by == states.BANYAN:
        return None
    made = _MADE.match(last.why)
    if last.new == states.EXPECTED and made is not None:
        rule = Rule.objects.filter(pk=int(made[1]), route=row.route, ended_at=None).first()
        return of_rule(rule, now) if rule is not None else None
    ended = _ended_before(last, row.route)
    if ended is not None:
        return of_rule(ended, now)
    words = _("%(old)s became %(new)s: set it back to %(old)s") % {
        "old": glossary.state(last.old),
        "new": glossary.state(last.new),
    }
    return Undoable(words, last.at, last.by, change=last.pk)


def _ended_before(change: StateChange, route: str) -> Rule | None:
    """The rule whose end changed the state; None where that was something else. People may write what reads like it."""
    said = _ENDED.match(change.why)
    rule = Rule.objects.filter(pk=int(said[1]), route=route).first() if said is not None else None
    if rule is None or (change.by, change.why) != (rule.ended_by, rulebook.ended_why(rule.pk, rule.ended_why)):
        return None
    return rule


def of_rule(row: Rule, now: float) -> Undoable | None:
    """What can be taken back of a rule: that it was made, or that somebody ended it."""
    if row.ended_at is None:
        if row.created < now - UNDO_SECONDS or (row.expires is not None and row.expires <= now):
            return None
        return Undoable(_("rule %(number)d was made: end it") % {"number": row.pk}, row.created, row.author, rule=row.pk)
    if row.ended_at < now - UNDO_SECONDS or not row.ended_by or (row.expires is not None and row.expires <= now):
        return None
    if Rule.objects.filter(route=row.route, kind=row.kind, path=row.path, value=row.value, pk__gt=row.pk).exists():
        return None  # somebody has made it again since: what became of that is what there is to take back
    words = _("rule %(number)d was ended: make it again") % {"number": row.pk}
    return Undoable(words, row.ended_at, row.ended_by, rule=row.pk)


def take_back_state(row: Signature, change: StateChange, *, by: str) -> states.Change | None:
    """Sets `row`, which is locked, back to what it was before `change`, its last.

    Raises:
        shadow.states.StateError: that can't be.
    """
    # A rule makes it expected, and the caller settles it: so a state that no rule stands behind any more does not come back.
    old = states.NEW if change.old == states.EXPECTED else change.old
    return states.change(row.pk, old, by=by, why=f"undone: {change.old} to {change.new}, by {change.by}")


def take_back_rule(row: Rule, *, by: str, at: float | None = None) -> Rule:
    """Ends `row`, or makes again what it said. Within a transaction of the caller's, who settles.

    Raises:
        shadow.rules.RuleError: somebody was faster, or it can't be made any more.
    """
    now = time.time() if at is None else at
    if of_rule(row, now) is None:
        raise RuleError(f"rule {row.pk} was changed too long ago to be undone, or nobody changed it")
    if row.ended_at is None:
        return rulebook.end(row.route, row.pk, by=by, why=f"undone: made by {row.author}", at=now, settling=False)
    return rulebook.add(
        row.route,
        checked(row.kind, row.path, row.value),
        configured(row.route).base,
        author=by,
        reason=row.reason,
        at=now,
        expires=row.expires,
        origin=row.origin,
        about=f"undone: the end of rule {row.pk}, by {row.ended_by}",
        rested_on={**row.rested_on, rulebook.BUGS: _bugs(row)},
        settling=False,
    )


def _bugs(row: Rule) -> list[list[str]]:
    """What somebody has said to be a bug since the rule was made, or since it ended: that stays one, as if the rule had never ended."""
    found: list[list[str]] = list(row.rested_on.get(rulebook.BUGS, []))
    for bug in Signature.objects.filter(route=row.route, state=states.BUG, state_since__gte=row.created):
        last = bug.changes.order_by("-pk").first()
        if last is not None and last.by != states.BANYAN and _ended_before(last, row.route) is None:
            found.append([bug.kind, bug.path])
    return found
