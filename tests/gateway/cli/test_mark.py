"""`banyan mark`: a deployment is on the timeline, once."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.gateway.cli.test_comparison import CONFIG, banyan
from tests.gateway.cli.test_gate import FILL, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mark")
    (made / "banyan.toml").write_text(CONFIG)
    run(FILL, str(made))
    return made


def kept(folder: Path) -> list[tuple[str, float, str, str]]:
    (path,) = folder.rglob("*.sqlite3")
    with closing(sqlite3.connect(path)) as database:
        return list(database.execute("SELECT route, at, text, by FROM shadow_event WHERE kind = 'deployment' ORDER BY id"))


def test_a_deployment_is_marked(folder: Path) -> None:
    before = time.time()
    done = banyan(folder, "mark", "reviews 1.4.2", "--route", "reviews", "--by", "ci")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("reviews: marked, 20")
    route, at, text, by = kept(folder)[-1]
    assert (route, text, by) == ("reviews", "reviews 1.4.2", "ci")
    assert before - 1 < at < time.time() + 1
    banyan(folder, "mark", "reviews 1.4.2", "--route", "reviews")
    assert len(kept(folder)) == 2, "deployed again is deployed again"
    assert "@" in kept(folder)[-1][3]


def test_a_moment_that_is_said_is_marked_once(folder: Path) -> None:
    arguments = ("mark", "all of it", "--at", "2026-01-02T09:00:00+09:00", "--json")
    first, second = banyan(folder, *arguments), banyan(folder, *arguments)
    assert (first.returncode, second.returncode) == (0, 1)
    told = json.loads(first.stdout)
    assert told["marks"] == [{"route": "", "new": True}]
    assert json.loads(second.stdout)["marks"] == [{"route": "", "new": False}]
    assert told["at"] == 1767312000.0
    assert banyan(folder, "mark", "all of it", "--at", "1767312000").returncode == 1, "the same moment, written otherwise"
    assert [row[1] for row in kept(folder) if row[2] == "all of it"] == [1767312000.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((" ",), "say what was deployed"),
        (("x" * 501,), "up to 500 characters"),
        (("x", "--route", "revews"), "there is no route 'revews'"),
        (("x", "--at", "yesterday"), "or Unix seconds"),
        (("x", "--at", "2026-01-02T09:00:00"), "say in which zone"),
        (("x", "--at", "nan"), "not a moment of the past"),
        (("x", "--at", "4000000000"), "not a moment of the past"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_mark(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    before = kept(folder)
    done = banyan(folder, "mark", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert kept(folder) == before
