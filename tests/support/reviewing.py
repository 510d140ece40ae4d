"""What a reviewer meets: exchanges that differ, judged and stored as a shipper does, and people of each role to look at them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client

from console.seen import seen
from shadow import store
from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Signature
from shadow.redact import Redactor
from shadow.rules import Rule

JSON = b"Content-Type: application/json\r\n"
ROUTE = "reviews"


def person(name: str, *groups: str) -> Client:
    """A logged in client of theirs."""
    user = User.objects.create_user(name)
    user.groups.set(Group.objects.filter(name__in=groups))
    client = Client()
    client.force_login(user)
    return client


def pair(
    legacy: Any,
    candidate: Any,
    *,
    at: float | None = None,
    target: str = "/api/v1/reviews/7?page=2",
    method: str = "GET",
    route: str = ROUTE,
    kind: Any = "pair",
    statuses: tuple[int, int] = (200, 200),
    heads: tuple[bytes, bytes] = (JSON, JSON),
    request_id: str = "r-1",
    **more: Any,
) -> Exchange:
    """An exchange; bodies that are no bytes become JSON."""
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    one = Answer("legacy", "legacy", statuses[0], heads[0], bodies[0], 0.012)
    other = Answer("legacy" if kind == "noise" else "candidate", "new", statuses[1], heads[1], bodies[1], 0.004)
    return Exchange(
        route, request_id, time.time() - 5 if at is None else at, method, target, b"X-App: 1\r\n", b"", one, other, kind, **more
    )


def see(*exchanges: Exchange, rules: Sequence[Rule] = (), base: Rules | None = None) -> None:
    """Judges and stores them."""
    routes = {each.route for each in exchanges}
    judge = Judge(
        Redactor(["$..secret"], b"k" * 32), {route: base or Rules() for route in routes}, {route: list(rules) for route in routes}
    )
    batch = Batch()
    for each in exchanges:
        judgement = judge.judge(each)
        assert judgement is not None
        batch.judgement(judgement)
    store.write(batch)


def found(path: str, kind: str = "", route: str = ROUTE) -> Signature:
    """The signature there."""
    rows = Signature.objects.filter(route=route, path=path)
    return rows.get(kind=kind) if kind else rows.get()


def form(row: Signature, **more: str) -> dict[str, str]:
    """What a page's form about `row` sends."""
    row.refresh_from_db()
    return {"seen": seen(row), **more}
