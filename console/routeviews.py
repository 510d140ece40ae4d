"""A route's page: how it stands, its figures over time, and its signatures by what likely caused them."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import charting, flagviews, live, ranges, routes, said, timeline
from console.charting import COLUMNS, NUMBERS, TIMES
from console.ranges import Range
from console.routes import RouteView
from console.templatetags.banyan import shortly
from shadow import causes, combinations, counters, report, suggesting, sums
from shadow.causes import Group
from shadow.models import GuardTrip, Signature
from shadow.recompute import Combination
from shadow.report import SignatureLine
from shadow.words import percent, thousands, utc

MAX_SIGNATURES: Final = 600
"""Read of a route; it has hardly more (shadow.batch.MAX_SIGNATURES)."""
MAX_SHOWN: Final = 200
TRIPS_SHOWN: Final = 5
NOISE_SHOWN: Final = 50


@never_cache
@require_safe
def route(request: HttpRequest, name: str) -> HttpResponse:
    """How it stands, in the range that the address says."""
    if "\0" in name:
        raise Http404("no name of a route has that")  # and PostgreSQL takes no such text
    now = time.time()
    shown = ranges.of(request.GET, now)
    config = routes.configuration()
    board = flagviews.board(config)
    (view,) = routes.views([name], shown.since, now, config, board, shown.ended)
    lines = _lines(name, shown)
    if not lines and not view.match and name not in report.known_routes():
        raise Http404(f"no route {name!r}")
    groups, more = _cut(causes.grouped(lines, _together(name, shown) if len(lines) > 1 else ()))
    context: dict[str, Any] = {
        "view": view,
        "board": board,
        "stored": live.stored(),
        "changes": flagviews.newest([flag.name for flag in view.flags]),
        "trips": GuardTrip.objects.filter(route=name).order_by("-at", "-pk")[:TRIPS_SHOWN],
        "groups": [(_title(group, alone=len(groups) == 1), list(group.lines)) for group in groups],
        "more": more,
        "earlier": Signature.objects.filter(route=name, last_seen__lt=shown.since).count(),
        "shown": shown,
        "query": shown.query,
        "span": shown.span,
    }
    if live.asked(request):
        return live.part(request, "console/route_live.html", context | {"part": True}, board)
    with report.remembered():
        return render(request, "console/route.html", context | _once(request, view, shown))


def _once(request: HttpRequest, view: RouteView, shown: Range) -> dict[str, Any]:
    """What the page has, and its live part has not."""
    tabled = request.GET.get("table") == "1"
    return {
        "spans": ranges.choices(shown),
        "since": ranges.field(shown.since or shown.until - 3600),
        "until": ranges.field(shown.until),
        "noise": report.noise(view.name)[:NOISE_SHOWN],
        "suggestions": [] if view.split else suggesting.of(view.name),
        "said": said.heard(request),
        "table": _table(view.name, shown) if tabled else None,
        "headings": [str(words) for words in COLUMNS.values()],
    }


@never_cache
@require_safe
def series(request: HttpRequest, name: str) -> HttpResponse:
    """The figures and marks of `since` to `until` (Unix seconds, or ISO 8601 in UTC), or of `span`; 304 where they are what they were."""
    now = time.time()
    shown = ranges.of(request.GET, now)
    config = routes.configuration()
    configured = next((each for each in config.routes if each.name == name), None) if config else None
    if configured is None and name not in report.known_routes():
        raise Http404(f"no route {name!r}")
    found = charting.read(name, shown)
    since = shown.since or (found.points[0].at if found.points else shown.until)
    marks = timeline.marks(name, since, shown.until, list(configured.flags) if configured else None)
    told = charting.document(found, marks, shown)
    tag = _tag({key: value for key, value in told.items() if key not in ("since", "until")})
    if request.headers.get("If-None-Match") == tag:
        return live.marked(HttpResponseNotModified(), tag)
    return live.marked(JsonResponse(told), tag)


def _tag(told: dict[str, Any]) -> str:
    return f'"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}"'


def _lines(name: str, shown: Range) -> list[SignatureLine]:
    """Those that were seen in that time, and bugs that are not mended."""
    rows = Signature.objects.filter(route=name, last_seen__gte=shown.since)
    if shown.ended is not None:
        rows = rows.filter(first_seen__lt=shown.ended)
    return [report.signature_line(row) for row in rows.order_by("-last_seen", "-count")[:MAX_SIGNATURES]]


def _together(name: str, shown: Range) -> list[tuple[Combination, int]]:
    """What was seen together in that time."""
    counted = {each: count for _, each, count in sums.totals([name], shown.since, shown.ended, like=counters.COMBINATION)}
    return combinations.counted({name: counted})[name]


def _cut(groups: list[Group[SignatureLine]]) -> tuple[list[Group[SignatureLine]], int]:
    """Groups of MAX_SHOWN lines in all, and how many lines are left out. Those that stand alone next to each other are one."""
    found: list[Group[SignatureLine]] = []
    shown = 0
    total = sum(len(group.lines) for group in groups)
    for group in groups:
        if shown >= MAX_SHOWN:
            break
        lines = group.lines[: MAX_SHOWN - shown]
        shown += len(lines)
        if group.why == causes.ALONE and found and found[-1].why == causes.ALONE:
            found[-1] = Group(causes.ALONE, (*found[-1].lines, *lines))
        else:
            found.append(Group(group.why, lines, group.path, group.exchanges))
    return found, total - shown


def _title(group: Group[SignatureLine], *, alone: bool) -> str:
    """What its lines have in common; `alone`: there is no other group."""
    if group.why == causes.TOGETHER:
        count = {"count": thousands(group.exchanges)}
        said_ = ngettext("always together, in %(count)s exchange", "always together, in %(count)s exchanges", group.exchanges) % count
        return f"{group.path}: {said_}" if group.path else said_
    if group.why == causes.BELOW:
        return _("below %(path)s") % {"path": group.path}
    return "" if alone else _("by themselves")


def _table(name: str, shown: Range) -> list[tuple[str, list[str]]]:
    """The charts' figures as rows, for who reads them better so, and for pages without scripts."""
    found = charting.columns(charting.read(name, shown).points)
    rows = []
    for place, at in enumerate(found["at"]):
        rows.append((utc(at or 0.0), [_cell(column, found[column][place]) for column in COLUMNS]))
    return rows


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    if column in TIMES:
        return shortly(value)
    return thousands(int(value)) if column in NUMBERS else percent(value)
