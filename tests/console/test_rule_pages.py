"""Rules on the console's pages: what one would hide, making and ending it, many at once, and what legacy's noise suggests."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from console import ruleviews
from console.models import Audit
from shadow import gate_start, report, rulebook
from shadow.models import Decline, Rule, Signature
from shadow.recompute import recompute
from tests.support.reviewing import form, found, pair, person, see

pytestmark = pytest.mark.django_db

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
[routes.gate]
minimum = 5
match = 0.5
coverage = 0
window = "2h"
[routes.shadow.compare]
ignore = ["$.own"]
"""
DAY = 86400.0


@pytest.fixture
def ada(tmp_path: Path, settings: Any) -> Client:
    """93 exchanges that match, and 7 that differ in one place."""
    (tmp_path / "banyan.toml").write_text(TOML)
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    see(*(pair({"a": 1}, {"a": 1}) for _ in range(93)), *(pair({"t": 1}, {"t": 2}) for _ in range(7)))
    return person("ada", "reviewer")


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode())).replace("&#x27;", "'").replace("\u2019", "'")


def make(client: Client, row: Signature, **more: str) -> Any:
    fields = {"choice": "0", "why": "the time of the answer", "days": "90", "do": "make", "previewed": f"ignore {row.path}", **more}
    return client.post(f"/signatures/{row.pk}/expect/", form(row, **fields))


def test_the_preview_says_what_it_hides_and_changes_nothing(ada: Client) -> None:
    see(pair({"t": {"x": 1}, "b": 1}, {"t": {"x": 2}, "b": 2}))
    page = text(ada.get(f"/signatures/{found('$.t').pk}/expect/"))
    assert "Of what was compared in the last 2 h, which is what the gate counts." in page
    assert "Match rate 92.07 % → 99.00 % 93 → 100 of 101 comparisons" in page
    assert "Exchanges that become matches 7 counted" in page
    assert "Gate not yet → not yet" in page
    assert "1 value $.t.x new" in page, "what is below it is touched too"
    assert "no pairs of legacy's own answers were made" in page
    assert Rule.objects.count() == Audit.objects.count() == 0


def test_a_preview_of_the_gate_counts_from_where_somebody_began_it_anew(ada: Client) -> None:
    row = found("$.t")
    gate_start.begin("reviews", by="ola", why="another candidate", at=time.time() - 2)
    see(*(pair({"t": 1}, {"t": 2}, at=time.time()) for _ in range(2)))
    page = text(ada.get(f"/signatures/{row.pk}/expect/"))
    assert "93 → 102 of 102 comparisons" in page, "the rate is of the whole window"
    assert "Gate not yet → not yet 2 comparisons, 5 are needed" in page
    page = text(ada.post("/signatures/mark/", {"chosen": f"{row.pk}:{form(row)['seen']}", "to": "expected"}))
    assert "Gate not yet → not yet 2 comparisons, 5 are needed" in page
    assert "Gate not yet" in text(ada.get(make(ada, row)["location"]))


def test_the_rule_is_made_and_the_rate_is_counted_anew_at_once(ada: Client) -> None:
    row = found("$.t")
    assert "Gate not yet → passes" in text(ada.get(f"/signatures/{row.pk}/expect/"))
    answer = make(ada, row)
    rule = Rule.objects.get()
    assert (answer.status_code, answer["location"]) == (302, f"/rules/{rule.pk}/")
    page = text(ada.get(answer["location"]))
    assert "Match rate now, last 2 h 100.00 % 93.00 % before it was made 100 of 100, 7 by reviewed rules" in page
    assert "It hides 7 exchanges; 7 would differ again without it" in page
    assert "Gate passes" in page
    assert "No signature of the route is open." in page
    row.refresh_from_db()
    assert row.state == "expected"
    assert (rule.author, rule.reason, rule.origin, rule.about) == ("ada", "the time of the answer", "signature", "value $.t")
    assert rule.expires == pytest.approx(rule.created + 90 * DAY)
    kept = Audit.objects.get()
    assert (kept.action, kept.subject, kept.link) == ("rule-made", f"rule {rule.pk}: ignore $.t", f"/rules/{rule.pk}/")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"why": " "}, "Say why"),
        ({"days": "12"}, "none of the lifetimes"),
        ({"choice": "17"}, "none of the rules to choose from"),
        ({"choice": "-1"}, "none of the rules to choose from"),
        ({"choice": "9" * 6000}, "none of the rules to choose from"),
        ({"choice": "other", "kind": "tolerance", "path": "$.t", "value": "lots"}, "a tolerance is"),
        ({"choice": "other", "kind": "<b>", "path": "$.t"}, "there is no rule '&lt;b&gt;'"),
        ({"previewed": "ignore $.other"}, "Look at what it hides first"),
        ({"previewed": ""}, "Look at what it hides first"),
    ],
)
def test_a_form_that_cannot_be_used_makes_nothing_and_loses_nothing(ada: Client, more: dict[str, str], said: str) -> None:
    answer = make(ada, found("$.t"), **more)
    assert answer.status_code == 422
    assert said in text(answer)
    assert "the time of the answer" in answer.content.decode() or more.get("why") == " "
    assert Rule.objects.count() == Audit.objects.count() == 0


