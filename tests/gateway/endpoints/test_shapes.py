"""What of a path is kept as it stands, and what never is."""

from __future__ import annotations

import random
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints.shapes import announcing, shape

WORDS = (
    "api v1 v1.2 items reviews recommendations orders authentication wp-admin robots.txt favicon.ico .well-known openid-configuration "
    "graphql userProfile getUserByName oauth2 sha256 2fa i18n healthz csrf_token app.js jquery.min.js items:batchGet product_view README "
    "timezone statistics subscriptions internationalization who-am-i"
)


@pytest.mark.parametrize("word", WORDS.split())
def test_words_of_apis_stand_for_themselves(word: str) -> None:
    assert shape(word.encode()) == ""


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        ("381", "{id}"),
        ("-5", "{id}"),
        ("12.5", "{id}"),
        ("37.5665,126.9780", "{id}"),
        ("6f1c2a34-0b5d-4c3e-9f00-aabbccddeeff", "{uuid}"),
        ("3f2a1b9c", "{hash}"),
        ("d41d8cd98f00b204e9800998ecf8427e", "{hash}"),
        ("2026-05-06", "{date}"),
        ("2026-05-06T10:00:00Z", "{date}"),
        ("ana@example.org", "{email}"),
        ("ana%40example.org", "{email}"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{token}"),
        ("dGhpc2lzYXNlY3JldA", "{token}"),
        ("sk_live_abcdefghijkl", "{token}"),
        ("eyJhbGciOiJIUzI1NiJ9.e30.abc", "{token}"),
        ("cus_9s6XKzkNRiz8i3", "{token}"),
        ("k3j9x2", "{…}"),
        ("order-1001", "{…}"),
        ("%EC%83%81", "{…}"),
        ("a=b", "{…}"),
        ("10-best-ways-to-cook-rice-at-home", "{…}"),
        ("app.3f2a1b9c.js", "{hash}.js"),
        ("381.json", "{id}.json"),
    ],
)
def test_values_are_named_by_what_they_look_like(segment: str, expected: str) -> None:
    assert shape(segment.encode()) == expected


def test_behind_some_words_stands_a_secret_or_a_person() -> None:
    assert shape(b"sunflower", b"reset") == "{…}"
    assert shape(b"sunflower", b"items") == ""
    assert shape(b"alice", b"Users") == "{…}"
    assert shape(b"done", b"reset") == ""
    assert shape(b"me", b"users") == ""
    assert announcing(b"MQ", "{…}", b"reset") == b"reset", "a secret may have several parts"
    assert announcing(b"12", "{id}", b"webhooks") == b"12"
    assert announcing(b"alice", "{…}", b"users") == b"alice"


@given(st.uuids(), st.emails())
def test_uuids_and_addresses_are_never_words(number: uuid.UUID, address: str) -> None:
    assert shape(str(number).encode()) == "{uuid}"
    assert shape(number.hex.encode()) == "{hash}" or number.hex.isdigit()
    assert shape(address.encode()) == "{email}"


@given(st.binary(max_size=80), st.sampled_from([b"", b"api", b"token"]))
def test_whatever_comes_has_a_shape_and_words_are_harmless_text(segment: bytes, after: bytes) -> None:
    if shape(segment, after) == "":
        assert len(segment) <= 48
        assert set(segment) <= set((string.ascii_letters + string.digits + "-_.~:").encode())


@pytest.mark.parametrize(
    ("alphabet", "length", "most"),
    [
        (string.ascii_letters + string.digits, 10, 0.01),
        (string.ascii_letters + string.digits + "-_", 22, 0.001),
        (string.ascii_letters, 12, 0.005),
        (string.ascii_uppercase + "234567", 16, 0.0),
        (string.ascii_lowercase, 16, 0.005),
        (string.ascii_lowercase, 20, 0.001),
        (string.hexdigits.lower(), 16, 0.001),
    ],
)
def test_random_segments_are_hardly_ever_words(alphabet: str, length: int, most: float) -> None:
    chance = random.Random(7)  # the same ones each time
    taken = sum(shape("".join(chance.choices(alphabet, k=length)).encode()) == "" for _ in range(5000))
    assert taken / 5000 <= most
