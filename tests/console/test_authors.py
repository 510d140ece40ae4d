"""Naming who changed a flag: asked for when there is something to name, and no more often than it helps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from console import authors
from console.authors import Authors
from console.watch import Watch
from gateway.config import load
from shadow import flag_changes
from shadow.flag_changes import Change
from shadow.models import FlagChange
from tests.support import admin_port as support
from tests.support.admin_port import feature
from tests.support.serving import DRIPPING, unending
from tests.support.unleash_events import EventsApi, events_api

pytestmark = pytest.mark.django_db

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
[flags]
source = "{source}"
url = "{url}"
token = "default:development.client"
admin_token = "{token}"
"""


@pytest.fixture
def unleash() -> Iterator[EventsApi]:
    with events_api() as running:
        yield running


@pytest.fixture
def naming(unleash: EventsApi, tmp_path: Path) -> Iterator[Authors]:
    made = build(tmp_path, unleash)
    yield made
    made.close()


def build(folder: Path, unleash: EventsApi, *, source: str = "unleash", token: str = "*:*.admin") -> Authors:
    (folder / "banyan.toml").write_text(TOML.format(source=source, url=unleash.url, token=token))
    return Authors(load(folder / "banyan.toml"))


def changed(*changes: Change, source: str = "unleash") -> list[FlagChange]:
    after = changes[0].number - 1
    return flag_changes.record("run", after, changes, source=source, confirmed=lambda at: at - 0.5, before=0.0)


def change(number: int, flag: str = "reviews", *, at: float = 0.0, on: bool = True, by: str = "", kind: str = "flag") -> Change:
    return Change(number, at or time.time(), kind, flag, feature(flag, not on), feature(flag, on), by)


def named() -> list[str]:
    return list(FlagChange.objects.order_by("number").values_list("by", flat=True))


def test_a_change_gets_its_name_and_nothing_more_is_asked(naming: Authors, unleash: EventsApi) -> None:
    naming.name()
    assert unleash.asked == [], "there was nothing to name"
    now = time.time()
    unleash.happened("reviews", "ana", now - 0.4)
    unleash.happened("search", "bob", now - 0.3)
    unleash.happened("search", "eve", now - 0.2, kind="feature-strategy-update")
    naming.add(changed(change(1, at=now), change(2, "search", at=now)))
    naming.name()
    naming.name()
    assert named() == ["ana", "bob, eve"]
    assert len(unleash.asked) == 1, "one question for both flags"


def test_two_flips_by_two_people_have_a_name_each(naming: Authors, unleash: EventsApi) -> None:
    now = time.time()
    unleash.happened("reviews", "ana", now - 1.5)
    unleash.happened("reviews", "bob", now - 0.4, kind="feature-environment-disabled")
    naming.add(changed(change(1, at=now - 1.0), change(2, at=now, on=False)))
    naming.name()
    assert named() == ["ana", "bob"]


def test_what_needs_no_name_is_not_asked_for(naming: Authors, unleash: EventsApi) -> None:
    naming.add(changed(change(1, by="ana")))
    naming.add(changed(change(2, kind="override")))
    naming.add(changed(change(3), source="file"))
    same = feature("reviews", True)
    naming.add(changed(Change(4, time.time(), "flag", "reviews", same, same, why="the segment 3 has changed")))
    naming.name()
    assert unleash.asked == []


@pytest.mark.parametrize(("source", "token"), [("file", "*:*.admin"), ("unleash", "")])
def test_nobody_is_asked_where_nobody_can_be(unleash: EventsApi, tmp_path: Path, source: str, token: str) -> None:
    naming = build(tmp_path, unleash, source=source, token=token)
    naming.add(changed(change(1)))
    naming.name()
    naming.close()
    assert unleash.asked == []


def test_a_change_without_an_event_is_asked_for_a_few_times(naming: Authors, unleash: EventsApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authors, "_WAITS", (0.0, 0.0))
    naming.add(changed(change(1)))
    for _ in range(6):
        naming.name()
    assert named() == [""]
    assert len(unleash.asked) == authors.TRIES


def test_an_unleash_that_refuses_is_told_once_and_asked_ever_more_rarely(
    naming: Authors, unleash: EventsApi, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    unleash.status = 403
    unleash.happened("reviews", "ana", now - 0.4)
    naming.add(changed(change(1, at=now)))
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            naming.name()
        assert len(unleash.asked) == 1, "it is not asked again at once"
        naming._next = 0.0
        naming.name()
        assert naming._wait == 4.0
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("who changed a flag can't be told: ")
    assert "may not read them" in said
    assert "admin.admin" not in said
    unleash.status = 200
    naming._next = 0.0
    naming.name()
    assert named() == ["ana"]


def test_what_was_not_named_before_a_restart_is_named_after_it(unleash: EventsApi, tmp_path: Path) -> None:
    now = time.time()
    changed(change(1, at=now - 2 * authors.PATIENCE), change(2, at=now))
    unleash.happened("reviews", "ana", now - 0.4)
    naming = build(tmp_path, unleash)
    naming.name()
    naming.close()
    assert named() == ["", "ana"]


def test_those_who_wait_are_bounded(naming: Authors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authors, "MAX_WAITING", 3)
    for number in range(1, 8):
        naming.add(changed(change(number, f"flag-{number}")))
        naming._take_in()
    assert [row.number for row, _ in naming._waiting.values()] == [5, 6, 7]


@pytest.mark.django_db(transaction=True)
def test_an_unleash_that_keeps_somebody_waiting_keeps_no_state_and_no_end_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWrapper, "is_in_memory_db", lambda _self: False)  # which Django would not close, in any thread
    with unending(*DRIPPING["body"], pause=0.2) as place, support.admin_port() as port:
        (tmp_path / "banyan.toml").write_text(
            f'[gateway]\nadmin = "{port.address}"\n' + TOML.format(source="unleash", url=f"{place.url}/api", token="*:*.admin")
        )
        port.state["source"] = "unleash"
        watch = Watch(load(tmp_path / "banyan.toml"))
        watch.start()
        try:
            port.change("reviews", feature("reviews", False), feature("reviews", True))
            until = time.monotonic() + 20
            while not place.requests and time.monotonic() < until:
                time.sleep(0.02)
            assert place.requests, "Unleash was asked who it was"
            seen, asked = set(), time.monotonic()
            while len(seen) < 3 and time.monotonic() < asked + 20:
                seen.add(watch.look.at)
                time.sleep(0.02)
            assert len(seen) == 3, "the gateway is looked at all the while"
            assert len(place.requests) == 1, "which is still the same question"
        finally:
            assert watch.stop(10.0)
        names = {thread.name for thread in threading.enumerate()}
        assert not names & {"flag-watch", "flag-authors"}
