"""For Django:

    MIDDLEWARE = ["services.stamp.middleware.StampMiddleware", ...]   # the first
    BANYAN_STAMP_AUDIENCE = "reviews"                                 # the name under [upstreams]
    BANYAN_STAMP_EXEMPT = ["/healthz"]                                # paths that are asked past the gateway

A view reads `request.stamped`: services.stamp.Stamped. Keys are named by the environment (keys.py).
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from services.stamp.verifier import Verifier
from services.stamp.verify import FIELD, StampError

_META = "HTTP_" + FIELD.upper().replace("-", "_")
"""WSGI's name for the field. It is that of Banyan_Identity too, which the gateway cuts (edge.md 27), and gunicorn drops."""


class StampMiddleware:
    """Refuses what was not stamped for this service."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._verifier = Verifier.from_environment(getattr(settings, "BANYAN_STAMP_AUDIENCE"))  # noqa: B009 - of settings that are not this project's
        self._exempt = frozenset(getattr(settings, "BANYAN_STAMP_EXEMPT", ()))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path in self._exempt:
            return self._get_response(request)
        try:
            value = request.META.get(_META)
            request.stamped = self._verifier.read([] if value is None else [value])  # type: ignore[attr-defined] # Django's way to hand on
        except StampError as error:
            return _refusal(error)
        return self._get_response(request)


def _refusal(error: StampError) -> HttpResponse:
    response = JsonResponse({"error": error.code, "detail": str(error)}, status=error.status)
    if error.status == 401:
        response["WWW-Authenticate"] = FIELD
    else:
        response["Retry-After"] = "1"
    return response