def test_another_rule_can_be_written_and_is_previewed_first(ada: Client) -> None:
    row = found("$.t")
    fields = form(row, choice="other", kind="tolerance", path="$.t", value="5", why="close enough", days="")
    page = ada.post(f"/signatures/{row.pk}/expect/", {**fields, "do": "preview"})
    assert page.status_code == 200
    assert "The past can't be counted anew: the rule depends on values." in text(page)
    assert "3 of 3 samples they are some of 7 exchanges" in text(page)
    assert 'name="previewed" value="tolerance $.t 5"' in page.content.decode()
    assert ada.post(f"/signatures/{row.pk}/expect/", {**fields, "do": "make", "previewed": "tolerance $.t 5"}).status_code == 302
    rule = Rule.objects.get()
    assert (rule.kind, rule.value, rule.expires) == ("tolerance", "5", None)
    row.refresh_from_db()
    assert row.state == "expected", "every sample of it is excused"


def test_the_narrowest_rule_that_the_samples_speak_for_is_first(ada: Client) -> None:
    see(pair({"at": "2026-11-30T10:00:00Z"}, {"at": "2026-11-30T11:00:00+01:00"}))
    page = ada.get(f"/signatures/{found('$.at').pk}/expect/").content.decode()
    assert re.search(r'value="0" checked> <span><code>time \$\.at</code>', page)
    assert "1 </strong>" not in page
    assert re.search(r'value="1"> <span><code>ignore \$\.at</code>', page)


def test_what_no_rule_excuses_says_so(ada: Client) -> None:
    see(pair({}, {}, statuses=(200, 500)))
    row = found("200->500")
    page = text(ada.get(f"/signatures/{row.pk}/"))
    assert "No rule excuses a difference of this kind" in page
    answer = ada.get(f"/signatures/{row.pk}/expect/")
    assert answer.status_code == 422
    assert Rule.objects.count() == 0


def test_the_second_of_two_reviewers_is_told(ada: Client) -> None:
    lee = person("lee", "reviewer")
    row = found("$.t")
    lees = form(row, choice="0", why="noise", days="30", do="make", previewed="ignore $.t")
    ada.post(f"/signatures/{row.pk}/mark/", form(row, to="bug", why="it is off by one"))
    answer = lee.post(f"/signatures/{row.pk}/expect/", lees)
    assert answer.status_code == 409
    assert "new → bug, by ada : it is off by one" in text(answer)
    assert Rule.objects.count() == 0
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.content.decode())
    again = {name: value for name, value in hidden if name != "csrfmiddlewaretoken"}
    assert lee.post(f"/signatures/{row.pk}/expect/", {**again, "why": "noise"}).status_code == 302
    assert Rule.objects.get().author == "lee"
    row.refresh_from_db()
    assert row.state == "expected"


def test_the_same_rule_twice_is_a_conflict_that_names_the_first(ada: Client) -> None:
    row = found("$.t")
    make(ada, row)
    lee = person("lee", "reviewer")
    answer = make(lee, row)
    assert answer.status_code == 409
    assert "ignore $.t, by ada : the time of the answer" in text(answer)
    assert Rule.objects.count() == 1


