"""One console over several gateways: each is looked at by itself, and what an operator does is asked of all of them at once."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from console import operateviews, timeline, watch
from console.admin_port import Override
from console.flagboard import Board
from console.models import Audit
from console.watch import Watches
from gateway.config import Config, ConfigError, parse
from shadow import flag_changes
from shadow.flag_changes import Change
from shadow.models import Event, FlagChange
from tests.support.admin_port import AdminPort, admin_port, feature

TOML = """
[gateway]
admin = "{first}"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[console]
gateways = {gateways}
"""
FORM = {"state": "off", "minutes": "30", "why": "500s since 03:10", "confirmed": "yes"}


def text(answer: Any) -> str:
    """Without its tags, as one line."""
    assert answer.status_code == 200, answer.status_code
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def until(said: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def ports() -> Iterator[tuple[AdminPort, AdminPort]]:
    with admin_port() as one, admin_port() as other:
        other.gateway = "run-7"
        yield one, other


@pytest.fixture
def config(ports: tuple[AdminPort, AdminPort], tmp_path: Path, settings: Settings) -> Config:
    path = tmp_path / "banyan.toml"
    path.write_text(TOML.format(first=ports[0].address, gateways=[port.address for port in ports]))
    settings.BANYAN_CONFIG = str(path)
    return parse(path, path.read_text())


@pytest.fixture
def watching(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watches]:
    """As `banyan console` does; each has been asked once."""
    made = watch.run(config)
    try:
        until(lambda: all(look.now is not None or "asked yet" not in look.error for look in watch.looks()))
        yield made
    finally:
        monkeypatch.setattr(watch, "_watches", None)
        assert made.stop()


@pytest.fixture
def operator(db: None) -> Client:
    user = User.objects.create_user("olga")
    user.groups.set(Group.objects.filter(name="operator"))
    client = Client()
    client.force_login(user)
    return client


def test_what_is_no_gateway_is_refused(tmp_path: Path) -> None:
    for wrong, said in (
        (["127.0.0.1:0"], "port 0 is any free one"),
        (["127.0.0.1:9900", "127.0.0.1:9900"], "named twice"),
        ([f"127.0.0.1:{9900 + number}" for number in range(17)], "17 gateways: 16 at most"),
        (["nonsense"], "nonsense"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            parse(tmp_path / "banyan.toml", TOML.format(first="127.0.0.1:9900", gateways=wrong))
    alone = parse(tmp_path / "banyan.toml", TOML.format(first="127.0.0.1:9900", gateways=[]))
    assert [each.look.address for each in Watches(alone).each] == ["127.0.0.1:9900"], "nobody says otherwise: the one of the file"
    assert [each.look.address for each in Watches(alone, ["127.0.0.1:5", "127.0.0.1:6"]).each] == ["127.0.0.1:5", "127.0.0.1:6"]


@pytest.mark.django_db(transaction=True)
def test_each_is_looked_at_and_pages_go_by_the_first_that_answers(
    ports: tuple[AdminPort, AdminPort], watching: Watches, config: Config, operator: Client
) -> None:
    one, other = ports
    until(lambda: not any(look.error for look in watch.looks()))
    shown = text(operator.get("/flags/"))
    assert f"{one.address} is what is shown here" in shown
    assert f"{other.address} is of the same mind" in shown
    other.state["flags"] = {"reviews": True, "reviews.shadow": False}
    until(lambda: Board(config, watch.latest(), watch.looks()).gateways[1].unlike == ("reviews",))
    shown = text(operator.get("/flags/"))
    assert f"{other.address} is of another mind about: reviews" in shown
    one.stop()
    until(lambda: watch.looks()[0].error != "")
    latest = watch.latest()
    assert latest is not None
    assert (latest.address, latest.error) == (other.address, "")
    shown = text(operator.get("/flags/"))
    assert f"{one.address} tells nothing: " in shown
    assert f"{other.address} is what is shown here" in shown
    one.start()
    until(lambda: watch.latest() is watch.looks()[0])


@pytest.mark.django_db(transaction=True)
def test_a_flip_that_both_tell_of_is_shown_once_and_an_override_is_each_ones_own(
    ports: tuple[AdminPort, AdminPort], watching: Watches, operator: Client
) -> None:
    on, off = feature("reviews", True), feature("reviews", False)
    for port in ports:
        port.change("reviews", off, on)
        port.change("reviews", None, {"enabled": False, "until": time.time() + 99}, kind="override", by="olga", why="drill")
    until(lambda: FlagChange.objects.count() == 4)
    assert FlagChange.objects.filter(again=True).count() == 1
    kinds = [line.kind for line in timeline.lines(timeline.names(), (timeline.FLIP, timeline.OVERRIDE))]
    assert sorted(kinds) == ["flip", "override", "override"]
    rows = re.findall(r'href="/flags/changes/\d+/"', operator.get("/flags/").content.decode())
    assert len(set(rows)) == 3
    assert Event.objects.filter(kind=Event.Kind.RELOAD).count() == 2, "each was started"


@pytest.mark.django_db
def test_flips_that_follow_each_other_are_as_many_as_one_gateway_tells_of() -> None:
    on, off, now = {"enabled": True}, {"enabled": False}, time.time()
    flips = [Change(1, now, "flag", "f", off, on), Change(2, now + 1, "flag", "f", on, off), Change(3, now + 2, "flag", "f", off, on)]
    for gateway in ("a", "b", "c"):
        late = [Change(each.number, each.at + 0.3, each.kind, each.flag, each.old, each.new) for each in flips]
        new = flag_changes.record(gateway, 0, late, source="file", confirmed=lambda _: None, before=0)
        assert len(new) == (3 if gateway == "a" else 0)
    assert [row.new["enabled"] for row in FlagChange.objects.filter(again=False).order_by("at") if row.new] == [True, False, True]
    long_after = [Change(4, now + 60, "flag", "f", off, on)]
    assert len(flag_changes.record("b", 3, long_after, source="file", confirmed=lambda _: None, before=0)) == 1


@pytest.mark.django_db(transaction=True)
def test_an_override_goes_to_all_and_each_ones_answer_is_shown(
    ports: tuple[AdminPort, AdminPort], watching: Watches, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ports
    until(lambda: not any(look.error for look in watch.looks()))
    confirm = text(operator.post("/flags/reviews/override/", FORM | {"confirmed": ""}))
    assert f"On 2 gateways, at {one.address}, {other.address}." in confirm
    done = text(operator.post("/flags/reviews/override/", FORM, follow=True))
    assert "Done. Every worker decides by it." in done
    assert f"{one.address} done" in done
    assert f"{other.address} done" in done
    for port in ports:
        assert [(method, path) for method, path, _ in port.ordered] == [("PUT", "/flags/overrides/reviews")]
        assert port.ordered[0][2]["by"] == "olga"

    other.refusal = (404, {"title": "No route reads a flag of that name <b>."})
    page = operator.post("/flags/reviews/override/", FORM, follow=True)
    assert "Not every gateway did it" in text(page)
    assert re.search(rf"{other.address} not done it answered 404 .*No route reads a flag", text(page))
    assert "End it" in text(page)
    assert "<b>." not in page.content.decode()
    row = Audit.objects.latest("pk")
    assert row.detail["outcome"] == "partly"
    assert [each["outcome"] for each in row.detail["gateways"]] == ["done", "refused"]

    one.refusal = other.refusal
    assert "It was not done." in text(operator.post("/flags/reviews/override/", FORM, follow=True))
    assert Audit.objects.latest("pk").detail["outcome"] == "refused"

    one.refusal = other.refusal = None
    monkeypatch.setattr(operateviews, "CHANGE_TIMEOUT", 0.5)
    other.go.clear()
    shown = text(operator.post("/flags/reviews/override/end/", {"why": "over"}, follow=True))
    assert f"{one.address} done" in shown
    assert f"{other.address} not known it did not answer within 0.5 s" in shown
    other.go.set()
    assert one.ordered[-1][0] == "DELETE"


def test_what_is_compared_is_what_decides_now(config: Config, ports: tuple[AdminPort, AdminPort]) -> None:
    """An override that is over by now is none."""
    from console.admin_port import FlagsNow
    from console.watch import Look

    over, alive = Override(False, time.time() - 1), Override(False, time.time() + 99)
    here = Look("a:1", FlagsNow("file", "r", {"f": True}, overrides={"f": over}), time.time())
    for override, unlike in ((over, ()), (alive, ("f",))):
        there = Look("b:2", FlagsNow("file", "r", {"f": True, "g": False}, overrides={"f": override}), time.time())
        assert Board(config, here, (here, there)).gateways[1].unlike == unlike
