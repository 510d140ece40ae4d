"""What reviewers say of signatures, asked of Django itself: pages, forms, and two people at once."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from console import undo
from console.models import Audit, Comment
from console.reasons import MAX_COMMENT
from shadow import report, states
from shadow.models import Rule, Signature, StateChange
from tests.support.reviewing import form, found, pair, person, see

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> Client:
    see(
        *(pair({"a": 1, "t": 1}, {"a": 2, "t": 1}) for _ in range(3)),
        *(pair({"t": 1}, {"t": 2}) for _ in range(4)),
        pair({"x": 1}, {"x": 1}),
    )
    return person("ada", "reviewer")


@pytest.fixture
def lee() -> Client:
    return person("lee", "reviewer")


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode())).replace("&#x27;", "'")


def mark(client: Client, row: Signature, **more: str) -> Any:
    return client.post(f"/signatures/{row.pk}/mark/", form(row, **{"to": "bug", "why": "it rounds", **more}))


def test_the_page_says_how_often_since_when_and_for_which_requests(ada: Client) -> None:
    see(pair({"a": 1}, {"a": 2}, target="/api/v1/reviews/9", method="POST", statuses=(201, 201)))
    page = text(ada.get(f"/signatures/{found('$.a').pk}/"))
    assert "Seen in 4 exchanges" in page
    assert "Share of the comparisons, last 24 h 44.44 % 4 of 9" in page
    assert "at least" not in page, "all of it is known"
    assert "of the 4 samples that are kept, the newest of 4 exchanges. They say where to look, not how often." in page
    assert "Method GET 3 of 4 POST 1 of 4" in page
    assert "Path /api/v1/reviews/{id} all" in page
    assert "200 → 200 3 of 4 201 → 201 1 of 4" in page
    assert "?page 3 of 4" in page
    assert "Another value of the same type." in page


def test_a_bug_has_a_reason_and_a_link_and_is_kept_with_who_and_when(ada: Client) -> None:
    row = found("$.a")
    answer = mark(ada, row, link="https://tracker.test/7?a=1&b=2")
    assert (answer.status_code, answer["location"]) == (302, f"/signatures/{row.pk}/")
    page = ada.get(answer["location"]).content.decode()
    assert '<a href="https://tracker.test/7?a=1&amp;b=2" rel="noreferrer nofollow noopener">' in page
    assert "by <strong>ada</strong>: it rounds" in page
    assert "It is bug now." in page
    assert "It is bug now." not in ada.get(answer["location"]).content.decode(), "said once"
    (kept,) = Audit.objects.all()
    assert (kept.by, kept.role, kept.action, kept.route, kept.link) == (
        "ada",
        "reviewer",
        "signature-bug",
        "reviews",
        f"/signatures/{row.pk}/",
    )
    assert report.summary("reviews").signatures[0].state in ("new", "bug")
    row.refresh_from_db()
    assert row.state == "bug"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"why": "  "}, "Say why"),
        ({"why": "x" * 3000}, "too long"),
        ({"to": "expected"}, "What is expected says a rule"),
        ({"to": "<b>"}, "What is expected says a rule"),
        ({"link": "javascript:alert(1)"}, "http:// or https://"),
        ({"link": "https://user:pw@tracker.test/"}, "http:// or https://"),
        ({"link": "https:// tracker.test"}, "http:// or https://"),
        ({"link": "//tracker.test"}, "http:// or https://"),
        ({"link": "http://[bad"}, "http:// or https://"),
        ({"link": "https://tracker.test/" + "x" * 600}, "http:// or https://"),
    ],
)
def test_what_cannot_be_said_changes_nothing(ada: Client, more: dict[str, str], said: str) -> None:
    row = found("$.a")
    answer = mark(ada, row, **more)
    assert answer.status_code == 422
    assert said in text(answer)
    row.refresh_from_db()
    assert (row.state, StateChange.objects.count(), Audit.objects.count()) == ("new", 0, 0)


def test_the_second_of_two_reviewers_is_told_what_the_first_did(ada: Client, lee: Client) -> None:
    row = found("$.a")
    lees = form(row, to="fixed", why="deployed <b>1.4</b>")
    assert mark(ada, row).status_code == 302
    answer = lee.post(f"/signatures/{row.pk}/mark/", lees)
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "new → bug, by <strong>ada</strong>: it rounds" in page
    assert "deployed &lt;b&gt;1.4&lt;/b&gt;" in page, "what was written is not lost"
    row.refresh_from_db()
    assert row.state == "bug"
    again = {
        name: value
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
        if name != "csrfmiddlewaretoken"
    }
    assert lee.post(f"/signatures/{row.pk}/mark/", {**again, "why": "deployed 1.4"}).status_code == 302
    row.refresh_from_db()
    assert row.state == "fixed"


def test_a_form_without_what_it_was_made_from_changes_nothing(ada: Client) -> None:
    row = found("$.a")
    for seen in ("", "new", "new@nan", "bug@0.000000", "new@x"):
        assert ada.post(f"/signatures/{row.pk}/mark/", {"seen": seen, "to": "bug", "why": "w"}).status_code == 409, seen
    row.refresh_from_db()
    assert row.state == "new"


def test_undo_sets_the_state_back_as_a_new_entry(ada: Client, lee: Client) -> None:
    row = found("$.a")
    mark(ada, row)
    page = lee.get(f"/signatures/{row.pk}/").content.decode()
    assert "new became bug: set it back to new (ada, 0 s ago)" in page
    last = row.changes.get()
    answer = lee.post(f"/signatures/{row.pk}/undo/", form(row, change=str(last.pk), rule="0"))
    assert answer.status_code == 302
    row.refresh_from_db()
    assert row.state == "new"
    history = states.history(row.pk)
    assert [(each.old, each.new, each.by) for each in history] == [("new", "bug", "ada"), ("bug", "new", "lee")]
    assert history[1].why == "undone: new to bug, by ada"
    # And that again, which is the last change now.
    last = row.changes.order_by("-pk")[0]
    assert ada.post(f"/signatures/{row.pk}/undo/", form(row, change=str(last.pk), rule="0")).status_code == 302
    row.refresh_from_db()
    assert row.state == "bug"


def test_undo_is_for_the_last_change_within_an_hour(ada: Client, lee: Client) -> None:
    row = found("$.a")
    mark(ada, row)
    first = row.changes.get()
    mark(ada, row, to="fixed")
    answer = lee.post(f"/signatures/{row.pk}/undo/", form(row, change=str(first.pk), rule="0"))
    assert answer.status_code == 409, "it is not the last any more"
    StateChange.objects.update(at=time.time() - undo.UNDO_SECONDS - 1)
    assert "Undo" not in text(ada.get(f"/signatures/{row.pk}/"))
    last = row.changes.order_by("-pk")[0]
    answer = lee.post(f"/signatures/{row.pk}/undo/", form(row, change=str(last.pk), rule="0"))
    assert answer.status_code == 422
    row.refresh_from_db()
    assert row.state == "fixed"


def test_what_banyan_did_is_nobodys_to_undo(ada: Client) -> None:
    row = found("$.a")
    mark(ada, row, to="fixed")
    see(pair({"a": 1}, {"a": 2}, at=time.time() + 5))
    row.refresh_from_db()
    assert row.state == "new"
    assert undo.of_signature(row, time.time()) is None


def test_a_rule_is_undone_from_its_signature(ada: Client, lee: Client) -> None:
    row = found("$.a")
    ada.post(f"/signatures/{row.pk}/expect/", form(row, choice="0", why="meant", days="90", do="make", previewed="ignore $.a"))
    rule = Rule.objects.get()
    page = lee.get(f"/signatures/{row.pk}/").content.decode()
    assert f"rule {rule.pk} was made: end it (ada" in page
    assert lee.post(f"/signatures/{row.pk}/undo/", form(row, change="0", rule=str(rule.pk))).status_code == 302
    rule.refresh_from_db()
    row.refresh_from_db()
    assert (rule.ended_by, rule.ended_why, row.state) == ("lee", "undone: made by ada", "new")
    assert states.history(row.pk)[-1].by == "lee"
    # Its end is the last change now: undone, it is another rule that says the same.
    page = ada.get(f"/signatures/{row.pk}/").content.decode()
    assert f"rule {rule.pk} was ended: make it again (lee" in page
    assert ada.post(f"/signatures/{row.pk}/undo/", form(row, change="0", rule=str(rule.pk))).status_code == 302
    again = Rule.objects.get(ended_at=None)
    row.refresh_from_db()
    assert (again.author, again.reason, again.expires, row.state) == ("ada", "meant", rule.expires, "expected")
    assert Rule.objects.count() == 2, "nothing is deleted"
    assert [each.action for each in Audit.objects.order_by("pk")] == ["rule-made", "rule-ended", "rule-made"]


def test_a_reason_that_reads_like_a_rules_end_is_a_reason(ada: Client, lee: Client) -> None:
    row, other = found("$.a"), found("$.t")
    ada.post(f"/signatures/{other.pk}/expect/", form(other, choice="0", why="meant", days="90", do="make", previewed="ignore $.t"))
    rule = Rule.objects.get()
    mark(lee, row, why=f"rule {rule.pk} ended: no")
    page = text(ada.get(f"/signatures/{row.pk}/"))
    assert "new became bug: set it back to new" in page
    answer = ada.post(f"/signatures/{row.pk}/undo/", form(row, change="0", rule=str(rule.pk)))
    assert answer.status_code == 409
    rule.refresh_from_db()
    assert rule.ended_at is None


def test_comments_are_text_with_links_that_tell_nothing(ada: Client) -> None:
    row = found("$.a")
    said = "see https://tracker.test/1, <script>alert(1)</script> javascript:alert(1) https://a@b.test/\nsecond\u202eline"
    answer = ada.post(f"/signatures/{row.pk}/comments/", {"text": said})
    assert (answer.status_code, answer["location"]) == (302, f"/signatures/{row.pk}/#comments")
    page = ada.get(f"/signatures/{row.pk}/").content.decode()
    assert '<a href="https://tracker.test/1" rel="noreferrer nofollow noopener">https://tracker.test/1</a>, &lt;script&gt;' in page
    assert page.count('rel="noreferrer nofollow noopener"') == 1, "neither javascript: nor an address with a name in it"
    assert "second\\u202eline" in page
    assert Audit.objects.get().action == "comment"


@pytest.mark.parametrize("said", ["", " \r\n ", "x" * (MAX_COMMENT + 1)])
def test_a_comment_says_something_and_not_too_much(ada: Client, said: str) -> None:
    answer = ada.post(f"/signatures/{found('$.a').pk}/comments/", {"text": said})
    assert answer.status_code == 422
    assert not Comment.objects.exists()


def test_a_long_thread_is_bounded(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    row = found("$.a")
    Comment.objects.bulk_create(Comment(signature=row, at=number, by="lee", text=f"number {number}!") for number in range(60))
    page = text(ada.get(f"/signatures/{row.pk}/"))
    assert "10 earlier ones are not shown." in page
    assert "number 59!" in page
    assert "number 9!" not in page
    monkeypatch.setattr("console.deciding.MAX_COMMENTS", 60)
    assert ada.post(f"/signatures/{row.pk}/comments/", {"text": "one more"}).status_code == 422


def test_next_and_previous_are_the_open_ones_as_the_route_lists_them(ada: Client) -> None:
    see(pair({"b": 1}, {"b": 2}), pair({"c": 1}, {"c": 2}))
    order = [found(path) for path in ("$.t", "$.a", "$.b", "$.c")]  # by how often, then by path
    mark(ada, order[2], to="fixed")
    page = ada.get(f"/signatures/{order[1].pk}/").content.decode()
    assert f'<a href="/signatures/{order[0].pk}/" data-key="p"' in page
    assert f'<a href="/signatures/{order[3].pk}/" data-key="n"' in page
    page = ada.get(f"/signatures/{order[2].pk}/").content.decode()
    assert f'<a href="/signatures/{order[1].pk}/" data-key="p"' in page, "also from one that is open no more"
    assert f'<a href="/signatures/{order[3].pk}/" data-key="n"' in page


def test_a_page_has_as_many_queries_as_it_has_parts(ada: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        see(*(pair({f"k{number}": 1, "a": 1}, {f"k{number}": 2, "a": 2}) for _ in range(3)))
    row = found("$.a")
    Comment.objects.bulk_create(Comment(signature=row, at=number, by="lee", text="t") for number in range(30))
    for _ in range(5):
        mark(ada, row)
        mark(ada, row, to="new")
    with django_assert_max_num_queries(22):
        assert ada.get(f"/signatures/{row.pk}/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_signature_with_comments_can_be_removed_by_who_does_not_know_of_them(ada: Client) -> None:
    """A shipper purges signatures, and its process has no console."""
    row = found("$.a")
    assert ada.post(f"/signatures/{row.pk}/comments/", {"text": "hm"}).status_code == 302
    with connection.cursor() as cursor:
        for table in ("sighting", "signature"):
            column = "signature_id" if table == "sighting" else "id"
            cursor.execute(f"DELETE FROM shadow_{table} WHERE {column} = %s", [row.pk])  # noqa: S608 - two names
    assert not Comment.objects.exists()
    assert Audit.objects.get().why == "hm", "what was said is still in the audit"
