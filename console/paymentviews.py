"""The page of payments of which nobody knows whether they were made, and the form by which an operator says what was found out."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from console import audit, payments, routes
from console.payments import NoLedgerError
from console.roles import Role, requires
from gateway.config import Config, ConfigError
from gateway.ledger import book
from gateway.ledger.database import AwayError, Connection
from gateway.ledger.entries import Doubt
from shadow.storable import storable

SHOWN: Final = 200
"""Doubts on the page, the oldest."""
REMEMBERED: Final = 20
"""Settled ones below them, the newest."""
OUTCOMES: Final = {
    book.EXECUTED: gettext_lazy("executed: its key is never sent again"),
    book.NOT_EXECUTED: gettext_lazy("not executed: its key is as new, and a repeat is sent"),
}


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What is in doubt, the oldest first, and what was settled lately."""
    config = _configuration()
    context: dict[str, Any] = {"kept": bool(config and config.ledgered), "routes": config.ledgered if config is not None else []}
    try:
        with payments.opened(config) as ledger:
            found = book.doubts(ledger, limit=SHOWN)
            total = sum(book.counts(ledger).values())
            context |= {"doubts": found, "more": max(0, total - len(found)), "settled": book.settlements(ledger, limit=REMEMBERED)}
    except NoLedgerError:
        pass
    except AwayError as error:
        context["away"] = str(error)
    return render(request, "console/payments.html", context, status=503 if "away" in context else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@requires(Role.OPERATOR)
def settle(request: HttpRequest, number: int) -> HttpResponse:
    """Asks what was found out of a payment in doubt, and keeps it."""
    config = _configuration()
    why, outcome = storable(request.POST.get("why", "").strip()), request.POST.get("outcome", "")
    context: dict[str, Any] = {"why": why, "outcome": outcome, "outcomes": list(OUTCOMES.items()), "longest": book.MAX_WORDS}
    name = "console/payment_settle.html"
    try:
        with payments.opened(config) as ledger:
            context["doubt"] = doubt = _doubt(ledger, number)
            if request.method != "POST":
                return render(request, name, context)
            if outcome not in OUTCOMES or not why or len(why) > book.MAX_WORDS:
                wrong = [_("Say what is the case, and in up to %(most)d characters how that was found out.") % {"most": book.MAX_WORDS}]
                return render(request, name, {**context, "wrong": wrong}, status=422)
            # Kept before it is done: what is done without a row would be done by nobody.
            detail = {"payment": number, "said": outcome, "provider": doubt.provider, "key": doubt.key, "outcome": "unknown"}
            subject, link = f"payment {number}: {outcome}", reverse("payments")
            row = audit.record(request, "payment-settled", subject, route=doubt.route, why=why, link=link, detail=detail)
            try:
                book.settle(ledger, number, outcome, by=request.user.get_username(), why=why)
            except book.NotInDoubtError as error:
                audit.conclude(row, {"outcome": "refused", "error": str(error), "gateway": "the ledger"})
            except AwayError as error:
                audit.conclude(row, {"error": str(error), "gateway": "the ledger"})
            else:
                audit.conclude(row, {"outcome": "done"})
    except NoLedgerError:
        raise Http404("there is no ledger") from None
    except AwayError as error:
        return render(request, "console/payments.html", {"kept": True, "away": str(error)}, status=503)
    return redirect("operation", pk=row.pk)


def _doubt(ledger: Connection, number: int) -> Doubt:
    """
    Raises:
        Http404: it is not in doubt.
    """
    found = book.in_doubt(ledger, number)
    if found is None:
        raise Http404(f"payment {number} is not in doubt")
    return found


def _configuration() -> Config | None:
    try:
        return routes.configuration()
    except (ConfigError, OSError):  # the pages that show routes say so
        return None
