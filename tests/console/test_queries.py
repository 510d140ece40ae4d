"""Every page asks the database as often whatever is stored: the pages that the benchmark measures, with little and then with much."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from bench.pages import PAGES
from console.models import Audit, Comment
from gateway.endpoints.figures import Figures
from gateway.endpoints.live import MinuteFigures
from shadow import endpoint_store
from shadow.models import Event, FlagChange, GateStart, GuardTrip, Rule, Signature, StateChange
from tests.support.reviewing import found, pair, see

pytestmark = pytest.mark.django_db

FEW, MANY = 2, 25
HEAD = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
"""
ROUTE = """
[[routes]]
name = "{0}"
match = "/api/v1/{0}/*"
candidate = "new"
"""
ON, OFF = {"enabled": True}, {"enabled": False}
MOST = 45
"""Queries of any page."""


def name(number: int) -> str:
    return "reviews" if not number else f"route-{number}"


@pytest.fixture
def olga(tmp_path: Path, settings: Settings) -> Client:
    """An operator, whose console knows MANY routes from the beginning: what is stored of them is what grows."""
    (tmp_path / "banyan.toml").write_text(HEAD + "".join(ROUTE.format(name(number)) for number in range(MANY)))
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    user = User.objects.create_user("olga")
    user.groups.set(Group.objects.filter(name="operator"))
    client = Client()
    client.force_login(user)
    return client


def grow(first: int, last: int) -> None:
    """One more of everything for each number."""
    now = time.time()
    told = []
    for number in range(first, last):
        route, one = name(number), {"pk": number + 1}
        see(*(pair({f"k{number}": 1, "a": 1, "b": 2}, {f"k{number}": 2, "a": 2, "b": 3}, route=each) for each in (route, "reviews")))
        signature = found(f"$.k{number}", route="reviews")
        Event.objects.create(at=now - number, kind="deployment", route=route, text="x", **one)
        FlagChange.objects.create(gateway="g", number=number, at=now - number, kind="flag", flag=route, old=OFF, new=ON, **one)
        GuardTrip.objects.create(
            gateway="g", number=number, at=now - number, route=route, flag=route, reason="errors", why="w", figures={},
            outcome="switched-off", overridden=True,
        )  # fmt: skip
        Rule.objects.create(route="reviews", kind="ignore", path=f"$.r{number}", author="a", reason="r", created=now - number, **one)
        GateStart.objects.create(route="reviews", at=now - 9999 + number, by="a", why="w", **one)
        Audit.objects.create(at=now - number, by=f"person{number}", role="reviewer", action=f"did-{number}", route=route, **one)
        StateChange.objects.create(signature=signature, at=now - number, old="new", new="bug", by="b", why="w")
        for each in Signature.objects.filter(route="reviews"):
            Comment.objects.create(signature=each, at=now, by="a", text="t")
        figures = Figures()
        figures.observe(("GET", b"/", route, "legacy", 200, 0.1, 0), 10)
        told.append(("GET", f"/api/v1/{route}/{{id}}/part{number}", figures))
    endpoint_store.record(f"g{last}", [MinuteFigures(int(now) // 60 * 60, False, told, Figures())], now=now)


def counted(client: Client, path: str, **headers: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(path, headers=headers)
    assert answer.status_code == 200, path
    return [query["sql"] for query in queries]


def places() -> dict[str, str]:
    row = found("$.k0", route="reviews")
    root = f"/signatures/{row.pk}/"
    return {"signature": f"{root}samples/{row.samples.order_by('-pk').values_list('pk', flat=True)[0]}/", "signature_root": root}


LIVE = {
    "routes, anew": "/?span=24h",
    "a route, anew": "/routes/reviews/?span=24h",
    "a signature, anew": "{signature}",
    "what is new of a signature": "{signature_root}?part=news",
    "what is new in the timeline": "/timeline/?part=news",
    "what is new in the audit": "/audit/?part=news",
}
"""What pages ask for by themselves."""


def test_no_page_asks_more_often_where_more_is_stored(olga: Client) -> None:
    asked: dict[str, tuple[str, dict[str, str]]] = {page: (path, {}) for page, path in PAGES.items()}
    asked |= {page: (path, {"hx-request": "true"}) for page, path in LIVE.items()}
    grow(0, FEW)
    where = places()
    for path, headers in asked.values():  # what is remembered is remembered
        counted(olga, path.format(**where), **headers)
    few = {page: counted(olga, path.format(**where), **headers) for page, (path, headers) in asked.items()}
    grow(FEW, MANY)
    where = places()
    more = {}
    for page, (path, headers) in asked.items():
        many = counted(olga, path.format(**where), **headers)
        if len(many) > len(few[page]) or len(many) > MOST:
            more[page] = (len(few[page]), len(many), sorted(set(many) - set(few[page]))[-3:])
    assert not more
