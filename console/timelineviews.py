"""The page of what happened: everything in one order, the newest first. What happens while it is read is told in a line beside it."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import news, routes, timeline
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
    chosen = {name: value for name, value in (("route", route), ("kind", kind)) if value}
    show = f"{reverse('timeline')}?{urlencode(chosen)}" if chosen else reverse("timeline")
    if news.asked(request):
        return news.answer(request, _news(request, route, kinds), show)
    now = time.time()
    found = timeline.lines(timeline.names(route), kinds, place=place, limit=PAGE + 1)
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
        "news": news.News(news.query([*chosen.items(), *_had(found[:PAGE])], now), show) if place is None else None,
    }
    return render(request, "console/timeline.html", context)


def _had(lines: list[timeline.Line]) -> list[tuple[str, object]]:
    """What a page says that it has: how many lines, and the last of them where more may follow."""
    return [("had", len(lines)), *([("last", lines[-1].place)] if len(lines) == PAGE else [])]


def _news(request: HttpRequest, route: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """How many lines there are above the last that the page has, beyond those that it has."""
    had = min(PAGE, news.number(request, "had"))
    last = timeline.Place.of(request.GET.get("last", ""))
    found = timeline.lines(timeline.names(route), kinds, since=last.at if last is not None else 0.0, limit=had + news.MOST + 1)
    above = sum(last is None or line.place.precedes(last) or line.place == last for line in found)
    return news.counted(above - had, news.loaded(request))


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
