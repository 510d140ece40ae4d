"""One try to log in: counted, then looked at, then given back where it was right."""

from __future__ import annotations

import secrets
import time
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

from console import limits

COOKIE: Final = "banyan_console_browser"
"""Says that a name has logged in from this browser before; see limits.BROWSER. It opens nothing."""
COOKIE_AGE: Final = 180 * 86400
_SALT: Final = "console.signin"


def address(request: HttpRequest) -> str:
    """The client's, as the nearest proxy that is ours saw it."""
    peer = request.META.get("REMOTE_ADDR") or ""
    if not settings.PROXIES:
        return peer
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    return _host(hops[-settings.PROXIES]) if len(hops) >= settings.PROXIES else peer


def _host(hop: str) -> str:
    """An address without the port that some proxies write behind it: with that it is none, and all of these would count as one client."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, _, port = hop.rpartition(":")
    return host if port.isdecimal() and host and ":" not in host else hop


class Try:
    """Of one name, by one request."""

    def __init__(self, request: HttpRequest, name: str) -> None:
        token = _known_browser(request, name)
        self._own = (limits.BROWSER, token) if token else limits.name_key(name)
        self._address = limits.address_key(address(request))
        self._name = name

    def begin(self) -> float:
        """0, or how many seconds there are to wait before the next one."""
        return limits.take((self._own, self._address), time.time())

    def right(self) -> None:
        """The password was: what was wrong before it counts no more for this name. Of the address only this try is given back, for whoever
        has one password could try others' for ever."""
        limits.give_back([self._address], time.time(), whole=[self._own])

    def remember(self, response: HttpResponseBase) -> None:
        """That this browser is one in which the name has logged in."""
        response.set_signed_cookie(
            COOKIE,
            f"{_short(self._name)}.{secrets.token_urlsafe(16)}",
            salt=_SALT,
            max_age=COOKIE_AGE,
            path=reverse("login"),
            httponly=True,
            samesite="Lax",
            secure=settings.SESSION_COOKIE_SECURE,
        )


def _known_browser(request: HttpRequest, name: str) -> str:
    """What the cookie of an earlier login with this name says; "" where there is none."""
    value = request.get_signed_cookie(COOKIE, default="", salt=_SALT, max_age=COOKIE_AGE) or ""
    return value if value.partition(".")[0] == _short(name) else ""


def _short(name: str) -> str:
    return limits.digest(f"browser {limits.name_key(name)[1]}").hex()[:32]
