"""Each provider gets its share, each caller keeps his provider, and when weights move only those callers move who must."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flags import snapshot
from flags.snapshot import Context
from gateway.policy.decision import Decision, Policy, Reason, SplitClaim, SplitRules, Target
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.policy.routing import Pattern
from gateway.policy.splitter import KEY, RANDOM, SESSION, USER, Shares, known_by, usable

CALLERS = [f"userId\0{number}".encode() for number in range(3000)]
NAMES = ["psp-a", "psp-b", "psp-c", "psp-d"]
PAIR = {"psp-a": 70, "psp-b": 30}

weights = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 1000), min_size=1).filter(lambda found: any(found.values()))


def chosen(given: Mapping[str, int], route: str = "payments") -> list[str]:
    shares = Shares(route, given)
    return [shares.of(caller) for caller in CALLERS]


@given(weights)
@settings(max_examples=40, deadline=None)
def test_each_gets_its_share(given: dict[str, int]) -> None:
    counts = Counter(chosen(given))
    total = sum(given.values())
    for name, weight in given.items():
        share = weight / total
        # Six standard deviations of a binomial: what is outside is no chance. And who weighs nothing gets nothing.
        bound = 6 * math.sqrt(share * (1 - share) / len(CALLERS))
        assert abs(counts[name] / len(CALLERS) - share) <= bound + (1 / len(CALLERS) if share not in (0.0, 1.0) else 0.0)


@given(weights, st.integers(2, 1000))
@settings(max_examples=40, deadline=None)
def test_nobody_moves_while_the_shares_stay(given: dict[str, int], factor: int) -> None:
    """Not in another order of the providers, and not in another measure of the weights."""
    before = chosen(given)
    assert chosen(dict(reversed(given.items()))) == before
    assert chosen({name: weight * factor for name, weight in given.items()}) == before


@given(weights, weights)
@settings(max_examples=60, deadline=None)
def test_callers_go_only_to_whom_has_grown_beside_whom_they_leave(old: dict[str, int], new: dict[str, int]) -> None:
    for before, after in set(zip(chosen(old), chosen(new), strict=True)):
        if before != after:
            # new[after] / new[before] > old[after] / old[before], without dividing by what may be nothing
            assert new.get(after, 0) * old[before] > old.get(after, 0) * new.get(before, 0)


@given(weights, st.sampled_from(NAMES), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_where_one_weight_moves_no_more_move_than_the_shares_differ(old: dict[str, int], name: str, weight: int) -> None:
    new = {**old, name: weight}
    if not any(new.values()):
        return
    before, after = chosen(old), chosen(new)
    moved = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    counts = Counter(before)
    counts.subtract(after)
    assert len(moved) == sum(abs(number) for number in counts.values()) / 2  # nobody crossed: one way only
    assert all(name in pair for pair in moved)


def test_from_70_30_to_60_40_a_tenth_moves() -> None:
    before, after = chosen(PAIR), chosen({"psp-a": 600, "psp-b": 400})
    moves = Counter(pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    assert list(moves) == [("psp-a", "psp-b")]
    assert 0.07 < moves["psp-a", "psp-b"] / len(CALLERS) < 0.13


def test_the_choice_is_written_in_stone() -> None:
    """Another process, machine or version that chose otherwise would send a caller's second payment to another provider than the first."""
    shares = Shares("payments", PAIR)
    assert "".join(shares.of(f"userId\0{number}".encode())[-1] for number in range(24)) == "baaaaaaaabaaaabbabaabbaa"


def test_two_routes_with_the_same_providers_choose_apart() -> None:
    pairs = Counter(zip(chosen(PAIR), chosen(PAIR, "refunds"), strict=True))
    assert 0.05 < pairs["psp-b", "psp-b"] / len(CALLERS) < 0.13  # 0.3 x 0.3, and not 0.3


@given(weights, st.floats(0, 1, exclude_max=True))
def test_a_die_falls_on_somebody_who_weighs_something(given: dict[str, int], place: float) -> None:
    assert given[Shares("payments", given).at(place)] > 0


