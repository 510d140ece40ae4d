"""The console's pages. Reading only: everything shown is what shadow stored, or what the gateway said last of its flags. The login is
required by middleware, for every page."""

from __future__ import annotations

import time
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import flagviews, routes, sidebyside
from shadow import curl, report, states
from shadow.compare import Difference, Kind
from shadow.models import GuardTrip, Sample, Signature
from shadow.signature import signature as signature_of
from shadow.words import quoted

SPANS = {"15m": (900.0, "15 minutes"), "1h": (3600.0, "hour"), "24h": (86400.0, "24 hours"), "all": (0.0, "everything kept")}
DEFAULT_SPAN = "1h"
MAX_SIGNATURES_SHOWN = 200
TRIPS_SHOWN = 5

KINDS = {
    Kind.STATUS: "the statuses differ",
    Kind.AUTHORIZATION: "one refused with 401, 403 or 404, and the other did not, or with another of these",
    Kind.HEADER: "a header differs",
    Kind.TYPE: "another JSON type in the same place",
    Kind.MISSING: "legacy has it, the candidate has not",
    Kind.EXTRA: "the candidate has it, legacy has not",
    Kind.VALUE: "another value of the same type",
    Kind.ORDER: "the same elements in another order",
    Kind.BODY: "the bodies differ as a whole",
    Kind.UNANSWERED: "the candidate gave no answer",
    Kind.INCONCLUSIVE: "comparing took more than its budget",
    Kind.DRIFT: "another type or shape, again and again, where differences are ignored",
    Kind.NULL_RATE: "null or absent more or less often than legacy, where differences are ignored",
}


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
        "signatures": signatures,
        "more": max(0, rows.count() - len(signatures)),
        "earlier": every.filter(last_seen__lt=since).count(),
        "noise": report.noise(name)[:50],
        "span": span,
        "spans": _spans(span),
        "kinds": {kind.value: text for kind, text in KINDS.items()},
    }
    return render(request, "console/route.html", context)


@never_cache
@require_safe
def signature(request: HttpRequest, pk: int) -> HttpResponse:
    """A signature: its newest sample."""
    row = get_object_or_404(Signature, pk=pk)
    newest = row.samples.order_by("-pk").first()
    if newest is None:
        return render(
            request,
            "console/signature_empty.html",
            {"signature": row, "meaning": KINDS.get(Kind(row.kind), ""), "history": states.history(row.pk)},
        )
    return redirect("sample", pk=row.pk, sample=newest.pk)


@never_cache
@require_safe
def sample(request: HttpRequest, pk: int, sample: int) -> HttpResponse:
    """One exchange, both answers side by side."""
    row = get_object_or_404(Signature, pk=pk)
    samples = list(row.samples.order_by("-pk"))  # MAX_SAMPLES at most
    place = next((index for index, item in enumerate(samples) if item.pk == sample), None)
    if place is None:
        raise Http404("that sample is not kept any more")
    shown = samples[place]
    context = {
        "signature": row,
        "meaning": KINDS.get(Kind(row.kind), ""),
        "history": states.history(row.pk),
        "sample": shown,
        "curl": curl.line(shown.method, shown.target, shown.request),
        "curl_notes": curl.notes(shown.method, shown.request),
        "newer": samples[place - 1] if place else None,
        "older": samples[place + 1] if place + 1 < len(samples) else None,
        "place": place + 1,
        "samples": len(samples),
        "differences": _differences(shown, row),
        "headers": _headers(shown),
        "blocks": sidebyside.bodies(shown.legacy, shown.candidate, shown.differences),
    }
    return render(request, "console/sample.html", context)


def _differences(shown: Sample, row: Signature) -> list[dict[str, Any]]:
    """The stored differences, those of this signature first."""
    listed = []
    for item in shown.differences:
        kind, path = signature_of(Difference(Kind(item["kind"]), item["path"]))
        listed.append(
            {
                "kind": item["kind"],
                "path": item["path"],
                "candidate_path": item.get("candidate_path", ""),
                "legacy": None if kind is Kind.EXTRA else quoted(item["legacy"]),
                "candidate": None if kind is Kind.MISSING else quoted(item["candidate"]),
                "valued": kind is not Kind.ORDER and not (kind is Kind.INCONCLUSIVE and item["legacy"] is None),
                "own": kind.value == row.kind and path == row.path,
            }
        )
    return sorted(listed, key=lambda item: not item["own"])


def _headers(shown: Sample) -> list[dict[str, Any]]:
    """Both sides' headers by name, those in the verdict marked."""
    marked = {item["path"].partition(":")[0] for item in shown.differences if item["kind"] == Kind.HEADER}
    sides = [_joined(side["headers"]) for side in (shown.legacy, shown.candidate)]
    names = sorted(set(sides[0]) | set(sides[1]), key=lambda name: (name not in marked, name))
    return [{"name": name, "legacy": sides[0].get(name), "candidate": sides[1].get(name), "differs": name in marked} for name in names]


def _joined(headers: list[list[str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
