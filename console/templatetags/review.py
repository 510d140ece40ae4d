"""How reasons, comments and long texts are written on the pages of reviewers."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from django import template
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from console.reasons import EXPIRING_SECONDS
from console.seen import token
from shadow import rulebook, words
from shadow.report import SignatureLine

register = template.Library()

LONGEST = 300
"""Characters of a name or a path, where it is one of many."""
_LINK = re.compile(r"https?://[!-~]+")
_NO_END = ".,;:!?'\")]}>"
"""What follows an address in a sentence, and is not of it."""


@register.filter
def short(text: object) -> str:
    """Foreign text as `visible` has it, cut where it is long."""
    shown = words.visible(str(text)[: LONGEST + 1])
    return shown if len(str(text)) <= LONGEST else f"{shown[:LONGEST]} …"


@register.filter
def json_short(value: object) -> str:
    """A stored value as JSON, cut where it is long."""
    return short(words.quoted(value))  # type: ignore[arg-type]  # it came out of a JSON column


@register.filter
def linked(text: object) -> SafeString:
    """What somebody wrote, with its http and https addresses as links that tell the other side nothing. Everything else stays text."""
    shown = words.visible(str(text))
    pieces: list[str] = []
    position = 0
    for found in _LINK.finditer(shown):
        address = re.split(r"[<>\"'`\\]", found[0])[0].rstrip(_NO_END)
        host = address.partition("://")[2].partition("/")[0]
        if not host or "@" in host:
            continue
        pieces.append(escape(shown[position : found.start()]))
        pieces.append(format_html('<a href="{0}" rel="noreferrer nofollow noopener">{0}</a>', address))
        position = found.start() + len(address)
    pieces.append(escape(shown[position:]))
    return mark_safe("".join(pieces))  # noqa: S308 - every piece is escaped above


@register.filter
def carried(line: SignatureLine) -> str:
    """A signature and what is known of it, as a checkbox carries both."""
    return f"{line.id}:{token(line.state, line.state_since)}"


@register.filter
def most(numbers: Sequence[int]) -> int:
    """The greatest of them."""
    return max(numbers, default=0)


@register.filter
def before_last(numbers: Sequence[int]) -> int:
    """Of minutes, the last whole one."""
    return numbers[-2] if len(numbers) > 1 else 0


_LENGTHS = {"d": gettext_lazy("{n} d"), "h": gettext_lazy("{n} h"), "min": gettext_lazy("{n} min"), "s": gettext_lazy("{n} s")}


def _length(unit: str, number: str) -> str:
    return str(_LENGTHS[unit]).replace("{n}", number)


@register.filter
def span(seconds: float) -> str:
    """A length of time in its largest whole unit, such as 24 h."""
    for unit, length, least in (("d", 86400, 2 * 86400), ("h", 3600, 3600), ("min", 60, 60)):
        if seconds >= least:
            number = seconds / length
            return _length(unit, f"{number:g}" if number == int(number) else f"{number:.1f}")
    return _length("s", f"{seconds:g}")


@register.inclusion_tag("console/rules_link.html")
def rules_link(name: str) -> dict[str, Any]:
    """A link to the rules of the route `name`, with how many are in force and how many of these are about to expire. One query."""
    now = time.time()
    ends = [row.expires for row in rulebook.active(name, now)]
    return {"name": name, "active": len(ends), "expiring": sum(end is not None and end - now < EXPIRING_SECONDS for end in ends)}


@register.filter
def until(moment: float, now: float) -> str:
    """How long from `now` until Unix seconds, in one unit."""
    seconds = max(0.0, moment - now)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return _length(unit, str(round(seconds / length)))
    return _length("s", str(round(seconds)))
