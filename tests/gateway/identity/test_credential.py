"""What of a request is the credential: read in one way, or not at all."""

from __future__ import annotations

from http.cookies import SimpleCookie, _unquote  # type: ignore[attr-defined] # by which Django takes quotes off

import pytest
from django.http.cookie import parse_cookie
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity.credential import LONGEST, Credential, CredentialError

BOTH = Credential("sid", "Token")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (b"\r\nHost: a", (b"", b"")),
        (b"\r\nCookie: sid=1", (b"1", b"")),
        (b"\r\ncookie:a=b;sid=1 ;c=d", (b"1", b"")),
        (b"\r\nCookie: a=b\r\nCOOKIE: sid=1", (b"1", b"")),
        (b"\r\nCookie: sid=1; sid=1", (b"1", b"")),
        (b"\r\nCookie: sid=a=b==", (b"a=b==", b"")),
        (b"\r\nCookie: sid=", (b"", b"")),
        (b"\r\nCookie: asid=1; sid2=2; SID=3", (b"", b"")),
        (b"\r\nCookie: a=x sid=2", (b"", b"")),
        (b'\r\nCookie: a=" sid=2"; sid=3', (b"3", b"")),
        (b"\r\nReferer: /?a= sid=2\r\nCookie: sid=3", (b"3", b"")),
        (b"\r\nReferer: /?a= sid=2", (b"", b"")),
        (b"\r\nCookie:sid=4\r\nX: y", (b"4", b"")),
        (b"\r\nCookie:\tsid=4\t;x", (b"4", b"")),
        (b"\r\nCookie: a=b: sid=1", (b"", b"")),
        (b"\r\nCookie: sid= 5", (b"5", b"")),
        (b"\r\nCookie: a=sid; sid= 5", (b"5", b"")),
        (b"\r\nReferer: /?sid=2\r\nCookie: sid= 5", (b"5", b"")),
        (b"\r\nX-Cookie: sid=1\r\nX: Cookie: sid=1", (b"", b"")),
        (b"\r\nAuthorization: Token t", (b"", b"t")),
        (b"\r\nauthorization:  TOKEN  t ", (b"", b"t")),
        (b"\r\nAuthorization: Bearer t", (b"", b"")),
        (b"\r\nAuthorization: Tokent", (b"", b"")),
        (b"\r\nAuthorization: Token", (b"", b"")),
        (b"\r\nCookie: sid=1\r\nAuthorization: Token t", (b"1", b"t")),
    ],
)
def test_what_is_read(fields: bytes, found: tuple[bytes, bytes]) -> None:
    assert BOTH.read(fields) == found


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (b"\r\nCookie: sid=1; sid=2", "doubled"),
        (b"\r\nCookie: sid=1\r\nCookie: sid=2", "doubled"),
        (b"\r\nCookie: sid=; sid=2", "doubled"),
        (b"\r\nCookie: sid =1", "malformed"),
        (b"\r\nCookie: sid=1; sid\t=2", "malformed"),
        (b"\r\nCookie: \x1csid=1", "malformed"),
        (b"\r\nCookie: sid\xc2\xa0=1", "malformed"),
        (b"\r\nAuthorization: Token t\r\nAuthorization: Token t", "doubled"),
        (b"\r\nAuthorization: Basic t\r\nAuthorization: Token t", "doubled"),
        (b"\r\nCookie: sid=" + b"1" * (LONGEST + 1), "oversized"),
        (b"\r\nAuthorization: Token " + b"1" * (LONGEST + 1), "oversized"),
    ],
)
def test_what_is_no_credential(fields: bytes, why: str) -> None:
    with pytest.raises(CredentialError) as caught:
        BOTH.read(fields)
    assert caught.value.why == why


SPACES = [" ", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2003"]
PIECES = st.sampled_from(["sid", "sid", "=", "=", ";", "; ", *SPACES, "a", "asid", "1", "2", '"', ",", ":"])


@given(st.lists(PIECES, max_size=12).map("".join))
@settings(max_examples=2000, deadline=None)
def test_what_is_read_is_what_django_reads(header: str) -> None:
    """Or nothing is: who is known here is never somebody else at legacy."""
    try:
        read, _ = BOTH.read(b"\r\nCookie: " + header.encode())
    except CredentialError:
        return
    told = parse_cookie(header).get("sid", "")
    assert _unquote(read.decode().strip()) == told


def test_what_is_not_looked_at() -> None:
    fields = b"\r\nCookie: sid=1; sid=2\r\nAuthorization: Token t\r\nAuthorization: Token u"
    assert Credential("other", "").read(fields) == (b"", b"")
    with pytest.raises(CredentialError):
        Credential("", "Token").read(fields)


def test_the_key_says_where_it_stood_and_not_what_it_was() -> None:
    keys = {
        BOTH.key(b"1", b""),
        BOTH.key(b"", b"1"),
        Credential("sid", "").key(b"1", b""),
        Credential("", "Token").key(b"", b"1"),
        Credential("other", "Token").key(b"1", b""),
    }
    assert len(keys) == 5
    assert {len(key) for key in keys} == {32}


VALUE = st.text("abcdef0123456789=-._", min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from(["sid", "a", "theme"]), VALUE), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
def test_it_reads_as_pythons_own_cookies_do(pairs: list[tuple[str, str]]) -> None:
    text = "; ".join(f"{name}={value}" for name, value in pairs)
    expected = SimpleCookie(text)
    found, _ = Credential("sid", "").read(b"\r\nCookie: " + text.encode())
    assert found.decode() == (expected["sid"].value if "sid" in expected else "")
