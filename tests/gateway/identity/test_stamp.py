"""What a stamp says, for how long it is sent again, and who shares one: without a clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.identity.caller import ANONYMOUS, Caller, refused, unsaid
from gateway.identity.stamp import LONGEST, Stamps
from gateway.identity.stamp_keys import read_key
from gateway.policy.admission import Standing
from tests.support.stamp_keys import SECRET

NOW = 1_700_000_000.0


class Signer:
    """Signs as it is, and remembers what."""

    def __init__(self, ttl: float = 60.0, entries: int = 100) -> None:
        self.said: list[Mapping[str, object]] = []
        self.stamps = Stamps(self.sign, "kid", "banyan", ttl, entries)

    def sign(self, claims: Mapping[str, object]) -> bytes:
        self.said.append(claims)
        return json.dumps(claims).encode()

    def field(self, caller: Caller | None, upstream: str = "reviews", now: float = NOW) -> bytes:
        return self.stamps.field(caller, upstream, now)


def known(user: str = "7", **more: Any) -> Caller:
    return Caller(user, more.pop("session", "s-1"), standing=Standing.KNOWN, **more)


def test_a_user_s_stamp_says_who_for_whom_and_until_when() -> None:
    signer = Signer()
    line = signer.field(known(claims={"plan": "gold"}))
    assert line.startswith(b"\r\nBanyan-Identity: ")
    assert not line.endswith(b"\r\n")
    expected = {
        "iss": "banyan",
        "aud": "reviews",
        "iat": int(NOW),
        "exp": int(NOW) + 60,
        "sub": "7",
        "sid": "s-1",
        "claims": {"plan": "gold"},
    }
    assert signer.said == [expected]


def test_of_nobody_asked_for_nothing_is_said() -> None:
    signer = Signer()
    assert signer.field(None) == b""
    assert signer.said == []


@pytest.mark.parametrize("caller", [ANONYMOUS, refused("expired"), unsaid("timeout"), Caller("7", standing=Standing.REFUSED)])
def test_who_is_not_known_is_stamped_as_anonymous(caller: Caller) -> None:
    signer = Signer()
    assert signer.field(caller)
    assert signer.said == [{"iss": "banyan", "aud": "reviews", "iat": int(NOW), "exp": int(NOW) + 60}]


def test_all_that_are_nobody_share_one_signature() -> None:
    signer = Signer()
    lines = {signer.field(caller) for caller in (ANONYMOUS, refused("doubled"), refused("doubled"), unsaid("timeout"))}
    assert len(lines) == len(signer.said) == 1


def test_a_visitor_is_named_by_his_session_once_he_has_come_back() -> None:
    signer = Signer()
    signer.field(Caller(None, "visitor-1", fleeting=True))
    signer.field(Caller(None, "visitor-2", fleeting=True))
    signer.field(Caller(None, "visitor-1"))
    assert ["sid" in said for said in signer.said] == [False, True]


def test_the_same_stamp_is_sent_again_during_the_first_half_of_its_life() -> None:
    signer, caller = Signer(ttl=60), known()
    first = signer.field(caller)
    assert signer.field(caller, now=NOW + 29.9) == first
    assert signer.field(caller, now=NOW + 30) != first
    assert [said["iat"] for said in signer.said] == [int(NOW), int(NOW) + 30]


def test_a_clock_that_was_set_back_makes_a_new_one() -> None:
    signer, caller = Signer(), known()
    first = signer.field(caller)
    assert signer.field(caller, now=NOW - 3600) != first


def test_equal_callers_share_one() -> None:
    signer = Signer()
    assert signer.field(known(claims={"a": "1", "b": "2"})) == signer.field(known(claims={"b": "2", "a": "1"}))
    assert len(signer.said) == 1


@pytest.mark.parametrize(
    "other",
    [known("8"), known(session="s-2"), known(claims={"plan": "gold"}), known(claims={"plan": "free"}), known(expires=NOW + 5)],
    ids=["user", "session", "claim", "other claim", "expiry"],
)
def test_whoever_differs_in_anything_does_not(other: Caller) -> None:
    signer = Signer()
    for caller in (known(), known(claims={"plan": "silver"})):
        assert signer.field(other) != signer.field(caller)


def test_an_id_that_another_caller_gets_later_is_not_taken_for_the_first() -> None:
    """Callers are looked up by identity: one that is gone must not leave its stamp to whoever lies in its place."""
    signer = Signer(entries=3)
    for number in range(200):
        signer.field(known(str(number)))
        assert signer.said[-1]["sub"] == str(number)


def test_another_upstream_gets_another() -> None:
    signer, caller = Signer(), known()
    assert signer.field(caller, "reviews") != signer.field(caller, "legacy")
    assert [said["aud"] for said in signer.said] == ["reviews", "legacy"]
    assert signer.field(caller, "reviews")
    assert len(signer.said) == 2


def test_it_never_outlives_the_credential() -> None:
    signer, caller = Signer(), known(expires=NOW + 20.9)
    first = signer.field(caller)
    assert signer.said[-1]["exp"] == int(NOW) + 20
    assert signer.field(caller, now=NOW + 19) == first
    signer.field(caller, now=NOW + 21)
    assert signer.said[-1]["exp"] == int(NOW) + 20  # and whoever gets it refuses it


def test_what_is_remembered_is_bounded() -> None:
    signer = Signer(entries=10)
    callers = [known(str(number)) for number in range(50)]
    for caller in callers:
        signer.field(caller)
    assert len(signer.stamps._near) == len(signer.stamps._known) == 10
    signed = len(signer.said)
    signer.field(callers[-1])
    assert len(signer.said) == signed
    signer.field(callers[0])
    assert len(signer.said) == signed + 1


def test_one_that_no_server_would_take_is_not_sent() -> None:
    signer = Signer()
    caller = known("u" * LONGEST)
    assert signer.field(caller) == b""
    assert signer.field(caller) == b""
    assert len(signer.said) == 1


def test_what_a_real_key_signs_is_one_line_of_a_head() -> None:
    key = read_key(SECRET)
    line = Stamps(key.sign, key.kid, "banyan", 60).field(known("ü\r\nX: y"), "reviews", NOW)
    assert line.count(b"\r\n") == 1
    head, payload, _ = line.partition(b": ")[2].split(b".")
    assert json.loads(base64.urlsafe_b64decode(head + b"==")) == {"alg": "HS256", "kid": key.kid, "typ": "banyan+jwt"}
    assert json.loads(base64.urlsafe_b64decode(payload + b"=="))["sub"] == "ü\r\nX: y"