def test_a_rule_ends_once_with_a_reason(ada: Client) -> None:
    row = found("$.t")
    make(ada, row)
    rule = Rule.objects.get()
    assert ada.post(f"/rules/{rule.pk}/end/", {"why": " "}).status_code == 422
    assert ada.post(f"/rules/{rule.pk}/end/", {"why": "it is mended"}).status_code == 302
    answer = person("lee", "reviewer").post(f"/rules/{rule.pk}/end/", {"why": "me too"})
    assert answer.status_code == 409
    assert f"rule {rule.pk} ended, by ada : it is mended" in text(answer)
    row.refresh_from_db()
    assert row.state == "new"
    assert report.summary("reviews").mismatched == 7
    assert [each.action for each in Audit.objects.order_by("pk")] == ["rule-made", "rule-ended"]


def test_undo_of_a_rule_on_its_own_page(ada: Client) -> None:
    make(ada, found("$.t"))
    rule = Rule.objects.get()
    assert ada.post(f"/rules/{rule.pk}/undo/", {"ended": "1"}).status_code == 409, "of another state of it"
    assert ada.post(f"/rules/{rule.pk}/undo/", {"ended": ""})["location"] == f"/rules/{rule.pk}/"
    assert report.summary("reviews").mismatched == 7
    answer = ada.post(f"/rules/{rule.pk}/undo/", {"ended": "1"})
    again = Rule.objects.get(ended_at=None)
    assert answer["location"] == f"/rules/{again.pk}/"
    assert report.summary("reviews").mismatched == 0
    Rule.objects.filter(pk=again.pk).update(created=time.time() - 7200)
    assert ada.post(f"/rules/{again.pk}/undo/", {"ended": ""}).status_code == 422, "too late"


def test_undoing_the_end_of_a_rule_leaves_what_others_have_decided_since(ada: Client) -> None:
    """One was called a bug while the rule was there, one after it had ended; a third is a bug again only because it had ended."""
    lee = person("lee", "reviewer")
    see(pair({"t": {"x": 1, "y": 1}}, {"t": {"x": 2, "y": 2}}))
    whole, inner, other = found("$.t"), found("$.t.x"), found("$.t.y")
    lee.post(f"/signatures/{other.pk}/mark/", form(other, to="bug", why="before the rule"))
    make(ada, whole)
    rule = Rule.objects.get()
    assert {row.state for row in Signature.objects.all()} == {"expected"}
    assert lee.post(f"/signatures/{inner.pk}/mark/", form(inner, to="bug", why="not this one")).status_code == 302
    ada.post(f"/rules/{rule.pk}/end/", {"why": "too wide"})
    assert lee.post(f"/signatures/{whole.pk}/mark/", form(whole, to="bug", why="it is wrong")).status_code == 302
    assert ada.post(f"/rules/{rule.pk}/undo/", {"ended": "1"}).status_code == 302
    assert {row.path: row.state for row in Signature.objects.all()} == {"$.t": "bug", "$.t.x": "bug", "$.t.y": "expected"}
    rulebook.settle(time.time())
    assert {row.path: row.state for row in Signature.objects.all()} == {"$.t": "bug", "$.t.x": "bug", "$.t.y": "expected"}, (
        "and so for workers"
    )
    # Once more, of the rule that was made again.
    again = Rule.objects.get(ended_at=None)
    ada.post(f"/rules/{again.pk}/end/", {"why": "after all"})
    assert ada.post(f"/rules/{again.pk}/undo/", {"ended": "1"}).status_code == 302
    assert {row.path: row.state for row in Signature.objects.all()} == {"$.t": "bug", "$.t.x": "bug", "$.t.y": "expected"}
    # Who makes a rule for it after that means it.
    assert make(lee, found("$.t.x"), choice="0", previewed="ignore $.t.x").status_code == 302
    assert found("$.t.x").state == "expected"


def test_the_end_of_a_rule_is_not_undone_once_it_was_made_again_and_that_has_ended(ada: Client) -> None:
    row = found("$.t")
    make(ada, row)
    first = Rule.objects.get()
    ada.post(f"/rules/{first.pk}/end/", {"why": "a mistake"})
    make(ada, row)
    second = Rule.objects.get(ended_at=None)
    person("lee", "reviewer").post(f"/rules/{second.pk}/end/", {"why": "it is a bug"})
    assert "Undo" not in text(ada.get(f"/rules/{first.pk}/"))
    assert ada.post(f"/rules/{first.pk}/undo/", {"ended": "1"}).status_code == 422
    assert not Rule.objects.filter(ended_at=None).exists()


