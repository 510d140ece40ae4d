"""The login page. Every other page has a module of its own; that one is logged in is required by middleware, for every one of them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpResponse


class Login(LoginView):
    """The login page. Where a page that refreshes itself lands here, because its session has ended, the whole page is loaded anew."""

    redirect_authenticated_user = True

    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        response = super().render_to_response(context, **response_kwargs)
        if self.request.headers.get("HX-Request"):
            response["HX-Refresh"] = "true"
        return response
