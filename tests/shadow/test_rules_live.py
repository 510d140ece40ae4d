"""A running shipper follows the rules that somebody makes and ends beside it, without a restart."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.processes import Running, python, start
from shadow import counters
from shadow.exchange import Answer, Exchange, encode

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[shadow]
database = "sqlite:///var/banyan.sqlite3"
"""
EXPIRING = """
import sys, time
from pathlib import Path
from shadow import store
store.setup("sqlite:///var/banyan.sqlite3", Path(sys.argv[1]))
from shadow import rulebook
from shadow.compare import Rules
from shadow.rules import checked
rulebook.add("reviews", checked("ignore", "$.t"), Rules(), author="kim", reason="for a moment", at=time.time(), expires=time.time() + 8)
"""
HEAD = b"Content-Type: application/json\r\n"


class Live:
    """A shipper's process, and commands beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "s"
        (folder / "banyan.toml").write_text(TOML)
        self.running: Running = start(
            "shipper",
            [sys.executable, "-m", "shadow.shipper", "--config", str(folder / "banyan.toml"), "--socket", str(self.path)],
            log_dir=folder,
            ready=lambda _: self._connects(),
        )

    def _connects(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.connect(str(self.path))
            return True
        return False

    def see(self, legacy: Any, candidate: Any) -> None:
        one, other = (json.dumps(side).encode() for side in (legacy, candidate))
        answers = Answer("legacy", "legacy", 200, HEAD, one, 0.01), Answer("candidate", "new", 200, HEAD, other, 0.01)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))
            sock.sendall(encode(Exchange("reviews", "r", time.time(), "GET", "/reviews/1", b"", b"", *answers)))

    def counted(self, name: str) -> int:
        try:
            with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT COALESCE(SUM(count), 0) FROM shadow_tally WHERE name = ?", [name]).fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not made yet

    def state(self) -> str:
        with closing(sqlite3.connect(f"file:{self.folder / 'var' / 'banyan.sqlite3'}?mode=ro", uri=True)) as connection:
            return str(connection.execute("SELECT state FROM shadow_signature WHERE path = '$.t'").fetchone()[0])

    def run(self, *command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return subprocess.run(python(*command), env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    def banyan(self, *arguments: str) -> Any:
        return json.loads(self.run("-m", "gateway.cli", *arguments, "--json", "--config", str(self.folder / "banyan.toml")))


@pytest.fixture
def live() -> Iterator[Live]:
    # A socket's path may have about 100 characters: pytest's own folders can be longer.
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    made = Live(folder)
    yield made
    made.running.stop()
    shutil.rmtree(folder)


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 45
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def until(live: Live, name: str) -> None:
    """Shows the same exchange until one is counted under `name`: a rule needs about a second."""
    before = live.counted(name)

    def shown() -> bool:
        live.see({"t": 1}, {"t": 2})
        time.sleep(0.3)
        return live.counted(name) > before

    wait_for(shown)


def test_a_running_shipper_follows_the_rules(live: Live) -> None:
    until(live, counters.MISMATCHED)
    made = live.banyan("rules", "add", "reviews", "ignore", "$.t", "--reason", "when it was answered")
    assert live.state() == "expected"
    until(live, counters.EXCUSED)
    report = live.banyan("report", "reviews")
    assert report["mismatched"] == 0
    assert report["matched_by_rules"] == report["compared"] > 1

    live.banyan("rules", "end", "reviews", str(made["id"]), "--reason", "no more")
    until(live, counters.MISMATCHED)
    report = live.banyan("report", "reviews")
    assert (report["matched"], report["mismatched"]) == (0, report["compared"])
    assert live.state() == "new"

    live.run("-c", EXPIRING, str(live.folder))
    until(live, counters.EXCUSED)
    until(live, counters.MISMATCHED)  # its time is over, and nobody did anything
    wait_for(lambda: live.state() == "new")
    assert live.banyan("report", "reviews")["matched"] == 0
    assert "ERROR" not in live.running.log.read_text()
