"""Logging in: how often it may be tried, what is kept of it, and what nobody learns by it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from pytest_django import Settings

from console import audit, limits, signin
from console.environment import count
from console.models import Audit, LoginSlot

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
QUICK = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def quick(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = QUICK


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password=PASSWORD)


def login(client: Client, name: str = "ada", password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/login/", {"username": name, "password": password}, **more)


def kept() -> list[tuple[str, str, str]]:
    return list(Audit.objects.order_by("pk").values_list("action", "by", "subject"))


def test_in_and_out_are_kept(client: Client, ada: User) -> None:
    ada.groups.add(Group.objects.get(name="reviewer"))
    response = login(client)
    assert (response.status_code, response["location"]) == (302, "/")
    assert client.get("/account/").status_code == 200
    assert client.post("/logout/").status_code == 302
    assert client.get("/account/").status_code == 302
    assert kept() == [("login", "ada", ""), ("logout", "ada", "")]
    first = Audit.objects.earliest("pk")
    assert (first.role, first.detail) == ("reviewer", {"address": "127.0.0.1"})


def test_too_many_tries_have_to_wait_and_the_time_is_said(client: Client, ada: User) -> None:
    for _ in range(limits.NAME.burst):
        response = login(client, password="wrong")
        assert response.status_code == 200
        assert "belong together" in response.content.decode()
    response = login(client)
    assert response.status_code == 429, "not even the right one is looked at"
    assert 50 < int(response["Retry-After"]) <= 60
    assert f"possible in {response['Retry-After']} seconds." in response.content.decode()
    assert 'value="ada"' in response.content.decode()
    LoginSlot.objects.update(until=F("until") - limits.NAME.seconds)
    assert login(client).status_code == 302, "a minute later"


def test_nobody_learns_which_names_there_are(client: Client, ada: User) -> None:
    User.objects.create_user("idle", password=PASSWORD, is_active=False)
    seen = []
    for name in ("ada", "nobody", "idle"):
        shown = [login(Client(), name, "wrong") for _ in range(limits.NAME.burst + 1)]
        statuses = [response.status_code for response in shown]
        seen.append((statuses, [response.content.decode().replace(name, "NAME").split("csrf")[-1][200:] for response in shown[:1]]))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == [200] * 5 + [429]


def test_a_wrong_name_costs_as_much_as_a_wrong_password(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = hashers.MD5PasswordHasher.encode

    def encode(self: hashers.MD5PasswordHasher, password: str, salt: str, **more: Any) -> str:
        made.append(password)
        return real(self, password, salt, **more)

    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", encode)
    for name in ("ada", "nobody"):
        made.clear()
        login(client, name, "wrong")
        assert made == ["wrong"], name


def test_one_address_has_its_own_limit_and_others_go_on(client: Client, ada: User) -> None:
    for number in range(limits.ADDRESS.burst):
        assert login(client, f"name{number}", "wrong", REMOTE_ADDR="203.0.113.7").status_code == 200
    assert login(client, "another", "wrong", REMOTE_ADDR="203.0.113.7").status_code == 429
    assert login(client, REMOTE_ADDR="203.0.113.8").status_code == 302


def test_a_right_password_gives_back_its_try_and_no_more(ada: User) -> None:
    """Whoever has one password could try others' for ever, else."""
    for number in range(limits.ADDRESS.burst - 1):
        login(Client(), f"name{number}", "wrong")
    for _ in range(3):
        assert login(Client()).status_code == 302
    login(Client(), "last", "wrong")
    assert login(Client()).status_code == 429


def test_whoever_fails_with_a_name_does_not_keep_its_owner_out_of_his_browser(ada: User) -> None:
    own = Client()
    login(own)
    own.post("/logout/")
    cookie = own.cookies[signin.COOKIE]
    assert cookie["httponly"]
    assert cookie["path"] == "/login/"
    assert "ada" not in cookie.value
    for _ in range(limits.NAME.burst + 1):
        response = login(Client(), password="wrong", REMOTE_ADDR="203.0.113.7")
    assert response.status_code == 429
    assert login(own).status_code == 302
    assert login(Client()).status_code == 429
    own.post("/logout/")
    statuses = [login(own, password="wrong").status_code for _ in range(limits.BROWSER.burst + 1)]
    assert statuses == [200] * 5 + [429], "the browser has a limit too"
    forged = Client()
    forged.cookies[signin.COOKIE] = "x" + cookie.value
    assert login(forged).status_code == 429


