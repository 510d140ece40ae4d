"""What is wrong with a flag, beside what Unleash's engine does with it: each row is asked of both."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags import problems
from flags.features import EMPTY
from flags.problems import STRATEGIES, Problem, find
from flags.snapshot import Snapshot
from flags.verdict import Verdict

Json = dict[str, Any]
OFF, NEVER, EVERYBODY = "the flag is off for everybody", "it never holds", "it holds for everybody"
NOBODY = "it applies to nobody"

PEOPLE = [
    {"userId": user, "sessionId": "s", "remoteAddress": "10.1.2.3", "properties": {"x": x}}
    for user in ("1", "2")
    for x in ("5", "7.5", "1.2.3", "v1.2.3", "10.1.2.3", "", "text", "2026-01-31T08:00:00Z")
]


def flag(*strategies: Json, name: str = "f", **more: Any) -> Json:
    return {"name": name, "enabled": True, "strategies": list(strategies), **more}


def rollout(share: str | None, **more: Any) -> Json:
    parameters = {"stickiness": "userId", "groupId": "f", **({} if share is None else {"rollout": share})}
    return {"name": "flexibleRollout", "parameters": parameters, **more}


def constrained(operator: str, value: Any = None, values: list[str] | None = None, *, inverted: bool = False, name: str = "x") -> Json:
    constraint: Json = {"contextName": name, "operator": operator, "inverted": inverted}
    if value is not None:
        constraint["value"] = value
    if values is not None:
        constraint["values"] = values
    return {"name": "default", "parameters": {}, "constraints": [constraint]}


def document(*features: Json, segments: list[Json] | None = None) -> bytes:
    return orjson.dumps({"version": 2, "features": features, **({} if segments is None else {"segments": segments})})


def texts(data: bytes, *names: str, source: str = "unleash", refused: tuple[tuple[str, str], ...] = ()) -> list[str]:
    snapshot = Snapshot("", data, source, 0.0, refused=refused)
    return [problem.text for problem in find(snapshot, names or ["f"])]


def answers(data: bytes) -> set[bool]:
    """What the engine says to all sorts of people."""
    engine = Verdict(data)
    assert "f" in engine.flags(), "the engine must take it: what it refuses, sources leave out"
    return {engine.enabled("f", person) for person in PEOPLE}


DEFAULT: Json = {"name": "default", "parameters": {}}

OFF_FOR_ALL: list[tuple[Json, str]] = [
    (constrained("MATCHES", values=["a"]), "the constraint on 'x' has an operator 'MATCHES', which is unknown"),
    (constrained("in", values=["5"]), "an operator 'in', which is unknown"),
    (constrained("NUM_EQ", "abc"), "(NUM_EQ) has 'abc', a number such as 5 or 0.25 is expected"),
    (constrained("NUM_EQ", "abc", inverted=True), "has 'abc', a number"),
    (constrained("NUM_GT", ""), "has '', a number"),
    (constrained("NUM_GT", "0x10"), "has '0x10', a number"),
    (constrained("NUM_GT", "5,0"), "has '5,0', a number"),
    (constrained("NUM_GT", ".5"), "has '.5', a number"),
    (constrained("NUM_GT", "\u0665"), "a number such as"),
    (constrained("NUM_LT"), '(NUM_LT) has no "value", a number'),
    (constrained("NUM_LT", values=["5"]), '(NUM_LT) has no "value", a number'),
    (constrained("DATE_AFTER", "yesterday", name="currentTime"), "(DATE_AFTER) has 'yesterday', a date of ISO 8601 with its zone"),
    (constrained("DATE_AFTER", "2026-01-31", name="currentTime"), "a date of ISO 8601 with its zone"),
    (constrained("DATE_AFTER", "2026-01-31T08:00:00", name="currentTime"), "a date of ISO 8601 with its zone"),
    (constrained("DATE_AFTER", "2026-01-31T08:00:00.123456Z", name="currentTime"), "a date of ISO 8601 with its zone"),
    (constrained("DATE_BEFORE", "2026-13-01T08:00:00Z", name="currentTime"), "can't compile it (Failed to compile 2026-13-01T08:00:00Z"),
    (constrained("DATE_BEFORE", name="currentTime"), '(DATE_BEFORE) has no "value"'),
    (constrained("SEMVER_GT", "one"), "(SEMVER_GT) has 'one', a semantic version such as 1.2.3 is expected"),
    (constrained("SEMVER_GT", "1.2.3.4"), "has '1.2.3.4', a semantic version"),
    (constrained("SEMVER_GT", "01.2.3"), "has '01.2.3', a semantic version"),
    (constrained("SEMVER_GT", ">=1.2.3"), "has '>=1.2.3', a semantic version"),
    (constrained("SEMVER_GT"), '(SEMVER_GT) has no "value"'),
    (constrained("STR_CONTAINS", values=[]), '(STR_CONTAINS) has no "values"'),
    (constrained("STR_STARTS_WITH", "a"), '(STR_STARTS_WITH) has no "values"'),
    (constrained("IN_CIDR", values=[]), '(IN_CIDR) has no "values"'),
    ({**DEFAULT, "segments": [7]}, "the segment 7 is not in the document"),
    (rollout("101"), "the strategy 'flexibleRollout' has a 'rollout' of 101, and 100 is everybody"),
    (rollout("100", constraints=[{"contextName": 'a"]b', "operator": "IN", "values": ["1"]}]), "Unleash's engine can't compile it"),
]


@pytest.mark.parametrize(("strategy", "says"), OFF_FOR_ALL)
def test_what_the_engine_cannot_compile_turns_the_whole_flag_off(strategy: Json, says: str) -> None:
    """Another strategy, which would be on for everybody, does not help."""
    data = document(flag(strategy, DEFAULT))
    assert answers(data) == {False}
    (text,) = texts(data)
    assert says in text
    assert text.endswith(OFF)


WITHOUT_EFFECT: list[tuple[Json, str, str]] = [
    ({"name": "ours", "parameters": {}}, "the strategy 'ours' is not one of Unleash's own", NOBODY),
    (rollout(None), "'flexibleRollout' has no 'rollout'; a whole number from 0 to 100", NOBODY),
    (rollout(""), "has '' as 'rollout'", NOBODY),
    (rollout("half"), "has 'half' as 'rollout'", NOBODY),
    (rollout("50.5"), "has '50.5' as 'rollout'", NOBODY),
    (rollout("-1"), "has '-1' as 'rollout'", NOBODY),
    (rollout(" 100"), "has ' 100' as 'rollout'", NOBODY),
    ({"name": "flexibleRollout"}, "has no 'rollout'", NOBODY),
    ({"name": "gradualRolloutUserId", "parameters": {"percentage": "x", "groupId": "f"}}, "'gradualRolloutUserId' has 'x' as", NOBODY),
    ({"name": "gradualRolloutSessionId", "parameters": {"groupId": "f"}}, "'gradualRolloutSessionId' has no 'percentage'", NOBODY),
    ({"name": "gradualRolloutRandom", "parameters": {"percentage": ""}}, "'gradualRolloutRandom' has '' as 'percentage'", NOBODY),
    (constrained("IN"), '(IN) has no "values"', NEVER),
    (constrained("IN", "5"), '(IN) has no "values"', NEVER),
    (constrained("IN", values=[], inverted=True), '(IN) has no "values"', EVERYBODY),
    (constrained("NOT_IN"), '(NOT_IN) has no "values"', EVERYBODY),
    (constrained("NOT_IN", inverted=True), '(NOT_IN) has no "values"', NEVER),
    (constrained("SEMVER_GT", "v1.2.3"), "(SEMVER_GT) has 'v1.2.3', a semantic version", NEVER),
    (constrained("SEMVER_LT", "v1.2.3", inverted=True), "has 'v1.2.3', a semantic version", NEVER),
    (constrained("REGEX", "("), "(REGEX) has '(', which is no regular expression there", NEVER),
    (constrained("REGEX", "(", inverted=True), "which is no regular expression there", EVERYBODY),
    (constrained("REGEX", "(?=5)5"), "which is no regular expression there", NEVER),
    (constrained("REGEX", r"(5)\1"), "which is no regular expression there", NEVER),
    (constrained("REGEX", "a)|(b"), "which is no regular expression there", NEVER),
    (constrained("REGEX"), '(REGEX) has no "value"', EVERYBODY),
    (constrained("REGEX", inverted=True), '(REGEX) has no "value"', NEVER),
]


@pytest.mark.parametrize(("strategy", "says", "effect"), WITHOUT_EFFECT)
def test_what_the_engine_takes_and_has_no_sense(strategy: Json, says: str, effect: str) -> None:
    data = document(flag(strategy))
    assert answers(data) == {effect == EVERYBODY}
    (text,) = texts(data)
    assert says in text
    assert text.endswith(effect)
    assert answers(document(flag(strategy, DEFAULT))) == {True}  # other strategies are not concerned


@pytest.mark.parametrize(
    ("operator", "value", "x"),
    [("SEMVER_GT", "0.5", "7.5"), ("NUM_GT", "1.0.0", "1.2.3"), ("DATE_AFTER", "5", "7.5"), ("DATE_AFTER", "1.0.0", "1.2.3")],
)
def test_a_value_of_another_kind_is_compared_as_that_kind(operator: str, value: str, x: str) -> None:
    data = document(flag(constrained(operator, value)))
    person = {"properties": {"x": x}}
    assert Verdict(data).enabled("f", person)  # so the engine went by the value, not by the operator's name
    (text,) = texts(data)
    assert text.endswith("it compares something else than was meant")


NETWORKS = ["x", "10.0.0.0/99", "10.0/16", "010.0.0.0/8", "10.1.2.3/", "10.1.2.3;10.0.0.0/8"]


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_no_network_is_passed_over(network: str) -> None:
    for strategy in (
        {"name": "remoteAddress", "parameters": {"IPs": network}},
        constrained("IN_CIDR", values=[network]),
    ):
        data = document(flag(strategy))
        assert answers(data) == {False}
        (text,) = texts(data)
        assert f"has '{network}', which is no address or network such as 10.0.0.0/8: it is passed over" in text
    beside = document(flag({"name": "remoteAddress", "parameters": {"IPs": f"{network}, 10.1.2.3"}}))
    assert answers(beside) == {True}
    assert len(texts(beside)) == 1


FINE: list[Json] = [
    DEFAULT,
    rollout("0"),
    rollout("100"),
    {"name": "userWithId", "parameters": {"userIds": "1,2"}},
    {"name": "gradualRolloutUserId", "parameters": {"percentage": "100", "groupId": "f"}},
    {"name": "applicationHostname", "parameters": {"hostNames": "somewhere.else"}},
    {"name": "remoteAddress", "parameters": {"IPs": " 10.0.0.0/8 ,10.1.2.3,, 2001:db8::/32, 10.0.0.0/255.0.0.0"}},
    constrained("IN", values=["5"]),
    constrained("NOT_IN", values=["5"]),
    constrained("STR_ENDS_WITH", values=["5"]),
    *(constrained("NUM_EQ", number) for number in ("5", "+5", "-5", "7.5", "5.", "1e3", "1E-3", " 5 ")),
    *(constrained("SEMVER_EQ", version) for version in ("1.2.3", "1.2.3-rc.1", "1.2.3+build.5", "0.0.0", "1.2.3-0a")),
    *(
        constrained("DATE_AFTER", date, name="currentTime")
        for date in ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000Z", "2026-01-31T08:00:00+02:00")
    ),
    constrained("REGEX", "^5$"),
    constrained("REGEX", '"quoted" \\\\ [a-z]+|(?i)A'),
    constrained("REGEX", "(?x) 5 # a comment"),
    constrained("IN_CIDR", values=["10.0.0.0/8", "2001:db8::/32", "10.1.2.3", "10.0.0.1/8"]),
    constrained("IN", values=["x"], name="currentTime"),
]


@pytest.mark.parametrize("strategy", FINE)
def test_what_is_fine_is_not_complained_of(strategy: Json) -> None:
    data = document(flag(strategy))
    assert Verdict(data).uncompiled() == {}
    assert texts(data) == []


def test_a_flag_that_does_not_exist() -> None:
    data = document(flag(DEFAULT))
    assert not Verdict(data).enabled("g", {})
    assert texts(data, "g") == ["there is no such flag where flags.token looks; it may be archived, or its name misspelt: " + OFF]
    assert texts(data, "g", source="file") == ["there is no such flag in the flag file: " + OFF]
    assert texts(EMPTY, "g", source="none") == []  # nothing could be read: that is what is wrong


def test_a_flag_that_was_left_out() -> None:
    assert texts(EMPTY, refused=(("f", "for a reason"),)) == [f"it is left out, so {OFF}: for a reason"]


def test_parents() -> None:
    child = flag(DEFAULT, dependencies=[{"feature": "p"}])
    wants_off = flag(DEFAULT, dependencies=[{"feature": "p", "enabled": False}])
    for missing in (child, wants_off):
        data = document(missing)
        assert answers(data) == {False}
        assert texts(data) == [f"its parent flag 'p' does not exist or is archived: {OFF}"]
        assert texts(data, refused=(("p", "why"),)) == [f"its parent flag 'p' is left out (why): {OFF}"]
    data = document(child, flag(DEFAULT, name="p", dependencies=[{"feature": "q"}]), flag(DEFAULT, name="q"))
    assert answers(data) == {False}
    assert texts(data) == [f"its parent flag 'p' depends on a flag itself, which Unleash's engine does not follow: {OFF}"]
    data = document(flag(DEFAULT, dependencies=[{"feature": "f"}]))
    assert answers(data) == {False}
    assert texts(data) == [f"it depends on itself: {OFF}"]
    data = document(child, flag(constrained("MATCHES", values=["1"]), name="p"))
    assert answers(data) == {False}
    assert texts(data) == [f"its parent flag 'p': the constraint on 'x' has an operator 'MATCHES', which is unknown: {OFF}"]
    none = flag(DEFAULT, name="p", variants=[{"name": "a", "weight": 0}])
    for depends in (child, wants_off, flag(DEFAULT, dependencies=[{"feature": "p", "variants": ["a"]}])):
        data = document(depends, none)
        assert answers(data) == {False}
        assert texts(data) == [f"its parent flag 'p' has variants that weigh nothing together, on which Unleash's engine breaks: {OFF}"]
    data = document(child, {**flag(DEFAULT, name="p"), "enabled": False})
    assert answers(data) == {False}
    assert texts(data) == []  # somebody turned it off: that is what it is for


def test_segments() -> None:
    used = flag({**DEFAULT, "segments": [7]})
    bad = {"id": 7, "name": "norse", "constraints": constrained("NUM_EQ", "abc")["constraints"]}
    data = document(used, segments=[bad])
    assert answers(data) == {False}
    (text,) = texts(data)
    assert text.startswith("in the segment 'norse', the constraint on 'x' (NUM_EQ) has 'abc'")
    fine = document(used, segments=[{"id": 7, "name": "norse", "constraints": []}])
    assert answers(fine) == {True}
    assert texts(fine) == []


def test_only_the_flags_asked_for_in_their_order_each_once() -> None:
    bad = constrained("MATCHES", values=["1"])
    data = document(flag(bad, bad, name="a"), flag(bad, name="b"), flag(bad, name="c"))
    found = find(Snapshot("", data, "unleash", 0.0), ["c", "a", "c"])
    assert [problem.flag for problem in found] == ["c", "a"]
    assert all(isinstance(problem, Problem) for problem in found)


SOME = st.one_of(
    st.sampled_from(
        ["", "5", "abc", "1.2", "1.2.3", "v1", "2026-01-31T08:00:00Z", "2026-01-31", "(", "[a", "a|b", "10.0.0.0/8", "10/8", "100", "101"]
    ),
    st.text(max_size=6),
)
OPERATORS = st.sampled_from(
    [*("IN", "NOT_IN", "STR_CONTAINS", "NUM_EQ", "NUM_LT", "DATE_AFTER", "SEMVER_GT", "IN_CIDR", "REGEX", "UNKNOWN", "MATCHES")]
)
CONSTRAINTS = st.builds(
    lambda operator, value, values, inverted: constrained(operator, value, values, inverted=inverted)["constraints"][0],
    OPERATORS,
    st.one_of(st.none(), SOME),
    st.one_of(st.none(), st.lists(SOME, max_size=2)),
    st.booleans(),
)
STRATEGY = st.builds(
    lambda name, share, constraints, segments: {
        "name": name,
        "parameters": {"rollout": share, "percentage": share, "stickiness": "userId", "groupId": "f", "IPs": share, "userIds": share},
        "constraints": constraints,
        "segments": segments,
    },
    st.sampled_from(sorted(STRATEGIES)),
    SOME,
    st.lists(CONSTRAINTS, max_size=2),
    st.lists(st.sampled_from([1, 7]), max_size=1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STRATEGY, min_size=1, max_size=2))
def test_whatever_the_engine_cannot_compile_is_said_and_what_is_said_to_be_off_is(strategies: list[Json]) -> None:
    """In both directions, for flags that nobody thought of."""
    data = document(flag(*strategies), segments=[{"id": 1, "name": "one", "constraints": []}])
    engine = Verdict(data)
    assert engine.flags() == {"f"}
    said = texts(data)
    off = [text for text in said if text.endswith(OFF)]
    assert bool(off) == bool(engine.uncompiled()), (said, engine.uncompiled())
    if off:
        assert answers(data) == {False}


def test_one_flag_that_cannot_be_looked_into_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(constraint: object, where: str) -> object:
        raise TypeError("odd")

    monkeypatch.setattr(problems, "_constraint", break_down)
    constraint = {"contextName": "a", "operator": "IN", "values": ["x"]}
    odd = {"name": "odd", "enabled": True, "strategies": [{"name": "default", "constraints": [constraint]}]}
    data = orjson.dumps({"version": 2, "features": [odd]})
    found = problems.find(Snapshot("1", data, "unleash", 0.0), ["odd", "missing"])
    assert [(each.flag, each.text[:30]) for each in found] == [
        ("odd", "it cannot be looked into (Type"),
        ("missing", "there is no such flag where fl"),
    ]


def test_a_share_of_thousands_of_digits() -> None:
    rollout = {"name": "flexibleRollout", "parameters": {"rollout": "9" * 5000, "stickiness": "default", "groupId": "f"}}
    data = orjson.dumps({"version": 2, "features": [{"name": "f", "enabled": True, "strategies": [rollout]}]})
    (found,) = problems.find(Snapshot("1", data, "unleash", 0.0), ["f"])
    assert "a whole number from 0 to 100 is expected" in found.text
    assert len(found.text) < 300
