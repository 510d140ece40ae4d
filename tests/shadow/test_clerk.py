"""The guard's clerk as a process: it counts comparisons, keeps each trip once, says when the database fails, and ends with its input."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.processes import python

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
reviews = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "reviews"
[routes.guard]
mismatch = 0.01
"""


@dataclass
class Clerk:
    process: subprocess.Popen[str]
    folder: Path

    def tell(self, message: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hears(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until it says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if wanted(message):
                return message
        raise AssertionError("it has ended")

    def rows(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "var" / "banyan.sqlite3", timeout=20)) as database, database:
            return database.execute(statement, values).fetchall()

    def count(self, at: int, name: str, count: int, route: str = "reviews", width: int = 1) -> None:
        self.rows("INSERT INTO shadow_tally (route, at, width, name, count) VALUES (?, ?, ?, ?, ?)", (route, at, width, name, count))


@pytest.fixture
def clerk(tmp_path: Path) -> Iterator[Clerk]:
    config = tmp_path / "banyan.toml"
    config.write_text(TOML)
    command = python("-m", "shadow.clerk", "--config", str(config), "--text", str(config), "--gateway", "a-run")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Clerk(process, tmp_path)
        finally:
            process.kill()


def trip(outcome: str, number: int = 1) -> dict[str, Any]:
    return {
        "trip": {
            "number": number, "at": time.time(), "route": "reviews", "flag": "reviews", "reason": "errors", "why": "errors: \0 many",
            "figures": {"candidate": {"requests": 60}}, "outcome": outcome, "overridden": False, "error": "",
        }
    }  # fmt: skip


@pytest.mark.timeout(120)
def test_it_counts_keeps_and_ends(clerk: Clerk) -> None:
    clerk.tell({"watch": {"reviews": 60.0}})
    assert clerk.hears(lambda said: "compared" in said) == {"compared": {"reviews": []}}
    now = int(time.time())
    for at, name, count in ((now - 1, "matched", 5), (now - 1, "mismatched", 2), (now, "mismatched", 1), (now - 600, "matched", 99)):
        clerk.count(at, name, count)
    clerk.count(now, "eligible", 99)
    clerk.count(now, "matched", 99, route="search")
    clerk.count(now, "matched", 99, width=60)
    found = clerk.hears(lambda said: bool(said.get("compared", {}).get("reviews")))
    assert found == {"compared": {"reviews": [[now - 1, 5, 2], [now, 0, 1]]}}

    # Comparing lags: the window is the last that there is.
    clerk.rows("DELETE FROM shadow_tally WHERE at > ?", (now - 600,))
    clerk.count(now - 640, "mismatched", 7)
    clerk.count(now - 700, "mismatched", 8)
    clerk.count(now - 4000, "mismatched", 9)
    found = clerk.hears(lambda said: len(said.get("compared", {}).get("reviews", ())) == 2)
    assert found == {"compared": {"reviews": [[now - 640, 0, 7], [now - 600, 99, 0]]}}

    clerk.tell(trip("pending"))
    clerk.hears(lambda said: said == {"kept": 1})
    clerk.tell(trip("switched-off"))
    clerk.hears(lambda said: said == {"kept": 1})
    assert clerk.rows("SELECT gateway, number, outcome, why FROM shadow_guardtrip") == [("a-run", 1, "switched-off", "errors: ␀ many")]

    clerk.rows("ALTER TABLE shadow_guardtrip RENAME TO away")
    clerk.tell(trip("pending", number=2))
    assert "shadow_guardtrip" in clerk.hears(lambda said: "error" in said)["error"]
    clerk.rows("ALTER TABLE away RENAME TO shadow_guardtrip")
    clerk.hears(lambda said: said == {"kept": 2})

    clerk.tell(trip("pending", number=3))  # and no time left for a look
    assert clerk.process.stdin is not None
    clerk.process.stdin.close()
    assert clerk.process.wait(20) == 0
    assert [path.name for path in (clerk.folder / "var").glob("banyan.sqlite3*")] == ["banyan.sqlite3"], "whole, however quickly it ends"
    assert clerk.rows("SELECT number, outcome FROM shadow_guardtrip WHERE number > 1") == [(2, "pending"), (3, "pending")]