def test_places_are_few_whatever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PLACES", 64)
    for number in range(300):
        limits.take([limits.name_key(f"name {number}")], time.time())
    assert LoginSlot.objects.count() <= 64
    limits.purge(time.time() + 3600)
    assert LoginSlot.objects.count() == 0


def test_whoever_goes_on_all_the_same_writes_nothing(client: Client, ada: User) -> None:
    for _ in range(limits.NAME.burst + 1):
        login(client, password="wrong")
    with CaptureQueriesContext(connection) as queries:
        assert login(client, password="wrong").status_code == 429
    assert queries.captured_queries
    assert not [each["sql"] for each in queries.captured_queries if not each["sql"].startswith("SELECT")]
    (row,) = Audit.objects.all()
    assert (row.detail["count"], row.detail["refused"]) == (6, 1)
    row.detail["last"] -= audit.PAUSE_SECONDS
    row.save()
    login(client, password="wrong")
    assert Audit.objects.get().detail["refused"] == 2


def test_spellings_and_networks_count_together() -> None:
    assert limits.name_key("Ada") == limits.name_key("\uff41\uff44\uff41")
    assert limits.address_key("2001:db8::1") == limits.address_key("2001:db8::ffff:2")
    assert limits.address_key("2001:db8::1") != limits.address_key("2001:db8:0:1::1")
    assert limits.address_key("::ffff:203.0.113.7") == limits.address_key("203.0.113.7")
    assert limits.address_key("") == limits.address_key("unix")


def test_failures_are_kept_in_few_rows_and_no_password_among_them(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        login(Client(), f"hunter{number}", "wrong", REMOTE_ADDR=f"203.0.113.{number}")
    for number in range(8):
        login(Client(), "ada", "wrong", REMOTE_ADDR=f"198.51.100.{number % 2}")
    assert kept() == [("login-failed", "", audit.NOBODY), ("login-failed", "ada", "")]
    unknown, known = Audit.objects.order_by("pk")
    assert unknown.detail["count"] == 30
    assert len(unknown.detail["addresses"]) == audit.MAX_ADDRESSES
    assert (known.detail["count"], known.detail["refused"]) == (6, 1), "a flood of what is not looked at is told as a least number"
    assert known.detail["addresses"] == ["198.51.100.0", "198.51.100.1"]
    assert "hunter" not in str(unknown.__dict__)
    Audit.objects.update(at=time.time() - audit.TOGETHER_SECONDS - 1)
    login(Client(), "other", "wrong")
    assert Audit.objects.count() == 3, "an hour later it is another row"


@pytest.mark.parametrize("form", [{}, {"username": "ada"}, {"password": "x"}, {"username": " ", "password": "x"}])
def test_half_a_form_is_no_try(client: Client, form: dict[str, str]) -> None:
    response = client.post("/login/", form)
    assert response.status_code == 200
    assert "takes a name and a password" in response.content.decode()
    assert not LoginSlot.objects.exists()
    assert not Audit.objects.exists()


def test_hostile_names_and_passwords(client: Client) -> None:
    for name, password in (("\0", "\0"), ("<b>", "x"), ("x" * 5000, "y" * 100_000), ("\ud800", "\udfff"), ("\u202e", "x")):
        form = urlencode({"username": name, "password": password}, errors="surrogatepass")
        response = client.post("/login/", form, content_type="application/x-www-form-urlencoded")
        assert response.status_code == 200
        assert "<b>" not in response.content.decode()


def test_the_clients_address_behind_proxies(settings: Settings) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="6.6.6.6, 203.0.113.7, 10.0.0.2")
    assert signin.address(request) == "10.0.0.1", "what anybody can write is not believed"
    settings.PROXIES = 2
    assert signin.address(request) == "203.0.113.7"
    settings.PROXIES = 9
    assert signin.address(request) == "10.0.0.1"
    settings.PROXIES = 1
    for hop, expected in (("203.0.113.7:4711", "203.0.113.7"), ("[2001:db8::1]:4711", "2001:db8::1"), ("2001:db8::1", "2001:db8::1")):
        request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=hop)
        assert signin.address(request) == expected, "some proxies say from which port"
    assert (count(""), count("2")) == (0, 2)
    for wrong in ("-1", "x", "99", "²"):
        with pytest.raises(ImproperlyConfigured, match="BANYAN_CONSOLE_PROXIES"):
            count(wrong)


