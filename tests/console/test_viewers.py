"""A viewer can change nothing: by no page and by no request made by hand. Every URL of the console is tried, those too that come later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from console.audit import REFUSED
from console.seen import seen
from shadow.models import Rule, Sample, Signature
from tests.support.reviewing import found, pair, person, see

pytestmark = pytest.mark.django_db

ANYBODYS = {"login", "logout", "language", "account", "password"}
"""What changes only a session or a cookie of whoever asks."""


@dataclass(frozen=True)
class Place:
    """One URL, with arguments that exist: a 404 would be no refusal."""

    name: str
    path: str
    view: Any


@pytest.fixture
def row() -> Signature:
    see(pair({"t": 1}, {"t": 2}), *(pair({"t": number}, {"t": -number}, kind="noise") for number in range(1, 41)))
    Rule.objects.create(route="reviews", kind="ignore", path="$.x", author="kim", reason="r", created=1.0)
    return found("$.t")


def arguments(row: Signature, text: str) -> dict[str, Any]:
    """By the names that patterns have, for the pattern `text`. Whoever adds a URL with another name adds it here."""
    number = Rule.objects.get().pk if text.startswith("rules/") else row.pk
    return {
        "pk": number,
        "sample": row.samples.values_list("pk", flat=True)[0],
        "number": 1,
        "part": "curl",
        "name": "reviews",
        "route": "reviews",
        "flag": "reviews.serve",
    }


def places(row: Signature) -> Iterator[Place]:
    def walk(patterns: list[Any], before: str) -> Iterator[Place]:
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, before + str(pattern.pattern))
                continue
            assert isinstance(pattern, URLPattern)
            text = before + str(pattern.pattern)
            known = arguments(row, text)
            for name in pattern.pattern.converters:
                assert name in known, f"{text}: teach this test what {name} may be"
                for converter in ("int", "str", "slug", "path"):
                    text = text.replace(f"<{converter}:{name}>", str(known[name]))
            assert "<" not in text, text
            yield Place(pattern.name or "", "/" + text, pattern.callback)

    yield from walk(get_resolver().url_patterns, "")


def everything() -> dict[str, list[Any]]:
    """Every row of every table but sessions, when somebody logged in last, and that somebody was refused."""
    kept = [model for model in apps.get_models() if model is not Session]
    found = {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in kept}
    found["console.Audit"] = [row for row in found["console.Audit"] if row["action"] != REFUSED]
    for user in found["auth.User"]:
        del user["last_login"]
    return found


def form(row: Signature) -> dict[str, Any]:
    """All that any form sends, so that what is refused is not the form."""
    rule = Rule.objects.get()
    return {
        "seen": seen(row), "to": "bug", "why": "because", "reason": "because", "text": "because", "do": "make", "choice": "0", "days": "90",
        "previewed": "ignore $.t", "chosen": [f"{row.pk}:{seen(row)}"], "route": "reviews", "kind": "ignore", "path": "$.t", "value": "",
        "change": "0", "rule": str(rule.pk), "ended": "", "flag": "reviews", "enabled": "off", "for": "30m", "state": "off",
    }  # fmt: skip


def test_every_url_refuses_a_viewers_post_and_changes_nothing(row: Signature) -> None:
    vera = person("vera")
    before = everything()
    tried = 0
    for place in list(places(row)):
        if place.name in ANYBODYS:
            continue
        for method in ("post", "put", "patch", "delete"):
            answer = getattr(vera, method)(place.path, form(row)) if method == "post" else getattr(vera, method)(place.path)
            assert answer.status_code in (403, 405), f"{method} {place.name} {place.path}: {answer.status_code}"
            tried += 1
    assert tried > 40
    assert everything() == before


def test_every_url_by_get_changes_nothing_whoever_asks(row: Signature) -> None:
    clients = {"vera": person("vera"), "ada": person("ada", "reviewer"), "olga": person("olga", "operator")}
    before = everything()
    for name, client in clients.items():
        for place in list(places(row)):
            if place.name not in ANYBODYS:
                answer = client.get(place.path, form(row))
                assert answer.status_code in (200, 302, 403, 404, 405, 422, 503), f"{name} {place.name}: {answer.status_code}"
    assert everything() == before


def test_logged_out_nothing_is_told_and_nothing_changed(row: Signature) -> None:
    nobody = Client()
    before = everything()
    for place in list(places(row)):
        if place.name in ANYBODYS:
            continue
        for answer in (nobody.get(place.path), nobody.post(place.path, form(row))):
            assert answer.status_code == 302, place
            assert answer["location"].startswith("/login/?next="), place
    assert everything() == before


def test_without_the_token_of_the_page_nobody_changes_anything(row: Signature) -> None:
    olga = Client(enforce_csrf_checks=True)
    olga.force_login(User.objects.create_superuser("olga"))
    before = everything()
    for place in list(places(row)):
        if place.name not in ANYBODYS:
            assert olga.post(place.path, form(row)).status_code in (403, 405), place
    assert everything() == before
    assert olga.post("/login/", {"username": "olga", "password": "x"}).status_code == 403


def test_the_same_requests_of_a_reviewer_do_change_something(row: Signature) -> None:
    """Else the refusals above would show nothing."""
    ada = person("ada", "reviewer")
    before = everything()
    changed = set()
    for place in list(places(row)):
        if place.name in ANYBODYS:
            continue
        with transaction.atomic():
            ada.post(place.path, form(row))
            if everything() != before:
                changed.add(place.name)
            transaction.set_rollback(True)
        row.refresh_from_db()
    mine = {"signatures-mark", "signature-mark", "signature-comment", "expect", "rule-end", "suggestion-accept", "suggestion-decline"}
    assert changed >= mine


def test_a_viewers_pages_offer_nothing_to_change(row: Signature) -> None:
    vera = person("vera")
    pages = ("/", "/routes/reviews/", "/routes/reviews/rules/", f"/signatures/{row.pk}/", f"/rules/{Rule.objects.get().pk}/")
    for path in pages:
        page = vera.get(path).content.decode()
        main = page.partition("<main")[2]
        actions = [action for action in ("mark/", "undo/", "comments/", "end/", "expect/", "accept/", "decline/") if f'/{action}"' in main]
        assert actions == [], path
        assert 'method="post"' not in main, path
    assert Sample.objects.exists()
