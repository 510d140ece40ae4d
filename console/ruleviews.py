"""Rules: choosing one for a signature and seeing what it hides, making it, ending it, and a route's rules with who made them and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import audit, fits, reasons, said, undo
from console.deciding import happened, rule_happened, settle
from console.kinds import meaning
from console.reasons import WordsError
from console.refusals import conflict, unusable
from console.roles import Role, requires, role_of
from console.seen import meanwhile, seen
from console.terms import Configured, configured
from shadow import preview, report, rulebook, states, suggest, suggesting
from shadow.combinations import counted
from shadow.compare import Kind
from shadow.gate import wilson
from shadow.models import Rule, Signature
from shadow.noise_store import evidence
from shadow.recompute import recompute
from shadow.rules import COUNTED, RuleError, RuleKind, checked, covers
from shadow.rules import Rule as Instruction
from shadow.rules import configured as configured_rules

PREVIEW_SECONDS = 2.0
"""For samples that are judged again while somebody waits for the page."""
MOST_HIDDEN = 20
MOST_ENDED = 200
OTHER_RULE = "other"
"""The choice of a rule that the form does not suggest."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.REVIEWER)
@report.remembered()
def expect(request: HttpRequest, pk: int) -> HttpResponse:
    """Choosing the rule by which a signature is expected. GET and `do=preview` show what it hides; `do=make` makes it.

    409: the signature's state has changed since the form was made, or there is such a rule; 422: the form can't be used.
    """
    row = get_object_or_404(Signature, pk=pk)
    known = next((each for each in evidence(row.route) if each.path == row.path), None)
    offered = _offered(row, noisy=known is not None)
    if not offered:
        return unusable(request, fits.unfit(row.kind, row.path), reverse("signature", args=[pk]))
    form = request.POST if request.method == "POST" else request.GET
    choice = form.get("choice", "0")
    fields = {
        "choice": choice,
        "kind": form.get("kind", offered[0].kind),
        "path": form.get("path", offered[0].path),
        "value": form.get("value", ""),
        "why": form.get("why", ""),
        "days": form.get("days", reasons.DEFAULT_LIFETIME),
    }
    message = ""
    status = 200
    rule: Instruction | None = None
    try:
        rule = _chosen(choice, offered, fields)
    except RuleError as error:
        # htmx puts no answer into the page that is an error.
        message, status = str(error), 200 if request.headers.get("HX-Request") else 422
    if request.method == "POST" and request.POST.get("do") == "make" and rule is not None:
        if request.POST.get("previewed", "") != rule.text:
            message, status = _("Look at what it hides first: it was another rule that was shown."), 422
        else:
            try:
                return _make(request, row, rule, fields)
            except WordsError as error:
                message, status = str(error), 422
    base = configured(row.route)
    context = {
        "signature": row,
        "meaning": meaning(row.kind),
        "fits": offered,
        "fields": fields,
        "kinds": list(RuleKind),
        "lifetimes": reasons.LIFETIMES,
        "seen": seen(row),
        "message": message,
        "configured": base,
        **(_previewed(row, rule, base, known) if rule is not None else {}),
    }
    return render(request, "console/expect.html", context, status=status)


def _offered(row: Signature, *, noisy: bool) -> list[fits.Fit]:
    """The rules to choose from: what legacy's own noise speaks for is the first."""
    found = fits.fits(row.kind, row.path, list(row.samples.order_by("-pk").values_list("differences", flat=True)))
    for each in suggesting.of(row.route) if noisy else ():
        if each.path == row.path and each.explained and row.kind not in each.beside and _excuses(each.rule, row.kind):
            first = fits.Fit(each.rule.kind, each.rule.path, each.rule.value, each.sentence)
            found = [first, *(fit for fit in found if fit.kind != first.kind)]
    return found


def _excuses(rule: Instruction, kind: str) -> bool:
    """Whether a rule of that kind can excuse such a difference at all."""
    return rule.kind in COUNTED or kind == Kind.VALUE


def _chosen(choice: str, offered: Sequence[fits.Fit], fields: dict[str, str]) -> Instruction:
    """
    Raises:
        RuleError: it is none.
    """
    if choice == OTHER_RULE:
        return checked(fields["kind"], fields["path"].strip(), fields["value"].strip())
    if choice not in map(str, range(len(offered))):
        raise RuleError(_("That is none of the rules to choose from."))
    fit = offered[int(choice)]
    return checked(fit.kind, fit.path, fit.value)


