"""The page about how much of legacy is left, and of which routes its code can be removed. Reading only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import gatewords, routes
from shadow.burndown import Evidence, RouteNote, burndown
from shadow.gate import GateResult

SPANS: Final = (1, 7, 14, 30)
"""Days."""
DEFAULT_SPAN: Final = 7
SHOWN: Final = 100
"""Endpoints of a kind."""
HISTORY: Final = 30
"""Days of the table."""


@dataclass(frozen=True, slots=True)
class Line:
    """One route as the page shows it."""

    note: RouteNote
    evidence: list[tuple[str, bool]]
    """In words, and whether it speaks for removing."""


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """All of it, of as many days as is asked for."""
    given = request.GET.get("days", "")
    days = int(given) if given in {str(span) for span in SPANS} else DEFAULT_SPAN
    config = routes.configuration()
    context: dict[str, Any] = {
        "known": config is not None,
        "days": days,
        "spans": [(span, ngettext("%(days)d day", "%(days)d days", span) % {"days": span}, span == days) for span in SPANS],
    }
    if config is not None:
        found = burndown(config, days, time.time())
        left = [one for one in found.endpoints if one.state in ("legacy", "both")]
        dead = [one for one in found.endpoints if one.state == "dead"]
        covered = [one for one in found.endpoints if one.state == "covered"]
        context |= {
            "found": found,
            "alive": len(found.alive),
            "still": sum(one.state != "candidate" for one in found.alive),
            "history": [
                (day, share, round(100 * share), round(day.legacy), round(day.candidate))
                for day in found.history[-HISTORY:]
                if (share := day.share) is not None
            ],
            "lines": [Line(note, [(said(each, note.gate), each.good) for each in note.evidence]) for note in found.routes],
            "left": [(one, round(one.legacy), one.legacy / (one.legacy + one.candidate)) for one in left[:SHOWN]],
            "left_more": max(0, len(left) - SHOWN),
            "dead": dead[:SHOWN],
            "covered": covered[:SHOWN],
            "covered_more": max(0, len(covered) - SHOWN),
            "rest": round(found.rest),
            "dead_more": max(0, len(dead) - SHOWN),
        }
    return render(request, "console/burndown.html", context)


def said(evidence: Evidence, gate: GateResult) -> str:
    """One piece of evidence in the reader's language. `gate`: what it rests on, where it is about that."""
    values: dict[str, Any] = dict(evidence.values)
    if "why" in values:
        unmet = [each for each in gatewords.conditions(gate, gate.open, 0) if not each.met]
        values["why"] = "; ".join(f"{each.name}: {each.figure} ({each.asked})" for each in unmet)
    for name in ("count", "matched", "compared", "least"):
        if name in values:
            values[name] = f"{values[name]:,}"
    for name in ("days", "with_requests"):
        if name in values:
            values[name] = f"{values[name]:g}"
    if "share" in values:
        values["share"] = f"{100 * values['share']:.2f}"
    words = {
        "served": _("the candidate answered every one of its %(count)s requests of these %(days)s days"),
        "few": _("it had %(count)s requests in these %(days)s days: fewer than %(least)s show nothing"),
        "legacy": _("legacy answered %(share)s %% of its %(count)s requests of these %(days)s days"),
        "daily": _("it had requests on each of these %(days)s days"),
        "not-daily": _("it had requests on %(with_requests)s of these %(days)s days"),
        "no-fallbacks": _("it never fell back to legacy"),
        "fallbacks": _("it fell back to legacy %(count)s times"),
        "answered": _("the gateway itself hardly ever had to answer"),
        "refused": _("the gateway itself answered %(share)s %% with an error: neither of the two could"),
        "matched": _("%(matched)s of %(compared)s comparisons matched, and its gate is passed"),
        "unproven": _("its gate is not passed: %(why)s"),
        "uncompared": _("nothing of it that is kept was compared"),
        "untripped": _("its guard never turned it off"),
        "tripped": _("its guard turned it off %(count)s times"),
    }
    return words[evidence.code] % values
