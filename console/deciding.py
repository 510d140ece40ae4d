"""What reviewers say of a signature: a bug, fixed, new again; a comment; and taking the last change back. Changing only, each by POST."""

from __future__ import annotations

import time

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from console import audit, glossary, reasons, undo
from console.models import Comment
from console.reasons import WordsError
from console.refusals import Happened, conflict, unusable
from console.roles import Role, requires
from console.said import say
from console.seen import meanwhile, seen
from shadow import rulebook, states
from shadow.models import Rule, Signature, StateChange
from shadow.rules import RuleError
from shadow.storable import storable

MARKS = (states.BUG, states.FIXED, states.NEW)
"""What somebody may say outright. What is expected says a rule."""
MAX_COMMENTS = 500
"""Of one signature."""


def happened(changes: list[StateChange]) -> list[Happened]:
    """The changes, as a page of refusal lists them."""
    return [Happened(each.at, each.by, f"{glossary.state(each.old)} → {glossary.state(each.new)}", each.why) for each in changes]


@never_cache
@require_POST
@requires(Role.REVIEWER)
def mark(request: HttpRequest, pk: int) -> HttpResponse:
    """Says of a signature what it is. 409: its state has changed since the form was made; 422: the form can't be used."""
    back = reverse("signature", args=[pk])
    new, why = request.POST.get("to", ""), request.POST.get("why", "")
    try:
        reasons.one_of(new, MARKS, _("A signature can be said to be a bug, fixed or new. What is expected says a rule."))
        said = reasons.reason(why)
        link = reasons.link(request.POST.get("link", "")) if new == states.BUG else ""
        text = f"{said} {link}".rstrip()
        with transaction.atomic():
            row = get_object_or_404(Signature.objects.select_for_update(), pk=pk)
            changes = meanwhile(row, request.POST.get("seen", ""))
            if changes is not None:
                again = {"to": [new], "link": [link], "seen": [seen(row)]}
                return conflict(request, happened(changes), back, again=again, why=why)
            made = states.change(pk, new, by=request.user.get_username(), why=text)
            if made is not None:
                record_mark(request, row, made)
    except (WordsError, states.StateError) as error:
        return unusable(request, str(error), back, why)
    what = _("It is %(state)s now.") if made is not None else _("It was %(state)s already.")
    say(request, what % {"state": glossary.state(new)})
    return redirect(back)


def record_mark(request: HttpRequest, row: Signature, made: states.Change) -> None:
    """Keeps in the audit that somebody changed the state of `row`."""
    audit.record(
        request,
        f"signature-{made.new}",
        f"{row.kind} {row.path}",
        route=row.route,
        why=made.why,
        link=reverse("signature", args=[row.pk]),
        detail={"signature": row.pk, "old": made.old, "new": made.new},
    )


def _room(row: Signature) -> None:
    """
    Raises:
        WordsError: nothing more may be said of it.
    """
    if row.comments.count() >= MAX_COMMENTS:
        raise WordsError(_("There are %(most)d comments, which is the most there can be.") % {"most": MAX_COMMENTS})


@never_cache
@require_POST
@requires(Role.REVIEWER)
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Says something about a signature. 422: it is nothing, or too much."""
    back = reverse("signature", args=[pk])
    text = request.POST.get("text", "")
    row = get_object_or_404(Signature, pk=pk)
    try:
        said = reasons.reason(text.replace("\r\n", "\n"), reasons.MAX_COMMENT)
        with transaction.atomic():
            _room(row)
            made = Comment.objects.create(signature=row, at=time.time(), by=request.user.get_username()[:200], text=storable(said))
            audit.record(
                request,
                "comment",
                f"{row.kind} {row.path}",
                route=row.route,
                why=said,
                link=back,
                detail={"signature": pk, "comment": made.pk},
            )
    except WordsError as error:
        return unusable(request, str(error), back, text)
    return redirect(f"{back}#comments")


@never_cache
@require_POST
@requires(Role.REVIEWER)
def undo_signature(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes back the last change of a signature, whoever made it. 409: it is not the last any more; 422: there is nothing to take back."""
    back = reverse("signature", args=[pk])
    by = request.user.get_username()
    try:
        with transaction.atomic():
            row = get_object_or_404(Signature.objects.select_for_update(), pk=pk)
            changes = meanwhile(row, request.POST.get("seen", ""))
            if changes is not None:
                return conflict(request, happened(changes), back)
            found = undo.of_signature(row, time.time())
            if found is None:
                return unusable(request, _("There is nothing to take back: nobody changed it within the last hour."), back)
            if (str(found.change), str(found.rule)) != (request.POST.get("change", ""), request.POST.get("rule", "")):
                return conflict(request, (), back)
            if found.rule:
                rule, ended = _take_back(request, get_object_or_404(Rule, pk=found.rule, route=row.route))
            else:
                rule, ended = None, False
                made = undo.take_back_state(row, row.changes.get(pk=found.change), by=by)
                if made is not None:
                    record_mark(request, row, made)
    except (RuleError, states.StateError) as error:
        return unusable(request, str(error), back)
    settle(row.route, rule if ended else None)
    say(request, _("Undone: %(what)s") % {"what": found.words})
    return redirect(back)


def _take_back(request: HttpRequest, row: Rule) -> tuple[Rule, bool]:
    """The rule that is ended or made now, and whether it is ended; kept in the audit."""
    made = undo.take_back_rule(row, by=request.user.get_username())
    ended = made.pk == row.pk
    audit.record(
        request,
        "rule-ended" if ended else "rule-made",
        f"rule {made.pk}: {made.kind} {made.path} {made.value}".rstrip(),
        route=row.route,
        why=f"undone: {row.reason}",
        link=reverse("rule", args=[made.pk]),
        detail={"rule": made.pk, "undone": row.pk},
    )
    return made, ended


def settle(route: str, ended: Rule | None = None) -> None:
    """Brings states in line once the transaction of a change of rules is over; `ended`: the rule that was."""
    if ended is None:
        rulebook.settle(time.time(), [route])
    else:
        rulebook.settle(time.time(), [route], by=ended.ended_by, why=rulebook.ended_why(ended.pk, ended.ended_why))


@never_cache
@require_POST
@requires(Role.REVIEWER)
def undo_rule(request: HttpRequest, pk: int) -> HttpResponse:
    """Ends a rule that was just made, or makes one again that was just ended. 409: somebody was faster; 422: it is too late."""
    row = get_object_or_404(Rule, pk=pk)
    back = reverse("rule", args=[pk])
    if request.POST.get("ended", "") != ("1" if row.ended_at is not None else ""):
        return conflict(request, rule_happened(row), back)
    try:
        with transaction.atomic():
            made, ended = _take_back(request, row)
    except RuleError as error:
        return unusable(request, str(error), back)
    settle(row.route, made if ended else None)
    return redirect("rule", pk=made.pk)


def rule_happened(row: Rule) -> list[Happened]:
    """What became of a rule."""
    if row.ended_at is None:
        return [Happened(row.created, row.author, f"{row.kind} {row.path} {row.value}".rstrip(), row.reason)]
    return [Happened(row.ended_at, row.ended_by or states.BANYAN, _("rule %(number)d ended") % {"number": row.pk}, row.ended_why)]
