"""What an operator does, with Django's client beside a gateway's admin port: what is said before, what is sent, what is told."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from console import admin_port as console_port
from console import operateviews, watch
from console.admin_port import FlagsNow
from console.models import Audit
from console.watch import Look
from shadow import counters, sums
from shadow.models import Event, GateStart, Tally
from tests.support.admin_port import AdminPort, admin_port

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\u202e"
TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
psp-a = "http://127.0.0.1:3"
psp-b = "http://127.0.0.1:4"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[[routes]]
name = "search"
match = "/search"
candidate = "new"
flag = "reviews"
[[routes]]
name = "payments"
match = "/payments"
split = { psp-a = 70, psp-b = 30 }
"""


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(port: AdminPort, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "banyan.toml").write_text(TOML.replace("{admin}", port.address))
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")

    def latest() -> Look:
        state = {name: value for name, value in port.state.items() if name != "fetched_at"}
        import msgspec

        return Look(port.address, msgspec.convert(state, FlagsNow), time.time())

    monkeypatch.setattr(watch, "latest", latest)
    monkeypatch.setattr(operateviews, "CHANGE_TIMEOUT", 0.5)


def logged_in(role: str) -> Client:
    user = User.objects.create_user(role)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return logged_in("operator")


def text(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


FORM = {"state": "off", "minutes": "30", "why": "reviews answers 500"}


def test_an_override_is_asked_for_explained_done_and_kept(operator: Client, port: AdminPort) -> None:
    form = text(operator.get("/flags/reviews/override/"))
    assert "All traffic of reviews goes to legacy. All traffic of search goes to legacy." in form
    assert "All traffic of reviews goes to the candidate new" in form
    explained = text(operator.post("/flags/reviews/override/", FORM))
    assert "Turn reviews off?" in explained
    assert "For 30 minutes, until 20" in explained
    assert f"On the gateway at {port.address} alone" in explained
    assert "Kept as done by operator, because: reviews answers 500" in explained
    assert port.ordered == [], "nothing is done before it is confirmed"
    assert not Audit.objects.exists()
    done = operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"}, follow=True)
    assert "Done. Every worker decides by it. It ends 20" in text(done)
    body = {"enabled": False, "seconds": 1800.0, "by": "operator", "why": "reviews answers 500"}
    assert port.ordered == [("PUT", "/flags/overrides/reviews", body)]
    row = Audit.objects.get()
    assert (row.by, row.role, row.action, row.subject) == ("operator", "operator", "override-set", "reviews off for 30 min")
    assert (row.why, row.route) == ("reviews answers 500", ""), "two routes read it"
    assert row.detail["outcome"] == "done"
    again = text(operator.get("/flags/reviews/override/"))
    assert "override: off" in again
    assert "In place of the override that is in force: off until 20" in text(operator.post("/flags/reviews/override/", FORM))


@pytest.mark.parametrize(
    ("flag", "state", "said"),
    [
        ("reviews.shadow", "off", "Nothing of reviews is compared"),
        ("reviews.shadow", "on", "Requests of reviews are compared"),
        ("payments.split", "off", "All traffic of payments is shared as configured: psp-a 70 %, psp-b 30 %."),
        ("payments.split", "on", "shared by the variants of the flag"),
    ],
)
def test_what_other_flags_do(operator: Client, flag: str, state: str, said: str) -> None:
    form = FORM | {"state": state, "minutes": "1"}
    explained = text(operator.post(f"/flags/{flag}/override/", form))
    assert said in explained
    assert "For 1 minute, until" in explained


@pytest.mark.parametrize(
    "wrong",
    [{"state": "maybe"}, *({"minutes": each} for each in ("", "0", "10081", "\u00b2", "9" * 5000)), {"why": " "}, {"why": "x" * 501}],
    ids=lambda wrong: str(wrong)[:30],
)
def test_what_cannot_be_is_refused_and_nothing_is_sent(operator: Client, port: AdminPort, wrong: dict[str, str]) -> None:
    response = operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"} | wrong)
    assert response.status_code == 422
    assert 'role="alert"' in response.content.decode()
    assert port.ordered == []


def test_the_end_of_an_override(operator: Client, port: AdminPort) -> None:
    operator.post("/flags/payments.split/override/", FORM | {"confirmed": "yes"})
    assert "The flag decides again, at once: not there." in text(operator.get("/flags/payments.split/override/end/"))
    assert operator.post("/flags/payments.split/override/end/", {}).status_code == 422
    done = operator.post("/flags/payments.split/override/end/", {"why": "mended"}, follow=True)
    assert "Done." in text(done)
    assert port.ordered[-1] == ("DELETE", "/flags/overrides/payments.split", {"by": "operator", "why": "mended"})
    row = Audit.objects.latest("pk")
    assert (row.action, row.route, row.link) == ("override-ended", "payments", "/routes/payments/")
    assert "nothing overrides it" in text(operator.get("/flags/payments.split/override/end/"))


def test_what_the_gateway_answers_is_shown(operator: Client, port: AdminPort) -> None:
    port.refusal = (404, {"title": "No route reads a flag 'reviews'.", "detail": f"Routes read {HOSTILE}."})
    done = operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"}, follow=True)
    shown = text(done)
    assert "It was not done." in shown
    assert "it answered 404 to /flags/overrides/reviews: No route reads a flag" in shown
    assert "<script>alert" not in done.content.decode()
    assert Audit.objects.latest("pk").detail["outcome"] == "refused"
    port.refusal = None
    port.state["workers"] = {"0": True, "1": False}
    port.warning = "it is not written down"
    shown = text(operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"}, follow=True))
    assert "Not every worker decides by it yet: 1." in shown
    assert "it is not written down" in shown


def test_a_gateway_that_hangs_or_is_gone_leaves_no_doubt_about_the_doubt(operator: Client, port: AdminPort) -> None:
    port.go.clear()
    shown = text(operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"}, follow=True))
    assert "Whether it was done is not known." in shown
    assert "it did not answer within 0.5 s" in shown
    port.go.set()
    port.stop()
    shown = text(operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"}, follow=True))
    assert "Connection refused" in shown
    assert [row.detail["outcome"] for row in Audit.objects.order_by("pk")] == ["unknown", "refused"]


def test_what_is_to_be_done_is_kept_before_it_is_done(operator: Client, port: AdminPort, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        assert Audit.objects.get().detail["outcome"] == "unknown"
        raise KeyboardInterrupt

    monkeypatch.setattr(console_port.AdminPort, "override", dies)
    with pytest.raises(KeyboardInterrupt):
        operator.post("/flags/reviews/override/", FORM | {"confirmed": "yes"})
    row = Audit.objects.get()
    assert (row.action, row.by) == ("override-set", "operator")
    assert "Whether it was done is not known." in text(operator.get(f"/operations/{row.pk}/"))


def test_the_source_is_asked_now(operator: Client, port: AdminPort) -> None:
    assert "Have their source asked now" in text(operator.get("/flags/"))
    assert "Done. Every worker decides by it." in text(operator.post("/flags/refresh/", follow=True))
    assert port.ordered == [("POST", "/flags/refresh", None)]
    port.refusal = (504, {"title": "The flag source did not answer.", "detail": "The last good flags stay in force."})
    assert "The flag source did not answer. The last good flags stay in force." in text(operator.post("/flags/refresh/", follow=True))
    assert operator.get("/flags/refresh/").status_code == 405


def test_a_gate_is_begun_anew_and_that_is_taken_back(operator: Client) -> None:
    Tally.objects.create(route="reviews", at=int(time.time()) - 60, width=1, name=counters.MATCHED, count=1234)
    sums.rebuild()
    explained = text(operator.get("/routes/reviews/gate/begin/"))
    assert "1234 comparisons since" in explained
    assert "Nothing is deleted" in explained
    assert operator.post("/routes/reviews/gate/begin/", {"why": " "}).status_code == 422
    assert not GateStart.objects.exists()
    assert "Done." in text(operator.post("/routes/reviews/gate/begin/", {"why": f"1.4.2 {HOSTILE}"}, follow=True))
    row = Audit.objects.get()
    assert (row.action, row.route, row.detail["compared_before"]) == ("gate-begun", "reviews", 1234)
    page = operator.get("/routes/reviews/")
    assert "The gate was begun anew" in text(page)
    assert "<script>alert" not in page.content.decode()
    begun = GateStart.objects.get()
    assert "0 comparisons" in text(operator.get("/routes/reviews/gate/begin/"))
    address = f"/routes/reviews/gate/{begun.pk}/take-back/"
    assert address in page.content.decode()
    assert "counts again" in text(operator.get(address))
    assert "Done." in text(operator.post(address, {"why": "a slip"}, follow=True))
    assert operator.post(address, {"why": "a slip"}).status_code == 409
    assert "1234 comparisons" in text(operator.get("/routes/reviews/gate/begin/"))
    assert Event.objects.count() == 2
    for path in (
        "/routes/payments/gate/begin/",
        "/routes/none/gate/begin/",
        f"/routes/search/gate/{begun.pk}/take-back/",
        "/flags/none/override/",
    ):
        assert operator.post(path, {"why": "x"}).status_code == 404


def test_others_may_not_by_page_or_by_hand(port: AdminPort) -> None:
    begun = GateStart.objects.create(route="reviews", at=1.0, by="x", why="y")
    paths = [
        "/flags/reviews/override/",
        "/flags/reviews/override/end/",
        "/flags/refresh/",
        "/routes/reviews/gate/begin/",
        f"/routes/reviews/gate/{begun.pk}/take-back/",
    ]
    for role in ("viewer", "reviewer"):
        client = logged_in(role)
        for path in paths:
            assert client.get(path).status_code in (403, 405)
            assert client.post(path, FORM | {"confirmed": "yes"}).status_code == 403
        for page in ("/flags/", "/routes/reviews/", "/"):
            body = client.get(page).content.decode()
            assert "override/" not in body
            assert "gate/" not in body
            assert "flags/refresh" not in body
    assert port.ordered == []
    assert GateStart.objects.get().ended_at is None
    kept = list(Audit.objects.order_by("by", "subject").values_list("action", "by", "subject"))
    names = ["flags-refresh", "gate-begin", "gate-take-back", "override", "override-end"]
    assert kept == [("refused", role, f"POST {name}") for role in ("reviewer", "viewer") for name in names]
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="viewer"))
    assert strict.post("/flags/reviews/override/", FORM).status_code == 403
    anonymous = Client().post("/flags/reviews/override/", FORM | {"confirmed": "yes"})
    assert anonymous["location"].startswith("/login/")
    assert port.ordered == []


def test_without_a_gateway_to_look_at(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "latest", lambda: None)
    assert "looks at no gateway" in text(operator.get("/flags/reviews/override/"))
    assert "looks at no gateway" in text(operator.post("/flags/reviews/override/", FORM), 422)
    assert "looks at no gateway" in text(operator.post("/flags/refresh/", follow=True))


def test_the_words_of_a_refusal_are_read_whatever_they_are() -> None:
    assert console_port._why(b'{"title": "A.", "detail": "B."}') == ": A. B."
    for content in (b"", b"<html>", b"[1]", b'{"title": 7}', b"\xff"):
        assert console_port._why(content) == ""
