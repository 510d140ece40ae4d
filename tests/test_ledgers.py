"""The judge of the fault tests (tests/support/ledgers.py) catches what it is there for."""

from __future__ import annotations

import pytest

from tests.support.ledgers import Asked, Executed, Logged, Outcome, Verdict, reconcile


def asked(
    name: str = "a", outcome: Outcome = Outcome.ANSWERED, status: int = 200, *, said: str | None = None, method: str = "GET"
) -> Asked:
    whole = outcome in (Outcome.ANSWERED, Outcome.REFUSED)
    names = frozenset((name if said is None else said).split()) if whole or said else frozenset[str]()
    return Asked(name, method, outcome, status if whole else 0, names)


def executed(name: str = "a", *, by: str = "legacy", method: str = "GET", said: str = "") -> Executed:
    return Executed(name, by, method, frozenset(said.split()))


def wrong(verdict: Verdict) -> dict[str, set[str]]:
    found = {kind: set(getattr(verdict, kind)) for kind in ("lost", "doubled", "crossed", "untold", "unheard")}
    return {kind: names for kind, names in found.items() if names}


def test_a_good_day() -> None:
    verdict = reconcile(
        [asked("a"), asked("b", Outcome.REFUSED, 502), asked("c", Outcome.CUT), asked("d", method="POST")],
        [Logged("a", 200), Logged("b", 502), Logged("c", 0), Logged("d", 200)],
        [executed("a"), executed("c"), executed("d", method="POST", said="d")],
    )
    assert wrong(verdict) == {}
    assert verdict.clean
    assert verdict.counts == {"ANSWERED": 2, "REFUSED": 1, "CUT": 1}


@pytest.mark.parametrize(
    ("lines", "executions"),
    [([Logged("a", 200)], []), ([], [executed()]), ([Logged("a", 0)], [executed()]), ([Logged("a", 502)], [executed()])],
    ids=["logged", "executed", "executed and cut off", "executed and refused"],
)
def test_lost_whoever_knows_of_it(lines: list[Logged], executions: list[Executed]) -> None:
    verdict = reconcile([asked(outcome=Outcome.SILENCE)], lines, executions)
    assert wrong(verdict) == {"lost": {"a"}}
    assert not verdict.clean


def test_an_answer_cut_off_that_the_gateway_takes_for_whole_is_lost() -> None:
    assert wrong(reconcile([asked(outcome=Outcome.CUT)], [Logged("a", 200)], [executed()])) == {"lost": {"a"}}


def test_what_nobody_received_is_not_lost_but_said() -> None:
    verdict = reconcile([asked(outcome=Outcome.SILENCE)], [Logged("a", 0)], [])
    assert wrong(verdict) == {"unheard": {"a"}}
    assert verdict.clean


@pytest.mark.parametrize(("method", "times", "doubled"), [("POST", 1, False), ("POST", 2, True), ("GET", 3, False), ("GET", 4, True)])
def test_doubled(method: str, times: int, doubled: bool) -> None:
    who = [executed(by=by, method=method) for by in ("new", "legacy", "legacy", "legacy")[:times]]
    verdict = reconcile([asked(method=method)], [Logged("a", 200)], who)
    assert wrong(verdict) == ({"doubled": {"a"}} if doubled else {})


def test_doubled_though_the_client_saw_an_error() -> None:
    who = [executed(by=by, method="POST") for by in ("new", "legacy")]
    assert wrong(reconcile([asked(outcome=Outcome.REFUSED, status=502, method="POST")], [Logged("a", 502)], who)) == {"doubled": {"a"}}


@pytest.mark.parametrize("said", ["b", "a b", ""])
def test_crossed_is_an_answer_that_names_another_or_nobody(said: str) -> None:
    assert wrong(reconcile([asked(said=said)], [Logged("a", 200)], [executed()])) == {"crossed": {"a"}}


def test_crossed_is_half_an_answer_of_somebody_elses_too() -> None:
    assert wrong(reconcile([asked(outcome=Outcome.CUT, said="b")], [Logged("a", 0)], [executed()])) == {"crossed": {"a"}}


def test_crossed_is_an_error_that_is_somebody_elses() -> None:
    assert wrong(reconcile([asked(outcome=Outcome.REFUSED, status=502, said="b")], [Logged("a", 502)], [])) == {"crossed": {"a"}}


def test_crossed_is_an_answer_to_what_nobody_has_executed() -> None:
    assert wrong(reconcile([asked()], [Logged("a", 200)], [])) == {"crossed": {"a"}}


def test_crossed_is_a_request_with_another_ones_body_or_method() -> None:
    line = [Logged("a", 200)]
    assert wrong(reconcile([asked(method="POST")], line, [executed(method="POST", said="b")])) == {"crossed": {"a"}}
    assert wrong(reconcile([asked(method="POST")], line, [executed(method="GET")])) == {"crossed": {"a"}}


def test_untold_is_what_the_log_has_otherwise_or_not_or_twice() -> None:
    for lines in ([], [Logged("a", 502)], [Logged("a", 0)], [Logged("a", 200)] * 2):
        assert wrong(reconcile([asked()], lines, [executed()])) == {"untold": {"a"}}, lines


def test_who_was_killed_with_its_worker_may_be_lost_but_neither_doubled_nor_crossed() -> None:
    for one in (asked(outcome=Outcome.SILENCE), asked(outcome=Outcome.CUT), asked()):
        assert wrong(reconcile([one], [], [executed()], killed=frozenset("a"))) == {}
    twice = [executed(method="POST")] * 2
    assert wrong(reconcile([asked(outcome=Outcome.SILENCE, method="POST")], [], twice, killed=frozenset("a"))) == {"doubled": {"a"}}
    assert wrong(reconcile([asked(said="b")], [], [executed()], killed=frozenset("a"))) == {"crossed": {"a"}}
