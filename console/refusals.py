"""A change that was not made: said on a page of its own, with what was typed, so that nobody has to write it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

CONFLICT, UNUSABLE = 409, 422


@dataclass(frozen=True, slots=True)
class Happened:
    """What somebody else did meanwhile."""

    at: float
    by: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why, and what can be done now."""

    status: int
    message: str
    back: str
    """The page that it was about."""
    happened: tuple[Happened, ...] = ()
    again: dict[str, list[str]] = field(default_factory=dict)
    """What the form is sent with once more, if it is meant all the same; {} where that would be of no use."""
    action: str = ""
    why: str = ""
    """The reason that was typed."""


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """The page, with the status of the refusal."""
    return render(request, "console/refused.html", {"refusal": refusal}, status=refusal.status)


def unusable(request: HttpRequest, message: str, back: str, why: str = "") -> HttpResponse:
    """What was sent can't be done."""
    return refused(request, Refusal(UNUSABLE, message, back, why=why))


def conflict(
    request: HttpRequest, happened: Iterable[Happened], back: str, *, again: dict[str, list[str]] | None = None, why: str = ""
) -> HttpResponse:
    """Somebody was faster: what they did, and the same form once more with what is true now."""
    told = tuple(happened)
    message = _("Somebody was faster, so nothing was changed. Look at what happened meanwhile, and decide again.")
    return refused(request, Refusal(CONFLICT, message, back, told, again or {}, request.path, why))