def test_a_routes_rules_are_told_by_what_becomes_of_them(ada: Client) -> None:
    now = time.time()
    base = {"author": "kim", "reason": "see https://tracker.test/3", "created": now - 100}
    Rule.objects.create(route="reviews", kind="ignore", path="$.t", expires=now + 3 * DAY, **base)
    Rule.objects.create(route="reviews", kind="ignore", path="$.never", **base)
    Rule.objects.create(route="reviews", kind="ignore", path="$.past", expires=now - 5, **base)
    Rule.objects.create(route="reviews", kind="ignore", path="$.over", ended_at=now - 5, ended_by="lee", ended_why="no more", **base)
    Rule.objects.create(route="reviews", kind="future", path="$.odd", **base)
    page = text(ada.get("/routes/reviews/rules/"))
    parts = re.split(r"(?:About to expire|Active|In banyan\.toml|Ended) (?=Rule|ignore)", page)
    assert len(parts) == 5, page
    assert "ignore $.t kim" in parts[1]
    assert "in 3 d expiring 7" in parts[1]
    assert "ignore $.never kim" in parts[2]
    assert "no end 0 nothing any more" in parts[2]
    assert "passed over: this version can't read it" in parts[2]
    assert parts[3].startswith("ignore $.own")
    assert "$.past" in parts[4]
    assert "expired" in parts[4]
    assert "lee 5 s ago : no more" in parts[4]
    assert "Of 100 matches, 7 rest on these rules." in page
    assert "The route's rules 3 in force 1 about to expire" in text(ada.get("/routes/reviews/"))
    assert ada.get("/routes/nothing/rules/").status_code == 404


def test_many_become_bugs_with_one_reason(ada: Client) -> None:
    see(pair({"b": 1}, {"b": 2}), pair({"c": 1}, {"c": 2}))
    rows = [found("$.b"), found("$.c")]
    page = ada.get("/routes/reviews/").content.decode()
    boxes = [
        value for value in re.findall(r'name="chosen" value="([^"]+)"', page) if int(value.partition(":")[0]) in {row.pk for row in rows}
    ]
    assert len(boxes) == 2
    answer = ada.post("/signatures/mark/", {"chosen": boxes, "to": "bug", "why": "both round", "link": "https://tracker.test/9"})
    assert answer["location"] == "/routes/reviews/"
    assert "2 signatures are bug now." in text(ada.get(answer["location"]))
    assert {(row.state, row.changes.get().why) for row in Signature.objects.filter(pk__in=[row.pk for row in rows])} == {
        ("bug", "both round https://tracker.test/9")
    }
    assert found("$.t").state == "new"


def test_many_are_marked_all_or_none(ada: Client) -> None:
    see(pair({"b": 1}, {"b": 2}))
    boxes = [f"{row.pk}:{form(row)['seen']}" for row in (found("$.b"), found("$.t"))]
    person("lee", "reviewer").post(f"/signatures/{found('$.b').pk}/mark/", form(found("$.b"), to="fixed", why="1.4"))
    answer = ada.post("/signatures/mark/", {"chosen": boxes, "to": "bug", "why": "both"})
    assert answer.status_code == 409
    assert "value $.b: new → fixed, by lee : 1.4" in text(answer)
    assert (found("$.b").state, found("$.t").state) == ("fixed", "new")


@pytest.mark.parametrize("chosen", [[], ["x"], ["99999:new@0.000000"], [f"{number}:x" for number in range(1, 600)]])
def test_what_cannot_be_chosen_changes_nothing(ada: Client, chosen: list[str]) -> None:
    assert ada.post("/signatures/mark/", {"chosen": chosen, "to": "bug", "why": "w"}).status_code == 422
    assert not Audit.objects.exists()


def test_signatures_of_two_routes_are_not_chosen_together(ada: Client) -> None:
    see(pair({"b": 1}, {"b": 2}, route="other"))
    rows = [found("$.t"), found("$.b", route="other")]
    boxes = [f"{row.pk}:{form(row)['seen']}" for row in rows]
    assert ada.post("/signatures/mark/", {"chosen": boxes, "to": "bug", "why": "w"}).status_code == 422


