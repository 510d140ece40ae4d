"""What is said of endpoints on the console's pages: gateway.endpoints speaks English, and this any language."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from gateway.endpoints.ranking import Advice, Reason
from gateway.endpoints.suggest import PLACEHOLDER


def verdict(advice: Advice) -> str:
    """In a word or two."""
    return {"routed": _("routed"), "good": _("good next"), "fair": _("possible"), "poor": _("not next")}[advice.verdict]


def reason(why: Reason) -> str:
    """Why, or why not, in a sentence."""
    value = why.value
    match why.code:
        case "share":
            return _("it takes %(share)s %% of legacy's time") % {"share": f"{value:.1%}".rstrip("%")}
        case "small":
            return _("it takes less than 1 %% of legacy's time") % {}
        case "safe":
            return _("it only reads: it can be compared, and fails back to legacy")
        case "writes":
            return _("it writes: comparing needs a candidate with a sandbox, and its data have to move with it")
        case "soon":
            if value < 1.0:
                minutes = max(1, round(60 * value))
                return ngettext(
                    "the gate's 1,000 comparisons take %(minutes)d minute at this rate",
                    "the gate's 1,000 comparisons take %(minutes)d minutes at this rate",
                    minutes,
                ) % {"minutes": minutes}
            return _("the gate's 1,000 comparisons take %(hours)s h at this rate") % {"hours": f"{value:.1f}"}
        case "rare":
            days = round(value)
            return ngettext(
                "the gate's 1,000 comparisons take %(days)d day at this rate",
                "the gate's 1,000 comparisons take %(days)d days at this rate",
                days,
            ) % {"days": days}
        case "failing":
            return _("legacy fails at %(share)s %% of its requests: repair that first, or it will be compared too") % {
                "share": f"{value * 100:.1f}"
            }
        case "clean":
            return _("legacy hardly ever fails at it")
        case "refused":
            return _("%(share)d %% of its answers are 4xx: perhaps it is not asked by those whom it is for") % {"share": round(value * 100)}
        case "cacheable":
            return _("shared caches may keep %(share)d %% of its answers: a cache may be cheaper than a migration") % {
                "share": round(value * 100)
            }
        case "file":
            return _("it is a file: whatever serves files can take it over without any comparison")
        case "unclear":
            return _("its path has values of which no more is known: look at what is behind it first")
        case "whole":
            return _("it is what is left over of many paths, no endpoint of its own")
    return str(why)


def unknown(key: str, methods: list[str]) -> str:
    """What only a person can say before an endpoint migrates."""
    match key:
        case "upstream":
            return _("where the new service is: put its address in the place of %(placeholder)s") % {"placeholder": PLACEHOLDER}
        case "rewrite":
            return _("whether the new service has the same path: if not, add rewrite to the route")
        case "identity":
            return _(
                'whether it needs to know who calls: it is told if anybody knows, unless the route says identity = "ignored" or "required"'
            )
        case "guard":
            return _("how much worse the new service may do before its flag is turned off: without [routes.guard] nobody watches it")
        case "writes":
            return _("whether the new service has a sandbox: a request that writes is compared only then")
        case "values":
            return _("what the values in its path are: narrow match down if other things have paths like it")
        case "methods":
            return _("what becomes of the other methods of this path (%(methods)s): they stay with legacy") % {
                "methods": ", ".join(methods)
            }
    return key
