"""The page of what happened: everything in one order, the newest first."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import routes, timeline
from gateway.config import ConfigError
from shadow import report
from shadow.storable import storable

PAGE: Final = 50


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What happened up to a moment, of one route and one kind where these are chosen."""
    route, kind, day = (storable(request.GET.get(name, "")) for name in ("route", "kind", "day"))
    kind = kind if kind in timeline.KINDS else ""
    ended = _end_of(day)
    place = timeline.Place.of(request.GET.get("before", "")) or timeline.Place.of(f"{request.GET.get('until', '')}:-1:0") or ended
    kinds = (kind,) if kind else tuple(timeline.KINDS)
    found = timeline.lines(timeline.names(route), kinds, place=place, limit=PAGE + 1)
    chosen = {name: value for name, value in (("route", route), ("kind", kind)) if value}
    names = _routes()
    context = {
        "lines": found[:PAGE],
        "more": urlencode({**chosen, "before": str(found[PAGE - 1].place)}) if len(found) > PAGE else "",
        "newest": urlencode(chosen) if place is not None else None,
        "here": urlencode(chosen),
        "kinds": [(key, str(word)) for key, word in timeline.KINDS.items()],
        "kind": kind,
        "route": route,
        "routes": names if not route or route in names else [*names, route],
        "day": day if ended is not None else "",
        "place": place,
        "now": time.time(),
    }
    return render(request, "console/timeline.html", context)


def _end_of(day: str) -> timeline.Place | None:
    """The end of a day in UTC; None where that is no day."""
    try:
        chosen = date.fromisoformat(day)
        after = datetime(chosen.year, chosen.month, chosen.day, tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return timeline.Place.before(after.timestamp()) if after.year > 1970 else None


def _routes() -> list[str]:
    try:
        config = routes.configuration()
    except (ConfigError, OSError):  # the pages that show routes say so
        config = None
    return [route.name for route in config.routes] if config is not None else report.known_routes()