def test_changing_ones_password_ends_the_other_sessions(client: Client, ada: User) -> None:
    other = Client()
    login(client)
    login(other)
    assert client.get("/account/password/").status_code == 200
    new = {"old_password": PASSWORD, "new_password1": "staple staple 9", "new_password2": "staple staple 9"}
    response = client.post("/account/password/", new)
    assert (response.status_code, response["location"]) == (302, "/account/?changed=1")
    assert "is changed" in client.get(response["location"]).content.decode()
    assert other.get("/account/").status_code == 302
    assert login(Client()).status_code == 200
    assert login(Client(), password="staple staple 9").status_code == 302
    assert [action for action, _, _ in kept()].count("password-changed") == 1
    assert "staple" not in str(list(Audit.objects.values()))
    assert Session.objects.exists()


def test_a_password_of_the_environment_is_changed_there(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(ada)
    monkeypatch.setenv("BANYAN_CONSOLE_USER", "ada")
    assert "Change it there." in client.get("/account/password/").content.decode()
    form = {"old_password": PASSWORD, "new_password1": "staple staple 9", "new_password2": "staple staple 9"}
    assert client.post("/account/password/", form).status_code == 409
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_the_old_password_can_be_tried_a_few_times_only(client: Client, ada: User) -> None:
    client.force_login(ada)
    form = {"old_password": "wrong", "new_password1": "staple staple 9", "new_password2": "staple staple 9"}
    for _ in range(limits.OWN.burst):
        response = client.post("/account/password/", form)
        assert response.status_code == 422
        assert "aria-invalid" in response.content.decode()
    response = client.post("/account/password/", form | {"old_password": PASSWORD})
    assert response.status_code == 429
    assert "wrong too often" in response.content.decode()


def test_a_bad_new_password_is_refused_and_is_no_try_at_the_old_one(client: Client, ada: User) -> None:
    client.force_login(ada)
    for new in ("short", "password1234", "y" * 2000):
        for _ in range(3):
            response = client.post("/account/password/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
            assert response.status_code == 422
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_the_language_is_chosen_without_a_login_and_kept(client: Client) -> None:
    shown = client.get("/login/?next=/flags/").content.decode()
    assert '<html lang="en">' in shown
    assert 'name="next" value="/login/?next=/flags/"' in shown
    assert '<option value="ko" lang="ko">한국어</option>' in shown
    response = client.post("/language/", {"language": "ko", "next": "/login/?next=/flags/"})
    assert (response.status_code, response["location"]) == (302, "/login/?next=/flags/")
    assert client.cookies["banyan_console_language"].value == "ko"
    assert '<html lang="ko">' in client.get("/login/").content.decode()
    assert client.post("/language/", {"language": "ko", "next": "https://evil.test/"})["location"] == "/"
    assert client.get("/language/").status_code == 405
    translation.activate("en")


def test_a_post_that_is_refused_is_kept_in_few_rows(ada: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)
    for number in range(5):
        response = strict.post(f"/logout/?{number}")
        assert response.status_code == 403
        assert "Load it anew" in response.content.decode()
    assert strict.get("/account/").status_code == 200, "still logged in"
    (row,) = Audit.objects.filter(action="refused")
    assert (row.by, row.subject, row.detail["count"], row.detail["path"]) == ("ada", "POST logout", 5, "/logout/")
    assert Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"}).status_code == 403
    assert Audit.objects.count() == 1, "what nobody logged in for is not kept"


def test_old_rows_go_and_failures_earlier(ada: User) -> None:
    now = time.time()
    for action, age in (("login", 1), ("login", 399), ("login", 401), ("login-failed", 89), ("login-failed", 91), ("refused", 91)):
        Audit.objects.create(at=now - age * 86400, by="ada", action=action, subject=str(age))
    audit.purge(now)
    assert sorted(subject for _, _, subject in kept()) == ["1", "399", "89"]