def test_a_die_falls_by_the_weights() -> None:
    shares = Shares("payments", PAIR)
    assert [shares.at(place) for place in (0.0, 0.699, 0.7, 0.999)] == ["psp-a", "psp-a", "psp-b", "psp-b"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PAIR, True),
        ({"psp-a": 0, "psp-b": 1000}, True),
        ({"psp-b": 1000}, True),
        ({"psp-a": 500, "psp-x": 500}, False),
        ({"psp-a": 1000, "psp-x": 0}, False),
        ({"psp-a": 1100, "psp-b": -100}, False),
        ({"psp-a": 0, "psp-b": 0}, False),
        ({}, False),
    ],
)
def test_what_variants_can_be_shares(given: dict[str, int], expected: bool) -> None:
    assert usable(given, PAIR) is expected


EVERYTHING = Context(user_id="1", session_id="1", remote_address="1")


@pytest.mark.parametrize(
    ("sticky", "context", "name"),
    [
        (USER, EVERYTHING, "userId"),
        (USER, Context(session_id="1", remote_address="1"), "sessionId"),
        (USER, Context(remote_address="1"), "remoteAddress"),
        (USER, Context(), "remoteAddress"),
        (SESSION, EVERYTHING, "sessionId"),
        (SESSION, Context(user_id="1", remote_address="1"), "userId"),
        (SESSION, Context(remote_address="1"), "remoteAddress"),
    ],
)
def test_by_what_a_caller_is_known(sticky: str, context: Context, name: str) -> None:
    assert known_by(sticky, context)[0] == name


def test_a_user_is_not_the_session_of_the_same_name() -> None:
    values = {known_by(sticky, EVERYTHING)[1] for sticky in (USER, SESSION)} | {known_by(USER, Context(remote_address="1"))[1]}
    assert len(values) == 3


def test_a_name_that_is_no_text_is_one_all_the_same() -> None:
    assert known_by(USER, Context(user_id="\udcff"))[1]


class Flags(snapshot.Flags):
    revision = "1"

    def __init__(self) -> None:
        self.on = False
        self.by_hand = False
        self.variants: dict[str, int] | None = None
        self.chosen: Counter[str] = Counter()

    def enabled(self, flag: str, context: Context) -> bool:
        assert flag == "payments.split"
        return self.on

    def overridden(self, flag: str) -> bool:
        return self.by_hand

    def by_session(self, flag: str) -> bool:
        return False

    def weights(self, flag: str) -> dict[str, int] | None:
        return self.variants

    def chose(self, flag: str, variant: str) -> None:
        self.chosen[variant] += 1


@pytest.fixture
def flags() -> Flags:
    return Flags()


def policy(flags: Flags, sticky: str = USER) -> Policy:
    dice: Iterator[float] = cycle([0.1, 0.9])
    rules = SplitRules(Pattern("payments", "/payments/*"), PAIR, "payments.split", sticky)
    return Policy([rules], flags, lambda: next(dice))


def decide(subject: Policy, user: str = "7") -> Decision:
    claim = subject.find("POST", b"/payments/3")
    assert isinstance(claim, SplitClaim)
    return subject.decide(claim, Context(user_id=user))


def providers(subject: Policy) -> Counter[str]:
    return Counter(decide(subject, str(user)).serve.upstream for user in range(500))


def test_without_its_flag_the_configured_weights_are_in_force(flags: Flags) -> None:
    flags.variants = {"psp-b": 1000}  # of a flag that is off
    counts = providers(policy(flags))
    assert set(counts) == set(PAIR)
    assert 0.6 < counts["psp-a"] / 500 < 0.8


def test_weights_move_with_the_flag_and_back(flags: Flags) -> None:
    subject = policy(flags)
    first = providers(subject)
    flags.on, flags.variants = True, {"psp-a": 0, "psp-b": 1000}
    assert providers(subject) == {"psp-b": 500}
    assert flags.chosen == {"": 500, "psp-b": 500}  # by its weights, and not those of the configuration
    flags.variants = {"psp-a": 1000}
    assert providers(subject) == {"psp-a": 500}
    flags.variants = {"psp-a": 700, "psp-b": 300}
    assert providers(subject) == first
    flags.variants = {"psp-b": 1000}
    flags.on = False
    assert providers(subject) == first


@pytest.mark.parametrize("broken", [None, {}, {"psp-a": 0}, {"psp-a": 500, "psp-x": 500}, {"psp-a": -1, "psp-b": 2}])
def test_variants_that_cannot_be_shares_change_nothing(flags: Flags, broken: dict[str, int] | None) -> None:
    subject = policy(flags)
    first = providers(subject)
    flags.on, flags.variants = True, {"psp-b": 1000}
    assert providers(subject) != first
    flags.variants = broken
    assert providers(subject) == first


