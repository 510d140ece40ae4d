"""What may become of a request that must not be executed twice."""

from __future__ import annotations

import pytest

from gateway.policy.payments import State, Step, Verdict, after_failure, judge, settles


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_another_request_never_gets_the_first_ones_answer_or_its_place(state: State, repeatable: bool, kept: bool) -> None:
    assert judge(state, same=False, repeatable=repeatable, kept=kept) is Verdict.OTHER


@pytest.mark.parametrize(
    ("state", "repeatable", "kept", "expected"),
    [
        (State.STARTED, True, True, Verdict.RUNNING),
        (State.STARTED, False, False, Verdict.RUNNING),
        (State.ANSWERED, False, True, Verdict.REPLAY),
        (State.ANSWERED, True, False, Verdict.NOT_KEPT),
        (State.IN_DOUBT, False, False, Verdict.IN_DOUBT),
        (State.IN_DOUBT, True, False, Verdict.AGAIN),
        (State.SETTLED, True, True, Verdict.SETTLED),
    ],
)
def test_the_same_request_again(state: State, repeatable: bool, kept: bool, expected: Verdict) -> None:
    assert judge(state, same=True, repeatable=repeatable, kept=kept) is expected


@pytest.mark.parametrize("state", list(State))
def test_a_second_one_is_sent_only_where_the_first_is_in_doubt_and_its_provider_knows_keys(state: State) -> None:
    sends = {Verdict.CLAIMED, Verdict.AGAIN}
    for repeatable in (False, True):
        verdict = judge(state, same=True, repeatable=repeatable, kept=True)
        assert (verdict in sends) is (state is State.IN_DOUBT and repeatable)


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_another_provider_is_asked_only_of_what_was_sent_to_nobody(idempotent: bool, repeated: bool) -> None:
    def step(*, sent: bool, sent_before: bool) -> Step:
        return after_failure(sent=sent, sent_before=sent_before, idempotent=idempotent, repeated=repeated)

    assert step(sent=False, sent_before=False) is Step.ELSEWHERE
    for sent, before in ((True, False), (False, True), (True, True)):
        assert step(sent=sent, sent_before=before) is not Step.ELSEWHERE


def test_a_provider_that_knows_keys_is_asked_once_more_and_not_twice() -> None:
    assert after_failure(sent=True, sent_before=False, idempotent=True, repeated=False) is Step.AGAIN
    assert after_failure(sent=True, sent_before=True, idempotent=True, repeated=True) is Step.DOUBT
    assert after_failure(sent=False, sent_before=True, idempotent=True, repeated=True) is Step.DOUBT
    assert after_failure(sent=True, sent_before=False, idempotent=False, repeated=False) is Step.DOUBT


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 402, 422])
def test_a_repeat_is_answered_by_success_and_by_a_refusal_of_the_payment(status: int) -> None:
    assert settles(status)


@pytest.mark.parametrize(
    "status", [300, 302, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413, 415, 421, 425, 429, 451, 500, 503]
)
def test_whatever_else_a_repeat_is_told_says_nothing_of_the_try_before(status: int) -> None:
    assert not settles(status)
