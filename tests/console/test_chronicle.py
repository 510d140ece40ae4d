"""What is written down for the timeline: reloads, bursts, and gates that turn; each once, however many consoles look, and over restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import Settings

from console import chronicle as module
from console import timeline
from console.chronicle import QUIET_SECONDS, Chronicle
from console.models import Audit, LoginSlot
from gateway.config import Config, load
from shadow import counters, events, store, sums
from shadow.models import Event, Tally
from tests.support.admin_port import AdminPort, admin_port

pytestmark = pytest.mark.django_db

TOML = """
[gateway]
admin = "{admin}"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.gate]
minimum = 10
match = 0.5
coverage = 0.0
[[routes]]
name = "search"
match = "/search"
candidate = "new"
"""


@pytest.fixture
def port() -> Iterator[AdminPort]:
    with admin_port() as running:
        yield running


@pytest.fixture
def config(port: AdminPort, tmp_path: Path, settings: Settings) -> Config:
    (tmp_path / "banyan.toml").write_text(TOML.replace("{admin}", port.address))
    settings.BANYAN_CONFIG = str(tmp_path / "banyan.toml")
    return load(tmp_path / "banyan.toml")


@pytest.fixture
def consoles(config: Config, port: AdminPort) -> Iterator[list[Chronicle]]:
    """Two of them, not started: the test takes each look itself."""
    made = [Chronicle(config, port.address) for _ in range(2)]
    yield made
    for each in made:
        each.close()


def look(consoles: list[Chronicle], now: float | None = None) -> None:
    for each in consoles:
        each._next_gates = 0.0
        each._once(time.time() if now is None else now)


def told(kind: str) -> list[str]:
    return list(Event.objects.filter(kind=kind).order_by("pk").values_list("text", flat=True))


def turned_away(port: AdminPort, limited: int, shed: int = 0, served: int = 0) -> None:
    answered = {"legacy 200": served, "legacy 503": 9, "gateway 429": limited, "gateway 503": shed}
    port.routes = [{"name": "reviews", "answered": answered, "match": "/reviews/*"}, {"name": "search", "answered": {}}]


def test_starts_and_reloads_are_kept_once(consoles: list[Chronicle], port: AdminPort, config: Config) -> None:
    look(consoles)
    look(consoles)
    assert told("reload") == ["the gateway was started"]
    at = time.time()
    port.config |= {"number": 2, "reloads": {"ok": 1, "failed": 0}, "last_reload": {"why": "SIGHUP", "at": at, "ok": True, "error": ""}}
    look(consoles)
    port.config |= {"last_reload": {"why": "POST /reload", "at": at + 1, "ok": False, "error": "routes: <b>"}}
    look(consoles)
    again = Chronicle(config, port.address)
    look([again])
    again.close()
    assert told("reload")[1:] == ["configuration 2 is in force", "refused; configuration 2 serves on"]
    found = timeline.marks("reviews", 0.0, at + 10)
    assert [(mark.kind, mark.bad) for mark in found] == [("reload", False), ("reload", False), ("reload", True)]
    port.restart()
    port.config |= {"number": 1, "last_reload": None, "loaded_at": at + 2}
    look(consoles)
    assert told("reload")[-1] == "the gateway was started"


def test_a_burst_is_one_event_with_its_count(consoles: list[Chronicle], port: AdminPort, config: Config) -> None:
    now = time.time()
    turned_away(port, 5)
    look(consoles, now)
    assert told("shed") == [], "nobody knows when that was"
    turned_away(port, 8)
    look(consoles, now + 5)
    turned_away(port, 15, shed=2, served=1000)
    look(consoles, now + 10)
    assert told("shed") == ["12 requests turned away: 10 with 429, 2 with 503"]
    restarted = Chronicle(config, port.address)
    turned_away(port, 16, shed=2)
    look([restarted], now + 20)
    restarted.close()
    look(consoles, now + 22)
    assert told("shed") == ["13 requests turned away: 11 with 429, 2 with 503"], "a restart goes on with it"
    look(consoles, now + 30 + QUIET_SECONDS)
    turned_away(port, 17, shed=2)
    look(consoles, now + 35 + QUIET_SECONDS)
    assert told("shed") == ["13 requests turned away: 11 with 429, 2 with 503", "1 request turned away: 1 with 429"]
    late = Chronicle(config, port.address)
    turned_away(port, 20, shed=2)
    look([late], now + 200 + QUIET_SECONDS)
    late.close()
    assert told("shed")[-1] == "3 requests turned away: 3 with 429", "what came while no console ran is not lost"
    port.restart()
    turned_away(port, 1)
    look(consoles, now + 300 + QUIET_SECONDS)
    assert len(told("shed")) == 3, "another run of the gateway counts from nothing"


def test_a_gate_is_written_down_when_it_turns(consoles: list[Chronicle], config: Config, port: AdminPort) -> None:
    now = time.time()
    look(consoles)
    assert told("gate") == [], "not passed is what a gate begins as"
    Tally.objects.create(route="reviews", at=int(now) - 60, width=1, name=counters.MATCHED, count=100)
    sums.rebuild()
    look(consoles)
    look(consoles)
    assert told("gate") == ["passed: 100 of 100 match, 96.30 % or more"]
    Tally.objects.create(route="reviews", at=int(now) - 60, width=1, name=counters.MISMATCHED, count=900)
    sums.rebuild()
    again = Chronicle(config, port.address)
    look([*consoles, again])
    again.close()
    assert len(told("gate")) == 2
    assert told("gate")[1].startswith("not passed any more: the match rate is at least")
    Tally.objects.filter(name=counters.MISMATCHED).delete()
    sums.rebuild()
    look(consoles)
    assert len(told("gate")) == 3
    assert [mark.bad for mark in timeline.marks("reviews", 0.0, time.time()) if mark.kind == "gate"] == [False, True, False]
    events.purge(time.time() + 1)
    look(consoles)
    assert told("gate") == ["passed: 100 of 100 match, 96.30 % or more"], "age is no turn"


def test_what_goes_wrong_is_told_once_and_ends_nothing(
    consoles: list[Chronicle], port: AdminPort, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = consoles[:1]

    def broken(*_: object, **__: object) -> None:
        raise DatabaseError("disk full\nand more")

    with caplog.at_level(logging.WARNING):
        with monkeypatch.context() as patched:
            patched.setattr(events, "record", broken)
            look(one)
            look(one)
        look(one)
        port.status = 500
        look(one)
        look(one)
        port.status = 200
        port.config = {"number": "x"}
        look(one)
        port.stop()
        look(one)
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == [
        "the timeline can't be written (disk full); it is tried again",
        "the timeline is written again: the gateway",
    ]
    assert "it answered 500 to /flags/changes" in said[2]
    assert "not what this console reads" in said[3]
    assert len(said) == 4, "a gateway that is away is what the other thread tells of"


def test_what_is_too_old_goes(consoles: list[Chronicle], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    events.record("deployment", now - 20 * 86400, "old")
    events.record("deployment", now - 86400, "new")
    for days in (401, 399):
        Audit.objects.create(at=now - days * 86400, by=f"ada-{days}", action="login")
    LoginSlot.objects.create(slot=1, until=now - 1)
    Session.objects.create(session_key="x", session_data="", expire_date=timezone.now() - timedelta(days=1))
    look(consoles)
    assert told("deployment") == ["new"]
    assert [row.by for row in Audit.objects.all()] == ["ada-399"]
    assert not LoginSlot.objects.exists()
    assert not Session.objects.exists()
    for number in range(9):
        events.record("deployment", now, str(number))
    monkeypatch.setattr(events, "MAX_ROWS", 4)
    store.purge(now, 14 * 86400)
    assert told("deployment") == ["5", "6", "7", "8"]


def test_an_event_of_one_key_is_kept_once() -> None:
    assert events.record("deployment", 1.0, "a" * 999, by="x\0", key="k")
    assert not events.record("deployment", 2.0, "b", key="k")
    assert events.record("deployment", 2.0, "b")
    assert events.record("deployment", 2.0, "b")
    assert events.record("reload", 2.0, "b", key="k")
    first = Event.objects.earliest("pk")
    assert (len(first.text), first.by) == (events.MAX_TEXT, "x\N{SYMBOL FOR NULL}")


def test_the_thread_begins_and_ends(config: Config, port: AdminPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    looked: list[float] = []
    monkeypatch.setattr(Chronicle, "_once", lambda self, now: looked.append(now))
    running = Chronicle(config, port.address)
    assert running.ended(0.0), "it was not begun"
    running.start()
    deadline = time.monotonic() + 10
    while len(looked) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.end()
    assert running.ended(10.0)
