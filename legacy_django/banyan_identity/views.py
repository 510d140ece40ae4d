"""GET /_banyan/identity: who the credentials of this request belong to.

It says nothing that its caller could not know, since it speaks of the caller alone, and nothing that could be used to sign in: the session
is named by a keyed hash of its key.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.utils.crypto import salted_hmac
from django.views.decorators.http import require_GET


@require_GET
def identity(request: HttpRequest) -> JsonResponse:
    """`user_id` is what percentages by user are counted on: it must stay the same for a user's whole life."""
    user = request.user
    session_key = request.session.session_key
    answer: dict[str, Any] = {
        "authenticated": user.is_authenticated,
        "user_id": str(user.pk) if user.is_authenticated else None,
        "session_id": None,
        "claims": {"username": user.get_username(), "staff": user.is_staff} if user.is_authenticated else {},
        "expires_in": 0,
    }
    # Without a user a session key is only what the client claims; Django itself drops one that it does not know.
    if user.is_authenticated and session_key:
        answer["session_id"] = salted_hmac("banyan.identity", session_key, algorithm="sha256").hexdigest()[:32]
        answer["expires_in"] = request.session.get_expiry_age()
    response = JsonResponse(answer)
    response["Cache-Control"] = "no-store"
    return response
