"""The overview: every route as a row, those that need somebody first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import flagviews, live, ranges, routes
from console.ranges import Range
from console.routes import RouteView
from console.sparkline import Sparkline, sparkline
from shadow import counters, sums

SPANS: Final = ("15m", "1h", "24h", "all")
BARS: Final = {"15m": 60, "1h": 180, "24h": 3600, "6h": 600, "7d": 21600, "all": 43200}
"""Seconds of a bar, by span."""
MOST_BARS: Final = 32
LONGEST_FILTER: Final = 100
"""Characters."""

SORTS: Final = {
    "need": gettext_lazy("who needs somebody"),
    "name": gettext_lazy("name"),
    "traffic": gettext_lazy("traffic"),
    "match": gettext_lazy("match rate, the lowest first"),
    "coverage": gettext_lazy("coverage, the lowest first"),
    "open": gettext_lazy("open signatures"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One route, and its drawing."""

    view: RouteView
    traffic: Sparkline


@never_cache
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Who serves each route, how far the two agree, how much of it was looked at, and what it needs."""
    now = time.time()
    shown = ranges.of(request.GET, now)
    config = routes.configuration()
    board = flagviews.board(config)
    views = routes.views(None, shown.since, now, config, board, shown.ended)
    wanted = request.GET.get("q", "")[:LONGEST_FILTER].strip()
    sort = request.GET.get("sort", "need")
    sort = sort if sort in SORTS else "need"
    found = sorted((view for view in views if _matches(view, wanted)), key=_ORDERS[sort])
    drawings = _traffic([view.name for view in found], shown)
    context: dict[str, Any] = {
        "rows": [Row(view, drawings[view.name]) for view in found],
        "all": len(views),
        "asking": sum(view.need.asks for view in views),
        "board": board,
        "stored": live.stored(),
        "span": shown.span,
        "spans": ranges.choices(shown, SPANS),
        "query": shown.query,
        "address": urlencode({**dict([pair.split("=") for pair in shown.query.split("&")]), "sort": sort, "q": wanted}),
        "sort": sort,
        "sorts": [(key, str(label)) for key, label in SORTS.items()],
        "q": wanted,
    }
    if live.asked(request):
        return live.part(request, "console/overview_rows.html", context, board)
    return render(request, "console/overview.html", context)


def _matches(view: RouteView, wanted: str) -> bool:
    """Every word is in its name, its path, its mode or what it needs."""
    text = f"{view.name} {view.match} {view.mode.label} {view.need.reason}".casefold()
    return all(word in text for word in wanted.casefold().split())


def _rate(share: float | None) -> float:
    return 2.0 if share is None else share


_ORDERS: Final[dict[str, Callable[[RouteView], tuple[Any, ...]]]] = {
    "need": lambda view: (view.need.rank, -view.lately.served, view.name),
    "name": lambda view: (view.name,),
    "traffic": lambda view: (-view.totals.served, view.name),
    "match": lambda view: (_rate(view.totals.match_rate), view.name),
    "coverage": lambda view: (_rate(view.totals.coverage), view.name),
    "open": lambda view: (-view.new - view.bugs, view.name),
}


def _traffic(names: list[str], shown: Range) -> dict[str, Sparkline]:
    """Each route's, in one query."""
    step = BARS.get(shown.span) or max(60, round((shown.until - shown.since) / MOST_BARS / 60) * 60)
    last = int(shown.until) // step * step
    first = max(int(shown.since) // step * step, last - (MOST_BARS - 1) * step)
    served: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in names}
    for route, at, name, count in sums.by_step(names, first, shown.until + 1, step, counters.SERVED):
        old, new = served[route].get(at, (0, 0))
        if name == counters.SERVED_LEGACY:
            served[route][at] = (old + count, new)
        elif name == counters.SERVED_CANDIDATE:
            served[route][at] = (old, new + count)
    return {name: sparkline(each, first, last, step) for name, each in served.items()}
