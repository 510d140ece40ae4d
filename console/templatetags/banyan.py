"""How numbers and moments are written on the console's pages."""

from __future__ import annotations

import time
from collections.abc import Iterable

from django import template
from django.utils.translation import gettext_lazy

from console import glossary
from console.echo import echo
from shadow import gate_start, words
from shadow.models import GateStart

register = template.Library()


register.filter(words.percent)
register.filter(words.thousands)
register.filter(words.utc)


for named in (
    glossary.action,
    glossary.flag_role,
    glossary.form,
    glossary.kind,
    glossary.origin,
    glossary.outcome,
    glossary.role,
    glossary.side,
    glossary.state,
    glossary.why_not,
):
    register.filter(named)
register.filter(echo)


@register.filter
def kinds(keys: Iterable[object]) -> str:
    """Kinds of differences, one after the other."""
    return ", ".join(map(glossary.kind, keys))


# As static/console/live.js has them, from the same messages: what it counts on is what stands there.
_AGO = {"d": gettext_lazy("{n} d ago"), "h": gettext_lazy("{n} h ago"), "min": gettext_lazy("{n} min ago"), "s": gettext_lazy("{n} s ago")}


def _ago(unit: str, number: str) -> str:
    return str(_AGO[unit]).replace("{n}", number)


@register.filter
def ago(moment: float) -> str:
    """How long ago Unix seconds were, in one unit."""
    seconds = max(0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return _ago(unit, str(int(seconds / length)))
    return _ago("s", str(int(seconds)))


@register.filter
def age(moment: float) -> str:
    """As `ago`, with tenths of a second where it is not long ago."""
    seconds = max(0.0, time.time() - moment)
    return _ago("s", f"{seconds:.1f}") if seconds < 10 else ago(moment)


@register.filter
def day(moment: float) -> str:
    """Unix seconds as a date in UTC."""
    return words.utc(moment)[:10]


@register.filter
def clock(moment: float) -> str:
    """Unix seconds as the time of that day in UTC."""
    return words.utc(moment)[11:19]


@register.filter
def unix(moment: float) -> str:
    """Unix seconds as scripts read them, whatever the page's language."""
    return f"{moment:.2f}"


@register.filter
def shortly(seconds: float | None) -> str:
    """Seconds with two digits and a unit: 7.5 ms, 120 ms, 2.5 s."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{1 if seconds < 0.01 else 0}f} ms"


@register.filter
def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"


@register.filter
def visible(text: object) -> str:
    """Foreign text with what doesn't show written as escapes. Escaping for HTML happens after it, as for any other text."""
    return words.visible(str(text))


@register.simple_tag(name="gate_start")
def begun_anew(route: str) -> GateStart | None:
    """When and why somebody began the gate of a route anew, where that holds. One query."""
    return gate_start.in_force(route)