def test_many_are_expected_after_a_preview_of_all_of_them(ada: Client) -> None:
    see(pair({"b": 1, "t": 1}, {"b": 2, "t": 2}))
    boxes = [f"{row.pk}:{form(row)['seen']}" for row in (found("$.b"), found("$.t"))]
    page = ada.post("/signatures/mark/", {"chosen": boxes, "to": "expected", "why": "agreed"})
    assert page.status_code == 200
    assert "92.07 % → 100.00 % 8 more exchanges are matches" in text(page)
    assert "Gate not yet → passes" in text(page)
    assert Rule.objects.count() == 0
    assert ">agreed</textarea>" in page.content.decode()
    answer = ada.post("/signatures/mark/", {"chosen": boxes, "to": "expected", "why": "agreed", "days": "30", "do": "make"})
    assert answer["location"] == "/routes/reviews/rules/"
    assert sorted(Rule.objects.values_list("kind", "path", "reason")) == [("ignore", "$.b", "agreed"), ("ignore", "$.t", "agreed")]
    assert {found("$.b").state, found("$.t").state} == {"expected"}
    assert Audit.objects.filter(action="rule-made").count() == 2


def test_what_is_hidden_beside_what_was_meant_is_told(ada: Client) -> None:
    """A rule for a place is one for all that is below it: also for a bug, and for one that was not seen lately."""
    see(pair({"t": {"x": 1}}, {"t": {"x": 2}}), pair({"t": {"y": 1}}, {"t": {"y": 2}}, at=time.time() - 3 * 3600))
    for path in ("$.t.x", "$.t.y"):
        ada.post(f"/signatures/{found(path).pk}/mark/", form(found(path), to="bug", why="it is wrong"))
    row = found("$.t")
    one = text(ada.get(f"/signatures/{row.pk}/expect/"))
    many = text(ada.post("/signatures/mark/", {"chosen": f"{row.pk}:{form(row)['seen']}", "to": "expected"}))
    for page in (one, many):
        assert "Other signatures that it touches 1 value $.t.x bug 0 value $.t.y bug" in page
    make(ada, row)
    assert found("$.t.x").state == found("$.t.y").state == "expected"


def test_one_that_no_rule_excuses_keeps_all_from_being_expected(ada: Client) -> None:
    see(pair({}, {}, statuses=(200, 500)))
    boxes = [f"{row.pk}:{form(row)['seen']}" for row in (found("200->500"), found("$.t"))]
    sent = {"chosen": boxes, "to": "expected", "why": "agreed", "days": "30"}
    assert "no rule excuses it" in text(ada.post("/signatures/mark/", sent))
    assert ada.post("/signatures/mark/", {**sent, "do": "make"}).status_code == 422
    assert Rule.objects.count() == 0


def noisy(pairs: int = 40) -> None:
    """Legacy differs from itself in $.t whenever it is asked twice."""
    see(*(pair({"t": number}, {"t": -number}, kind="noise") for number in range(1, pairs + 1)))


def test_a_suggestion_is_accepted_with_its_evidence(ada: Client) -> None:
    noisy()
    page = ada.get("/routes/reviews/")
    assert "Legacy differs from itself there in 40 of 40 pairs" in text(page)
    sent = {"route": "reviews", "kind": "ignore", "path": "$.t", "value": ""}
    answer = ada.post("/suggestions/accept/", {**sent, "reason": ""})
    rule = Rule.objects.get()
    assert (answer.status_code, answer["location"]) == (302, f"/rules/{rule.pk}/")
    assert rule.origin == "suggestion"
    assert rule.reason.startswith("$.t differs in 100 % of legacy's own pairs (n = 40)")
    assert "Suggested rules" not in text(ada.get("/routes/reviews/"))
    assert ada.post("/suggestions/accept/", {**sent, "reason": ""}).status_code == 409, "it is suggested no more"


def test_the_preview_has_the_evidence_of_noise(ada: Client) -> None:
    noisy()
    page = text(ada.get(f"/signatures/{found('$.t').pk}/expect/"))
    assert "Legacy against itself 100 % differs there in 40 of 40 of its own pairs" in page
    assert "ignore $.t $.t differs in 100 % of legacy's own pairs (n = 40)" in page, "what noise speaks for is the first to choose"
    see(pair({"q": 1}, {"q": 2}))
    page = text(ada.get(f"/signatures/{found('$.q').pk}/expect/"))
    assert "never differs there, in 40 pairs: it is no noise" in page


