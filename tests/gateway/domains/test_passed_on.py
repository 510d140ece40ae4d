"""Whose call it is: only by a stamp that one of our keys has signed, and only for as long as it is good."""

from __future__ import annotations

import base64
import json

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from gateway.domains.passed_on import LONGEST, PassedOn
from gateway.identity.caller import ANONYMOUS
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import StampKey, read_key
from tests.support.stamp_keys import OTHER_SECRET, SECRET, pem, private

NOW = 1_700_000_000.0


def stamp(key: StampKey, domain: str = "review", issuer: str = "banyan") -> bytes:
    line = Stamps(key.sign, key.kid, issuer, 60.0, domain=domain).field(ANONYMOUS, "reviews", NOW)
    return line.removeprefix(b"\r\nBanyan-Identity: ")


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
def test_a_stamp_of_ours_names_its_domain_until_it_ends(algorithm: str) -> None:
    key = read_key(SECRET if algorithm == "HS256" else pem(private(algorithm)))
    passed_on = PassedOn([read_key(OTHER_SECRET), key], "banyan")
    token = stamp(key)
    for _ in range(2):  # the second time it is remembered
        assert passed_on.domain(token, NOW) == "review"
        assert passed_on.domain(token, NOW + 59.9) == "review"
        assert passed_on.domain(token, NOW + 60) is None
    assert passed_on.domain(stamp(key, ""), NOW) == ""


def test_nothing_else_does() -> None:
    key, other = read_key(SECRET), read_key(OTHER_SECRET)
    passed_on = PassedOn([key], "banyan")
    good = stamp(key)
    head, claims, signature = good.split(b".")
    forged = base64.urlsafe_b64encode(json.dumps({"iss": "banyan", "exp": int(NOW) + 60, "domain": "user"}).encode()).rstrip(b"=")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": key.kid, "typ": "banyan+jwt"}).encode()).rstrip(b"=")
    untyped = jwt.encode({"alg": "HS256", "kid": key.kid}, json.loads(base64.urlsafe_b64decode(claims + b"==")), OctKey.import_key(SECRET))
    bad = [
        *(b"", b".", b"a.b.c", b"\xff.\xff.\xff", good[:-2], head + b"." + forged + b"." + signature, none + b"." + forged + b"."),
        *(stamp(other), stamp(key, issuer="somebody"), untyped.encode(), good + b"a" * LONGEST),
    ]
    assert [passed_on.domain(token, NOW) for token in bad] == [None] * len(bad)
    assert passed_on.domain(good, NOW) == "review"


def test_what_is_remembered_is_bounded() -> None:
    key = read_key(SECRET)
    passed_on = PassedOn([key], "banyan", entries=2)
    tokens = [stamp(key, domain) for domain in ("a", "b", "c")]
    assert [passed_on.domain(token, NOW) for token in tokens * 2] == ["a", "b", "c"] * 2
    assert len(passed_on._read) == 2
