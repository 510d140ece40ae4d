"""Looking at a gateway once a second: every change is kept once, whatever happens to the gateway, the database and the console."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from console import admin_port
from console.admin_port import AdminPort, GatewayError
from console.watch import Watch
from gateway.config import Config, load
from shadow import flag_changes, store
from shadow.flag_changes import Change
from shadow.models import FlagChange
from tests.support import admin_port as support
from tests.support.admin_port import feature
from tests.support.serving import DRIPPING, unending

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
"""


@pytest.fixture
def port() -> Iterator[support.AdminPort]:
    with support.admin_port() as running:
        yield running


def configuration(folder: Path, port: support.AdminPort, more: str = "") -> Config:
    (folder / "banyan.toml").write_text(TOML.format(admin=port.address) + more)
    return load(folder / "banyan.toml")


@pytest.fixture
def watch(port: support.AdminPort, tmp_path: Path) -> Iterator[Watch]:
    """Not started: the test takes each look itself."""
    made = Watch(configuration(tmp_path, port))
    yield made
    made._port.close()
    made._authors.close()


def kept() -> list[tuple[str, int, str]]:
    return list(FlagChange.objects.order_by("pk").values_list("gateway", "number", "kind"))


def test_what_changed_is_kept_once(watch: Watch, port: support.AdminPort, tmp_path: Path) -> None:
    off, on = feature("reviews", False), feature("reviews", True)
    port.change("reviews", None, off)
    port.change("reviews", off, on)
    watch._once()
    watch._once()
    port.change("reviews", None, {"enabled": False, "until": 2e9}, kind="override", by="ana", why="drill")
    watch._once()
    again = Watch(configuration(tmp_path, port))  # as after a restart, or in a second console
    again._once()
    again._port.close()
    assert kept() == [("run-1", 1, "flag"), ("run-1", 2, "flag"), ("run-1", 3, "override")]
    _, second, third = FlagChange.objects.order_by("pk")
    assert (second.flag, second.old, second.new, second.source, second.by) == ("reviews", off, on, "file", "")
    assert (third.by, third.why, third.new) == ("ana", "drill", {"enabled": False, "until": 2e9})
    assert port.asked[-1] == "/flags/changes?after=3", "what is kept is not asked for again"


def test_a_gateway_that_was_started_anew_counts_from_one_again(watch: Watch, port: support.AdminPort) -> None:
    for number in range(3):
        port.change("reviews", feature("reviews", bool(number % 2)), feature("reviews", not number % 2))
    watch._once()
    port.restart()
    port.change("reviews", feature("reviews", True), feature("reviews", False))
    watch._once()
    watch._once()
    assert kept() == [("run-1", 1, "flag"), ("run-1", 2, "flag"), ("run-1", 3, "flag"), ("run-2", 1, "flag")]


def test_what_the_gateway_could_not_keep_is_said(tmp_path: Path) -> None:
    with support.admin_port(ring=3) as port:
        watch = Watch(configuration(tmp_path, port))
        port.change("reviews", feature("reviews", False), feature("reviews", True))
        watch._once()
        for _ in range(8):
            port.change("reviews", feature("reviews", False), feature("reviews", True))
        watch._once()
        watch._once()
        watch._port.close()
    assert kept() == [("run-1", 1, "flag"), ("run-1", 6, "missed"), *(("run-1", number, "flag") for number in (7, 8, 9))]
    assert FlagChange.objects.get(kind="missed").missed == 5


def test_a_gap_that_another_console_has_seen_is_none(port: support.AdminPort, watch: Watch, tmp_path: Path) -> None:
    changes = [Change(number, time.time(), "flag", "reviews", None, feature("reviews", True)) for number in range(1, 7)]
    every: dict[str, Any] = {"source": "file", "confirmed": lambda at: None, "before": 0.0}
    assert len(flag_changes.record("run-1", 0, changes[:4], **every)) == 4
    assert [row.number for row in flag_changes.record("run-1", 1, changes[4:], **every)] == [5, 6]
    assert [row.number for row in flag_changes.record("run-1", 0, changes, **every)] == []
    assert len(kept()) == 6


