"""Reviewed rules in the database: made, ended, listed; and the states of signatures that follow from them.

Nothing is ever deleted, and nothing recomputed is stored: what is active now is held against what was seen, whenever somebody asks. So a
rule that is made, ended or expires changes every figure at once, with nothing to be brought up to date.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from shadow import states
from shadow.compare import Kind, Rules
from shadow.rules import MAX_RULES, Rule, RuleError, checked, configured, covers
from shadow.storable import storable

if TYPE_CHECKING:
    from shadow.models import Rule as Row
    from shadow.models import Signature

_log = logging.getLogger("banyan.shadow")

_KINDS = frozenset(kind.value for kind in Kind)

LONGEST_WHY = states.MAX_WHY - 100
"""Characters of a reason: the history of a signature has it too, with the rule's number before it."""
GRACE_SECONDS = 10.0
"""For every worker to have a new rule: what is seen until then says nothing against it."""

BUGS = "bugs"
"""In what a rule rests on: (kind, path) of bugs that it leaves alone though it was made after them, for it was only made again."""


def add(
    route: str,
    rule: Rule,
    base: Rules,
    *,
    author: str,
    reason: str,
    at: float,
    expires: float | None = None,
    origin: str = "person",
    about: str = "",
    rested_on: dict[str, Any] | None = None,
    settling: bool = True,
) -> Row:
    """Makes a rule of `route`, whose configured ones are `base`. Times are Unix seconds.

    `settling=False`: within a transaction of the caller's, who calls `settle` when that is over.

    Raises:
        RuleError: it can't be made; the message says why.
        django.db.Error: the database refused.
    """
    from shadow.models import Rule as Row

    reason, author = storable(reason).strip(), storable(author).strip()[:200]
    if not reason:
        raise RuleError("a rule needs a reason, for whoever meets it later")
    if not author:
        raise RuleError("a rule needs an author")
    _short(reason)
    if expires is not None and expires <= at:
        raise RuleError("a rule that has expired already would do nothing")
    if rule.text in {own.text for own in configured(base)}:
        raise RuleError(f"the configuration has this rule already: {rule}")
    with transaction.atomic():
        held = list(active(route, at))
        for row in held:
            if rule_of(row) == rule:
                raise RuleError(f"rule {row.pk} says the same: {rule}")
        if len(held) >= MAX_RULES:
            raise RuleError(f"{route} has {MAX_RULES} active rules, which is the most there can be; end some of them")
        # One that has expired and was never ended would stand in the way of its successor.
        Row.objects.filter(route=route, kind=rule.kind, path=rule.path, value=rule.value, ended_at=None, expires__lte=at).update(
            ended_at=at, ended_by="", ended_why="expired"
        )
        try:
            made = Row.objects.create(
                route=route,
                kind=rule.kind,
                path=storable(rule.path),
                value=storable(rule.value),
                author=author,
                reason=reason,
                created=at,
                expires=expires,
                origin=origin,
                about=storable(about)[:400],
                rested_on=storable(rested_on or {}),
            )
        except IntegrityError as error:
            raise RuleError(f"somebody has just made the same rule: {rule}") from error
    # Not within the transaction: writers lock signatures too, in another order. A worker does the same when it notices the rule.
    if settling:
        settle(at, [route])
    return made


def _short(why: str) -> None:
    if len(why) > LONGEST_WHY:
        raise RuleError(f"a reason may have {LONGEST_WHY} characters; this one has {len(why)}")


def end(route: str, number: int, *, by: str, why: str, at: float, settling: bool = True) -> Row:
    """Ends a rule of `route`. `settling`: as `add` has it; `ended_why` is what to settle with.

    Raises:
        RuleError: there is no such rule, it has ended already, or a word of why is missing.
    """
    from shadow.models import Rule as Row

    why, by = storable(why).strip(), storable(by).strip()[:200]
    if not why:
        raise RuleError("say why it ends, for whoever wonders later")
    _short(why)
    with transaction.atomic():
        row = Row.objects.filter(route=route, pk=number).first()
        if row is None:
            raise RuleError(f"{route} has no rule {number}")
        if not Row.objects.filter(pk=number, ended_at=None).update(ended_at=at, ended_by=by, ended_why=why):
            raise RuleError(f"rule {number} has ended already")
    if settling:
        settle(at, [route], by=by, why=ended_why(number, why))
    row.refresh_from_db()
    return row


