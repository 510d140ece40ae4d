"""Programs sign in by a token, people change their passwords, and the identity view knows of both."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from demo.processes import ROOT
from demo.shop import PASSWORD, Shop
from legacy_django.accounts.seeded import token
from legacy_django.banyan_identity.views import identity

SignIn = Callable[[str], httpx.Client]
NEW_PASSWORD = "another one, for this test"


def by(text: str, scheme: str = "Token") -> dict[str, str]:
    return {"Authorization": f"{scheme} {text}"}


def manage(shop: Shop, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BANYAN_", "DJANGO_"))}
    env = {**clean, "DATABASE_URL": shop.database, "BANYAN_SHOP_VAR": str(shop.log.parent)}
    command = [sys.executable, str(ROOT / "legacy_django" / "manage.py"), "token", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_a_program_signs_in_by_its_token(client: httpx.Client) -> None:
    for scheme in ("Token", "token"):
        me = client.get("/api/v1/users/me", headers=by(token("user17"), scheme))
        assert (me.status_code, me.json()["id"]) == (200, 17)
        assert "set-cookie" not in me.headers


def test_a_token_needs_no_csrf_token_and_a_session_still_does(client: httpx.Client, sign_in: SignIn) -> None:
    review = {"item": 200, "rating": 4, "title": "t", "body": "b"}
    made = client.post("/api/v1/reviews/", json=review, headers=by(token("user46")))
    assert (made.status_code, made.json()["user"]["name"]) == (201, "user46")
    user = sign_in("user47")
    del user.headers["X-CSRFToken"]
    for headers in ({}, by("x", "Bearer"), by("x", "Tokens")):
        refused = user.post("/api/v1/reviews/", json=review, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "csrf")


@pytest.mark.parametrize("wrong", ["", "x", token("user51"), token("user17") + "x", token("user17").upper(), "a b", "\xff"])
def test_a_token_that_is_no_good_ends_the_request(client: httpx.Client, sign_in: SignIn, wrong: str) -> None:
    signed_in = sign_in("user18")
    for each in (client, signed_in):
        for path in ("/api/v1/users/me", "/", "/_banyan/identity"):
            answer = each.get(path, headers={"Authorization": f"Token {wrong}".strip().encode("latin-1")})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Token"), path
    assert signed_in.get("/api/v1/users/me").status_code == 200


def test_another_scheme_is_no_token(client: httpx.Client) -> None:
    basic = base64.b64encode(f"user17:{PASSWORD}".encode()).decode()
    for headers in (by(token("user17"), "Bearer"), by(basic, "Basic"), {"Authorization": token("user17")}):
        assert client.get("/api/v1/users/me", headers=headers).status_code == 401
        assert client.get("/_banyan/identity", headers=headers).json()["authenticated"] is False


def test_tokens_are_made_expire_and_are_revoked(shop: Shop, client: httpx.Client) -> None:
    lasting, short, over = manage(shop, "user44"), manage(shop, "user44", "--seconds", "300"), manage(shop, "user44", "--seconds", "0")
    assert [client.get("/api/v1/users/me", headers=by(each)).status_code for each in (lasting, short, over)] == [200, 200, 401]
    left = [client.get("/_banyan/identity", headers=by(each)).json()["expires_in"] for each in (lasting, short)]
    assert left[0] == 0
    assert 200 < left[1] <= 300
    assert manage(shop, "user44", "--revoke") == "revoked: 4"  # the seeded one too
    for each in (lasting, short, token("user44")):
        assert client.get("/api/v1/users/me", headers=by(each)).status_code == 401


def test_the_identity_of_a_token(client: httpx.Client, sign_in: SignIn) -> None:
    answer = client.get("/_banyan/identity", headers=by(token("user17")))
    claims = {"username": "user17", "staff": False}
    assert answer.json() == {"authenticated": True, "user_id": "17", "session_id": None, "claims": claims, "expires_in": 0}
    assert answer.headers["cache-control"] == "no-store"
    assert {"Cookie", "Authorization"} <= {name.strip() for name in answer.headers["vary"].split(",")}
    assert "set-cookie" not in answer.headers
    # Beside a session the token says who it is; the session is told of where it is the same user's.
    other, same = (sign_in(name).get("/_banyan/identity", headers=by(token("user17"))).json() for name in ("user18", "user17"))
    assert (other["user_id"], other["session_id"], other["expires_in"]) == ("17", None, 0)
    assert same["user_id"] == "17"
    assert same["session_id"]
    assert same["expires_in"] > 0


def test_a_changed_password_ends_all_other_sessions(shop: Shop, sign_in: SignIn) -> None:
    here, there = sign_in("user45"), sign_in("user45")
    before = here.cookies["sessionid"]
    page = here.get("/password/")
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found
    form = {"csrfmiddlewaretoken": found[1], "old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    assert here.post("/password/", data={**form, "old_password": "wrong"}).status_code == 200
    assert there.get("/api/v1/users/me").status_code == 200
    changed = here.post("/password/", data=form)
    assert (changed.status_code, changed.headers["location"]) == (302, "/")
    assert here.cookies["sessionid"] != before
    assert here.get("/_banyan/identity").json()["user_id"] == "45"
    assert there.get("/_banyan/identity").json()["authenticated"] is False
    old = httpx.get(f"{shop.url}/_banyan/identity", headers={"Cookie": f"sessionid={before}"})
    assert old.json()["authenticated"] is False


def test_the_password_page_is_for_those_who_are_signed_in(client: httpx.Client) -> None:
    answer = client.get("/password/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/login/?next=/password/")


def test_a_project_whose_every_page_needs_a_login_does_not_redirect_the_gateway() -> None:
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    def unused(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    gate: Any = LoginRequiredMiddleware(unused)
    request: Any = RequestFactory().get("/_banyan/identity")
    request.user = AnonymousUser()
    request.session = None
    assert gate.process_view(request, page, (), {}).status_code == 302
    assert gate.process_view(request, identity, (), {}) is None
    assert identity(request).status_code == 200
