"""Signing in and out, CSRF, and what the identity view says of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import httpx
import pytest

from demo.shop import Shop

SignIn = Callable[[str], httpx.Client]


def test_a_user_signs_in_and_out(client: httpx.Client, sign_in: SignIn) -> None:
    assert client.get("/api/v1/users/me").status_code == 401
    user = sign_in("user17")
    me = user.get("/api/v1/users/me")
    assert me.json()["id"] == 17
    assert me.headers["cache-control"] == "private, no-store"
    assert "user17" in user.get("/").text
    assert user.post("/logout/").status_code == 302
    assert user.get("/api/v1/users/me").status_code == 401


def test_a_wrong_password_signs_nobody_in(client: httpx.Client) -> None:
    token = {"csrfmiddlewaretoken": client.get("/login/").text.split('csrfmiddlewaretoken" value="')[1].split('"')[0]}
    answer = client.post("/login/", data={"username": "user01", "password": "wrong", **token})
    assert answer.status_code == 200
    assert "sessionid" not in client.cookies


def test_a_write_without_the_token_is_refused_as_page_and_as_json(client: httpx.Client, sign_in: SignIn) -> None:
    page = client.post("/login/", data={"username": "user01", "password": "x"})
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    user = sign_in("user02")
    del user.headers["X-CSRFToken"]
    refused = user.post("/api/v1/reviews/", json={"item": 1, "rating": 5, "title": "t", "body": "b"})
    assert (refused.status_code, refused.json()["error"]) == (403, "csrf")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:18443", "shop.localhost"])
def test_csrf_holds_behind_a_gateway_that_passes_the_host_on(shop: Shop, sign_in: SignIn, host: str) -> None:
    """A browser sends Origin with every POST; Django compares it with the Host, which is the gateway's and not the shop's."""
    user = sign_in("user03")
    headers = {"Host": host, "Cookie": "; ".join(f"{name}={value}" for name, value in user.cookies.items())}
    headers["X-CSRFToken"] = user.cookies["csrftoken"]
    fine = httpx.post(f"{shop.url}/api/v1/reviews/", json={}, headers={**headers, "Origin": f"http://{host}"})
    assert (fine.status_code, fine.json()["error"]) == (400, "bad_field")
    forged = httpx.post(f"{shop.url}/api/v1/reviews/", json={}, headers={**headers, "Origin": "http://elsewhere.example"})
    assert (forged.status_code, forged.json()["error"]) == (403, "csrf")


def test_a_host_that_is_not_the_shops_is_refused(shop: Shop) -> None:
    assert httpx.get(f"{shop.url}/", headers={"Host": "elsewhere.example"}).status_code == 400


def test_nobody_is_nobody(client: httpx.Client) -> None:
    answer = client.get("/_banyan/identity")
    assert answer.json() == {"authenticated": False, "user_id": None, "session_id": None, "claims": {}, "expires_in": 0}
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


def test_the_identity_of_a_signed_in_user(shop: Shop, sign_in: SignIn) -> None:
    user = sign_in("user17")
    answer = user.get("/_banyan/identity")
    document = answer.json()
    assert (document["authenticated"], document["user_id"]) == (True, "17")
    assert document["claims"] == {"username": "user17", "staff": False}
    assert 0 < document["expires_in"] <= 14 * 24 * 3600
    assert answer.headers["cache-control"] == "no-store"
    assert "Cookie" in answer.headers["vary"]
    assert "set-cookie" not in answer.headers
    key = user.cookies["sessionid"]
    assert key not in answer.text
    # The same session has the same name, another session of the same user another one.
    assert user.get("/_banyan/identity").json()["session_id"] == document["session_id"]
    assert sign_in("user17").get("/_banyan/identity").json()["session_id"] != document["session_id"]
    # Signing out takes effect at once, in every worker.
    user.post("/logout/")
    for _ in range(6):
        late = httpx.get(f"{shop.url}/_banyan/identity", headers={"Cookie": f"sessionid={key}"})
        assert late.json()["authenticated"] is False


def test_an_invented_session_is_nobody(client: httpx.Client) -> None:
    answer = client.get("/_banyan/identity", headers={"Cookie": f"sessionid={secrets.token_hex(16)}"})
    assert answer.json()["session_id"] is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_identity_view_only_answers_get(sign_in: SignIn, method: str) -> None:
    answer = sign_in("user17").request(method, "/_banyan/identity")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
