"""What a reviewer says to a rule that legacy's own noise speaks for: yes, with the evidence kept beside it, or no."""

from __future__ import annotations

import time

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from console import audit, reasons
from console.deciding import rule_happened, settle
from console.reasons import WordsError
from console.refusals import Happened, conflict, unusable
from console.roles import Role, requires
from console.ruleviews import PREVIEW_SECONDS, record
from console.said import say
from console.terms import configured
from shadow import preview, report, rulebook, suggesting
from shadow.models import Decline
from shadow.rules import Rule, RuleError, checked
from shadow.suggest import Suggestion


def _asked(request: HttpRequest) -> tuple[str, Rule]:
    """The route and the rule of the form.

    Raises:
        Http404: there is no such route.
        RuleError: it is no rule.
    """
    route = request.POST.get("route", "")
    if route not in report.known_routes():
        raise Http404(f"no route {route!r}")
    return route, checked(request.POST.get("kind", ""), request.POST.get("path", ""), request.POST.get("value", ""))


def _suggested(route: str, rule: Rule) -> Suggestion | None:
    """The suggestion of exactly this rule, if it still is one."""
    return next((each for each in suggesting.of(route) if each.rule == rule and each.explained), None)


def _gone(request: HttpRequest, route: str, rule: Rule, back: str, why: str) -> HttpResponse:
    """What became of a suggestion that is none any more."""
    told: list[Happened] = []
    for row in rulebook.active(route, time.time()):
        if row.path == rule.path:
            told += rule_happened(row)
    declined = Decline.objects.filter(route=route, kind=rule.kind, path=rule.path, value=rule.value).order_by("-pk").first()
    if declined is not None:
        told.append(Happened(declined.at, declined.by, _("declined"), declined.reason))
    return conflict(request, told, back, why=why)


@never_cache
@require_POST
@requires(Role.REVIEWER)
def accept(request: HttpRequest) -> HttpResponse:
    """Makes the suggested rule; without a reason the evidence is it. 409: it is not suggested any more; 422: the form can't be used."""
    why = request.POST.get("reason", "")
    try:
        route, rule = _asked(request)
    except RuleError as error:
        return unusable(request, str(error), reverse("overview"), why)
    back = reverse("route", args=[route])
    found = _suggested(route, rule)
    if found is None:
        return _gone(request, route, rule, back, why)
    now = time.time()
    base = configured(route)
    try:
        said = reasons.reason(why) if why.strip() else ""
        expires = reasons.expiry(request.POST.get("days", reasons.DEFAULT_LIFETIME), now)
        looked = preview.of_adding(route, rule, base.base, terms=base.gate, since=now - base.gate.window, seconds=PREVIEW_SECONDS)
        with transaction.atomic():
            made = suggesting.accept(
                route,
                found,
                base.base,
                author=request.user.get_username(),
                reason=said,
                at=now,
                expires=expires,
                rested_on=looked.rested_on(),
                settling=False,
            )
            record(request, "rule-made", made, made.reason)
    except WordsError as error:
        return unusable(request, str(error), back, why)
    except RuleError:
        return _gone(request, route, rule, back, why)
    settle(route)
    return redirect("rule", pk=made.pk)


@never_cache
@require_POST
@requires(Role.REVIEWER)
def decline(request: HttpRequest) -> HttpResponse:
    """Remembers the no. 409: it is not suggested any more; 422: no reason."""
    why = request.POST.get("reason", "")
    try:
        route, rule = _asked(request)
    except RuleError as error:
        return unusable(request, str(error), reverse("overview"), why)
    back = reverse("route", args=[route])
    found = _suggested(route, rule)
    if found is None:
        return _gone(request, route, rule, back, why)
    try:
        said = reasons.reason(why)
        with transaction.atomic():
            suggesting.decline(route, found, by=request.user.get_username(), reason=said, at=time.time())
            detail = {"kind": rule.kind, "path": rule.path, "value": rule.value, "evidence": found.sentence}
            audit.record(request, "suggestion-declined", str(rule), route=route, why=said, link=back, detail=detail)
    except (WordsError, RuleError) as error:
        return unusable(request, str(error), back, why)
    say(request, _("%(rule)s is not suggested any more, while legacy's own rate stays what it is.") % {"rule": rule})
    return redirect(back)
