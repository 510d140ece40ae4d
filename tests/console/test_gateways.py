"""One console over several gateways: each is looked at by itself, and what an operator does is asked of all of them at once."""

from __future__ import annotations

import html
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from console import operateviews, watch
from console.admin_port import FlagsNow, Override
from console.flagboard import Board
from console.models import Audit
from console.watch import Look, Watches
from gateway.config import Config, ConfigError, parse
from shadow import flag_changes
from shadow.flag_changes import Change
from shadow.models import FlagChange
from tests.support.admin_port import AdminPort, admin_port, feature
from tests.support.console import log_in, running_console

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
    return plain(answer.content.decode())


def plain(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


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
    """Its shop has two gateways."""
    path = tmp_path / "banyan.toml"
    path.write_text(TOML.format(first=ports[0].address, gateways=[port.address for port in ports]))
    settings.BANYAN_CONFIG = str(path)
    return parse(path, path.read_text())


@pytest.fixture
def looked(ports: tuple[AdminPort, AdminPort], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were looked at just now."""

    def looks() -> tuple[Look, ...]:
        states = [{name: value for name, value in port.state.items() if name != "fetched_at"} for port in ports]
        return tuple(Look(port.address, msgspec.convert(state, FlagsNow), time.time()) for port, state in zip(ports, states, strict=True))

    monkeypatch.setattr(watch, "looks", looks)
    monkeypatch.setattr(watch, "latest", lambda: looks()[0])


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


def test_a_console_looks_at_each_and_goes_by_the_first_that_answers(ports: tuple[AdminPort, AdminPort], config: Config) -> None:
    one, other = ports
    on, off = feature("reviews", True), feature("reviews", False)
    with running_console(config.path) as console, closing(log_in(console)) as client:

        def says(*lines: str) -> bool:
            shown = plain(client.get("/flags/").text)
            return all(line in shown for line in lines)

        until(lambda: says(f"{one.address} is what is shown here", f"{other.address} is of the same mind"))
        other.state["flags"] = {"reviews": True, "reviews.shadow": False}
        until(lambda: says(f"{other.address} is of another mind about: reviews"))
        for port in ports:
            port.state["flags"] = {"reviews": True, "reviews.shadow": False}
            port.change("reviews", off, on)
            port.change("reviews", None, {"enabled": False, "until": time.time() + 99}, kind="override", by="olga", why="drill")

        def stored() -> list[tuple[str, int]]:
            with closing(sqlite3.connect(f"file:{config.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as database:
                return database.execute("SELECT kind, again FROM shadow_flagchange ORDER BY kind, again").fetchall()

        until(lambda: len(stored()) == 4)
        assert stored() == [("flag", 0), ("flag", 1), ("override", 0), ("override", 0)]
        for path in ("/flags/", "/timeline/", "/routes/reviews/"):
            rows = set(re.findall(r'href="/flags/changes/\d+/"', client.get(path).text))
            assert len(rows) == 3, f"{path}: a flip that both tell of is one, and an override is each one's own"
        until(lambda: plain(client.get("/timeline/?kind=reload").text).count("the gateway was started") == 2)

        one.stop()
        until(lambda: says(f"{one.address} tells nothing: ", f"{other.address} is what is shown here"))
        one.start()
        until(lambda: says(f"{one.address} is what is shown here"))


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


@pytest.mark.django_db
def test_an_override_goes_to_all_and_each_ones_answer_is_shown(
    ports: tuple[AdminPort, AdminPort], config: Config, looked: None, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ports
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
    over, alive = Override(False, time.time() - 1), Override(False, time.time() + 99)
    here = Look("a:1", FlagsNow("file", "r", {"f": True}, overrides={"f": over}), time.time())
    for override, unlike in ((over, ()), (alive, ("f",))):
        there = Look("b:2", FlagsNow("file", "r", {"f": True, "g": False}, overrides={"f": override}), time.time())
        assert Board(config, here, (here, there)).gateways[1].unlike == unlike
