"""Signing in by `Authorization: Token …`, beside sessions, for every view at once.

It stands behind AuthenticationMiddleware, and a token goes before a session: who sends one means it. A token that is no good ends the
request with 401; it is never a reason to look whether a session would let it in.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from legacy_django.accounts.models import Token
from legacy_django.api import ApiError


class TokenAuthentication:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "token":
            return self._get_response(request)
        token = Token.find(text.strip())
        if token is None:
            refused = ApiError(401, "bad_token", "This token is not known, or has expired.").response()
            refused["WWW-Authenticate"] = "Token"
            return refused
        request.user = token.user
        request.login_expires_at = token.expires_at  # type: ignore[attr-defined] # ours: banyan_identity tells it on
        request.signed_in_by_token = True  # type: ignore[attr-defined] # ours: Csrf reads it
        return self._get_response(request)


class Csrf(CsrfViewMiddleware):
    """Django's own, but not for who is signed in by a token: no page of another site can make a browser send one."""

    def process_view(self, request, callback, callback_args, callback_kwargs):  # type: ignore[no-untyped-def] # as its base class is
        if getattr(request, "signed_in_by_token", False):
            return None
        return super().process_view(request, callback, callback_args, callback_kwargs)