def test_noise_speaks_for_no_rule_about_what_legacy_never_shows(ada: Client) -> None:
    noisy()
    see(pair({"t": 1}, {"t": "1"}))
    page = text(ada.get(f"/signatures/{found('$.t', 'type').pk}/expect/"))
    assert "ignore $.t What is at this path" in page
    assert "own pairs (n = 40) and" not in page


def test_a_suggestion_is_declined_with_a_reason(ada: Client) -> None:
    noisy()
    sent = {"route": "reviews", "kind": "ignore", "path": "$.t", "value": ""}
    assert ada.post("/suggestions/decline/", {**sent, "reason": " "}).status_code == 422
    assert ada.post("/suggestions/decline/", {**sent, "reason": "it has to be right"}).status_code == 302
    assert (Decline.objects.get().by, Audit.objects.get().action) == ("ada", "suggestion-declined")
    assert "Suggested rules" not in text(ada.get("/routes/reviews/"))
    answer = person("lee", "reviewer").post("/suggestions/decline/", {**sent, "reason": "no"})
    assert answer.status_code == 409
    assert "declined, by ada : it has to be right" in text(answer)


def test_only_what_is_suggested_is_accepted_there(ada: Client) -> None:
    sent = {"route": "reviews", "kind": "ignore", "path": "$", "value": "", "reason": "all of it"}
    assert ada.post("/suggestions/accept/", sent).status_code == 409
    assert ada.post("/suggestions/accept/", {**sent, "kind": "nothing"}).status_code == 422
    assert ada.post("/suggestions/accept/", {**sent, "route": "nothing"}).status_code == 404
    assert Rule.objects.count() == 0


def test_a_signature_of_long_ago_is_previewed_over_all_that_is_kept(ada: Client) -> None:
    see(pair({"old": 1}, {"old": 2}, at=time.time() - 3 * 3600))
    page = text(ada.get(f"/signatures/{found('$.old').pk}/expect/"))
    assert "Of everything that is kept" in page
    assert "Exchanges that become matches 1 counted" in page


def test_a_page_sums_its_counters_up_once_and_asks_no_more_for_more_rules(ada: Client) -> None:
    base = {"author": "kim", "reason": "r", "created": time.time() - 100}
    see(*(pair({f"k{number}": 1}, {f"k{number}": 2}) for number in range(30)))

    def asked(path: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            assert ada.get(path).status_code == 200
        return [query["sql"] for query in queries.captured_queries]

    few = Rule.objects.create(route="reviews", kind="ignore", path="$.k0", **base)
    paths = (f"/signatures/{found('$.t').pk}/expect/", "/routes/reviews/rules/", f"/rules/{few.pk}/")
    before = {path: asked(path) for path in paths}
    for path, queries in before.items():
        assert len([query for query in queries if "SUM(" in query]) == 1, path
        assert len(queries) < 25, path
    Rule.objects.bulk_create(Rule(route="reviews", kind="ignore", path=f"$.k{number}", **base) for number in range(1, 30))
    assert {path: len(asked(path)) for path in paths} == {path: len(queries) for path, queries in before.items()}


def test_a_page_counts_history_anew_once_however_many_rules_there_are(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 rules of 500 combinations took nine seconds, when the page was counted anew without each of them."""
    for number in range(12):
        Rule.objects.create(route="reviews", kind="ignore", path=f"$.k{number}", author="kim", reason="r", created=time.time() - 100)
    see(*(pair({f"k{number}": 1}, {f"k{number}": 2}) for number in range(12)), pair({"k0": 1, "k1": 1}, {"k0": 2, "k1": 2}))
    asked: list[int] = []
    monkeypatch.setattr(ruleviews, "recompute", lambda counts, rules: [asked.append(len(rules)), recompute(counts, rules)][1])
    ada.get("/routes/reviews/rules/")
    assert asked == [12]
    rule = Rule.objects.get(path="$.k0")
    assert "It hides 2 exchanges; 2 would differ again without it" in text(ada.get(f"/rules/{rule.pk}/"))
