"""Who is asked for, how often, and for how long the answer holds: without a clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.identity.caller import ANONYMOUS, Caller, refused, unsaid
from gateway.identity.callers import FAILURE_SECONDS, MOST_ASKED, MOST_OF_ONE_COOKIE, Callers, Question, ended, renewals, understand
from gateway.identity.credential import Credential
from gateway.policy.admission import Standing
from gateway.settings import Identity

ALICE = Caller("7", "abc", standing=Standing.KNOWN)
AWAY = unsaid("timeout")
SESSION = Credential("sessionid", "")
HEAD = b"\r\nHost: a\r\nCookie: theme=dark; sessionid=s3cret; x=y"


class Asked:
    """The callers of one worker, and what they were told."""

    def __init__(self, **settings: object) -> None:
        self.callers = Callers(Identity.model_validate({"source": "introspection", **settings}))
        self.told: list[Caller] = []

    def lookup(self, now: float, fields: bytes = HEAD) -> Caller | Question | None:
        return self.callers.lookup(SESSION, fields, self.told.append, now)

    def question(self, now: float, fields: bytes = HEAD) -> Question:
        found = self.lookup(now, fields)
        assert isinstance(found, Question)
        return found


def test_one_question_however_many_wait() -> None:
    asked = Asked()
    question = asked.question(0)
    assert question.fields == ((b"Cookie", b"sessionid=s3cret"),)
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
    asked.callers.learned(asked.question(0), AWAY, 0, known=False)
    assert asked.told == [AWAY]
    assert asked.lookup(FAILURE_SECONDS - 0.01) == AWAY
    assert isinstance(asked.lookup(FAILURE_SECONDS), Question)
    assert asked.callers.outcomes == {"timeout": 1}


def test_while_legacy_cannot_say_the_last_answer_is_believed_for_a_while() -> None:
    asked = Asked(cache="10s", grace="60s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    asked.callers.learned(asked.question(10.0), AWAY, 10.0, known=False)
    assert asked.told == [ALICE, ALICE]
    for now in (40.0, 69.9):
        question = asked.question(now)
        assert question.meanwhile == asked.lookup(now) == ALICE, "nobody waits for what others have waited for in vain"
        asked.callers.learned(question, AWAY, now, known=False)
    assert asked.told == [ALICE, ALICE]
    # Not for a moment longer, even just after a failure.
    asked.callers.learned(asked.question(70.0), AWAY, 70.0, known=False)
    assert asked.told[-1] is AWAY


def test_once_legacy_answers_again_its_answer_is_waited_for() -> None:
    asked = Asked(cache="10s", grace="60s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    asked.callers.learned(asked.question(10), AWAY, 10, known=False)
    back = asked.question(11)
    assert back.meanwhile == ALICE
    asked.callers.learned(back, ANONYMOUS, 11, known=True)
    assert asked.lookup(12) == ANONYMOUS
    again = asked.question(14)
    assert again.meanwhile is None
    asked.callers.learned(again, ALICE, 14, known=True)
    assert asked.told[-1] == ALICE


def test_what_was_ended_is_not_believed_meanwhile() -> None:
    asked = Asked(cache="10s", grace="60s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    asked.callers.learned(asked.question(10), AWAY, 10, known=False)
    asked.callers.drop(SESSION.cookie_key(b"s3cret"))
    assert asked.question(11).meanwhile is None


def test_nobody_is_not_believed_for_longer_than_legacy_says_so() -> None:
    asked = Asked(negative_cache="2s", grace="60s")
    asked.callers.learned(asked.question(0), ANONYMOUS, 0, known=True)
    asked.callers.learned(asked.question(2), AWAY, 2, known=False)
    assert asked.told == [ANONYMOUS, AWAY]


def test_a_credential_is_good_for_no_longer_than_legacy_says() -> None:
    asked = Asked(cache="10s", grace="60s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True, lifetime=3.0)
    assert asked.lookup(2.9) == ALICE
    asked.callers.learned(asked.question(3), AWAY, 3, known=False)
    assert asked.told[-1] is AWAY


def test_what_was_ended_is_forgotten_also_by_the_question_under_way() -> None:
    asked = Asked()
    key = SESSION.cookie_key(b"s3cret")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    asked.callers.drop(key)
    question = asked.question(1)
    asked.callers.drop(key)
    later = asked.question(2)
    assert later is not question, "whoever comes after the end is not told what was asked before it"
    asked.callers.learned(question, ALICE, 3, known=True)
    assert asked.lookup(3) is None
    asked.callers.learned(later, ANONYMOUS, 4, known=True)
    assert asked.lookup(5) == ANONYMOUS


BOTH = Credential("sessionid", "Token")


@pytest.mark.parametrize(
    ("credential", "fields"),
    [
        (BOTH, HEAD),
        (BOTH, HEAD + b"\r\nAuthorization: Token t"),
        (SESSION, b'\r\nCookie: sessionid="s3cret"'),
    ],
    ids=["another route's credential", "beside a token", "in quotes"],
)
def test_a_cookie_that_was_ended_is_forgotten_wherever_it_was_a_credential(credential: Credential, fields: bytes) -> None:
    asked = Asked(grace="60s")
    key = ended(SESSION, HEAD, b"\r\nSet-Cookie: sessionid=; Max-Age=0")
    assert key is not None

    def question() -> Question:
        found = asked.callers.lookup(credential, fields, asked.told.append, 0)
        assert isinstance(found, Question)
        return found

    asked.callers.learned(question(), ALICE, 0, known=True)
    assert asked.callers.lookup(credential, fields, asked.told.append, 0) == ALICE
    asked.callers.drop(key)
    under_way = question()
    asked.callers.drop(key)
    asked.callers.learned(under_way, ALICE, 0, known=True)
    asked.callers.learned(question(), AWAY, 0, known=False)
    assert asked.told[-1] is AWAY


@pytest.mark.parametrize("value", [b'"s3\\143ret"', b"s3cret\xc2\xa0"])
def test_what_django_reads_as_another_cookie_is_none(value: bytes) -> None:
    assert Asked().lookup(0, b"\r\nCookie: sessionid=" + value) == refused("malformed")


def test_one_cookie_with_many_tokens_is_remembered_with_some_of_them() -> None:
    asked = Asked()
    for number in range(100):
        fields = HEAD + b"\r\nAuthorization: Token t%d" % number
        found = asked.callers.lookup(BOTH, fields, asked.told.append, 0)
        assert isinstance(found, Question)
        asked.callers.learned(found, ALICE, 0, known=True)
    assert len(asked.callers._known) == MOST_OF_ONE_COOKIE
    asked.callers.drop(BOTH.cookie_key(b"s3cret"))
    assert len(asked.callers._known) == 0


def test_what_can_be_ended_is_bounded_and_what_cannot_is_not_remembered() -> None:
    asked = Asked(entries=2)
    for number in range(5):
        asked.callers.learned(asked.question(0, b"\r\nCookie: sessionid=s%d" % number), ALICE, 0, known=True)
    assert len(asked.callers._of_cookie) == len(asked.callers._known) == 2
    for number in range(5):
        asked.callers.drop(SESSION.cookie_key(b"s%d" % number))
    assert len(asked.callers._known) == 0


def test_a_crowd_of_made_up_cookies_is_asked_about_up_to_a_number() -> None:
    asked = Asked(cache="10s", grace="60s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    for number in range(MOST_ASKED):
        asked.question(20, b"\r\nCookie: sessionid=made-up-%d" % number)
    assert asked.lookup(20, b"\r\nCookie: sessionid=one-more") == unsaid("busy")
    assert asked.lookup(20) == ALICE, "whom legacy knew lately"
    assert asked.lookup(80) == unsaid("busy"), "and no longer than that"
    assert asked.callers.outcomes["busy"] == 3


def test_a_cookie_that_was_ended_while_it_was_renewed_is_not_given_out() -> None:
    asked = Asked()
    question = asked.question(0)
    asked.callers.drop(SESSION.cookie_key(b"s3cret"))
    asked.callers.learned(question, replace(ALICE, cookies=(b"sessionid=s3cret; Max-Age=60",)), 0, known=True)
    assert [caller.cookies for caller in asked.told] == [()]


def test_a_renewed_cookie_is_for_those_who_waited() -> None:
    asked = Asked()
    renewed = Caller("7", cookies=(b"sessionid=s3cret; Max-Age=60",), standing=Standing.KNOWN)
    asked.callers.learned(asked.question(0), renewed, 0, known=True)
    assert asked.told[0].cookies
    found = asked.lookup(1)
    assert isinstance(found, Caller)
    assert found.cookies == ()


@pytest.mark.parametrize(
    ("line", "over"),
    [
        (b"Set-Cookie: sessionid=s3cret; Max-Age=60", False),
        (b"set-cookie:sessionid=other; Max-Age=60", True),
        (b'Set-Cookie: sessionid=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0', True),
        (b"Set-Cookie: sessionid2=other", False),
        (b"Set-Cookie: csrftoken=sessionid=other", False),
        (b"X: sessionid=other", False),
    ],
)
def test_an_answer_that_ends_a_session(line: bytes, over: bool) -> None:
    found = ended(SESSION, HEAD, b"\r\nServer: x\r\n" + line)
    assert found == (SESSION.cookie_key(b"s3cret") if over else None)
    assert ended(SESSION, b"\r\nHost: a", b"\r\n" + line) is None
    assert ended(SESSION, HEAD + b"\r\nCookie: sessionid=twice", b"\r\n" + line) is None


def test_what_renews_is_what_sets_that_cookie() -> None:
    answer = b"\r\nSet-Cookie: csrftoken=1\r\nset-cookie:  sessionid=2; Path=/ \r\nX: sessionid=3\r\nSet-Cookie: sessionid=4"
    assert renewals(answer, "sessionid") == (b"sessionid=2; Path=/", b"sessionid=4")
    assert renewals(answer, "") == renewals(answer, "session") == ()


def test_what_is_remembered_is_bounded_and_holds_no_credential() -> None:
    asked = Asked(entries=2)
    for number in range(3):
        head = b"\r\nCookie: sessionid=s%d" % number
        asked.callers.learned(asked.question(0, head), Caller(str(number), standing=Standing.KNOWN), 0, known=True)
    assert isinstance(asked.lookup(0, b"\r\nCookie: sessionid=s0"), Question)
    assert asked.lookup(0, b"\r\nCookie: sessionid=s2") == Caller("2", standing=Standing.KNOWN)
    assert b"s2" not in b"".join(asked.callers._known._callers)


@pytest.mark.parametrize("head", [b"\r\nHost: a", b"\r\nCookie: sessionid=", b"\r\nCookie: notsessionid=s", b"\r\nX: sessionid=s"])
def test_nobody_is_asked_about_nothing(head: bytes) -> None:
    assert Asked().lookup(0, head) == ANONYMOUS


@pytest.mark.parametrize(
    ("status", "body", "caller", "known", "lifetime"),
    [
        (200, b'{"authenticated": true, "user_id": 7, "session_id": "abc"}', ALICE, True, None),
        (200, b'{"authenticated": true, "user_id": "7", "session_id": "abc", "expires_in": 600}', ALICE, True, 600.0),
        (200, b'{"authenticated": true, "user_id": 7, "session_id": "abc", "expires_in": 60}', replace(ALICE, expires=60.0), True, 60.0),
        (200, b'{"authenticated": true, "user_id": 7, "session_id": "abc", "expires_in": 0}', ALICE, True, None),
        (200, b'{"authenticated": true, "user_id": 7, "session_id": "abc", "expires_in": true}', ALICE, True, None),
        (200, b'{"authenticated": false, "user_id": 7, "session_id": "abc"}', Caller(None, "abc"), True, None),
        (200, b'{"authenticated": "false", "user_id": 7}', unsaid("not-an-identity"), False, None),
        (200, b'{"authenticated": true}', unsaid("no-user-id"), False, None),
        (200, b'{"authenticated": true, "user_id": ""}', unsaid("no-user-id"), False, None),
        (200, b'{"authenticated": true, "user_id": true}', unsaid("no-user-id"), False, None),
        (200, b"{}", unsaid("not-an-identity"), False, None),
        (200, b"[]", unsaid("not-an-identity"), False, None),
        (200, b"<html>", unsaid("not-json"), False, None),
        (302, b"", unsaid("status-302"), False, None),
        (401, b"", refused("by-legacy"), True, None),
        (403, b"", refused("by-legacy"), True, None),
        (500, b'{"authenticated": true, "user_id": 7}', unsaid("status-500"), False, None),
    ],
)
def test_what_legacy_says(status: int, body: bytes, caller: Caller, known: bool, lifetime: float | None) -> None:
    assert understand(status, body, wall=0.0) == (caller, known, lifetime)


def test_of_what_legacy_says_of_a_user_the_named_claims_are_kept_as_text() -> None:
    said = (
        b'{"authenticated": true, "user_id": 7, "claims": {"plan": "pro", "staff": true, "groups": ["a", "b"], "age": 7, "odd": {}, '
        b'"long": "' + b"l" * 300 + b'"}}'
    )
    caller, _, _ = understand(200, said, ["plan", "staff", "groups", "age", "odd", "missing", "long"], wall=0.0)
    assert caller.claims == {"plan": "pro", "staff": "true", "groups": "a,b", "age": "7"}
    assert understand(200, said, wall=0.0)[0].claims == {}
    assert understand(200, said.replace(b"true", b"false", 1), ["plan"], wall=0.0)[0] == ANONYMOUS


def test_made_up_cookies_push_out_each_other_and_nobody_who_is_logged_in() -> None:
    asked = Asked(entries=3)
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    for number in range(10):
        head = b"\r\nCookie: sessionid=made-up-%d" % number
        asked.callers.learned(asked.question(0, head), ANONYMOUS, 0, known=True)
    assert asked.lookup(1) == ALICE
    assert isinstance(asked.lookup(1, b"\r\nCookie: sessionid=made-up-0"), Question)
    assert asked.lookup(1, b"\r\nCookie: sessionid=made-up-9") == ANONYMOUS
    asked.callers.drop(SESSION.cookie_key(b"s3cret"))
    assert isinstance(asked.lookup(1), Question)


def test_who_was_known_and_is_nobody_now_is_not_believed_any_longer() -> None:
    asked = Asked(cache="10s", grace="60s", negative_cache="2s")
    asked.callers.learned(asked.question(0), ALICE, 0, known=True)
    asked.callers.learned(asked.question(10), ANONYMOUS, 10, known=True)
    asked.callers.learned(asked.question(12), AWAY, 12, known=False)
    assert asked.told == [ALICE, ANONYMOUS, AWAY]
