"""`banyan report`, `banyan gate` and `banyan console`, as a shell or a pipeline meets them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from demo.processes import python, start

CONFIG = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.gate]
minimum = 300
match = 0.98
[[routes]]
name = "items"
match = "/items/*"
candidate = "new"
[shadow]
database = "sqlite:///store.sqlite3"
"""

FILL = """
import sys, time
from pathlib import Path
from shadow import counters, store
folder = Path(sys.argv[1])
store.setup("sqlite:///store.sqlite3", folder)
store.migrate(folder)
from shadow.batch import Batch, Seen
from shadow.compare import Kind
now, long_ago, batch = time.time(), time.time() - 1800, Batch()
batch.count("reviews", long_ago, counters.MISMATCHED, 100)
batch.count("reviews", long_ago, counters.ELIGIBLE, 100)
batch.signatures["reviews", Kind.TYPE, "$.count"] = Seen(100, long_ago, long_ago)
batch.count("reviews", now - 60, counters.MATCHED, 400)
batch.count("reviews", now - 60, counters.ELIGIBLE, 410)
batch.count("reviews", now - 60, counters.SKIPPED + "too-large", 10)
batch.count("reviews", long_ago, counters.CAPTURED, 101)
batch.count("reviews", now - 60, counters.CAPTURED, 400)
batch.count("reviews", now - 60, counters.SERVED_LEGACY, 410)
batch.count("reviews", now - 60, counters.SERVED_GATEWAY, 7)
batch.count("reviews", now - 60, counters.UNFINISHED, 2)
batch.count("reviews", now - 60, counters.LATENCY + "legacy.4", 400)
batch.count("reviews", now - 60, counters.LATENCY + "shadow-candidate.5", 399)
batch.count("reviews", now - 60, counters.ERRORS + "shadow-candidate", 4)
batch.count("reviews", now - 60, counters.UNANSWERED + "shadow-candidate", 1)
batch.count("items", now - 60, counters.MATCHED, 99_999)
batch.count("items", now - 60, counters.MISMATCHED, 1)
batch.signatures["items", Kind.AUTHORIZATION, "403->200"] = Seen(1, now - 60, now - 60)
store.write(batch)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compared")
    (made / "banyan.toml").write_text(CONFIG)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", FILL, str(made)), env=environment, check=True, timeout=60)
    return made


def banyan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", *arguments, "--config", str(folder / "banyan.toml"))
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_report_shows_rate_coverage_reasons_and_signatures(folder: Path) -> None:
    done = banyan(folder, "report", "reviews")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "reviews: legacy",
        "  answered    417: legacy 410 (0 as fallback), candidate 0, the gateway itself 7 (errors)",
        "  unfinished  2: broken off, or the client left",
        "  compared    500 of 510, coverage 98.04 %",
        "  skipped     10 too-large",
        "  reconciled  captured 501 = compared 500 + missing 1 (under way, or lost by a process that ended without a word)",
        "  match rate  80.00 % (95 %: 76.27 % to 83.27 %)",
        "  legacy      p95 24.2 ms, errors 0.00 % (0 of 400)",
        "  candidate   p95 48.8 ms, errors 1.00 % (4 of 400 asked beside)",
        "  gate        not passed (of the last 1d): the match rate is at least 76.2711% (95 % confidence), 98.0000% is needed: "
        "5569 more without a difference would show that; 1 signature still open: type $.count (new)",
        "        100 x type $.count (new)",
    ]


def test_since_leaves_out_what_was_before(folder: Path) -> None:
    told = json.loads(banyan(folder, "report", "reviews", "--since", "15m", "--json").stdout)
    assert (told["matched"], told["mismatched"], told["signatures"]) == (400, 0, [])
    assert told["reconciliation"] == {"captured": 400, "compared": 400, "skipped": {}, "dropped": {}, "missing": 0, "adds_up": True}
    assert told["gate"]["passed"]
    assert told["coverage"] == pytest.approx(400 / 410)


def test_a_difference_in_who_may_is_told_as_such(folder: Path) -> None:
    assert banyan(folder, "report", "items").stdout.splitlines()[-1].strip() == "1 x authorization 403->200 (new)"
    (told,) = json.loads(banyan(folder, "report", "items", "--json").stdout)["signatures"]
    assert (told["kind"], told["path"], told["count"]) == ("authorization", "403->200", 1)


def test_a_share_below_one_is_never_told_as_100_percent(folder: Path) -> None:
    assert "match rate  99.99 %" in banyan(folder, "report", "items").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 1, "reviews: not passed. the match rate is at least 76.2711%"),
        (
            ["--since", "15m"],
            0,
            "reviews: passed. 400 of 400 match (99.05 % or more at 95 % confidence, 98.00 % is needed); coverage 97.56 %",
        ),
        (["--since", "10s"], 1, "reviews: not passed. 0 comparisons, 300 are needed"),
    ],
)
def test_the_gates_exit_status_is_its_answer(folder: Path, arguments: list[str], status: int, said: str) -> None:
    done = banyan(folder, "gate", "reviews", *arguments)
    assert done.returncode == status
    assert done.stdout.startswith(said)
    told = json.loads(banyan(folder, "gate", "reviews", *arguments, "--json").stdout)
    assert told["passed"] is (status == 0)
    assert told["route"] == "reviews"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "revies"], r"there is no route 'revies'; there are: reviews, items"),
        (["gate", "reviews", "--since", "yesterday"], r"--since: write a duration with its unit"),
        (["console", "--listen", "unix:/tmp/x"], r'--listen: the console is for browsers: write "host:port"'),
        (["console", "--listen", "9901"], r'--listen: write "host:port"'),
    ],
)
def test_wrong_use_is_one_line(folder: Path, arguments: list[str], said: str) -> None:
    done = banyan(folder, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"banyan: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr


def test_before_anything_was_compared_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    done = banyan(tmp_path, "gate", "reviews")
    assert done.returncode == 2
    assert "nothing was compared yet" in done.stderr
    assert not (tmp_path / "store.sqlite3").exists()


def test_the_console_says_where_it_is_and_asks_for_a_login(folder: Path) -> None:
    command = python("-m", "gateway.cli", "console", "--config", str(folder / "banyan.toml"), "--listen", "127.0.0.1:0")
    running = start("console", command, log_dir=folder, ready=lambda running: "console on http://127.0.0.1:" in running.tail())
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", running.log.read_text())
        assert found
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Location"]) == (302, "/login/?next=/")
        connection.close()
        os.kill(running.pid, signal.SIGTERM)
        assert running.process.wait(10) in (0, -signal.SIGTERM)
    finally:
        running.stop()
