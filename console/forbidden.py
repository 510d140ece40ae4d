"""What whoever may not do what he asked for is told; and a row of the audit, where it was to change something."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from console import audit

_READING = ("GET", "HEAD", "OPTIONS")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: the role is not enough."""
    return _refused(request, str(exception) or "forbidden")


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the request has no token, or not that of its cookie. It comes from another site, or from a page that is older than the login."""
    return _refused(
        request, reason or "no CSRF token", _("This page was open for too long, or in two logins. Load it anew, and try again.")
    )


def _refused(request: HttpRequest, why: str, hint: str = "") -> HttpResponse:
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated and request.method not in _READING:
        audit.refused(request, why)
    return render(request, "console/forbidden.html", {"why": "" if hint else why, "hint": hint}, status=403)
