"""Every doubt ends at legacy."""

import itertools

import pytest

from flags import snapshot
from flags.snapshot import Context
from gateway.policy.decision import AMBIGUOUS, UNROUTED, Decision, Policy, Reason, RouteRules, ShadowRules, Target
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.policy.routing import Pattern

ANYONE = Context()


class Flags(snapshot.Flags):
    revision = "1"

    def __init__(self, *on: str) -> None:
        self.on = on
        self.by_hand: tuple[str, ...] = ()

    def enabled(self, flag: str, context: Context) -> bool:
        return flag in self.on

    def overridden(self, flag: str) -> bool:
        return flag in self.by_hand

    def by_session(self, flag: str) -> bool:
        return False

    def weights(self, flag: str) -> dict[str, int] | None:
        return None

    def chose(self, flag: str, variant: str) -> None:
        raise AssertionError("no route here is split")


def policy(*on: str, fallback: bool = True) -> Policy:
    return Policy(
        [RouteRules(Pattern("reviews", "/reviews/*"), Target("new"), "reviews", "reviews.shadow", fallback=fallback)],
        Flags(*on),
        lambda: 0.0,
    )


def decide(subject: Policy, method: str, target: bytes) -> Decision:
    found = subject.find(method, target)
    return found if isinstance(found, Decision) else subject.decide(found, ANYONE)


@pytest.mark.parametrize(
    ("on", "serve", "shadow", "reason"),
    [
        ((), "legacy", None, Reason.FLAG_OFF),
        (("reviews.shadow",), "legacy", "new", Reason.FLAG_OFF),
        (("reviews",), "new", None, Reason.FLAG_ON),
        (("reviews", "reviews.shadow"), "new", "legacy", Reason.FLAG_ON),
    ],
)
def test_the_two_flags_decide(on: tuple[str, ...], serve: str, shadow: str | None, reason: Reason) -> None:
    decision = decide(policy(*on), "GET", b"/reviews/3?x")
    assert (decision.serve.upstream, decision.shadow and decision.shadow.upstream, decision.reason) == (serve, shadow, reason)
    assert (decision.fallback is not None) == (serve == "new")


def test_an_override_is_named_as_the_reason() -> None:
    subject = policy("reviews")
    assert isinstance(subject.flags, Flags)
    subject.flags.by_hand = ("reviews",)
    assert decide(subject, "GET", b"/reviews/3").reason is Reason.OVERRIDE
    subject.flags.by_hand = ("reviews.shadow",)
    assert decide(subject, "GET", b"/reviews/3").reason is Reason.FLAG_ON


def test_unrouted_and_ambiguous_paths_are_legacys_whatever_the_flags_say() -> None:
    every = policy("reviews", "reviews.shadow")
    assert decide(every, "GET", b"/other") is UNROUTED
    assert decide(every, "GET", b"/reviews/%2e%2e/other") is AMBIGUOUS
    assert UNROUTED.serve.upstream == AMBIGUOUS.serve.upstream == "legacy"
    assert UNROUTED.shadow is AMBIGUOUS.shadow is None


def test_new_flags_are_asked_from_the_next_request_on() -> None:
    subject = policy()
    before = decide(subject, "GET", b"/reviews/3")
    subject.flags = Flags("reviews")
    assert before.serve.upstream == "legacy"
    assert decide(subject, "GET", b"/reviews/3").serve.upstream == "new"


SENT = [Failure.RESET, Failure.TIMEOUT, Failure.BAD_ANSWER]
UNSENT = [Failure.REFUSED, Failure.CONNECT_TIMEOUT]


@pytest.mark.parametrize(
    ("failure", "method"), list(itertools.product(SENT + UNSENT, ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"]))
)
def test_a_failure_goes_to_legacy_only_where_nothing_can_happen_twice(failure: Failure, method: str) -> None:
    decision = decide(policy("reviews"), method, b"/reviews/3")
    outcome = Policy.on_failure(decision, failure, method, replayable=True)
    if failure in UNSENT or method in {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}:
        assert outcome is decision.fallback
    else:
        assert outcome in {Problem.OUTCOME_UNKNOWN, Problem.OUTCOME_UNKNOWN_TIMEOUT}


@pytest.mark.parametrize("failure", list(Failure))
def test_without_its_body_at_hand_nothing_is_sent_again(failure: Failure) -> None:
    decision = decide(policy("reviews"), "PUT", b"/reviews/3")
    assert isinstance(Policy.on_failure(decision, failure, "PUT", replayable=False), Problem)


def test_no_fallback_where_the_route_forbids_it_or_legacy_itself_failed() -> None:
    forbidden = decide(policy("reviews", fallback=False), "GET", b"/reviews/3")
    assert Policy.on_failure(forbidden, Failure.REFUSED, "GET", replayable=True) is Problem.UNREACHABLE
    legacy = decide(policy(), "GET", b"/reviews/3")
    assert Policy.on_failure(legacy, Failure.TIMEOUT, "GET", replayable=True) is Problem.UPSTREAM_TIMEOUT


@pytest.mark.parametrize(
    ("status", "method", "falls_back"),
    [(200, "GET", False), (404, "GET", False), (500, "GET", True), (503, "HEAD", True), (500, "POST", False), (500, "PUT", True)],
)
def test_a_candidates_5xx_is_replaced_where_the_method_allows(status: int, method: str, falls_back: bool) -> None:
    decision = decide(policy("reviews"), method, b"/reviews/3")
    assert (Policy.on_response(decision, method, status, replayable=True) is not None) == falls_back
    assert Policy.on_response(decide(policy(), method, b"/reviews/3"), method, status, replayable=True) is None


def test_every_problem_has_a_status_and_a_title() -> None:
    for problem in Problem:
        assert 400 <= problem.status < 600
        assert problem.summary


@pytest.mark.parametrize("sandbox_legacy", [False, True])
def test_a_write_goes_to_a_sandbox_and_to_nobody_else(sandbox_legacy: bool) -> None:
    shadow = ShadowRules(frozenset({"GET", "POST"}), noise=1.0)
    route = RouteRules(Pattern("r", "/r"), Target("new"), "r", "r.shadow", shadow=shadow, sandbox_legacy=sandbox_legacy)
    before, after = (decide(Policy([route], Flags(*on), lambda: 0.0), "POST", b"/r") for on in (("r.shadow",), ("r", "r.shadow")))
    assert before.rules is not None
    assert after.rules is not None
    assert before.rules.methods == {"GET", "POST"}
    assert after.rules.methods == ({"GET", "POST"} if sandbox_legacy else {"GET"})
    assert (after.rules.sample, after.rules.capture, after.rules.noise) == (shadow.sample, shadow.capture, shadow.noise)
    assert (before.rules.skips("PUT"), after.rules.skips("PUT")) == ("method", "method")
    if not sandbox_legacy:
        assert after.rules.skips("POST") == "no_sandbox"
    for decision, noisy in ((before, True), (after, False)):
        assert decision.rules is not None
        assert decision.rules.noisy("GET", decision.serve) == noisy
        assert not decision.rules.noisy("POST", decision.serve), "legacy has executed it already"
