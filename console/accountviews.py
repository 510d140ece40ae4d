"""Logging in and out, and the page about oneself."""

from __future__ import annotations

import os
import time
import unicodedata
from typing import Any, Final

from django import forms
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.i18n import set_language

from console import audit, limits, signin
from console.roles import Role, role_of

MAX_PASSWORD: Final = 1024
"""Characters."""


class SignInForm(AuthenticationForm):
    """Django's, with an end to the password."""

    password = forms.CharField(max_length=MAX_PASSWORD, strip=False)


class OwnPasswordForm(PasswordChangeForm):
    """As above."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.validators.append(MaxLengthValidator(MAX_PASSWORD))


class Login(LoginView):
    """The login page. Where a page that refreshes itself lands here, because its session has ended, the whole page is loaded anew."""

    redirect_authenticated_user = True
    authentication_form = SignInForm

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        name = unicodedata.normalize("NFKC", request.POST.get("username", "").strip())[:150]
        if not name or not request.POST.get("password"):
            return self.render_to_response(self.get_context_data(form=self._empty(name), incomplete=True))
        tried = signin.Try(request, name)
        if wait := tried.begin():
            audit.failed_login(name, signin.address(request), refused=True)
            return self._too_many(name, wait)
        form = self.get_form()
        if not form.is_valid():
            audit.failed_login(name, signin.address(request), refused=False)
            return self.form_invalid(form)
        tried.right()
        response = self.form_valid(form)
        audit.record(request, "login", detail={"address": signin.address(request)})
        tried.remember(response)
        return response

    def render_to_response(self, context: dict[str, Any], **response_kwargs: Any) -> HttpResponse:
        response = super().render_to_response(context, **response_kwargs)
        if self.request.headers.get("HX-Request"):
            response["HX-Refresh"] = "true"
        return response

    def _empty(self, name: str) -> AuthenticationForm:
        """A form that looks at no password."""
        return SignInForm(self.request, initial={"username": name})

    def _too_many(self, name: str, wait: float) -> HttpResponse:
        response = self.render_to_response(self.get_context_data(form=self._empty(name), wait=waiting(wait)), status=429)
        response["Retry-After"] = str(limits.seconds(wait))
        return response


def waiting(wait: float) -> str:
    """How long, in words."""
    seconds = limits.seconds(wait)
    if seconds < 90:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    minutes = -(-seconds // 60)
    return ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}


class Logout(LogoutView):
    """Ends the session."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            audit.record(request, "logout")
        return super().post(request, *args, **kwargs)


@never_cache
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Who one is here, what one may do, and in which language."""
    role = role_of(request.user)
    may = {
        Role.VIEWER: _("You may look at everything but the audit, and change nothing."),
        Role.REVIEWER: _("You may decide about differences: states, rules, comments; and read the audit."),
        Role.OPERATOR: _("You may do everything: decide about differences, override flags, begin gates anew; and read the audit."),
    }
    return render(request, "console/account.html", {"may": may[role], "changed": request.GET.get("changed") == "1"})


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Changes one's own password, and ends one's other sessions."""
    assert isinstance(request.user, User)  # the middleware asked for a login  # noqa: S101
    form = OwnPasswordForm(request.user)
    status, wait = 200, ""
    if request.user.username == os.environ.get("BANYAN_CONSOLE_USER"):  # it would be the old one again after the next start
        return render(request, "console/password.html", {"given": True}, status=409 if request.method == "POST" else 200)
    if request.method == "POST":
        key = (limits.OWN, str(request.user.pk))
        if left := limits.take([key], time.time()):
            status, wait = 429, waiting(left)
        else:
            form = OwnPasswordForm(request.user, request.POST)
            if form.is_valid():
                limits.give_back((), time.time(), whole=[key])
                update_session_auth_hash(request, form.save())
                audit.record(request, "password-changed")
                return redirect(f"{reverse('account')}?changed=1")
            if "old_password" not in form.errors:
                limits.give_back([key], time.time())
            status = 422
    response = render(request, "console/password.html", {"form": form, "wait": wait}, status=status)
    if wait:
        response["Retry-After"] = str(limits.seconds(left))
    return response


@login_not_required
@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Chooses it for this browser, logged in or not."""
    return set_language(request)
