"""History under other rules: what is said to be a match is one, for any documents; and figures for combinations."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.compare import Excused, Kind, Rules
from shadow.exchange import Answer, Exchange
from shadow.judge import Judge, Judgement
from shadow.recompute import MAX_MEMBERS, Combination, Cover, Member, combination, key, newly, plain, read, recompute
from shadow.redact import Redactor
from shadow.rules import COUNTED, Rule, checked

A, B = Member("value", "$.a"), Member("value", "$.b")
BOTH: Combination = (A, B)
IGNORE_A, IGNORE_B = checked("ignore", "$.a"), checked("ignore", "$.b")


def test_an_exchange_is_a_match_only_when_all_that_it_showed_is_excused() -> None:
    counts = [((A,), 10), (BOTH, 5), ((B,), 1)]
    assert recompute(counts, []).matched == 0
    under = recompute(counts, [IGNORE_A])
    assert (under.matched, under.differing) == (10, 6)
    assert (under.hidden, under.open) == ({("value", "$.a"): 15}, {("value", "$.b"): 6})
    assert under.by_rule == {IGNORE_A: 15}
    assert recompute(counts, [IGNORE_A, IGNORE_B]).matched == 16
    assert newly({("value", "$.a"): 1}, under.hidden) == {("value", "$.a"): 14}


def test_what_a_rule_excused_differs_again_without_it() -> None:
    member = Member("value", "$.n", checked("tolerance", "$.n", "0.1").text)
    assert recompute([((member,), 3)], []).matched == 0
    assert recompute([((member,), 3)], [checked("tolerance", "$.n", "0.1")]).matched == 3
    assert recompute([((member,), 3)], [checked("tolerance", "$.n", "0.5")]).matched == 3, "a wider one excuses it all the more"
    assert recompute([((member,), 3)], [checked("ignore", "$.n")]).matched == 3
    assert recompute([((Member("value", "$.n"),), 3)], [checked("tolerance", "$.n", "9")]).matched == 0, "counts have no values"


PLACES = [Member("value", f"$.{name}") for name in ("a", "b", "a.x", "c")]
RULES = [checked("ignore", path) for path in ("$.a", "$.b", "$.a.x", "$.*")]


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(PLACES), min_size=1).map(lambda found: tuple(sorted(found))), st.integers(1, 9)), max_size=6
    ),
    st.sets(st.sampled_from(RULES)),
)
def test_what_rests_on_one_rule_alone_is_what_is_lost_without_it(counts: list[tuple[Combination, int]], rules: set[Rule]) -> None:
    found = recompute(counts, rules)
    for rule in rules:
        assert found.alone.get(rule, 0) == found.matched - recompute(counts, rules - {rule}).matched


def test_nothing_is_no_match() -> None:
    assert recompute([((), 5)], [IGNORE_A]).matched == 0
    assert not Cover([IGNORE_A]).whole(())


def test_more_than_can_be_told_apart_rests_on_every_rule() -> None:
    members = combination([], [Excused(Kind.VALUE, f"$.a.x{number}", "ignore $.a") for number in range(MAX_MEMBERS + 1)])
    assert members == (Member("", "", "ignore $.a"),)
    assert recompute([(members, 2)], [IGNORE_A]).matched == 2
    assert recompute([(members, 2)], [checked("ignore", "$..*")]).matched == 0


def test_a_combination_keeps_its_key_through_the_database() -> None:
    members = combination([(Kind.VALUE, "$.b"), (Kind.VALUE, "$.a")], [Excused(Kind.TYPE, "$.t", "ignore $.t")])
    assert members == combination([(Kind.VALUE, "$.a"), (Kind.VALUE, "$.b")], [Excused(Kind.TYPE, "$.t", "ignore $.t")])
    assert read(json.loads(json.dumps(plain(members)))) == members
    assert key(members) == key(read(plain(members))) != key(BOTH)


scalars = st.sampled_from([0, 1, 2, "x", "y", None])
times = st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00+00:00", "late"])
elements = st.fixed_dictionaries({"id": st.integers(0, 2)}, optional={"a": scalars, "c": st.sampled_from("xyz"), "b": st.integers(0, 1)})
documents = st.fixed_dictionaries(
    {"id": st.integers(0, 1)},
    optional={
        "a": scalars | st.fixed_dictionaries({"c": scalars}),
        "b": st.lists(elements, max_size=3) | st.integers(0, 2),
        "c": st.lists(st.sampled_from("xyz"), max_size=3),
        "t": times,
    },
)
RULES = [
    checked(*each)
    for each in [
        ("ignore", "$..id"),
        ("ignore", "$.a"),
        ("ignore", "$.b[*].a"),
        ("ignore", "$.b[0]"),
        ("ignore", "$.*.c"),
        ("unordered", "$"),
        ("unordered", "$.b"),
        ("unordered", "$..c"),
        ("time", "$..t"),
        ("tolerance", "$..b", "1"),
        ("pattern", "$..c", "x|y"),
        ("key", "$.b", "id"),
    ]
]


def judge(left: object, right: object, rules: list[Rule]) -> Judgement:
    sides = [Answer("legacy", "l", 200, b"Content-Type: application/json\r\n", json.dumps(each).encode(), 0.0) for each in (left, right)]
    sides[1].side = "candidate"
    made = Judge(Redactor([], b"k" * 32), {"r": Rules()}, {"r": rules}).judge(Exchange("r", "i", 1.0, "GET", "/", b"", b"", *sides))
    assert made is not None
    return made


def recomputed(seen: Judgement, rules: list[Rule]) -> bool:
    """Whether history says that it is a match under `rules`."""
    if not seen.combination:
        return seen.outcome == "match"
    return recompute([(seen.combination, 1)], rules).matched == 1


def related(data: st.DataObject) -> tuple[object, object]:
    """Two documents that have much in common: each field of the second is the first's, the first's in another order, or a new one."""
    left, other = data.draw(documents), data.draw(documents)
    right = {}
    for name in [*left, *(name for name in other if name not in left)]:
        how = data.draw(st.sampled_from(["same", "moved", "new"]))
        value = left.get(name) if how != "new" else other.get(name)
        if how == "moved" and isinstance(value, list):
            value = data.draw(st.permutations(value))
            if value and isinstance(value[0], dict):
                value = [{**value[0], **data.draw(elements)}, *value[1:]]
        if value is not None:
            right[name] = value
    return (left, right) if data.draw(st.booleans()) else ([left, 1], [1, right])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_history_calls_a_match_is_one(data: st.DataObject) -> None:
    """Whatever the rules were when it was seen, and whatever they are now. The other way round it may say less than is true, never more."""
    left, right = related(data)
    then = data.draw(st.lists(st.sampled_from(RULES), unique=True, max_size=8))
    now = data.draw(st.lists(st.sampled_from(RULES), unique=True, max_size=8))
    if recomputed(judge(left, right, then), now):
        assert judge(left, right, now).outcome == "match"


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_ending_rules_is_exact(data: st.DataObject) -> None:
    """Also for those that depend on values; where each difference has one rule that excuses it. Where two would, it may say less."""
    left, right = related(data)
    apart = [rule for rule in RULES if rule.kind != "key" and rule.path not in ("$.*.c", "$.b[0]")]
    then = data.draw(st.lists(st.sampled_from(apart), unique=True, min_size=1))
    now = data.draw(st.lists(st.sampled_from(then), unique=True))
    assert recomputed(judge(left, right, then), now) is (judge(left, right, now).outcome == "match")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_without_lists_making_counted_rules_is_exact_too(data: st.DataObject) -> None:
    flat = st.dictionaries(
        st.sampled_from(["id", "a", "b", "c", "d"]), st.integers(0, 2) | st.dictionaries(st.sampled_from("abc"), st.integers(0, 1))
    )
    left, right = data.draw(flat), data.draw(flat)
    now = data.draw(st.lists(st.sampled_from([rule for rule in RULES if rule.kind in COUNTED]), unique=True, max_size=8))
    assert recomputed(judge(left, right, []), now) is (judge(left, right, now).outcome == "match")