def test_nothing_is_lost_while_the_database_is_away(
    watch: Watch, port: support.AdminPort, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DatabaseError("disk full\nand more")

    port.change("reviews", feature("reviews", False), feature("reviews", True))
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(flag_changes, "record", broken)
        for _ in range(3):
            watch._once()
    assert watch.look.error == "", "the pages show the flags all the same"
    watch._once()
    assert kept() == [("run-1", 1, "flag")]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "changes of flags can't be kept (disk full); they are asked for again",
        "changes of flags are kept again",
    ]


def test_a_gateway_that_is_away_is_told_once_and_the_last_state_stays(
    watch: Watch, port: support.AdminPort, caplog: pytest.LogCaptureFixture
) -> None:
    watch._once()
    assert watch.look.now is not None
    seen = watch.look.at
    with caplog.at_level(logging.WARNING):
        port.stop()
        for _ in range(3):
            watch._once()
        assert "refused" in watch.look.error
        assert watch.look.now is not None
        assert watch.look.at == seen
        port.status = 503
        port.start()
        for _ in range(3):
            watch._once()
        assert watch.look.error == "it answered 503 to /flags"
        port.status = 200
        port.change("reviews", feature("reviews", False), feature("reviews", True))
        watch._once()
    assert watch.look.error == ""
    assert len(kept()) == 1
    said = [record.getMessage().partition(f"{port.address} ")[2] for record in caplog.records]
    assert said == ["tells nothing: [Errno 111] Connection refused", "tells nothing: it answered 503 to /flags", "answers again"]


def test_an_answer_of_another_shape_is_an_error(port: support.AdminPort) -> None:
    client = AdminPort(port.address)
    port.state = {"source": "file", "revision": 7}
    with pytest.raises(GatewayError, match="not what this console reads"):
        client.flags()
    client.close()
    unknown = AdminPort("127.0.0.1:0")
    with pytest.raises(GatewayError, match="not known here"):
        unknown.flags()
    unknown.close()


@pytest.mark.parametrize("way", DRIPPING)
def test_a_port_that_drips_holds_up_no_look(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_port, "WHOLE_TIMEOUT", 0.6)
    with unending(*DRIPPING[way], pause=0.1) as place:
        client = AdminPort(place.url.removeprefix("http://"))
        began = time.monotonic()
        with pytest.raises(GatewayError, match="too large or too slow") as caught:
            client.flags()
        assert caught.value.kind == "large"
        assert 0.5 < time.monotonic() - began < 4.0
        client.close()


def test_old_changes_go_as_everything_old_does(watch: Watch) -> None:
    now = time.time()
    old = [Change(number, now - 20 * 86400, "flag", "reviews", None, feature("reviews", True)) for number in range(1, 4)]
    every: dict[str, Any] = {"source": "file", "confirmed": lambda at: None}
    flag_changes.record("run-1", 0, old, **every, before=0.0)
    flag_changes.record("run-1", 3, [Change(4, now, "flag", "reviews", None, feature("reviews", True))], **every, before=0.0)
    store.purge(now, 14 * 86400)
    assert kept() == [("run-1", 4, "flag")]
    # A console that begins now gets the old ones told again: they are as old as they were, and no gap.
    assert flag_changes.record("run-9", 0, old, **every, before=now - 14 * 86400) == []


def test_a_record_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_changes, "MAX_ROWS", 5)
    large = feature("large", True, description="x" * flag_changes.MAX_STATE)
    changes = [Change(number, time.time(), "flag", "l" * 300, None, large, why="\0") for number in range(1, 10)]
    rows = flag_changes.record("run-1", 0, changes, source="file", confirmed=lambda at: None, before=0.0)
    assert rows[0].new is not None
    assert rows[0].new["enabled"] is True
    assert rows[0].new["too_large"] > flag_changes.MAX_STATE
    assert rows[0].why == "\N{SYMBOL FOR NULL}"
    flag_changes.purge(0.0)
    assert [number for _, number, _ in kept()] == [5, 6, 7, 8, 9]
