"""What was done, said on the next page that the same person opens. Kept in the session, a few lines at most."""

from __future__ import annotations

from django.http import HttpRequest

_KEY = "banyan_said"
MOST = 5
LONGEST = 500
"""Characters."""


def say(request: HttpRequest, text: str) -> None:
    """Keeps a line for the next page."""
    request.session[_KEY] = [*request.session.get(_KEY, []), text[:LONGEST]][-MOST:]


def heard(request: HttpRequest) -> list[str]:
    """The lines that were kept, which are kept no more."""
    found: list[str] = request.session.pop(_KEY, []) if _KEY in request.session else []
    return found
