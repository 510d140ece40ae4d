"""What came since a page was loaded, for pages that are read rather than watched: a line beside the page says so, and nothing moves.

The page's address for it carries what the page has. What is older than what the page ends with does not count, and what was told late but
belongs further up does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console import live
from shadow.words import utc

MOST: Final = 50
"""New things that are counted one by one."""
_LATEST: Final = 253_402_300_800.0
"""The year 10000."""


@dataclass(frozen=True, slots=True)
class News:
    """What is new, and where to ask for it."""

    ask: str
    """The query of the address that tells it."""
    show: str
    """The address of the page that has it."""
    said: tuple[str, ...] = ()
    """In words; nothing is new where there are none."""


def asked(request: HttpRequest) -> bool:
    """Whether it is a page's asking for its line."""
    return live.asked(request) and request.GET.get("part") == "news"


def query(had: Iterable[tuple[str, object]], loaded: float) -> str:
    """What an address says of a page that was loaded at that moment (Unix seconds), and of what it has."""
    return urlencode([*had, ("loaded", f"{loaded:.0f}"), ("part", "news")])


def loaded(request: HttpRequest) -> float:
    """When the asking page was; 0 where that is not said."""
    try:
        moment = float(request.GET.get("loaded", ""))
    except ValueError:
        return 0.0
    return moment if 0 <= moment < _LATEST else 0.0


def number(request: HttpRequest, name: str) -> int:
    """A number that the asking page carries; 0 where it carries none."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def counted(count: int, since: float) -> tuple[str, ...]:
    """So many new rows in words; more than MOST are not counted."""
    if count <= 0:
        return ()
    moment = {"count": count, "most": MOST, "clock": utc(since)[11:19]}
    if count > MOST:
        return (_("more than %(most)d new since %(clock)s UTC") % moment,)
    return (ngettext("%(count)d new since %(clock)s UTC", "%(count)d new since %(clock)s UTC", count) % moment,)


def answer(request: HttpRequest, said: tuple[str, ...], show: str) -> HttpResponse:
    """The line alone; 304 where the page has it already."""
    return live.part(request, "console/news.html", {"news": News("", show, said)}, None)
