"""Keys: each with one name and one algorithm, and none that nobody should trust."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.identity import keyring
from gateway.identity.keyring import Key, Keyring, KeySetError, UnfitKeyError
from tests.support.tokens import SECRET, jwk, key, pem, weak

ALL = ("ES256", "EdDSA", "RS256")


def of_set(*members: Any, algorithms: tuple[str, ...] = ALL) -> tuple[dict[str | None, str], list[str]]:
    """(algorithm by kid, what is said)."""
    keys, said = keyring.from_set(json.dumps({"keys": members}).encode(), algorithms)
    return {each.kid: each.algorithm for each in keys}, said


@pytest.mark.parametrize("algorithm", ALL)
def test_a_key_is_the_same_from_pem_from_a_jwk_and_after_its_way_to_a_worker(algorithm: str) -> None:
    from_pem = keyring.from_public(pem(algorithm), algorithm, "a")
    from_jwk = keyring.from_public(json.dumps(jwk(algorithm)), algorithm, "a")
    (sent,) = keyring.loaded(keyring.dumped([from_pem]))
    assert from_pem.jwk() == from_jwk.jwk() == sent.jwk()
    assert (sent.kid, sent.algorithm) == ("a", algorithm)
    assert not keyring.PRIVATE & sent.jwk().keys()


@pytest.mark.parametrize("algorithm", ALL)
def test_a_key_for_one_algorithm_is_none_for_another(algorithm: str) -> None:
    for other in ALL:
        if other != algorithm:
            with pytest.raises(UnfitKeyError):
                keyring.from_public(pem(algorithm), other)
            with pytest.raises(UnfitKeyError, match="this JWK"):
                keyring.from_jwk(jwk(algorithm), other)


def test_a_private_key_is_refused_and_not_repeated() -> None:
    private = key("RS256")
    for text in (private.as_pem(private=True).decode(), json.dumps(private.as_dict(private=True))):
        with pytest.raises(UnfitKeyError, match="private") as refused:
            keyring.from_public(text, "RS256")
        assert str(private.as_dict(private=True)["d"])[:12] not in str(refused.value)
        assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '{"kty":"RSA"}', '{"kty":"RSA","n":7,"e":[]}', '{"kty":"RSA","n":"AQ","e":"AQAB"}', "x" * 99]
)
def test_what_is_no_key_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UnfitKeyError):
        keyring.from_public(text, "RS256")


def test_weak_keys_are_refused() -> None:
    with pytest.raises(UnfitKeyError, match="1024 bits"):
        keyring.from_public(weak().as_pem(), "RS256")
    with pytest.raises(UnfitKeyError, match="at least 32 bytes"):
        keyring.from_secret("x" * 31)
    assert keyring.from_secret("x" * 32).algorithm == "HS256"
    with pytest.raises(UnfitKeyError, match="no secret"):
        keyring.from_secret(pem("RS256"))


def test_nothing_that_is_printed_holds_the_key() -> None:
    secret = keyring.from_secret(SECRET, "s")
    assert repr(secret) == "Key('s', 'HS256')"
    assert SECRET not in repr(Keyring([secret]))


def test_by_name_by_algorithm_and_for_those_that_name_none() -> None:
    a, b = keyring.from_jwk(jwk("RS256"), "RS256", "a"), keyring.from_jwk(jwk("ES256"), "ES256", "b")
    nameless = keyring.from_jwk(jwk("RS256", 1), "RS256")
    ring = Keyring([a, b, nameless])
    assert (ring.named("a"), ring.named("b"), ring.named("c")) == (a, b, None)
    assert (ring.of("RS256"), ring.of("ES256"), ring.of("EdDSA")) == ((a, nameless), (b,), ())
    assert (ring.unnamed("RS256"), ring.unnamed("ES256"), ring.size) == ((nameless,), (), 3)


def test_who_has_a_name_first_keeps_it() -> None:
    ours, theirs = (Key("a", "RS256", keyring.from_jwk(jwk("RS256", number), "RS256").material) for number in (0, 1))
    ring = Keyring([ours, theirs])
    assert ring.named("a") is ours
    assert ring.of("RS256") == (ours,)


# A key server's word


def test_each_key_of_a_set_gets_its_algorithm_from_what_it_is() -> None:
    found, said = of_set(jwk("RS256", kid="r"), jwk("ES256", kid="e", use="sig"), jwk("EdDSA", kid="o", key_ops=["verify"], alg="EdDSA"))
    assert found == {"r": "RS256", "e": "ES256", "o": "EdDSA"}
    assert said == []


def test_keys_for_something_else_are_passed_over() -> None:
    p384 = {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "p384"}
    assert of_set(
        jwk("RS256", kid="enc", use="enc"),
        jwk("RS256", kid="ops", key_ops=["sign"]),
        jwk("RS256", kid="oaep", alg="RSA-OAEP"),
        jwk("RS256", kid="rs512", alg="RS512"),
        jwk("ES256", kid="not configured"),
        {"kty": "from the future", "kid": "f"},
        p384,
        "no key",
        None,
        algorithms=("RS256",),
    ) == ({}, [])


def test_what_nobody_should_trust_is_left_out_and_said_by_its_name() -> None:
    private = {**key("RS256").as_dict(private=True), "kid": "leaked"}
    small = {**weak().as_dict(private=False), "kid": "weak"}
    secret = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "hs", "alg": "HS256"}
    broken = {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken"}
    nameless = {"kty": "RSA", "n": "!", "e": "AQAB"}
    found, said = of_set(
        private, small, secret, broken, nameless, jwk("RS256", kid="good"), jwk("RS256", kid=7), jwk("RS256", kid="x" * 257)
    )
    assert found == {"good": "RS256"}
    text = "\n".join(said)
    for name in ("'leaked'", "'weak'", "'hs'", "'broken'", "number 5", "number 7", "number 8"):
        assert name in text
    assert "1024 bits" in text
    assert str(private["d"])[:10] not in text
    assert secret["k"] not in text


def test_two_keys_of_one_name_are_both_left_out_and_one_that_is_there_twice_is_one() -> None:
    found, said = of_set(
        jwk("RS256", 0, kid="a"), jwk("RS256", 1, kid="a"), jwk("ES256", kid="b"), jwk("ES256", kid="b"), jwk("EdDSA"), jwk("EdDSA", 1)
    )
    assert found == {"b": "ES256", None: "EdDSA"}
    assert said == ["two keys have the kid 'a': neither is used"]
    assert of_set(jwk("RS256", kid="a"), jwk("ES256", kid="a"))[0] == {}, "a name stands for one key, and not for one of each algorithm"


def test_an_empty_set_is_one() -> None:
    assert of_set() == ({}, [])


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "not-json"),
        (b"<html>", "not-json"),
        (b'{"keys": [', "not-json"),
        (b"[" * 100_000, "not-json"),
        (b"[]", "not-a-key-set"),
        (b"{}", "not-a-key-set"),
        (b'{"keys": {}}', "not-a-key-set"),
        (b'{"keys": [' + b"1," * 100 + b"1]}", "too-many-keys"),
    ],
)
def test_what_is_no_set_of_keys(document: bytes, code: str) -> None:
    with pytest.raises(KeySetError, match=f"^{code}$"):
        keyring.from_set(document, ALL)