def _previewed(row: Signature, rule: Instruction, base: Configured, known: suggest.Evidence | None) -> dict[str, Any]:
    now = time.time()
    found = preview.of_adding(row.route, rule, base.base, terms=base.gate, since=begin(row, base, now), seconds=PREVIEW_SECONDS)
    others = [each for each in found.hidden if (each.kind, each.path) != (row.kind, row.path)]
    own = covers(rule, Kind(row.kind), row.path) or (row.kind, row.path) in found.settled
    return {
        "rule": rule,
        "preview": found,
        "own": own,
        "others": others[:MOST_HIDDEN],
        "more_others": max(0, len(others) - MOST_HIDDEN),
        "noise": noise_of(known),
        "pairs": found.before.noise_pairs,
        "begin": begin(row, base, now),
        "window": base.gate.window,
    }


def begin(row: Signature, base: Configured, now: float) -> float:
    """From when on a preview counts: the gate's own window, or everything that is kept where the signature was not seen in that."""
    since = now - base.gate.window
    return since if row.last_seen >= since else 0.0


def noise_of(known: suggest.Evidence | None) -> dict[str, Any] | None:
    """How often legacy differs from itself in that place; None where it never did."""
    if known is None or not known.present:
        return None
    lower, upper = wilson(known.differed, known.present)
    return {
        "different": known.differed,
        "present": known.present,
        "share": known.differed / known.present,
        "lower": lower,
        "upper": upper,
        "few": known.present < suggest.MIN_PAIRS,
        "examples": known.manner.examples,
    }


def _make(request: HttpRequest, row: Signature, rule: Instruction, fields: dict[str, str]) -> HttpResponse:
    """Makes the rule.

    Raises:
        WordsError: the reason or the lifetime can't be used.
    """
    now = time.time()
    why = reasons.reason(fields["why"])
    expires = reasons.expiry(fields["days"], now)
    base = configured(row.route)
    found = preview.of_adding(row.route, rule, base.base, terms=base.gate, since=begin(row, base, now), seconds=PREVIEW_SECONDS)
    back = reverse("signature", args=[row.pk])
    try:
        with transaction.atomic():
            locked = get_object_or_404(Signature.objects.select_for_update(), pk=row.pk)
            changes = meanwhile(locked, request.POST.get("seen", ""))
            if changes is not None:
                again = {**{name: [value] for name, value in fields.items() if name != "why"}, "seen": [seen(locked)]}
                again |= {"do": ["make"], "previewed": [rule.text]}
                return conflict(request, happened(changes), back, again=again, why=fields["why"])
            made = add(request, row.route, rule, base, why=why, now=now, expires=expires, found=found, about=f"{row.kind} {row.path}")
    except RuleError as error:
        return _not_made(request, row.route, rule, str(error), back, fields["why"])
    settle(row.route)
    return redirect("rule", pk=made.pk)


def add(
    request: HttpRequest,
    route: str,
    rule: Instruction,
    base: Configured,
    *,
    why: str,
    now: float,
    expires: float | None,
    found: preview.Preview | None = None,
    about: str = "",
) -> Rule:
    """Makes a rule for the request's user, and keeps that in the audit. Within a transaction of the caller's, who settles.

    Raises:
        RuleError: it can't be made.
    """
    made = rulebook.add(
        route,
        rule,
        base.base,
        author=request.user.get_username(),
        reason=why,
        at=now,
        expires=expires,
        origin="signature",
        about=about,
        rested_on=found.rested_on() if found is not None else None,
        settling=False,
    )
    record(request, "rule-made", made, why)
    return made


def record(request: HttpRequest, action: str, row: Rule, why: str) -> None:
    """Keeps in the audit what was done to a rule."""
    detail = {"rule": row.pk, "kind": row.kind, "path": row.path, "value": row.value, "expires": row.expires}
    subject = f"rule {row.pk}: {row.kind} {row.path} {row.value}".rstrip()
    audit.record(request, action, subject, route=row.route, why=why, link=reverse("rule", args=[row.pk]), detail=detail)


