"""Several signatures of a route at once: all of them bugs, fixed, or expected, with one reason. All of them or none."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Collate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from console import fits, glossary, reasons
from console.deciding import MARKS, happened, record_mark, settle
from console.reasons import WordsError
from console.refusals import Happened, conflict, unusable
from console.roles import Role, requires
from console.ruleviews import MOST_HIDDEN, add
from console.said import say
from console.seen import meanwhile, seen
from console.terms import configured
from shadow import preview, rulebook, states
from shadow.models import Signature
from shadow.rules import Rule, RuleError

MOST_CHOSEN = 500


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of the signatures, and the rule by which it would be expected."""

    row: Signature
    carried: str
    fit: fits.Fit | None


@never_cache
@require_POST
@requires(Role.REVIEWER)
def mark_many(request: HttpRequest) -> HttpResponse:
    """Marks all that were chosen. Expected ones get a rule each, after a page that shows what these hide.

    409: one of them has changed since the list was made; 422: the form can't be used.
    """
    why, new = request.POST.get("why", ""), request.POST.get("to", "")
    back = reverse("overview")
    try:
        carried = _carried(request)
        rows = _of_one_route(carried)
        back = reverse("route", args=[rows[0].route])
        reasons.one_of(new, (*MARKS, states.EXPECTED), _("They can be said to be bugs, fixed, new or expected."))
        if new == states.EXPECTED:
            return _expect(request, rows, carried, back)
        return _mark(request, rows, carried, new, back)
    except (WordsError, RuleError, states.StateError) as error:
        return unusable(request, str(error), back, why)


def _of_one_route(carried: dict[int, str]) -> list[Signature]:
    """
    Raises:
        WordsError: they are not, or some are not kept any more.
    """
    rows = list(Signature.objects.filter(pk__in=list(carried)).order_by("route", "kind", "path"))
    if len(rows) < len(carried) or len({row.route for row in rows}) != 1:
        raise WordsError(_("Choose signatures of one route that are still kept."))
    return rows


def _carried(request: HttpRequest) -> dict[int, str]:
    """The numbers that were chosen, each with what the list was made from.

    Raises:
        WordsError: none, too many, or not such numbers.
    """
    found: dict[int, str] = {}
    for text in request.POST.getlist("chosen"):
        number, _colon, token = text.partition(":")
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise WordsError(_("Choose signatures of one route that are still kept."))
        found[int(number)] = token
    if not found or len(found) > MOST_CHOSEN:
        raise WordsError(_("Choose one signature or more, and %(most)d at most.") % {"most": MOST_CHOSEN})
    return found


def _changed(rows: list[Signature], carried: dict[int, str]) -> list[Happened]:
    """What happened to any of them since the list was made."""
    found: list[Happened] = []
    for row in rows:
        changes = meanwhile(row, carried[row.pk])
        if changes is not None:
            told = happened(changes) or [Happened(row.state_since, states.BANYAN, f"→ {glossary.state(row.state)}", "")]
            found += [Happened(each.at, each.by, f"{glossary.kind(row.kind)} {row.path}: {each.what}", each.why) for each in told]
    return found


def _again(rows: list[Signature], new: str, **more: str) -> dict[str, list[str]]:
    return {"chosen": [f"{row.pk}:{seen(row)}" for row in rows], "to": [new], **{name: [value] for name, value in more.items()}}


def _locked(rows: list[Signature]) -> list[Signature]:
    """Within a transaction, in the order in which writers lock them: by code points, whatever collation the database was made with."""
    exact = [Collate(name, "C") if connection.vendor == "postgresql" else F(name) for name in ("route", "kind", "path")]
    return list(Signature.objects.select_for_update().filter(pk__in=[row.pk for row in rows]).order_by(*exact))


def _mark(request: HttpRequest, rows: list[Signature], carried: dict[int, str], new: str, back: str) -> HttpResponse:
    said = reasons.reason(request.POST.get("why", ""))
    link = reasons.link(request.POST.get("link", "")) if new == states.BUG else ""
    with transaction.atomic():
        locked = _locked(rows)
        changed = _changed(locked, carried)
        if changed:
            return conflict(request, changed, back, again=_again(locked, new, link=link), why=said)
        count = 0
        for row in locked:
            made = states.change(row.pk, new, by=request.user.get_username(), why=f"{said} {link}".rstrip())
            if made is not None:
                count += 1
                record_mark(request, row, made)
    say(
        request,
        ngettext("%(count)d signature is %(state)s now.", "%(count)d signatures are %(state)s now.", count)
        % {"count": count, "state": glossary.state(new)},
    )
    return redirect(back)


def _expect(request: HttpRequest, rows: list[Signature], carried: dict[int, str], back: str) -> HttpResponse:
    route = rows[0].route
    base = configured(route)
    chosen = [Chosen(row, f"{row.pk}:{carried[row.pk]}", fits.whole(row.kind, row.path)) for row in rows]
    held = rulebook.in_force([route], time.time())[route]
    rules: list[Rule] = []
    for each in chosen:
        rule = each.fit.rule if each.fit is not None else None
        if rule is not None and rule not in rules and rule not in held:
            rules.append(rule)
    said, days = request.POST.get("why", "").strip(), request.POST.get("days", reasons.DEFAULT_LIFETIME)
    message, status = "", 200
    if request.POST.get("do") == "make":
        try:
            return _make(request, chosen, rules, back, said, days)
        except WordsError as error:
            message, status = str(error), 422
    window = base.gate.window
    together = preview.of_adding_all(route, rules, terms=base.gate, since=time.time() - window)
    meant = {(row.kind, row.path) for row in rows}
    others = [each for each in together.hidden if (each.kind, each.path) not in meant]
    context = {
        "name": route,
        "chosen": chosen,
        "rules": rules,
        "unfit": [each for each in chosen if each.fit is None],
        "together": together,
        "others": others[:MOST_HIDDEN],
        "more_others": max(0, len(others) - MOST_HIDDEN),
        "window": window,
        "why": said,
        "days": days,
        "lifetimes": reasons.LIFETIMES,
        "message": message,
        "configured": base,
    }
    return render(request, "console/expect_many.html", context, status=status)


def _make(request: HttpRequest, chosen: list[Chosen], rules: list[Rule], back: str, said: str, days: str) -> HttpResponse:
    """Makes the rules, all of them or none.

    Raises:
        WordsError: the reason or the lifetime can't be used, or there is nothing to make.
        RuleError: one of them can't be made.
    """
    why, now = reasons.reason(said), time.time()
    expires = reasons.expiry(days, now)
    if not rules or any(each.fit is None for each in chosen):
        raise WordsError(_("Choose only signatures that a rule can excuse."))
    rows = [each.row for each in chosen]
    route = rows[0].route
    base = configured(route)
    with transaction.atomic():
        locked = _locked(rows)
        changed = _changed(locked, {each.row.pk: each.carried.partition(":")[2] for each in chosen})
        if changed:
            return conflict(request, changed, back, again=_again(locked, states.EXPECTED, days=days), why=said)
        for rule in rules:
            add(request, route, rule, base, why=why, now=now, expires=expires, about=", ".join(f"{row.kind} {row.path}" for row in rows))
    settle(route)
    count = len(rules)
    say(request, ngettext("%(count)d rule was made.", "%(count)d rules were made.", count) % {"count": count})
    return redirect("rules", name=route)
