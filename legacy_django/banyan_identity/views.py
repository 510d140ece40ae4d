"""GET /_banyan/identity: who the credentials of this request belong to.

It says nothing that its caller could not know, since it speaks of the caller alone, and nothing that could be used to sign in: the session
is named by a keyed hash of its key. Whatever has set `request.user` is believed: a session, or a middleware that reads tokens. One that
knows when such a login ends tells it by `request.login_expires_at`, a datetime with its zone, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.crypto import salted_hmac
from django.views.decorators.http import require_GET

try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:  # before Django 5.1, which has no LoginRequiredMiddleware either

    def login_not_required(view_func: Callable[..., Any]) -> Callable[..., Any]:  # type: ignore[misc] # Django's is generic
        return view_func


@login_not_required  # "nobody" is an answer here, and a page to sign in at is none
@require_GET
def identity(request: HttpRequest) -> HttpResponse:
    """`user_id` is what percentages by user are counted on: it must stay the same for a user's whole life."""
    user = request.user
    answer: dict[str, Any] = {"authenticated": False, "user_id": None, "session_id": None, "claims": {}, "expires_in": 0}
    if user.is_authenticated:
        session_id, ends = _session(request)
        login_ends = getattr(request, "login_expires_at", None)
        if login_ends is not None:
            ends.append(int((login_ends - timezone.now()).total_seconds()))
        answer = {
            "authenticated": True,
            "user_id": str(user.pk),
            "session_id": session_id,
            "claims": {"username": user.get_username(), "staff": user.is_staff},
            # Seconds; 0 says nothing: a token that is good until it is deleted.
            "expires_in": max(1, min(ends)) if ends else 0,
        }
    response = JsonResponse(answer)
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ("Cookie", "Authorization"))
    return response


def _session(request: HttpRequest) -> tuple[str | None, list[int]]:
    """(the name of the session, how long it is good), where it is by this session that the user is signed in."""
    session = getattr(request, "session", None)
    # Without its user a session key is only what the client claims; Django itself drops one that it does not know.
    user_id = request.user._meta.pk.value_to_string(request.user)  # noqa: SLF001 - as django.contrib.auth.login writes it
    if session is None or not session.session_key or session.get(SESSION_KEY) != user_id:
        return None, []
    name = salted_hmac("banyan.identity", session.session_key, algorithm="sha256").hexdigest()[:32]
    return name, [session.get_expiry_age()]
