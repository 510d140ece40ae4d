"""The real shipper on a real socket, into SQLite and into PostgreSQL."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import start_postgres
from demo.processes import Running, StartError, start
from shadow.exchange import Answer, Exchange, RouteCounts, Side, Summary, encode
from tests.support.required import missing

HEAD = b"Content-Type: application/json\r\n"
TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow.compare]
ignore = ["$.at"]
key = {{ "$.items" = "id" }}
[shadow]
database = "{database}"
"""

REPORT = """
import dataclasses, json, sys
from pathlib import Path
from shadow import store
store.setup(sys.argv[1], Path(sys.argv[2]))
from shadow import report
from shadow.models import Sample
found = report.summary("reviews", float(sys.argv[3]))
print(json.dumps({
    **dataclasses.asdict(found), "match_rate": found.match_rate, "coverage": found.coverage, "mode": found.mode,
    "found": [[line.kind, line.path, line.count] for line in found.signatures],
    "noise": report.noise("reviews"),
    "samples": [
        {"served": row.served, "legacy": row.legacy, "candidate": row.candidate, "differences": row.differences, "target": row.target}
        for row in Sample.objects.order_by("id")
    ],
}))
"""

UPKEEP = """
import sys, time
from pathlib import Path
from shadow import store
store.setup(sys.argv[1], Path(sys.argv[2]))
for _ in range(2):
    store.roll_up(time.time() + 7200)
store.purge(time.time(), 300)  # what was counted just now stands at the beginning of its minute
from shadow.models import Tally
assert Tally.objects.exclude(width=60).count() == 0
"""