def ended_why(number: int, why: str) -> str:
    """What a signature's history says where a rule of it has ended."""
    return f"rule {number} ended: {why}"


def active(route: str | None, at: float) -> Iterable[Row]:
    """The rules in force at the moment `at`, of one route or all, the oldest first."""
    from shadow.models import Rule as Row

    found = Row.objects.filter(Q(expires=None) | Q(expires__gt=at), ended_at=None).order_by("pk")
    return found if route is None else found.filter(route=route)


def every(route: str) -> Iterable[Row]:
    """All rules that `route` ever had, the newest first."""
    from shadow.models import Rule as Row

    return Row.objects.filter(route=route).order_by("-pk")


def in_force(routes: Sequence[str], at: float) -> dict[str, list[Rule]]:
    """The instructions of each route's active rules."""
    found: dict[str, list[Rule]] = {route: [] for route in routes}
    for row in active(None, at):
        rule = rule_of(row)
        if row.route in found and rule is not None:
            found[row.route].append(rule)
    return found


def rule_of(row: Row) -> Rule | None:
    """What a row says; None where it can't be used: it was put there by something else than `add`, or by another version."""
    try:
        return checked(row.kind, row.path, row.value)
    except RuleError as error:
        _log.warning("rule %d of route %s is passed over: %s", row.pk, row.route, error)
        return None


def revision() -> tuple[int, int]:
    """Changes whenever a rule is made or ended, whatever the order in which transactions end."""
    from shadow.models import Rule as Row

    found = Row.objects.aggregate(made=Count("pk"), ended=Count("ended_at"))
    return found["made"], found["ended"]


def settle(at: float, routes: Sequence[str] | None = None, *, by: str = "", why: str = "") -> int:
    """Brings the states of signatures in line with the rules in force: `expected` means that one covers it. Returns how many changed.

    `by`, `why`: of whoever has just ended a rule. Done when a rule is made or ended, and by workers now and then: rules expire, a signature
    is seen in spite of its rule, and a shipper that knows no reviewed rules writes one that is covered. A bug stays one, whatever rules
    there are, until somebody makes one for it after that; and it is one again when that rule is gone.
    """
    from shadow.models import Rule as Row
    from shadow.models import Signature

    names = sorted(set(Row.objects.values_list("route", flat=True))) if routes is None else routes
    changed = 0
    for route in names:
        held = [(row, rule) for row in active(route, at) if (rule := rule_of(row)) is not None]
        rows = Signature.objects.filter(route=route).exclude(state=Signature.State.FIXED)
        for row in rows if held else rows.filter(state=Signature.State.EXPECTED):
            found = next((held_row for held_row, rule in reversed(held) if expects(held_row, rule, row)), None)
            if found is not None and row.state != Signature.State.EXPECTED:
                if row.state == Signature.State.BUG and _older(found, row):  # the newest of them: the others are older
                    continue
                changed += _change(row, states.EXPECTED, by=found.author, why=f"rule {found.pk}: {found.reason}"[: states.MAX_WHY])
            elif found is None and row.state == Signature.State.EXPECTED:
                changed += _change(row, unexpected(row), by=by or states.BANYAN, why=why or "no rule covers it any more")
    return changed


def _change(row: Signature, new: str, *, by: str, why: str) -> bool:
    """Whether it was done: not where somebody has decided about the signature since `row` was read."""
    return states.change(row.pk, new, by=by, why=why, since=row.state_since) is not None


def _older(rule: Row, bug: Signature) -> bool:
    """Whether somebody has said that it is a bug with the rule before him."""
    return rule.created <= bug.state_since or [bug.kind, bug.path] in rule.rested_on.get(BUGS, [])


def unexpected(signature: Signature) -> str:
    """The state of an expected signature once no rule is the reason any more."""
    last = signature.changes.filter(new=states.EXPECTED).order_by("-pk").first()
    return states.BUG if last is not None and last.old == states.BUG else states.NEW


def expects(row: Row, rule: Rule, signature: Signature) -> bool:
    """Whether this rule is why the signature is expected.

    A rule that depends on values covers none by itself. But where every sample of the signature was excused by it when it was made, the
    signature is expected until it is seen again in spite of the rule.
    """
    if signature.kind in _KINDS and covers(rule, Kind(signature.kind), signature.path):
        return True
    judged: list[list[Any]] = row.rested_on.get("settled", [])
    return [signature.kind, signature.path] in judged and signature.last_seen <= row.created + GRACE_SECONDS
