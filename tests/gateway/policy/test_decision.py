"""Every doubt ends at legacy."""

import itertools

import pytest

from flags.snapshot import Context
from gateway.policy.decision import AMBIGUOUS, UNROUTED, Policy, Reason, RouteRules, Target
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem
from gateway.policy.routing import Pattern

ANYONE = Context()


class Flags:
    revision = "1"

    def __init__(self, *on: str) -> None:
        self.on = on

    def enabled(self, flag: str, context: Context) -> bool:
        return flag in self.on


def policy(*on: str, fallback: bool = True) -> Policy:
    return Policy([RouteRules(Pattern("reviews", "/reviews/*"), Target("new"), "reviews", "reviews.shadow", fallback=fallback)], Flags(*on))


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
    decision = policy(*on).decide("GET", b"/reviews/3?x", ANYONE)
    assert (decision.serve.upstream, decision.shadow and decision.shadow.upstream, decision.reason) == (serve, shadow, reason)
    assert (decision.fallback is not None) == (serve == "new")


def test_unrouted_and_ambiguous_paths_are_legacys_whatever_the_flags_say() -> None:
    every = policy("reviews", "reviews.shadow")
    assert every.decide("GET", b"/other", ANYONE) is UNROUTED
    assert every.decide("GET", b"/reviews/%2e%2e/other", ANYONE) is AMBIGUOUS
    assert UNROUTED.serve.upstream == AMBIGUOUS.serve.upstream == "legacy"
    assert UNROUTED.shadow is AMBIGUOUS.shadow is None


def test_new_flags_are_asked_from_the_next_request_on() -> None:
    subject = policy()
    before = subject.decide("GET", b"/reviews/3", ANYONE)
    subject.flags = Flags("reviews")
    assert before.serve.upstream == "legacy"
    assert subject.decide("GET", b"/reviews/3", ANYONE).serve.upstream == "new"


SENT = [Failure.RESET, Failure.TIMEOUT, Failure.BAD_ANSWER]
UNSENT = [Failure.REFUSED, Failure.CONNECT_TIMEOUT]


@pytest.mark.parametrize(
    ("failure", "method"), list(itertools.product(SENT + UNSENT, ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"]))
)
def test_a_failure_goes_to_legacy_only_where_nothing_can_happen_twice(failure: Failure, method: str) -> None:
    decision = policy("reviews").decide(method, b"/reviews/3", ANYONE)
    outcome = Policy.on_failure(decision, failure, method, replayable=True)
    if failure in UNSENT or method in {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}:
        assert outcome is decision.fallback
    else:
        assert outcome in {Problem.OUTCOME_UNKNOWN, Problem.OUTCOME_UNKNOWN_TIMEOUT}


@pytest.mark.parametrize("failure", list(Failure))
def test_without_its_body_at_hand_nothing_is_sent_again(failure: Failure) -> None:
    decision = policy("reviews").decide("PUT", b"/reviews/3", ANYONE)
    assert isinstance(Policy.on_failure(decision, failure, "PUT", replayable=False), Problem)


def test_no_fallback_where_the_route_forbids_it_or_legacy_itself_failed() -> None:
    forbidden = policy("reviews", fallback=False).decide("GET", b"/reviews/3", ANYONE)
    assert Policy.on_failure(forbidden, Failure.REFUSED, "GET", replayable=True) is Problem.UNREACHABLE
    legacy = policy().decide("GET", b"/reviews/3", ANYONE)
    assert Policy.on_failure(legacy, Failure.TIMEOUT, "GET", replayable=True) is Problem.UPSTREAM_TIMEOUT


@pytest.mark.parametrize(
    ("status", "method", "falls_back"),
    [(200, "GET", False), (404, "GET", False), (500, "GET", True), (503, "HEAD", True), (500, "POST", False), (500, "PUT", True)],
)
def test_a_candidates_5xx_is_replaced_where_the_method_allows(status: int, method: str, falls_back: bool) -> None:
    decision = policy("reviews").decide(method, b"/reviews/3", ANYONE)
    assert (Policy.on_response(decision, method, status, replayable=True) is not None) == falls_back
    assert Policy.on_response(policy().decide(method, b"/reviews/3", ANYONE), method, status, replayable=True) is None


def test_every_problem_has_a_status_and_a_title() -> None:
    for problem in Problem:
        assert 400 <= problem.status < 600
        assert problem.summary