class Setup:
    """A folder with a configuration, the shipper's process and one connection to it."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        self.path = folder / "s"
        (folder / "banyan.toml").write_text(TOML.format(database=database))
        self.running = self.start()

    def start(self) -> Running:
        return start(
            "shipper",
            [sys.executable, "-m", "shadow.shipper", "--config", str(self.folder / "banyan.toml"), "--socket", str(self.path)],
            log_dir=self.folder,
            ready=lambda _: self.path.exists() and connects(self.path),
        )

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.path))
        return sock

    def send(self, *records: Exchange | Summary) -> None:
        with self.connect() as sock:
            sock.sendall(b"".join(map(encode, records)))

    def report(self, since: float = 0.0) -> dict[str, Any]:
        command = [sys.executable, "-c", REPORT, self.database, str(self.folder), str(since)]
        result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
        return result

    def stop(self) -> int:
        return self.running.stop()


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path may have about 100 characters: pytest's own folders can be longer.
    path = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def setup(folder: Path) -> Iterator[Setup]:
    made = Setup(folder, "sqlite:///var/banyan.sqlite3")
    yield made
    made.running.stop()


def pair(
    legacy: Any,
    candidate: Any,
    *,
    at: float | None = None,
    statuses: tuple[int, int] = (200, 200),
    served: Side = "legacy",
    kind: Any = "pair",
    heads: tuple[bytes, bytes] = (HEAD, HEAD),
    **more: Any,
) -> Exchange:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (legacy, candidate)]
    one = Answer("legacy", "legacy", statuses[0], heads[0], bodies[0], 0.01)
    other = Answer("legacy" if kind == "noise" else "candidate", "new", statuses[1], heads[1], bodies[1], 0.02, **more)
    answers = (one, other) if served == "legacy" else (other, one)
    return Exchange(
        "reviews", "r-1", time.time() if at is None else at, "GET", "/reviews/1?email=me%40x", b"Accept: */*\r\n", b"", *answers, kind
    )


def wait_for(check: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def check_the_whole_way(setup: Setup) -> None:
    """What is sent is compared, redacted, counted and stored; SIGTERM drains."""
    # First one of long ago, so that what follows meets a shipper that is up: what it cannot do in time at the end is a counted drop.
    setup.send(pair({"a": 1}, {"a": 1}, at=time.time() - 10_000))

    def up() -> bool:
        try:
            return bool(setup.report(time.time() - 20_000)["matched"] == 1)
        except subprocess.CalledProcessError:
            return False  # its tables are not made yet

    wait_for(up, 60)
    now = time.time()
    setup.send(
        Summary(
            now,
            "w0",
            {"reviews": RouteCounts(legacy=9, candidate=1, eligible=12, captured=9, skipped={"method": 2}, dropped={"queue_full": 1})},
        ),
        Summary(now, "w1", {"reviews": RouteCounts(legacy=2, fallback=1, eligible=1)}),
        pair({"a": 1}, {"a": 1.0}),
        pair({"a": 1}, {"a": 1}),
        pair({"at": 1, "email": "me@x"}, {"at": 2, "email": "me@x"}),
        pair({"items": [{"id": 1, "n": 1}, {"id": 2, "n": 1}]}, {"items": [{"id": 1, "n": "1"}, {"id": 2, "n": "1"}]}),
        pair({"items": [{"id": 7, "n": 1}]}, {"items": [{"id": 7, "n": "1"}]}, served="candidate"),
        pair({"email": "me@x", "nul": "\0", "big": 10**30}, {"email": "you@x", "nul": "\0", "big": 10**30 + 1}),
        pair({}, [], statuses=(404, 200)),
        pair({}, b"", statuses=(200, 0), error="timeout"),
        pair({}, b"", statuses=(200, 200), skipped="too_large"),
        pair({"a": 1}, gzip.compress(b'{"a": 1}'), heads=(HEAD, HEAD + b"Content-Encoding: gzip\r\n")),
        pair({"a": 1, "t": 1}, {"a": 1, "t": 2}, kind="noise"),
        pair({"a": 1}, {"a": 1}, kind="noise"),
    )
    assert setup.stop() == 0, setup.running.tail()
    assert not setup.path.exists()
    found = setup.report(now - 5)
    assert (found["legacy"], found["candidate"], found["fallback"], found["eligible"], found["captured"]) == (11, 1, 1, 13, 9)
    assert (found["matched"], found["mismatched"], found["mode"]) == (4, 5, "split")
    assert (found["skipped"], found["dropped"]) == ({"method": 2, "too_large": 1}, {"queue_full": 1})
    assert (found["match_rate"], found["coverage"]) == (4 / 9, 9 / 13)
    assert sorted(found["found"]) == [
        ["authorization", "404->200", 1],
        ["type", "$.items[*].n", 2],
        ["unanswered", "timeout", 1],
        ["value", "$.big", 1],
        ["value", "$.email", 1],
    ]
    assert (found["noise_pairs"], found["noise_different"], found["noise"]) == (2, 1, [["value", "$.t", 1]])
    assert len(found["samples"]) == 5
    assert [sample["served"] for sample in found["samples"]].count("candidate") == 1
    text = json.dumps(found["samples"])
    assert "@x" not in text
    assert "%40x" not in text
    assert text.count("redacted:") >= 4
    assert setup.report(time.time() + 1)["eligible"] == 0
    assert "ERROR" not in setup.running.log.read_text()
    upkeep = [sys.executable, "-c", UPKEEP, setup.database, str(setup.folder)]
    subprocess.run(upkeep, check=True, timeout=60)
    later = setup.report()
    assert (later["matched"], later["mismatched"]) == (4, 5)


def test_the_whole_way_into_sqlite(setup: Setup) -> None:
    check_the_whole_way(setup)
    for name in ("banyan.sqlite3", "redact.key"):
        assert stat.S_IMODE((setup.folder / "var" / name).stat().st_mode) == 0o600
    files = b"".join(path.read_bytes() for path in (setup.folder / "var").iterdir())
    assert b"me@x" not in files
    assert b"you@x" not in files


def test_the_whole_way_into_postgresql(folder: Path) -> None:
    try:
        server = start_postgres(folder)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    try:
        made = Setup(folder, server.url)
        try:
            check_the_whole_way(made)
        finally:
            made.running.stop()
    finally:
        server.stop()


def counted(setup: Setup, name: str) -> int:
    path = setup.folder / "var" / "banyan.sqlite3"
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT COALESCE(SUM(count), 0) FROM shadow_tally WHERE name = ?", [name]).fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return 0  # not made yet


def test_garbage_ends_that_connection_and_no_other(setup: Setup) -> None:
    good, bad, cut = setup.connect(), setup.connect(), setup.connect()
    good.sendall(encode(pair({"a": 1}, {"a": 1})))
    bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert bad.recv(1) == b""
    cut.sendall(encode(pair({"a": 1}, {"a": 1}))[:-3])
    cut.close()
    good.sendall(encode(pair({"a": 1}, {"a": 2})))
    wait_for(lambda: counted(setup, "mismatched") == 1 and counted(setup, "matched") == 1 and counted(setup, "bad_frames") == 1)
    good.close()
    bad.close()
    assert setup.running.alive()


def test_a_second_shipper_is_refused_and_a_dead_ones_socket_is_replaced(setup: Setup) -> None:
    command = [sys.executable, "-m", "shadow.shipper", "--config", str(setup.folder / "banyan.toml"), "--socket", str(setup.path)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert "another shipper listens on" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert stat.S_IMODE(setup.path.stat().st_mode) == 0o600
    setup.running.kill()
    assert setup.path.exists()
    setup.running = setup.start()
    setup.send(pair({}, {}))
    wait_for(lambda: counted(setup, "matched") == 1)


def test_a_comparison_over_budget_is_inconclusive_and_the_next_one_works(setup: Setup) -> None:
    # Two megabytes of lists that differ everywhere: more than the budget allows, whatever the machine.
    slow = [
        json.dumps([[{"k": n % 7, "v": [n, n + shift]} for n in range(90_000)][::step]] * 3).encode() for shift, step in ((0, 1), (1, -1))
    ]
    setup.send(pair(*slow), pair({"a": 1}, {"a": 1}))
    # The quick one need not wait for it.
    wait_for(lambda: counted(setup, "matched") == 1 and counted(setup, "mismatched") == 1, 60)
    assert setup.stop() == 0
    assert setup.report()["found"] == [["inconclusive", "over_budget", 1]]


def test_sigterm_drains_what_is_held_within_five_seconds(setup: Setup) -> None:
    wait_for((setup.folder / "var" / "banyan.sqlite3").exists)
    records = b"".join(encode(pair({"a": [1] * 50, "b": n}, {"a": [1] * 50, "b": n + 1})) for n in range(1500))
    sock = setup.connect()
    sock.sendall(records)
    began = time.monotonic()
    os.kill(setup.running.pid, signal.SIGTERM)
    setup.running.process.wait(10)
    assert time.monotonic() - began < 6
    sock.close()
    assert setup.running.process.returncode == 0
    assert not [*(setup.folder / "var").glob("*-wal")], "the file alone holds everything"
    assert counted(setup, "mismatched") + counted(setup, "dropped.shipper_stopped") == 1500
    assert counted(setup, "mismatched") > 100
    report = setup.report()
    assert [line[:2] for line in report["found"]] == [["value", "$.b"]]
    assert 0 < len(report["samples"]) <= 20


def test_it_ends_with_its_parent_even_one_that_died_before_it_started(folder: Path) -> None:
    (folder / "banyan.toml").write_text(TOML.format(database="sqlite:///x.sqlite3"))
    command = [sys.executable, "-m", "shadow.shipper", "--config", str(folder / "banyan.toml"), "--socket", str(folder / "s"), "--parent"]
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True, text=True)
    assert subprocess.run([*command, dead.stdout.strip()], timeout=30, check=False).returncode == 0
    parent = "import subprocess, sys, time; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", parent, *command[:-1]], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        wait_for(lambda: connects(folder / "s"))
        process.kill()
    wait_for(lambda: not (folder / "s").exists())
    wait_for(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('redact = ["$.a b"]', "is not a path"),
        ('redact = ["not a header"]', "neither a header's name nor a path"),
        ('database = "mysql://x:secret@y/z"', 'write "sqlite:///path" or "postgres://'),
        ('database = "sqlite://x"', 'write "sqlite:///relative/path"'),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_clear_line(folder: Path, line: str, message: str) -> None:
    text = TOML.format(database="sqlite:///x.sqlite3").replace("[shadow]\n", f"[shadow]\n{line}\n")
    (folder / "banyan.toml").write_text(text if "database" not in line else text.replace('database = "sqlite:///x.sqlite3"', ""))
    command = [sys.executable, "-m", "shadow.shipper", "--config", str(folder / "banyan.toml"), "--socket", str(folder / "s")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "secret" not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
