"""Of a cookie that is set, name and attributes stay; the value does not, however it is written."""

from __future__ import annotations

import random

import pytest

from gateway.set_cookie import ATTRIBUTES, without_value


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"s=secret", b"s=*"),
        (b" s = secret ", b"s=*"),
        (b"s=secret; Path=/; Domain=shop.test; Secure; HttpOnly", b"s=*; Path=/; Domain=shop.test; Secure; HttpOnly"),
        (b"s=secret;path=/a;SAMESITE=Lax;Max-Age=60;Partitioned", b"s=*; path=/a; SAMESITE=Lax; Max-Age=60; Partitioned"),
        (b"s=secret; Expires=Wed, 21 Oct 2026 07:28:00 GMT", b"s=*; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"s=; Max-Age=0", b"s=; Max-Age=0"),
        (b's="secret"', b"s=*"),
        (b's="a;secret=1; Path=/"', b's=*; Path=/"'),
        (b"s=a=secret==; Path=/", b"s=*; Path=/"),
        (b"secret", b"=*"),
        (b"secret; Path=/", b"=*; Path=/"),
        (b"=secret", b"=*"),
        (b"", b"="),
        (b";;;", b"="),
        (b"s=x; secret; Session=secret", b"s=*"),
        (b"n" * 300 + b"=x", b"n" * 200 + b"=*"),
    ],
)
def test_what_is_left(value: bytes, left: bytes) -> None:
    assert without_value(value) == left


def test_nothing_of_a_value_is_ever_left() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        value = "".join(chance.choices('SECRT"= ,;\t\\', k=chance.randint(1, 30))).encode()
        left = without_value(b"name=" + value + b"; Path=/")
        assert left.startswith(b"name=")
        assert not set(b"SECRT") & set(left.replace(b"name=*", b"").replace(b"; Path=/", b"")), (value, left)


def test_the_attributes_that_are_compared_stay() -> None:
    for name in ATTRIBUTES:
        assert without_value(b"s=x; " + name + b"=v") == b"s=*; " + name + b"=v"
