"""/api/v1/users/… and what a failed CSRF check looks like."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from legacy_django.api import ApiError, api, identifier, instant, not_found, signed_in


@api("GET")
def me(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    response = JsonResponse(
        {"id": user.pk, "name": user.username, "email": user.email, "staff": user.is_staff, "joined_at": instant(user.date_joined)}
    )
    response["Cache-Control"] = "private, no-store"
    return response


@api("GET")
def public(request: HttpRequest, user_id: str) -> HttpResponse:
    """What everybody may see of a user."""
    user = User.objects.filter(pk=identifier(user_id, "User"), is_active=True).only("username", "date_joined").first()
    if user is None:
        raise not_found("User")
    return JsonResponse({"id": user.pk, "name": user.username, "joined_at": instant(user.date_joined)})


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 in the form that the caller speaks."""
    if request.path.startswith("/api/"):
        return ApiError(403, "csrf", reason).response()
    return render(request, "csrf_failure.html", status=403)
