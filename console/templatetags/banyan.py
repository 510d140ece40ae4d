"""How numbers and moments are written on the console's pages."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django import template

from console.sidebyside import visible as make_visible

register = template.Library()


@register.filter
def percent(share: float | None, digits: int = 2) -> str:
    """0.99871 as 99.87 %. Rounded down, so that 100 % means every single one."""
    if share is None:
        return "\N{EN DASH}"
    factor = 10**digits
    return f"{int(share * 100 * factor + 1e-9) / factor:.{digits}f} %"


@register.filter
def thousands(number: int) -> str:
    """12345 as 12,345."""
    return f"{number:,}"


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
def utc(moment: float) -> str:
    """Unix seconds as a date and time in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@register.filter
def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"


@register.filter
def visible(text: object) -> str:
    """Foreign text with what doesn't show written as escapes. Escaping for HTML happens after it, as for any other text."""
    return make_visible(str(text))
