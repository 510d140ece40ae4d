"""A visitor stays the same to the flags, and nobody makes one up."""

from __future__ import annotations

import os
import re

import pytest

from gateway.identity import visitors
from gateway.identity.callers import Caller
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


@pytest.mark.parametrize("control", [b"public, max-age=60", b"max-age=1, S-MaxAge=60"])
def test_what_shared_caches_keep_gets_none(control: bytes) -> None:
    subject = made()
    assert subject.set_cookie(subject.new()[1], b"\r\nCache-Control: " + control, secure=False) == b""
    assert subject.set_cookie(subject.new()[1], b"\r\nCache-Control: private", secure=False) != b""
