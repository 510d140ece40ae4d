"""A visitor stays the same to the flags, and nobody makes one up."""

from __future__ import annotations

import os
import re

import pytest

from gateway.identity import visitors
from gateway.identity.caller import Caller
from gateway.identity.visitors import Visitors
from gateway.settings import Visitor

KEY = "k" * 32


def made(key: str = KEY, **settings: object) -> Visitors:
    return Visitors(Visitor.model_validate({"key": key, **settings}), os.urandom)


def cookie(subject: Visitors) -> tuple[Caller, bytes]:
    return subject.new()


@pytest.mark.parametrize("head", [b"\r\nCookie: %b", b"\r\nHost: a\r\ncookie:theme=dark; %b; x=y", b"\r\nCookie: a=b\r\nCookie: %b"])
def test_the_same_visitor_each_time(head: bytes) -> None:
    caller, pair = cookie(made())
    assert caller.user_id is None
    assert caller.session_id is not None
    for _ in "again":
        assert made().known(head % pair) == caller


def test_each_new_visitor_is_another() -> None:
    subject = made()
    assert len({subject.new()[0].session_id for _ in range(100)}) == 100


def test_made_up_altered_and_foreign_ones_are_nobodys() -> None:
    subject = made()
    _, pair = subject.new()
    name, _, value = pair.partition(b"=")
    for wrong in (
        value[:-1] + (b"A" if value[-1:] != b"A" else b"B"),
        (b"A" if value[:1] != b"A" else b"B") + value[1:],
        value + b"A",
        value[:-1],
        value.replace(b".", b""),
        b"A" * 16 + b"." + b"A" * 20,
        b"",
    ):
        assert subject.known(b"\r\nCookie: " + name + b"=" + wrong) is None, wrong
    assert made("another key that is long").known(b"\r\nCookie: " + pair) is None
    assert subject.known(b"\r\nCookie: not" + pair) is None
    assert subject.known(b"\r\nX-Cookie: " + pair) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "KNOWN_LIMIT", 3)
    subject = made()
    for _ in range(10):
        caller, pair = subject.new()
        assert subject.known(b"\r\nCookie: " + pair) == caller
        assert len(subject._known) <= 3


@pytest.mark.parametrize("secure", [False, True])
def test_the_cookie_is_for_this_site_alone(secure: bool) -> None:
    subject = made(max_age="1h", cookie="v")
    line = subject.set_cookie(subject.new()[1], b"\r\nContent-Type: text/html", secure=secure).decode()
    assert re.fullmatch(
        rf"v=[\w-]{{16}}\.[\w-]{{20}}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}",
        line,
    )


def is_set(*lines: bytes) -> bool:
    subject = made()
    return subject.set_cookie(subject.new()[1], b"".join(b"\r\n" + line for line in lines), secure=False) != b""


@pytest.mark.parametrize(
    "line",
    [
        b"Cache-Control: public, max-age=60",
        b"Cache-Control: public",
        b"Cache-Control: max-age=1, S-MaxAge=60",
        b"cache-control:max-age=3600",
        b"Cache-Control: MAX-AGE=0, must-revalidate",
        b'Cache-Control: private="x-who", max-age=60',
        b'Cache-Control: no-cache="set-cookie, private", max-age=60',
        b'Cache-Control: max-age=60, x="a, private, b"',
        b'Cache-Control: x="a, private',
        b"Cache-Control: not-private, max-age=60",
        b"Cache-Control: private, s-maxage=60",
        b"Expires: Wed, 21 Oct 2099 07:28:00 GMT",
        b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT",
        b"CDN-Cache-Control: max-age=60",
        b"Cloudflare-CDN-Cache-Control: max-age=60",
        b"surrogate-control: max-age=60",
    ],
)
def test_what_shared_caches_may_keep_gets_none(line: bytes) -> None:
    assert not is_set(line)
    assert not is_set(b"Content-Type: text/html", line, b'ETag: "1"')


def test_what_only_one_cache_says_it_keeps_is_kept_by_it() -> None:
    assert not is_set(b"Cache-Control: private", b"CDN-Cache-Control: max-age=60")
    assert not is_set(b"Cache-Control: max-age=60", b"Surrogate-Control: no-store")


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b'ETag: "1"',),
        (b"X-Cache-Control-Of: public",),
        (b"Cache-Control: must-revalidate",),
        (b"Cache-Control: private",),
        (b"Cache-Control: Private , max-age=60", b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"),
        (b"Cache-Control: max-age=60", b"Cache-Control: no-store"),
        (b"Cache-Control: no-cache", b"Expires: Wed, 21 Oct 2099 07:28:00 GMT"),
        (b'Cache-Control: private="a", private, max-age=60',),
    ],
)
def test_what_no_shared_cache_keeps_gets_one(lines: tuple[bytes, ...]) -> None:
    assert is_set(*lines)


FOREIGN = b"banyan_visitor=" + b"A" * 16 + b"." + b"B" * 20


@pytest.mark.parametrize(
    "head",
    [
        b"\r\nCookie: " + FOREIGN + b"; %b",
        b"\r\nCookie: a=b; " + FOREIGN + b"; " + FOREIGN + b"; " + FOREIGN + b";%b; c=d",
        b"\r\nCookie: " + FOREIGN + b"\r\nHost: a\r\ncookie:%b",
        b"\r\nCookie: " + FOREIGN + b"\r\nX-Cookie: " + b"; ".join([FOREIGN] * 9) + b"\r\nCookie: banyan_visitor=x; %b",
    ],
)
def test_anothers_cookie_of_the_same_name_hides_none(head: bytes) -> None:
    subject = made()
    caller, pair = subject.new()
    assert subject.known(head % pair) == caller


def test_no_request_has_signatures_checked_without_end() -> None:
    subject = made()
    _, pair = subject.new()
    assert subject.known(b"\r\nCookie: " + b"; ".join([FOREIGN] * visitors.MOST_TRIED) + b"; " + pair) is None
    assert subject.known(b"\r\nCookie: " + FOREIGN + b"\r\nX-Cookie: " + pair) is None


def test_only_who_was_just_made_is_fleeting() -> None:
    subject = made()
    caller, pair = subject.new()
    again = subject.known(b"\r\nCookie: " + pair)
    assert again is not None
    assert (caller.fleeting, again.fleeting) == (True, False)
