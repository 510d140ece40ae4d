"""Who is asked for, how often, and for how long the answer holds: without a clock."""

from __future__ import annotations

import pytest

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.callers import FAILURE_SECONDS, Callers, Question, understand
from gateway.settings import Identity

ALICE = Caller("7", "abc")
HEAD = b"\r\nHost: a\r\nCookie: theme=dark; sessionid=s3cret; x=y"


class Asked:
    """The callers of one worker, and what they were told."""

    def __init__(self, **settings: object) -> None:
        self.callers = Callers(Identity.model_validate({"source": "introspection", **settings}))
        self.told: list[Caller] = []

    def lookup(self, now: float, fields: bytes = HEAD) -> Caller | Question | None:
        return self.callers.lookup(fields, self.told.append, now)

    def question(self, now: float, fields: bytes = HEAD) -> Question:
        found = self.lookup(now, fields)
        assert isinstance(found, Question)
        return found


def test_one_question_however_many_wait() -> None:
    asked = Asked()
    question = asked.question(0)
    assert asked.callers.cookie(question) == b"sessionid=s3cret"
    assert asked.lookup(0) is asked.lookup(1) is None
    asked.callers.learned(question, ALICE, 1, known=True)
    assert asked.told == [ALICE] * 3


@pytest.mark.parametrize(("user", "seconds"), [(ALICE, 10), (ANONYMOUS, 2)])
def test_an_answer_is_remembered_for_its_time(user: Caller, seconds: float) -> None:
    asked = Asked(cache="10s", negative_cache="2s")
    asked.callers.learned(asked.question(0), user, 0, known=True)
    assert asked.lookup(seconds - 0.1) == user
    assert isinstance(asked.lookup(seconds + 0.1), Question)


def test_a_doubt_is_remembered_for_a_moment_only() -> None:
    asked = Asked()
    asked.callers.learned(asked.question(0), ANONYMOUS, 0, known=False)
    assert asked.told == [ANONYMOUS]
    assert asked.lookup(FAILURE_SECONDS - 0.01) == ANONYMOUS
    assert isinstance(asked.lookup(FAILURE_SECONDS), Question)


def test_what_is_remembered_is_bounded_and_holds_no_credential() -> None:
    asked = Asked(entries=2)
    for number in range(3):
        head = b"\r\nCookie: sessionid=s%d" % number
        asked.callers.learned(asked.question(0, head), Caller(str(number)), 0, known=True)
    assert isinstance(asked.lookup(0, b"\r\nCookie: sessionid=s0"), Question)
    assert asked.lookup(0, b"\r\nCookie: sessionid=s2") == Caller("2")
    assert b"s2" not in b"".join(asked.callers._known)


@pytest.mark.parametrize("head", [b"\r\nHost: a", b"\r\nCookie: sessionid=", b"\r\nCookie: notsessionid=s", b"\r\nX: sessionid=s"])
def test_nobody_is_asked_about_nothing(head: bytes) -> None:
    assert Asked().lookup(0, head) == ANONYMOUS


@pytest.mark.parametrize(
    ("status", "body", "user", "known"),
    [
        (200, b'{"authenticated": true, "user_id": 7, "session_id": "abc"}', ALICE, True),
        (200, b'{"authenticated": false, "user_id": 7, "session_id": "abc"}', Caller(None, "abc"), True),
        (200, b"[]", ANONYMOUS, False),
        (200, b"<html>", ANONYMOUS, False),
        (500, b'{"authenticated": true, "user_id": 7}', ANONYMOUS, False),
    ],
)
def test_what_legacy_says(status: int, body: bytes, user: Caller, known: bool) -> None:
    assert understand(status, body) == (user, known)


def test_of_what_legacy_says_of_a_user_the_named_claims_are_kept_as_text() -> None:
    said = (
        b'{"authenticated": true, "user_id": 7, "claims": {"plan": "pro", "staff": true, "groups": ["a", "b"], "age": 7, "odd": {}, '
        b'"long": "' + b"l" * 300 + b'"}}'
    )
    caller, _ = understand(200, said, ["plan", "staff", "groups", "age", "odd", "missing", "long"])
    assert caller.claims == {"plan": "pro", "staff": "true", "groups": "a,b", "age": "7"}
    assert understand(200, said)[0].claims == {}
    assert understand(200, said.replace(b"true", b"false", 1), ["plan"])[0] == ANONYMOUS
