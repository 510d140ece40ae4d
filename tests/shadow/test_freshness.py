"""What differs because it is on its way is told from what is wrong, and only for so long."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.batch import Batch
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange
from shadow.freshness import Freshness, Said, Source
from shadow.judge import Judge, Judgement
from shadow.pack import Pair, judgement, told
from shadow.paths import PatternError
from shadow.redact import Redactor
from shadow.sealing import PairJudge, Sealer

AT = 1_700_000_000.0
MAX_AGE = 10.0
JSON = b"Content-Type: application/json\r\n"
PARTS = {"$": "$.as_of.item", "$.options": "$.as_of.stock", "$.stock": "$.as_of.stock"}


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def freshness(**more: Any) -> dict[str, Any]:
    return {"max_age": MAX_AGE, "as_of": "age", "last_modified": PARTS} | more


def exchange(legacy: Any, candidate: Any, age: str = "3", *, kind: Any = "pair", served: str = "legacy") -> Exchange:
    one = Answer("legacy", "legacy", 200, JSON, json.dumps(legacy).encode(), 0.01)
    head = JSON + (f"Age: {age}\r\n".encode() if age else b"")
    other = Answer("legacy" if kind == "noise" else "candidate", "view", 200, head, json.dumps(candidate).encode(), 0.01)
    first, second = (one, other) if served == "legacy" else (other, one)
    return Exchange("view", "id", AT, "GET", "/7", b"", b"", first, second, kind)


def judge(legacy: Any, candidate: Any, age: str = "3", *, rules: dict[str, Any] | None = None, **more: Any) -> Judgement:
    made = Rules.make(ignore=["$.as_of"], freshness=rules or freshness())
    found = Judge(Redactor(["$..secret"], b"k" * 32), {"view": made}).judge(exchange(legacy, candidate, age, **more))
    assert found is not None
    return found


def item(stock: int = 5, name: str = "Oak", *, item: float = AT - 900, changed: float = AT - 900, **more: Any) -> dict[str, Any]:
    document = {"name": name, "stock": stock, "options": [{"id": 1, "stock": stock}]}
    return document | {"as_of": {"item": iso(item), "stock": iso(changed)}} | more


def test_a_change_that_the_candidate_need_not_show_yet_is_stale_and_no_match() -> None:
    for served in ("legacy", "candidate"):
        found = judge(item(4, changed=AT - 1), item(5), served=served)
        assert (found.outcome, found.reason, found.signatures, found.sample) == ("skipped", "stale", (), None)


def test_it_is_counted_by_itself_and_in_no_rate() -> None:
    batch = Batch()
    batch.judgement(judge(item(4, changed=AT - 1), item(5)))
    assert batch.tallies == {("view", int(AT), "skipped.stale"): 1}
    assert not batch.signatures
    assert not batch.combinations


@pytest.mark.parametrize(
    ("age", "changed"),
    [
        ("3", AT - 3),  # as of the change itself: it claims to show it
        ("3", AT - 900),
        ("0", AT - 1),
        ("11", AT - 1),  # too old for anything
        ("11", AT - 900),
        ("", AT - 1),  # the candidate says nothing
        ("soon", AT - 1),
        ("-3", AT - 1),
        ("3", AT + 60),  # no change is of the future
    ],
)
def test_everything_else_is_a_mismatch(age: str, changed: float) -> None:
    found = judge(item(4, changed=changed), item(5), age)
    assert found.outcome == "mismatch"
    assert set(found.signatures) == {("value", "$.stock"), ("value", "$.options[*].stock")}


@pytest.mark.parametrize("said", [None, 5, "yesterday", "2023-11-14T22:13:19", {}, []])
def test_what_legacy_does_not_say_excuses_nothing(said: Any) -> None:
    legacy = item(4)
    legacy["as_of"]["stock"] = said
    assert judge(legacy, item(5)).outcome == "mismatch"
    del legacy["as_of"]["stock"]
    assert judge(legacy, item(5)).outcome == "mismatch"


def test_each_part_has_its_own_moment() -> None:
    """The stock is on its way; the name is wrong, and that alone is told."""
    found = judge(item(4, changed=AT - 1), item(5, name="Elm"))
    assert found.outcome == "mismatch"
    assert found.signatures == (("value", "$.name"),)
    assert found.sample is not None
    assert len(found.sample.differences) == 1
    assert judge(item(4, name="Ash", changed=AT - 1, item=AT - 1), item(5)).reason == "stale"
    assert judge(item(5, name="Ash", changed=AT - 1), item(5)).outcome == "mismatch", "the stock's change says nothing of the name"


def test_what_is_the_same_is_a_match_however_old() -> None:
    assert judge(item(), item(), "900").outcome == "match"


def test_it_comes_to_the_same_where_nats_is_between() -> None:
    rules = {"view": Rules.make(ignore=["$.as_of"], freshness=freshness())}
    sealer, pairs = Sealer(Redactor(["$..secret"], b"k" * 32), rules, 2**20), PairJudge(rules)
    for legacy, age in ((item(4, changed=AT - 1), "3"), (item(4, changed=AT - 1), "11"), (item(4), "3")):
        sealed = sealer.judge(exchange(legacy, item(5), age))
        assert isinstance(sealed, Pair)
        found, here = pairs.judge(sealed), judge(legacy, item(5), age)
        assert found is not None
        assert (found.outcome, found.reason, found.signatures) == (here.outcome, here.reason, here.signatures)
        assert judgement(told(found)).reason == found.reason


def test_noise_is_never_stale() -> None:
    assert judge(item(4, changed=AT - 1), item(5), kind="noise").outcome == "mismatch"


def test_another_status_is_never_stale() -> None:
    asked = exchange(item(4, changed=AT - 1), item(5))
    asked.shadow.status = 404
    found = Judge(Redactor([], b"k" * 32), {"view": Rules.make(freshness=freshness())}).judge(asked)
    assert found is not None
    assert found.signatures == (("authorization", "200->404"),)


def test_a_moment_that_was_redacted_is_none() -> None:
    rules = freshness(last_modified={"$": "$.secret.at"})
    shown, hidden = item(4, seen={"at": iso(AT - 1)}), item(4, secret={"at": iso(AT - 1)})
    assert judge(shown, item(5, seen={"at": iso(AT - 1)}), rules=freshness(last_modified={"$": "$.seen.at"})).reason == "stale"
    assert judge(hidden, item(5, secret={"at": iso(AT - 1)}), rules=rules).outcome == "mismatch"


def test_more_differences_than_are_listed_are_a_mismatch() -> None:
    legacy, candidate = item(changed=AT - 1), item()
    legacy["options"], candidate["options"] = ([{"id": number, "stock": stock} for number in range(400)] for stock in (4, 5))
    found = judge(legacy, candidate)
    assert found.outcome == "mismatch"
    assert found.combination is None


@pytest.mark.parametrize(
    ("source", "headers", "document", "moment"),
    [
        ("Age", {"age": "7"}, None, AT - 7),
        ("Age", {"age": "7.5"}, None, None),
        ("Last-Modified", {"last-modified": format_datetime(datetime.fromtimestamp(AT - 60, UTC), usegmt=True)}, None, AT - 60),
        ("As-Of", {"as-of": iso(AT - 0.25)}, None, AT - 0.25),
        ("As-Of", {"as-of": "2023-11-14T22:13:19"}, None, None),  # of no place: no moment
        ("As-Of", {}, None, None),
        ("$.a[1].b", {}, {"a": [0, {"b": iso(AT)}]}, AT),
        ("$.a[1].b", {}, {"a": [0]}, None),
        ("$.a", {}, None, None),
        ("$", {}, iso(AT), AT),
    ],
)
def test_where_a_moment_is_said(source: str, headers: dict[str, str], document: Any, moment: float | None) -> None:
    found = Source.parse(source).moment(Said(tuple(headers.items()), document), AT)
    assert found == (moment if moment is None else pytest.approx(moment, abs=1e-5))


def test_of_two_moments_neither_is_the_one() -> None:
    assert Source.parse("Age").moment(Said((("age", "1"), ("age", "2")), None), AT) is None


@pytest.mark.parametrize("text", ["", "a b", "$.a[*]", "$..a", "$.*", "Größe", "a:b"])
def test_what_is_no_place_for_a_moment(text: str) -> None:
    with pytest.raises(PatternError):
        Source.parse(text)


MOMENTS = st.floats(AT - 100, AT + 100).map(lambda moment: round(moment, 3))
PLACES = st.sampled_from(["$", "$.stock", "$.options[0].stock", '$["a b"][3]', "$.name", "not a path", "$..x", "$.a[*]"])


def stale(as_of: float, changed: float, at: float, path: str = "$.stock", max_age: float = MAX_AGE) -> bool:
    made = Freshness.make(max_age=max_age, as_of="as-of", last_modified={"$": "$.changed"})
    return made.stale(path, Said((), {"changed": iso(changed)}), Said((("as-of", iso(as_of)),), None), at)


@given(as_of=MOMENTS, changed=MOMENTS, at=MOMENTS, path=PLACES)
def test_only_an_answer_from_before_the_change_and_not_too_old_is_stale(as_of: float, changed: float, at: float, path: str) -> None:
    if stale(as_of, changed, at, path):
        assert as_of < changed
        assert at - as_of <= MAX_AGE + 1e-5


@given(as_of=MOMENTS, changed=MOMENTS, later=st.floats(0, 1000))
def test_nothing_stays_stale_whatever_the_candidate_says(as_of: float, changed: float, later: float) -> None:
    """Once legacy has left a part alone for `max_age`, what differs in it is a mismatch."""
    assert not stale(as_of, changed, changed + MAX_AGE + 1e-3 + later)


@given(as_of=MOMENTS, changed=MOMENTS, at=MOMENTS, fresher=st.floats(0, 100), longer=st.floats(0, 100))
def test_who_claims_to_be_fresher_than_the_change_is_not_excused(
    as_of: float, changed: float, at: float, fresher: float, longer: float
) -> None:
    assert not stale(changed + 1e-3 + fresher, changed, at)
    if stale(as_of, changed, at):  # and who may be older is excused as well
        assert stale(as_of, changed, at, max_age=MAX_AGE + longer)


@given(headers=st.lists(st.tuples(st.sampled_from(["as-of", "age", "x"]), st.text(max_size=40))), document=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["changed", "a"]), inner, max_size=2),
), path=st.text(max_size=30))  # fmt: skip
def test_no_answer_makes_it_fail(headers: list[tuple[str, str]], document: Any, path: str) -> None:
    for as_of in ("as-of", "Age", "$.changed", "$.changed[0].a"):
        made = Freshness.make(max_age=MAX_AGE, as_of=as_of, last_modified={"$": "$.changed", "$.a": "x"})
        for place in (path, "$.a", f"$.{path}"):
            assert made.stale(place, Said(headers, document), Said(headers, document), AT) in (True, False)
