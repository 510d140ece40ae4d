"""The pages about endpoints: what is asked for and takes legacy's time, what to migrate next, and what to write for it. Reading only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from zlib import crc32

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import endpointwords, routes, watch
from gateway.config import Config, ConfigError, parse, read
from gateway.endpoints.claims import Claims
from gateway.endpoints.live import ORDERS, listed
from gateway.endpoints.ranking import Advice, advise
from gateway.endpoints.suggest import suggest
from shadow import endpoint_store

SPANS: Final = {
    "15m": (900.0, _("15 minutes")),
    "1h": (3600.0, _("hour")),
    "24h": (86400.0, _("24 hours")),
    "all": (0.0, _("everything kept")),
}
DEFAULT_SPAN: Final = "1h"
SORTS: Final = {
    "time": _("share of legacy's time"),
    "next": _("what to migrate next"),
    "requests": _("requests"),
    "errors": _("errors of legacy and candidate (5xx)"),
    "p95": _("slowest (p95)"),
}
ROUTED: Final = {"": _("all"), "no": _("not routed"), "yes": _("routed")}
SHOWN: Final = 100
"""Rows of the table."""
LONGEST_FILTER: Final = 100
STALE_SECONDS: Final = 150.0
"""Without a newer minute than one that began so long ago, what is shown is said to be old."""


@dataclass(frozen=True, slots=True)
class Line:
    """One endpoint as the table shows it."""

    one: Mapping[str, Any]
    advice: Advice
    route: str
    """That it belongs to by the configuration, or else by its traffic; "": none."""
    known: bool
    """That route is in banyan.toml, so it has a page."""

    @property
    def verdict(self) -> str:
        return endpointwords.verdict(self.advice)

    @property
    def reasons(self) -> list[tuple[str, bool]]:
        return [(endpointwords.reason(reason), reason.good) for reason in self.advice.reasons]

    @property
    def bar(self) -> int:
        """Width of 100."""
        share: float = self.one["legacy_share"]
        return round(100 * share)

    @property
    def key(self) -> str:
        """The same for the same endpoint: what has the focus keeps it when the table is written anew."""
        return f"{crc32(f'{self.one["method"]} {self.one["template"]}'.encode()):08x}"

    @property
    def start(self) -> str:
        """The page that says how to begin."""
        return f"{reverse('endpoint')}?{urlencode({'method': self.one['method'], 'template': self.one['template']})}"


def line(one: Mapping[str, Any], claims: Claims) -> Line:
    """An endpoint with what is thought of it."""
    route = claims.of(one["method"], one["template"]) or one["route"] or ""
    return Line(one, advise({**one, "route": route}), route, route in claims.names)


@never_cache
@require_safe
def endpoints(request: HttpRequest) -> HttpResponse:
    """All of them, by what they take of legacy's time or as is asked for."""
    span = _chosen(request, "span", SPANS, DEFAULT_SPAN)
    sort = _chosen(request, "sort", SORTS, "time")
    routed = _chosen(request, "routed", ROUTED, "")
    text = request.GET.get("q", "").strip()[:LONGEST_FILTER]
    now = time.time()
    length = SPANS[span][0]
    figures, rest, first = endpoint_store.figures(now - length if length else 0.0)
    found = listed(figures, {}, rest, max(60.0, now - first), order=sort if sort in ORDERS else "time", limit=len(figures))
    claims = Claims(routes.configuration())
    lines = [line(one, claims) for one in found["endpoints"]]
    if sort == "next":
        lines.sort(key=lambda each: -each.advice.score)
    chosen = [
        each
        for each in lines
        if text.casefold() in f"{each.one['method']} {each.one['template']}".casefold()
        and (not routed or bool(each.route) is (routed == "yes"))
    ]
    here = {"span": span, "sort": sort, "routed": routed, "q": text}
    context = {
        "lines": chosen[:SHOWN],
        "more": max(0, len(chosen) - SHOWN),
        "any": bool(lines),
        "total": found["total"],
        "rest": found["rest"] if not text and not routed else None,
        "spans": [(urlencode({**here, "span": key}), label, key == span) for key, (_length, label) in SPANS.items()],
        "sorts": [(key, label, key == sort) for key, label in SORTS.items()],
        "kinds": [(key, label, key == routed) for key, label in ROUTED.items()],
        "here": here,
        "query": urlencode(here),
        "first": first,
        **_freshness(now),
    }
    return render(request, "console/endpoints.html", context)


@never_cache
@require_safe
def endpoint(request: HttpRequest) -> HttpResponse:
    """One of them: its figures, and how its migration would begin."""
    method, template = request.GET.get("method", ""), request.GET.get("template", "")
    now = time.time()
    figures, rest, first = endpoint_store.figures(now - 86400.0)
    if (method, template) not in figures:
        figures, rest, first = endpoint_store.figures(0.0)
    found = listed(figures, {}, rest, max(60.0, now - first), limit=len(figures))
    one = next((each for each in found["endpoints"] if (each["method"], each["template"]) == (method, template)), None)
    if one is None:
        raise Http404("nothing is kept of such an endpoint")
    config = routes.configuration()
    shown = line(one, Claims(config))
    context: dict[str, Any] = {"line": shown, "first": first, "statuses": one["statuses"].items(), **_freshness(now)}
    if not shown.route:
        context |= _beginning(one, config)
    return render(request, "console/endpoint.html", context)


def _beginning(one: Mapping[str, Any], config: Config | None) -> dict[str, Any]:
    """How its migration would begin."""
    taken = [name for route in (config.routes if config else []) for name in (route.name, *route.flags)]
    suggestion = suggest(
        one["template"], one["method"], routes=taken, upstreams=list(config.upstreams) if config else [], methods=one["methods"]
    )
    others = [method for method in one["methods"] if method != one["method"]]
    return {
        "suggestion": suggestion,
        "unknown": [endpointwords.unknown(key, others) for key in suggestion.unknown],
        "refused": _refused(suggestion.toml),
        "sure": config is not None,
    }


def _refused(toml: str) -> str:
    """What would be wrong with banyan.toml if this were put at its end; "": nothing, or it is not known here."""
    if not settings.BANYAN_CONFIG:
        return ""
    path = Path(settings.BANYAN_CONFIG)
    try:
        parse(path, f"{read(path)}\n{toml}")
    except ConfigError as error:
        return str(error)
    return ""


def _freshness(now: float) -> dict[str, Any]:
    """How old the newest figures are, and why."""
    newest = endpoint_store.newest()
    trouble = watch.endpoint_trouble()
    return {
        "newest": newest,
        "stale": newest is not None and now - newest > STALE_SECONDS,
        "watched": trouble is not None,
        "trouble": trouble or "",
    }


def _chosen(request: HttpRequest, name: str, among: Mapping[str, Any], default: str) -> str:
    given = request.GET.get(name, default)
    return given if given in among else default
