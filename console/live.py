"""Parts of pages that are asked for again and again: answered 304 where nothing in them changed.

What time alone changes does not count as a change: moments that a page shows as "12 s ago" are told as `<time data-at>`, and the page
counts on by itself (static/console/live.js).
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from console.flagboard import Board
from shadow import sums

QUIET_SECONDS: Final = 30
"""Summaries come every second, and a batch is written twice a second: what is older than this says that nothing comes any more."""
_VOLATILE: Final = re.compile(r"<time data-live[^>]*>[^<]*</time>")
_AGO: Final = re.compile(r"(<time[^>]*>)[^<]*(</time>)")
_TOKEN: Final = re.compile(r'<input type="hidden" name="csrfmiddlewaretoken"[^>]*>')
"""Another one each time, and each is as good."""


@dataclass(frozen=True, slots=True)
class Stored:
    """When something was counted last; Unix seconds."""

    newest: float | None

    @property
    def quiet(self) -> bool:
        """Whether nothing has come for a while, of what came before."""
        return self.newest is not None and time.time() - self.newest > QUIET_SECONDS


def stored() -> Stored:
    """One row is read for it."""
    return Stored(sums.newest())


def asked(request: HttpRequest) -> bool:
    """Whether it is a page's asking for its part anew."""
    return request.headers.get("HX-Request") == "true"


def part(request: HttpRequest, template: str, context: dict[str, Any], board: Board | None) -> HttpResponse:
    """The part alone, with an ETag; 304 without it, where the page has it already. When the flags were confirmed last is told in a header:
    it changes all the time."""
    text = render_to_string(template, context, request)
    lasting = _AGO.sub(r"\1\2", _VOLATILE.sub("", _TOKEN.sub("", text)))
    tag = f'"{hashlib.sha256(lasting.encode()).hexdigest()[:32]}"'
    response = HttpResponseNotModified() if request.headers.get("If-None-Match") == tag else HttpResponse(text)
    return marked(response, tag, board)


def marked(response: HttpResponse, tag: str, board: Board | None = None) -> HttpResponse:
    """`response` with what its page needs to know."""
    response["ETag"] = tag
    patch_vary_headers(response, ["HX-Request", "Cookie"])
    if board is not None and board.confirmed is not None:
        response["Banyan-Confirmed"] = f"{board.confirmed:.2f}"
    return response