def _not_made(request: HttpRequest, route: str, rule: Instruction, message: str, back: str, why: str) -> HttpResponse:
    """Where somebody else has made the same rule, that is what is told."""
    same = next((row for row in rulebook.active(route, time.time()) if rulebook.rule_of(row) == rule), None)
    if same is not None:
        return conflict(request, rule_happened(same), back, why=why)
    return unusable(request, message, back, why)


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule as the pages list it."""

    row: Rule
    exchanges: int
    """In which it excuses something now."""
    usable: bool
    standing: str
    """active, expiring, expired, ended."""
    again: int = 0
    """Exchanges that would differ again without it: others of them have another rule, or differ anyhow."""

    @property
    def in_force(self) -> bool:
        return self.standing in ("active", "expiring")


def lines(route: str, rows: Sequence[Rule], now: float, since: float) -> list[RuleLine]:
    """Rules of one route with what each hides of what was compared since `since`."""
    held = rulebook.in_force([route], now)[route]
    found = recompute(counted(report.tallies([route], since)).get(route, []), held)
    took_part = {rule.text: count for rule, count in found.by_rule.items()}
    listed = []
    for row in rows:
        rule = rulebook.rule_of(row)
        stands = standing(row, now)
        count = took_part.get(rule.text, 0) if rule is not None and stands in ("active", "expiring") else 0
        listed.append(RuleLine(row, count, rule is not None, stands, found.alone.get(rule, 0) if rule is not None and count else 0))
    return listed


def standing(row: Rule, now: float) -> str:
    """active, expiring, expired or ended."""
    if row.expires is not None and row.expires <= (now if row.ended_at is None else row.ended_at):
        return "expired"
    if row.ended_at is not None:
        return "ended"
    return "expiring" if row.expires is not None and row.expires - now < reasons.EXPIRING_SECONDS else "active"


@never_cache
@require_safe
@report.remembered()
def rules(request: HttpRequest, name: str) -> HttpResponse:
    """All rules of a route: those in force, those that are about to expire first, and those that have ended."""
    if "\0" in name:
        raise Http404("no name of a route has that")  # and PostgreSQL takes no such text
    now = time.time()
    rows = list(rulebook.every(name)[: MOST_ENDED + 1])  # type: ignore[index]  # a QuerySet
    base = configured(name)
    if not rows and not base.known and name not in report.known_routes():
        raise Http404(f"no route {name!r}")
    since = now - base.gate.window
    listed = lines(name, rows[:MOST_ENDED], now, since)
    context = {
        "name": name,
        "expiring": sorted((each for each in listed if each.standing == "expiring"), key=lambda each: each.row.expires or 0.0),
        "active": [each for each in listed if each.standing == "active"],
        "ended": [each for each in listed if each.standing in ("ended", "expired")],
        "more": len(rows) > MOST_ENDED,
        "own": [str(rule) for rule in configured_rules(base.base)],
        "now": now,
        "said": said.heard(request),
        "totals": report.summary(name, since),
        "window": base.gate.window,
    }
    return render(request, "console/rules.html", context)


@never_cache
@require_safe
@report.remembered()
def rule(request: HttpRequest, pk: int) -> HttpResponse:
    """One rule: what it says, who made it and why, what was known then, what it hides now, and the route's figures with it."""
    row = get_object_or_404(Rule, pk=pk)
    now = time.time()
    base = configured(row.route)
    (line,) = lines(row.route, [row], now, now - base.gate.window)
    instruction = rulebook.rule_of(row)
    covered = []
    if instruction is not None:
        every = Signature.objects.filter(route=row.route).order_by("-count")[:1000]
        settled = row.rested_on.get("settled", [])
        covered = [
            each
            for each in every
            if meaning(each.kind) and (covers(instruction, Kind(each.kind), each.path) or [each.kind, each.path] in settled)
        ]
    totals, gate = report.gates({row.route: base.gate}, now)[row.route]
    left = Signature.objects.filter(route=row.route, state__in=states.OPEN).order_by("-count", "kind", "path").first()
    context = {
        "rule": row,
        "line": line,
        "now": now,
        "covered": covered[:MOST_HIDDEN],
        "more_covered": max(0, len(covered) - MOST_HIDDEN),
        "totals": totals,
        "gate": gate,
        "window": base.gate.window,
        "before": _before(row),
        "next_open": left.pk if left is not None else None,
        "undoable": undo.of_rule(row, now) if role_of(request.user) >= Role.REVIEWER else None,
        "said": said.heard(request),
    }
    return render(request, "console/rule.html", context)


def _before(row: Rule) -> dict[str, Any] | None:
    """The figures of just before the rule was made; None of rules that were made without them being kept."""
    told = row.rested_on.get("before")
    if not isinstance(told, dict) or not told.get("compared"):
        return None
    return {"rate": told["matched"] / told["compared"], **told}


@never_cache
@require_POST
@requires(Role.REVIEWER)
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """Ends a rule. 409: somebody has ended it already; 422: no reason."""
    row = get_object_or_404(Rule, pk=pk)
    back = reverse("rule", args=[pk])
    why = request.POST.get("why", "")
    try:
        text = reasons.reason(why)
    except WordsError as error:
        return unusable(request, str(error), back, why)
    try:
        with transaction.atomic():
            ended = rulebook.end(row.route, pk, by=request.user.get_username(), why=text, at=time.time(), settling=False)
            record(request, "rule-ended", ended, text)
    except RuleError:
        row.refresh_from_db()
        return conflict(request, rule_happened(row), back, why=why)
    settle(row.route, ended)
    said.say(request, _("Rule %(number)d has ended.") % {"number": pk})
    return redirect("rule", pk=pk)
