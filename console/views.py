"""The console's pages. Reading only: everything shown is what shadow stored, or what the gateway said last of its flags. The login is
required by middleware, for every page."""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import flagviews, routes, said
from console.kinds import KINDS
from shadow import report, suggesting
from shadow.models import GuardTrip, Signature

SPANS = {"15m": (900.0, "15 minutes"), "1h": (3600.0, "hour"), "24h": (86400.0, "24 hours"), "all": (0.0, "everything kept")}
DEFAULT_SPAN = "1h"
MAX_SIGNATURES_SHOWN = 200
TRIPS_SHOWN = 5


class Login(LoginView):
    """The login page. Where a page that refreshes itself lands here, because its session has ended, the whole page is loaded anew."""

    redirect_authenticated_user = True

    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        response = super().render_to_response(context, **response_kwargs)
        if self.request.headers.get("HX-Request"):
            response["HX-Refresh"] = "true"
        return response


def _span(request: HttpRequest) -> tuple[str, float]:
    """The chosen span and the moment at which it begins."""
    span = request.GET.get("span", DEFAULT_SPAN)
    if span not in SPANS:
        span = DEFAULT_SPAN
    length = SPANS[span][0]
    return span, time.time() - length if length else 0.0


def _spans(chosen: str) -> list[tuple[str, str, bool]]:
    return [(key, label, key == chosen) for key, (_, label) in SPANS.items()]


@never_cache
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Every route: who serves it, how far the two agree, and how much of it was looked at."""
    span, since = _span(request)
    config = routes.configuration()
    board = flagviews.board(config)
    found = routes.views(None, since, time.time(), config, board)
    return render(request, "console/overview.html", {"routes": found, "board": board, "span": span, "spans": _spans(span)})


@never_cache
@require_safe
def route(request: HttpRequest, name: str) -> HttpResponse:
    """One route's signatures."""
    span, since = _span(request)
    config = routes.configuration()
    board = flagviews.board(config)
    (view,) = routes.views([name], since, time.time(), config, board)
    every = Signature.objects.filter(route=name)
    rows = every.filter(last_seen__gte=since).order_by("-last_seen", "-count")
    signatures = [report.signature_line(row) for row in rows[:MAX_SIGNATURES_SHOWN]]
    if not signatures and not view.match and name not in report.known_routes():
        raise Http404(f"no route {name!r}")
    context = {
        "view": view,
        "board": board,
        "changes": flagviews.newest([flag.name for flag in view.flags]),
        "trips": GuardTrip.objects.filter(route=name).order_by("-at", "-pk")[:TRIPS_SHOWN],
        "groups": [("", signatures)] if signatures else [],
        "suggestions": suggesting.of(name),
        "said": said.heard(request),
        "more": max(0, rows.count() - len(signatures)),
        "earlier": every.filter(last_seen__lt=since).count(),
        "noise": report.noise(name)[:50],
        "span": span,
        "spans": _spans(span),
        "kinds": {kind.value: text for kind, text in KINDS.items()},
    }
    return render(request, "console/route.html", context)
