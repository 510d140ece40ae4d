"""A rule: what is one, what it covers, and the comparison by it."""

from __future__ import annotations

import json
import re

import pytest

from shadow.compare import Excused, Kind, Rules, Verdict, compare
from shadow.exchange import Answer
from shadow.normalise import read
from shadow.rules import Rule, RuleError, applied, as_wide, checked, concerns, configured, covers, excused_whole
from shadow.signature import ANY_ID, place


def message(value: object, head: bytes = b"") -> object:
    return read(Answer("legacy", "legacy", 200, b"Content-Type: application/json\r\n" + head, json.dumps(value).encode(), 0.0))


def judged(left: object, right: object, *rules: Rule, base: Rules | None = None, heads: tuple[bytes, bytes] = (b"", b"")) -> Verdict:
    return compare(message(left, heads[0]), message(right, heads[1]), applied(base or Rules(), rules))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("ignored", "$.a", "", "there is no rule 'ignored'; there are: ignore, unordered"),
        ("ignore", "a", "", "a path starts with $"),
        ("ignore", "$.a b", "", "is not a path from"),
        ("ignore", '$["\\u0000{id}"]', "", "holds no NUL"),
        ("ignore", "$.a", "1", "ignore takes no value"),
        ("ignore", "$." + "a" * 300, "", "at most 300 characters"),
        ("key", "$.a", "", "key needs a value: the field"),
        ("tolerance", "$.a", "-1", "a tolerance is a number"),
        ("tolerance", "$.a", "nan", "a tolerance is a number"),
        ("tolerance", "$.a", "few", "a tolerance is a number"),
        ("pattern", "$.a", "(", "a ) is missing"),
        ("header", "$.a", "", "a header rule has a header's name"),
        ("header", "set-cookie:", "", "a header rule has a header's name"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_would_be_one(kind: str, path: str, value: str, said: str) -> None:
    with pytest.raises(RuleError, match=re.escape(said)):
        checked(kind, path, value)


def test_rules_that_say_the_same_have_one_name() -> None:
    assert checked("tolerance", "$.a", "0.10").text == checked("tolerance", "$.a", "1e-1").text
    assert checked("header", "Cache-Control").path == "cache-control"
    assert checked("header", "Set-Cookie: Theme").path == "set-cookie: Theme"


@pytest.mark.parametrize(
    ("rule", "kind", "path", "covered", "concerned"),
    [
        (("ignore", "$.id"), "value", "$.id", True, True),
        (("ignore", "$.id"), "value", "$.identity", False, False),
        (("ignore", "$.meta"), "missing", "$.meta.at", True, True),
        (("ignore", "$.meta.at"), "missing", "$.meta", False, False),
        (("ignore", "$.items[*].at"), "value", "$.items[*].at", True, True),
        (("ignore", "$.items[0].at"), "value", "$.items[*].at", False, True),
        (("ignore", "$..at"), "value", "$.a.b[*].at", True, True),
        (("ignore", "$.by.*"), "value", "$.by.{id}", True, True),
        (("ignore", '$.by["{id}"]'), "value", "$.by.{id}", False, False),
        (("ignore", "$"), "body", "$", False, False),
        (("ignore", "$"), "status", "200->500", False, False),
        (("ignore", "$..a"), "drift", "$.a string->number", False, False),
        (("drift", "$.a"), "drift", "$.a string->number", True, True),
        (("drift", "$.a"), "null-rate", "$.a", True, True),
        (("drift", "$.a"), "type", "$.a", False, False),
        (("unordered", "$.tags"), "order", "$.tags", True, True),
        (("unordered", "$.tags"), "value", "$.tags[*]", False, True),
        (("header", "etag"), "header", "etag", True, True),
        (("header", "set-cookie"), "header", "set-cookie: sid", True, True),
        (("header", "set-cookie: sid"), "header", "set-cookie: sid2", False, False),
        (("tolerance", "$.a", "1"), "value", "$.a", False, True),
    ],
)
def test_what_a_rule_covers(rule: tuple[str, ...], kind: str, path: str, covered: bool, concerned: bool) -> None:
    made = checked(*rule)
    assert covers(made, Kind(kind), path) is covered
    assert concerns(made, Kind(kind), path) is concerned


def test_of_a_path_that_is_not_whole_only_the_beginning_is_known() -> None:
    assert place("$.a[*].{id}.b") == (("a", -1, ANY_ID, "b"), True)
    assert place('$["a b"].c') == (("a b", "c"), True)
    assert place('$.x["a[*]"].c') == (("x",), False)
    cut = ("$.a." + "b" * 300)[:300]
    assert place(cut) == (("a",), False)
    assert covers(checked("ignore", "$.a"), Kind.VALUE, cut)
    assert not covers(checked("ignore", "$.a." + "b" * 296), Kind.VALUE, cut)


@pytest.mark.parametrize(
    ("rule", "left", "right", "excused"),
    [
        (("ignore", "$.t"), {"t": 1}, {"t": 2}, ("value", "$.t")),
        (("ignore", "$.t"), {"t": 1}, {}, ("missing", "$.t")),
        (("ignore", "$.t"), {}, {"t": 1}, ("extra", "$.t")),
        (("ignore", "$.t"), {"t": 1}, {"t": "1"}, ("type", "$.t")),
        (("ignore", "$[*].t"), [{"t": 1}, {"t": 1}], [{"t": 2}, {"t": 3}], ("value", "$[*].t")),
        (("unordered", "$.a"), {"a": [1, 2]}, {"a": [2, 1]}, ("order", "$.a")),
        (("tolerance", "$.a", "1"), {"a": 1}, {"a": 2}, ("value", "$.a")),
        (("time", "$.a"), {"a": "2026-03-01T12:00:00Z"}, {"a": "2026-03-01T13:00:00+01:00"}, ("value", "$.a")),
        (("pattern", "$.a", "[0-9]+"), {"a": "1"}, {"a": "2"}, ("value", "$.a")),
    ],
)
def test_what_a_reviewed_rule_excuses_is_told_by_name(rule: tuple[str, ...], left: object, right: object, excused: tuple[str, str]) -> None:
    made = checked(*rule)
    assert judged(left, right).outcome == "mismatch"
    verdict = judged(left, right, made)
    assert verdict.outcome == "match"
    assert verdict.excused == (Excused(Kind(excused[0]), excused[1], made.text),)
    assert (verdict.configured, verdict.whole) == (False, True)
    assert judged(left, left, made) == Verdict("match"), "where nothing differs, no rule is needed"


def test_what_the_configuration_excuses_is_not_laid_to_a_reviewed_rule() -> None:
    made = checked("ignore", "$.t")
    base = Rules.make(ignore=["$.t"], tolerance={"$.n": "10 %"})
    verdict = judged({"t": 1, "n": 100}, {"t": 2, "n": 101}, made, checked("tolerance", "$.n", "10.0 %"), base=base)
    assert (verdict.outcome, verdict.excused, verdict.configured) == ("match", (), True)
    assert {str(rule) for rule in configured(base)} == {"ignore $.t", "tolerance $.n 10 %"}


def test_headers_and_cookies() -> None:
    heads = b"Cache-Control: no-store\r\nSet-Cookie: a=1\r\n", b"Set-Cookie: b=1\r\n"
    assert {difference.path for difference in judged(1, 1, heads=heads).differences} == {"cache-control", "set-cookie: a", "set-cookie: b"}
    left = judged(1, 1, checked("header", "cache-control"), checked("header", "set-cookie: a"), heads=heads)
    assert [difference.path for difference in left.differences] == ["set-cookie: b"]
    assert {excused.path for excused in left.excused} == {"cache-control", "set-cookie: a"}
    assert judged(1, 1, checked("header", "cache-control"), checked("header", "set-cookie"), heads=heads).outcome == "match"


def test_a_thousand_elements_are_one_entry_and_a_flood_of_names_is_bounded() -> None:
    left, right = ([{"t": number + more} for number in range(1000)] for more in (0, 1))
    assert len(judged(left, right, checked("ignore", "$[*].t")).excused) == 1
    flood = judged({f"n{number}": 1 for number in range(1000)}, {f"n{number}": 2 for number in range(1000)}, checked("ignore", "$.*"))
    assert flood.outcome == "match"
    assert (len(flood.excused), flood.whole) == (100, False)


def test_drift_is_told_inside_what_is_ignored() -> None:
    def drifts(left: object, right: object) -> set[tuple[str, str, str]]:
        verdict = judged({"m": left}, {"m": right}, base=Rules.make(ignore=["$.m"]))
        assert verdict.outcome == "match"
        return {(drift.path, drift.legacy, drift.candidate) for drift in verdict.drifts}

    assert drifts("a", "b") == set()
    assert drifts("a", 1) == {("$.m", "string", "number")}
    assert drifts(None, "a") == {("$.m", "null", "string")}
    assert drifts([1], []) == {("$.m", "array", "empty-array")}
    assert drifts({"a": 1, "b": {"c": 1}}, {"b": {"c": "1"}}) == {("$.m.a", "number", "absent"), ("$.m.b.c", "number", "string")}
    assert drifts([{"a": 1}, {"a": 2}], [{"a": "x"}]) == {("$.m[*].a", "number", "string")}
    assert len(drifts([{str(number): 1} for number in range(999)], [{str(number): 2, "x": 1} for number in range(999)])) <= 50


def test_a_wider_tolerance_holds_what_a_narrower_one_excused() -> None:
    narrow, wide = checked("tolerance", "$.a", "0.1"), checked("tolerance", "$.a", "0.2")
    assert as_wide(wide, narrow.text)
    assert not as_wide(narrow, wide.text)
    assert not as_wide(checked("tolerance", "$.b", "9"), narrow.text)
    assert not as_wide(checked("tolerance", "$.a", "90 %"), narrow.text)
    assert as_wide(checked("tolerance", "$.a", "2 %"), checked("tolerance", "$.a", "1.5 %").text)


def test_a_rule_for_one_element_excuses_no_signature_whole() -> None:
    assert excused_whole(Excused(Kind.VALUE, "$.a[*].t", "ignore $.a[*].t")) == (Kind.VALUE, "$.a[*].t")
    assert excused_whole(Excused(Kind.VALUE, "$.a[*].t", "ignore $.a[0].t")) is None
    assert excused_whole(Excused(Kind.VALUE, "$.a", "tolerance $.a 1")) is None
