"""Payments in doubt on the console: listed with all that it takes to find out, settled by an operator, and on the timeline once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from console.chronicle import Chronicle
from console.models import Audit
from gateway.config import load
from gateway.ledger import book
from gateway.ledger.database import Connection, connect
from gateway.ledger.entries import Claim, Held
from shadow.models import Event
from tests.support.payments import multiply

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\u202e"
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
psp-a = "http://127.0.0.1:3"
psp-b = "http://127.0.0.1:4"
[[routes]]
name = "payments"
match = "/payments"
split = { psp-a = 70, psp-b = 30 }
sticky = "idempotency-key"
"""
WANTED = Claim("payments", "", "order-1", True, b"d" * 32, "psp-a", "POST", "/payments", 4, "r-1", "t-1")


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "banyan.toml").write_text(TOML)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    made = connect("sqlite:///var/ledger.sqlite3", tmp_path, timeout=5)
    yield made
    made.close()


def doubted(ledger: Connection, wanted: Claim = WANTED) -> int:
    number = book.claim(ledger, wanted, "w").number
    book.doubt(ledger, Held(number, wanted.token), "timeout")
    return number


def logged_in(role: str) -> Client:
    user = User.objects.create_user(role)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def text(response: Any, status: int = 200) -> str:
    assert response.status_code == status
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def test_what_is_in_doubt_is_listed_for_everybody(ledger: Connection) -> None:
    number = doubted(ledger)
    doubted(ledger, replace(WANTED, key=HOSTILE, target=f"/{HOSTILE}", request_id=HOSTILE, provider=HOSTILE, token="t-2"))
    response = logged_in("viewer").get("/payments/")
    page = text(response)
    for part in (f" {number} ", "order-1", "r-1", "psp-a", "timeout", "POST", "4 bytes, digest 6464646464646464", "sent 1 time"):
        assert part in page
    raw = response.content.decode()
    assert HOSTILE not in raw
    assert "\u202e" not in raw
    assert "/settle/" not in raw  # a viewer is offered nothing that he may not do
    assert ">Payments</a>" in logged_in("reviewer").get("/").content.decode()


def test_an_operator_settles_and_that_is_kept(ledger: Connection) -> None:
    number = doubted(ledger)
    operator = logged_in("operator")
    form = text(operator.get(f"/payments/{number}/settle/"))
    assert f"Settle payment {number}?" in form
    assert "order-1" in form
    for wrong in ({}, {"outcome": "executed"}, {"why": "x"}, {"outcome": "perhaps", "why": "x"}, {"outcome": "executed", "why": "x" * 501}):
        assert "how that was found out" in text(operator.post(f"/payments/{number}/settle/", wrong), 422)
    assert len(book.doubts(ledger)) == 1
    assert not Audit.objects.exists()
    done = operator.post(f"/payments/{number}/settle/", {"outcome": "executed", "why": "charge 81"}, follow=True)
    assert "Done." in text(done)
    assert book.doubts(ledger) == []
    (settled,) = book.settlements(ledger)
    assert (settled.outcome, settled.by, settled.why) == ("executed", "operator", "charge 81")
    row = Audit.objects.get()
    assert (row.action, row.by, row.route, row.why, row.detail["outcome"]) == (
        "payment-settled",
        "operator",
        "payments",
        "charge 81",
        "done",
    )
    assert "charge 81" in text(operator.get("/payments/"))
    assert operator.get(f"/payments/{number}/settle/").status_code == 404
    assert operator.post(f"/payments/{number}/settle/", {"outcome": "executed", "why": "again"}).status_code == 404


def test_the_newest_of_very_many_is_settled_as_any_other(ledger: Connection) -> None:
    doubted(ledger)
    last = multiply(ledger, 10_500)
    operator = logged_in("operator")
    assert f"Settle payment {last}?" in text(operator.get(f"/payments/{last}/settle/"))
    assert "Done." in text(operator.post(f"/payments/{last}/settle/", {"outcome": "executed", "why": "charge 81"}, follow=True))
    assert [each.doubt.number for each in book.settlements(ledger)] == [last]
    for unknown in (last, last + 1, 10**30):
        assert operator.get(f"/payments/{unknown}/settle/").status_code == 404


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_nobody_else_settles(ledger: Connection, role: str) -> None:
    number = doubted(ledger)
    client = logged_in(role)
    assert client.get(f"/payments/{number}/settle/").status_code == 403
    assert client.post(f"/payments/{number}/settle/", {"outcome": "executed", "why": "x"}).status_code == 403
    assert len(book.doubts(ledger)) == 1


def test_without_a_ledger_and_with_one_that_is_away(tmp_path: Path) -> None:
    viewer = logged_in("viewer")
    assert "Nothing is in doubt." in text(viewer.get("/payments/"))
    assert not (tmp_path / "var").exists(), "the gateway's file is the gateway's to make"
    (tmp_path / "var" / "ledger.sqlite3").mkdir(parents=True)
    assert "The ledger cannot be read." in text(viewer.get("/payments/"), 503)
    (tmp_path / "banyan.toml").write_text(TOML.replace('sticky = "idempotency-key"', ""))
    assert "No route keeps a ledger" in text(viewer.get("/payments/"))
    assert ">Payments</a>" not in viewer.get("/").content.decode()


def test_the_timeline_has_each_doubt_and_each_end_of_one_once(ledger: Connection, tmp_path: Path) -> None:
    number = doubted(ledger)
    config = load(tmp_path / "banyan.toml")
    for chronicle in (Chronicle(config, "127.0.0.1:1"), Chronicle(config, "127.0.0.1:1")):
        for _ in range(2):
            chronicle._payments(0.0)
        chronicle.close()
    event = Event.objects.get()
    assert (event.kind, event.route, event.detail["payment"], event.detail["key"]) == ("in-doubt", "payments", number, "order-1")
    looking = Chronicle(config, "127.0.0.1:1")
    looking._payments(0.0)
    book.settle(ledger, number, "not-executed", by="ana", why="unknown at psp-a")
    later = doubted(ledger, replace(WANTED, token="t-2"))
    book.settle(ledger, later, "executed", by="bob", why="found")
    for _ in range(2):
        looking._payments(0.0)
    assert Event.objects.count() == 4
    page = text(logged_in("viewer").get("/timeline/"))
    assert f"payment {number}, sent to psp-a: timeout" in page
    assert f"payment {number} was not executed" in page
    assert f"payment {later} was executed" in page
    assert "unknown at psp-a" in page
    looking.close()