def test_nobody_else_is_asked_and_nothing_is_compared(flags: Flags) -> None:
    subject = policy(flags)
    decision = decide(subject)
    assert (decision.fallback, decision.shadow, decision.reason, decision.serve.side) == (None, None, Reason.SPLIT, "candidate")
    assert Policy.on_response(decision, "GET", 500, replayable=True) is None
    assert Policy.on_failure(decision, Failure.REFUSED, "GET", replayable=True) is Problem.UNREACHABLE
    assert Policy.on_failure(decision, Failure.RESET, "POST", replayable=True) is Problem.OUTCOME_UNKNOWN
    flags.by_hand = True
    assert decide(subject).reason is Reason.OVERRIDE


def test_legacy_may_be_one_of_them(flags: Flags) -> None:
    rules = SplitRules(Pattern("payments", "/payments/*"), {"legacy": 1}, "payments.split")
    decision = decide(Policy([rules], flags, lambda: 0.0))
    assert (decision.serve, decision.serve.side, decision.reason) == (Target("legacy"), "legacy", Reason.SPLIT)


def test_dice_are_thrown_for_each_request_where_nobody_is_to_be_kept(flags: Flags) -> None:
    subject = policy(flags, RANDOM)
    assert [decide(subject).serve.upstream for _ in range(4)] == ["psp-a", "psp-b", "psp-a", "psp-b"]


@pytest.mark.parametrize(("sticky", "expected"), [(USER, True), (SESSION, True), (RANDOM, False)])
def test_a_visitor_gets_a_cookie_where_he_is_to_be_kept(flags: Flags, sticky: str, expected: bool) -> None:
    claim = policy(flags, sticky).find("GET", b"/payments/3")
    assert isinstance(claim, SplitClaim)
    assert claim.by_session(flags) is expected


def keyed(flags: Flags, *, failover: bool = True, sticky: str = KEY, weights: dict[str, int] | None = None) -> SplitClaim:
    rules = SplitRules(
        Pattern("payments", "/payments/*"), weights or PAIR, "payments.split", sticky, failover=failover, ledger=sticky == KEY
    )
    claim = Policy([rules], flags, lambda: 0.5).find("POST", b"/payments/3")
    assert isinstance(claim, SplitClaim)
    return claim


def test_a_key_keeps_its_provider_whoever_comes_with_it(flags: Flags) -> None:
    claim = keyed(flags)
    met = {key: claim.decide(flags, Context(user_id="7"), key).serve.upstream for key in map(str, range(300))}
    assert Counter(met.values())["psp-a"] > Counter(met.values())["psp-b"] > 50
    for key, provider in met.items():
        assert claim.decide(flags, Context(user_id="8", session_id="s"), key).serve.upstream == provider
    users = {claim.decide(flags, Context(user_id=str(user))).serve.upstream for user in range(40)}
    assert users == set(PAIR)  # without one, by the user
    assert (claim.field, claim.by_session(flags)) == ("idempotency-key", False)
    assert keyed(flags, sticky="header:X-Cart").field == "x-cart"


def test_who_is_asked_next_is_whom_the_key_would_have_met_without_the_first(flags: Flags) -> None:
    weights = {"psp-a": 5, "psp-b": 3, "psp-c": 2}
    claim = keyed(flags, weights=weights)
    for key in map(str, range(100)):
        order = []
        while (target := claim.elsewhere(flags, Context(), key, order)) is not None:
            order.append(target.upstream)
        assert sorted(order) == sorted(weights)
        assert order[0] == claim.decide(flags, Context(), key).serve.upstream
        left = {name: weight for name, weight in weights.items() if name != order[0]}
        assert order[1] == keyed(flags, weights=left).decide(flags, Context(), key).serve.upstream


def test_who_is_to_get_nothing_is_not_asked_in_anothers_place_either(flags: Flags) -> None:
    flags.on, flags.variants = True, {"psp-a": 1000, "psp-b": 0}
    assert keyed(flags).elsewhere(flags, Context(), "k", ["psp-a"]) is None
    assert keyed(flags, failover=False).elsewhere(flags, Context(), "k", []) is None
    flags.on = False
    assert keyed(flags).elsewhere(flags, Context(), "k", ["psp-a"]) == Target("psp-b")
