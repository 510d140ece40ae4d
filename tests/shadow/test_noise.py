"""Noise: evidence from legacy's own pairs, what it speaks for, and what a person says to that."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import pytest

from shadow import report, rulebook, store, suggesting
from shadow.batch import Batch
from shadow.compare import Difference, Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge
from shadow.models import Noise, Presence, Rule
from shadow.noise import EVERYWHERE, MAX_EXAMPLES, MAX_PATHS, Manner, manners, places
from shadow.noise_store import evidence
from shadow.redact import Redactor
from shadow.rules import RuleError, checked
from shadow.suggest import Declined, Evidence, excess, pattern_of, suggestions

NOW = float(int(time.time()) - 1000)
JSON = b"Content-Type: application/json\r\n"
JUDGE = Judge(Redactor(["$..secret"], b"k" * 32), {"r": Rules.make(ignore=["$.own"])})


def see(*pairs: tuple[Any, Any], noise: bool = True, at: float = NOW, heads: tuple[bytes, bytes] = (b"", b""), by: Judge = JUDGE) -> None:
    batch = Batch()
    for left, right in pairs:
        sides = [json.dumps(side).encode() for side in (left, right)]
        other = "legacy" if noise else "candidate"
        made = Exchange(
            "r", "q", at, "GET", "/x", b"", b"",
            Answer("legacy", "legacy", 200, JSON + heads[0], sides[0], 0.1), Answer(other, "x", 200, JSON + heads[1], sides[1], 0.1),
            "noise" if noise else "pair",
        )  # fmt: skip
        judgement = by.judge(made)
        assert judgement is not None
        batch.judgement(judgement)
    store.write(batch)


def test_places_are_generalised_and_bounded() -> None:
    document: Any = {"a": [{"b": 1}, {"b": 2, "c": None}], "by": {"123456": 1}, "x y": []}
    assert places(document) == {EVERYWHERE, "$", "$.a", "$.a[*]", "$.a[*].b", "$.a[*].c", "$.by", "$.by.{id}", '$["x y"]'}
    assert places({"a": 1}, {"b": 1}) >= {"$.a", "$.b"}
    assert len(places({f"n{number}": 1 for number in range(5000)})) <= MAX_PATHS + 1
    assert len(places([[[1] * 100] * 100] * 100)) == 5


def manner(left: Any, right: Any, kind: Kind = Kind.VALUE) -> Manner:
    (found,) = manners([Difference(kind, "$.a", left, right)]).values()
    return found


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "instant"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z", "times"),
        ("a", "b", "other"),
        (1, 2.5, "numbers"),
        (True, False, "numbers"),
        (10**400, 1, "other"),
    ],
)
def test_how_values_differ(left: Any, right: Any, name: str) -> None:
    assert manner(left, right).counts == {name: 1}
    assert manner(left, right, Kind.TYPE).counts == {"other": 1}


def test_of_a_list_the_worst_element_counts_and_examples_are_few() -> None:
    differences = [Difference(Kind.VALUE, f"$.a[{number}]", 100, 100 + number) for number in range(1, 4)]
    (found,) = manners([*differences, Difference(Kind.VALUE, "$.a[9]", "a", "b")]).values()
    assert (found.counts, found.absolute, found.relative) == ({"other": 1}, 3.0, 0.03)
    total = Manner()
    for _ in range(9):
        total.add(found)
    assert (total.counts, len(total.examples)) == ({"other": 9}, MAX_EXAMPLES)
    assert Manner.read(json.loads(json.dumps(total.plain()))) == total


def known(path: str = "$.a", **more: Any) -> Evidence:
    fields: dict[str, Any] = {
        "pairs": 412, "present": 412, "different": {Kind.VALUE: 404}, "manner": Manner({"other": 404}), "first_seen": 1.0, "last_seen": 2.0,
        "compared": 10_000, "candidate_different": 9_700,
    }  # fmt: skip
    return Evidence(path, **(fields | more))


def suggested(*each: Evidence, declined: Iterable[Declined] = ()) -> list[str]:
    found = suggestions(each, [("value", one.path) for one in each], [], declined)
    return [str(suggestion.rule) if suggestion.explained else f"not {suggestion.path}" for suggestion in found]


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({}, "ignore $.a"),
        ({"different": {Kind.ORDER: 400}}, "unordered $.a"),
        ({"different": {Kind.ORDER: 300, Kind.VALUE: 100}}, "ignore $.a"),
        ({"manner": Manner({"times": 404})}, "ignore $.a"),
        ({"manner": Manner({"instant": 404})}, "time $.a"),
        ({"manner": Manner({"instant": 403, "times": 1})}, "ignore $.a"),
        ({"manner": Manner({"numbers": 404}, relative=0.012, absolute=3)}, "tolerance $.a 3 %"),
        ({"manner": Manner({"numbers": 404}, relative=1.2e-9, absolute=2.0)}, "tolerance $.a 4"),
        ({"manner": Manner({"numbers": 404}, relative=0.5, absolute=2.0)}, "ignore $.a"),
        ({"path": "$.b[*].{id}"}, "ignore $.b[*].*"),
        ({"path": "etag", "different": {Kind.HEADER: 404}}, "header etag"),
    ],
)
def test_what_the_evidence_speaks_for(more: dict[str, Any], rule: str) -> None:
    assert suggested(known(**more)) == [rule]


def test_a_tolerance_that_is_suggested_holds_what_was_seen() -> None:
    for distance in (0.0123, 0.05, 0.099, 0.0001):
        (text,) = suggested(known(manner=Manner({"numbers": 9}, relative=distance, absolute=1.0)))
        assert 2 * distance <= float(text.split()[2]) / 100 + 1e-12 <= 4 * distance + 1e-12


@pytest.mark.parametrize(
    "more",
    [
        {"present": 29, "different": {Kind.VALUE: 29}},
        {"different": {Kind.VALUE: 4}},
        {"different": {Kind.STATUS: 404}, "path": "200->500"},
        {"path": ("$.a." + "b" * 300)[:300]},
    ],
)
def test_where_little_is_known_or_no_rule_helps_nothing_is_suggested(more: dict[str, Any]) -> None:
    assert suggested(known(**more)) == []


def test_what_nobody_asks_about_is_not_suggested() -> None:
    assert suggestions([known()], []) == []
    for rule in (checked("ignore", "$.a"), checked("pattern", "$.a", "[0-9]+")):
        assert suggestions([known()], [("value", "$.a")], [rule]) == []
    assert suggestions([known()], [("value", "$.a")], [checked("drift", "$.a")]) != []


def test_where_the_candidate_adds_something_of_its_own_it_is_no_suggestion() -> None:
    noisy = known(different={Kind.VALUE: 40}, candidate_different=3_000)
    assert excess(noisy) > 0.1
    assert suggested(noisy) == ["not $.a"]
    assert suggested(known(different={Kind.VALUE: 40}, candidate_different=1_000)) == ["ignore $.a"]
    assert suggested(known(pairs=40, present=40, different={Kind.VALUE: 20}, compared=40, candidate_different=26)) == ["ignore $.a"]


def test_what_the_candidate_alone_shows_there_is_told() -> None:
    (found,) = suggestions([known()], [("value", "$.a"), ("type", "$.a"), ("type", "$.b")])
    assert found.beside == ("type",)


def test_the_sentence_says_both_rates() -> None:
    (found,) = suggestions([known()], [("value", "$.a")])
    assert found.sentence == "$.a differs in 98 % of legacy's own pairs (n = 412) and in 97 % of pairs with the candidate (n = 10000)"
    assert found.lower == pytest.approx(0.9621, abs=1e-3)


def test_what_was_declined_comes_again_when_the_evidence_is_another() -> None:
    (found,) = suggestions([known()], [("value", "$.a")])
    no = Declined(found.rule, found.lower, found.upper)
    assert suggested(known(), declined=[no]) == []
    assert suggested(known(present=900, pairs=900, different={Kind.VALUE: 880}), declined=[no]) == []
    assert suggested(known(different={Kind.VALUE: 200}, candidate_different=4_000), declined=[no]) == ["ignore $.a"]
    assert suggested(known(manner=Manner({"instant": 404})), declined=[no]) == ["time $.a"]


def test_patterns_mean_their_places() -> None:
    assert pattern_of('$.a["b c"][*].{id}.d') == '$.a["b c"][*].*.d'
    assert pattern_of("$") == "$"


@pytest.mark.django_db
def test_evidence_is_kept_by_place_of_how_many_and_how() -> None:
    see(
        *[
            ({"t": number, "l": [{"x": 1}], "secret": number}, {"t": number + 1, "l": [{"x": 1}], "secret": number + 1})
            for number in range(3)
        ]
    )
    see(({"t": 1}, {"t": 1}), ({}, {}), at=NOW + 9, heads=(b"Cache-Control: max-age=1\r\n", b"Cache-Control: max-age=2\r\n"))
    found = {each.path: each for each in evidence("r")}
    assert set(found) == {"$.t", "$.secret", "cache-control"}
    assert (found["$.t"].pairs, found["$.t"].present, found["$.t"].differed) == (5, 4, 3), "also pairs that are the same are counted"
    assert (found["cache-control"].present, found["cache-control"].differed) == (5, 2)
    assert (found["$.t"].first_seen, found["$.t"].last_seen, found["$.t"].manner.counts) == (NOW, NOW, {"numbers": 3})
    assert found["$.t"].manner.examples == [[0, 1], [1, 2], [2, 3]]
    assert all(side.startswith("redacted:") for pair in found["$.secret"].manner.examples for side in pair)
    assert Presence.objects.get(path="$.l[*].x").pairs == 3
    assert report.summary("r").compared == 0, "noise counts in no match rate"
    store.purge(NOW + 100, 50)
    assert not Noise.objects.exists()
    assert not Presence.objects.exists()


@pytest.mark.django_db
def test_a_suggestion_is_never_applied_by_itself_and_becomes_a_rule_when_it_is_accepted() -> None:
    for start in range(0, 60, 20):
        see(*[({"t": number, "a": 1}, {"t": number + 1, "a": 1}) for number in range(start, start + 20)])
        see(*[({"t": number, "a": 1}, {"t": number + 7, "a": 1}) for number in range(start, start + 20)], noise=False)
    (found,) = suggesting.of("r")
    assert str(found.rule) == "ignore $.t"
    assert found.sentence == "$.t differs in 100 % of legacy's own pairs (n = 60) and in 100 % of pairs with the candidate (n = 60)"
    assert not Rule.objects.exists()
    assert report.summary("r").matched == 0
    row = suggesting.accept("r", suggesting.find("r", "$.t"), Rules(), author="kim", reason="", at=time.time())
    assert (row.origin, row.about, row.reason) == ("suggestion", found.sentence, found.sentence)
    assert report.summary("r").matched == 60
    assert suggesting.of("r") == []
    under = JUDGE.under({"r": [checked("ignore", "$.t")]})
    see(({"t": 1}, {"t": 2}), by=under)
    assert next(each for each in evidence("r") if each.path == "$.t").differed == 61, "a reviewed rule hides no evidence"
    rulebook.end("r", row.pk, by="kim", why="x", at=time.time())
    assert [str(each.rule) for each in suggesting.of("r")] == ["ignore $.t"]


@pytest.mark.django_db
def test_a_decline_is_remembered() -> None:
    see(*[({"t": 1}, {"t": 2})] * 40)
    see(({"t": 1}, {"t": 2}), noise=False)
    with pytest.raises(RuleError, match="say why"):
        suggesting.decline("r", suggesting.find("r", "$.t"), by="kim", reason=" ", at=NOW)
    suggesting.decline("r", suggesting.find("r", "$.t"), by="kim", reason="it matters", at=NOW)
    assert suggesting.of("r") == []
    with pytest.raises(RuleError, match=r"nothing is suggested for \$\.t; suggested are: none"):
        suggesting.find("r", "$.t")
    see(*[({"t": 1}, {"t": 1})] * 60)
    assert [each.path for each in suggesting.of("r")] == ["$.t"], "legacy differs there in 40 % now, which is news"
