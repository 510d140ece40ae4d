"""The audit: who may read it, what can be asked of it, and the files of it."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from console import audit, auditviews
from console.models import Audit

pytestmark = pytest.mark.django_db

HOSTILE = '=HYPERLINK("http://evil.test")<script>alert(1)</script>\u202e'
NOON = 1_750_075_200.0  # 2025-06-16 12:00 UTC


def logged_in(role: str) -> Client:
    user = User.objects.create_user(role)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def reviewer() -> Client:
    return logged_in("reviewer")


def row(at: float = NOON, **more: Any) -> Audit:
    return Audit.objects.create(**{"at": at, "by": "ada", "role": "reviewer", "action": "rule-made", **more})


def shown(client: Client, query: str = "") -> list[int]:
    response = client.get(f"/audit/?{query}")
    assert response.status_code == 200
    return [int(found) for found in re.findall(r'<tr role="row" id="row-(\d+)"', response.content.decode())]


@pytest.mark.parametrize("path", ["/audit/", "/audit/1/", "/audit/export/"])
def test_it_is_for_reviewers_and_operators(client: Client, path: str) -> None:
    row(pk=1)
    assert client.get(path).status_code == 302
    viewer = logged_in("viewer")
    refused = viewer.get(path)
    assert refused.status_code == 403
    assert "this is for a reviewer" in refused.content.decode()
    assert '"/audit/"' not in viewer.get("/account/").content.decode()
    for role in ("reviewer", "operator"):
        allowed = logged_in(role)
        assert allowed.get(path).status_code == 200
        assert '"/audit/"' in allowed.get("/account/").content.decode()
        assert allowed.post(path).status_code == 405, "nobody changes it"
    assert not Audit.objects.filter(action="refused").exists(), "reading is no attempt to change something"


def test_what_is_asked_for_is_shown_newest_first(reviewer: Client) -> None:
    first = row(route="reviews", subject="ignore $.a", why="a clock")
    second = row(NOON + 86400, by="bob", action="login")
    third = row(NOON + 2 * 86400, by="bob", route="search")
    assert shown(reviewer) == [third.pk, second.pk, first.pk]
    assert shown(reviewer, "by=bob") == [third.pk, second.pk]
    assert shown(reviewer, "by=bob&action=login") == [second.pk]
    assert shown(reviewer, "route=reviews") == [first.pk]
    assert shown(reviewer, "since=2025-06-17") == [third.pk, second.pk]
    assert shown(reviewer, "until=2025-06-17") == [second.pk, first.pk]
    assert shown(reviewer, "since=2025-06-17&until=2025-06-17") == [second.pk]
    assert shown(reviewer, "by=nobody") == []
    for nonsense in ("since=x", "until=9999-12-31", "before=nan:1", "before=1:99999999999999999999", "by=%00", "since=0001-01-01"):
        shown(reviewer, nonsense)
    page = reviewer.get(f"/audit/{first.pk}/").content.decode()
    assert "a clock" in page
    assert reviewer.get("/audit/999999/").status_code == 404


def test_paging_shows_each_row_once_with_a_bounded_number_of_queries(reviewer: Client) -> None:
    shown(reviewer)
    with CaptureQueriesContext(connection) as few:
        shown(reviewer, "by=ada")
    Audit.objects.bulk_create(Audit(at=NOON, by="ada", action="x", subject=str(number)) for number in range(230))
    with CaptureQueriesContext(connection) as many:
        shown(reviewer, "by=ada")
    assert len(many) == len(few) <= 8
    seen: list[int] = []
    query = "by=ada"
    for _ in range(10):
        body = reviewer.get(f"/audit/?{query}").content.decode()
        seen += [int(found) for found in re.findall(r'<tr role="row" id="row-(\d+)"', body)]
        more = re.search(r'href="\?([^"]*)" rel="next"', body)
        if more is None:
            break
        query = more[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 230


def test_the_files_have_what_the_page_has(reviewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        row(NOON + number, subject=f"s{number}", detail={"n": number})
    row(by="bob")
    answered = reviewer.get("/audit/export/?format=json&by=ada")
    assert answered["Content-Type"] == "application/json"
    assert answered["Content-Disposition"] == 'attachment; filename="banyan-audit.json"'
    found = json.loads(answered.content)["rows"]
    assert [each["subject"] for each in found] == ["s4", "s3", "s2", "s1", "s0"]
    assert found[0]["detail"] == {"n": 4}
    monkeypatch.setattr(auditviews, "MAX_EXPORT", 3)
    address, subjects = "/audit/export/?format=csv&by=ada", []
    while address:
        answered = reviewer.get(address)
        subjects += [each["subject"] for each in csv.DictReader(io.StringIO(answered.content.decode()))]
        address = re.sub(r'<(.*)>; rel="next"', r"\1", answered.get("Link", ""))
    assert subjects == ["s4", "s3", "s2", "s1", "s0"]


def test_foreign_text_is_neither_markup_nor_a_formula(reviewer: Client) -> None:
    made = row(by=HOSTILE, subject=HOSTILE, why=HOSTILE, route="reviews", detail={"x": HOSTILE})
    for path in ("/audit/", f"/audit/{made.pk}/"):
        body = reviewer.get(path).content.decode()
        assert "<script>" not in body.replace('<script src="/static', "")
        assert "\u202e" not in body
    (found,) = csv.DictReader(io.StringIO(reviewer.get("/audit/export/").content.decode()))
    assert found["by"] == "'" + HOSTILE
    assert found["why"].startswith("'=")
    assert found["time"] == "2025-06-16 12:00:00 UTC"


def test_what_is_recorded_is_cut_and_can_be_stored() -> None:
    request = RequestFactory().post("/")
    request.user = User.objects.create_user("ada")
    made = audit.record(request, "x", "y\0" * 999, why="\0", detail={"a": "\0"})
    assert len(made.subject) == audit.MAX_SUBJECT
    assert "\0" not in made.subject + made.why + str(made.detail)
    assert made.at <= time.time()
