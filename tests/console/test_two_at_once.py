"""Reviewers who decide in the same moment, over the real console: one of them is done, the others are told."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import Running
from tests.support.console import give_role, log_in, post, running_console, store_exchanges
from tests.support.shipping import pair

TOML = """
[gateway]
admin = "127.0.0.1:0"
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""
MANY = 6


@dataclass
class World:
    running: Running
    folder: Path

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def number(self, path: str) -> int:
        return dict(self.rows("SELECT path, id FROM shadow_signature"))[path]

    def all_at_once(self, ask: Callable[[httpx.Client], httpx.Response]) -> Counter[int]:
        """The statuses of what as many people get who ask the same."""
        with ExitStack() as stack:
            first = stack.enter_context(closing(log_in(self.running)))
            clients = [stack.enter_context(httpx.Client(base_url=self.running.url, cookies=first.cookies, timeout=30)) for _ in range(MANY)]
            with ThreadPoolExecutor(MANY) as pool:
                return Counter(answer.status_code for answer in pool.map(ask, clients))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    config = folder / "banyan.toml"
    config.write_text(TOML)
    store_exchanges(config, [pair({"a": 1}, {"a": 2}), pair({"b": 1}, {"b": 2}), pair({"c": 1}, {"c": 2})])
    with running_console(config) as running:
        give_role(folder, "reviewer")
        yield World(running, folder)
    shutil.rmtree(folder)


def test_of_many_who_mark_it_one_does(world: World) -> None:
    number = world.number("$.a")
    statuses = world.all_at_once(lambda client: post(client, f"/signatures/{number}/mark/", seen="new@0.000000", to="bug", why="wrong"))
    assert statuses == {302: 1, 409: MANY - 1}
    assert world.rows(f"SELECT COUNT(*) FROM shadow_statechange WHERE signature_id = {number}") == [(1,)]  # noqa: S608 - a number
    assert world.rows("SELECT COUNT(*) FROM console_audit WHERE action = 'signature-bug'") == [(1,)]


def test_of_many_who_make_a_rule_one_does_and_of_many_who_end_it_too(world: World) -> None:
    number = world.number("$.b")
    fields = {"seen": "new@0.000000", "choice": "0", "days": "90", "do": "make", "previewed": "ignore $.b", "why": "meant"}
    statuses = world.all_at_once(lambda client: post(client, f"/signatures/{number}/expect/", **fields))
    assert statuses == {302: 1, 409: MANY - 1}
    ((rule,),) = world.rows("SELECT id FROM shadow_rule")
    assert world.rows("SELECT state FROM shadow_signature WHERE path = '$.b'") == [("expected",)]
    statuses = world.all_at_once(lambda client: post(client, f"/rules/{rule}/end/", why="mended"))
    assert statuses == {302: 1, 409: MANY - 1}
    assert world.rows("SELECT action FROM console_audit WHERE action LIKE 'rule-%' ORDER BY id") == [("rule-made",), ("rule-ended",)]
    assert world.rows("SELECT state FROM shadow_signature WHERE path = '$.b'") == [("new",)]


def test_of_many_who_undo_it_one_does(world: World) -> None:
    number = world.number("$.c")
    with closing(log_in(world.running)) as client:
        assert post(client, f"/signatures/{number}/mark/", seen="new@0.000000", to="bug", why="wrong").status_code == 200
    ((change, at),) = world.rows(f"SELECT id, at FROM shadow_statechange WHERE signature_id = {number}")  # noqa: S608 - a number
    statuses = world.all_at_once(
        lambda client: post(client, f"/signatures/{number}/undo/", seen=f"bug@{at:.6f}", change=str(change), rule="0")
    )
    assert statuses == {302: 1, 409: MANY - 1}
    assert world.rows("SELECT state FROM shadow_signature WHERE path = '$.c'") == [("new",)]
