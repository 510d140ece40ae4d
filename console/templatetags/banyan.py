"""How numbers and moments are written on the console's pages."""

from __future__ import annotations

import time

from django import template

from shadow import gate_start, words
from shadow.models import GateStart

register = template.Library()


register.filter(words.percent)
register.filter(words.thousands)
register.filter(words.utc)


@register.filter
def ago(moment: float) -> str:
    """How long ago Unix seconds were, in one unit."""
    seconds = max(0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit} ago"
    return f"{int(seconds)} s ago"


@register.filter
def age(moment: float) -> str:
    """As `ago`, with tenths of a second where it is not long ago."""
    seconds = max(0.0, time.time() - moment)
    return f"{seconds:.1f} s ago" if seconds < 10 else ago(moment)


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
