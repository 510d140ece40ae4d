"""`banyan gate`, as a pipeline meets it: exit statuses, waiting, and a database that is away."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from demo.processes import python
from tests.gateway.cli.test_comparison import CONFIG, FILL, banyan

ADD = """
import sys, time
from pathlib import Path
from shadow import counters, states, store
store.setup("sqlite:///store.sqlite3", Path(sys.argv[1]))
from shadow.batch import Batch
from shadow.models import Signature
batch = Batch()
batch.count("reviews", time.time(), counters.MATCHED, int(sys.argv[2]))
store.write(batch)
for row in Signature.objects.filter(route="reviews"):
    states.change(row.pk, "fixed", by="ada", why="x")
"""


def run(code: str, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(python("-c", code, *arguments), env=environment, check=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    run(FILL, str(tmp_path))
    return tmp_path


def waiting(folder: Path, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = python("-m", "gateway.cli", "gate", "reviews", "--wait", *arguments, "--config", str(folder / "banyan.toml"))
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_it_waits_until_it_is_passed_and_says_what_is_missing(folder: Path) -> None:
    process = waiting(folder, "--for", "60s", "--json")
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith(
        "reviews: 500 compared, 400 of them match; 5569 more are needed, all of them equal; 200 a minute now, so about 27m"
    )
    assert "; 1 signature is open: somebody has to look at that; waiting for " in first
    assert process.poll() is None
    run(ADD, str(folder), "5569")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    told = json.loads(output)
    assert (told["passed"], told["compared"], told["missing"], told["open"], told["window"]) == (True, 6069, 0, 0, 86400)


def test_when_the_time_is_over_the_answer_is_no(folder: Path) -> None:
    process = waiting(folder, "--for", "1s")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.startswith("reviews: not passed. ")


def test_ctrl_c_ends_it_without_a_word_too_many(folder: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        process = waiting(folder, stderr=terminal)
        seen = b""
        while b"waiting for" not in seen:
            seen += os.read(controller, 4096)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        os.write(terminal, b"|end")
        while b"|end" not in seen:
            seen += os.read(controller, 4096)
    finally:
        os.close(controller)
        os.close(terminal)
    assert (process.returncode, output) == (130, "")
    assert seen.startswith(b"\r\x1b[Kreviews: "), "one line, written anew"
    assert seen.endswith(b"\r\n|end"), "and what follows it stands on a line of its own"
    assert b"Traceback" not in seen


def test_a_database_that_goes_away_meanwhile_is_never_a_pass(folder: Path) -> None:
    process = waiting(folder, "--since", "15m", "--for", "6s")
    # Of the last fifteen minutes alone it would be passed at once: so it has to be away from the start on, or after.
    assert process.wait(60) == 0
    assert process.communicate()[0].startswith("reviews: passed")
    process = waiting(folder, "--for", "4s")
    assert process.stderr is not None
    process.stderr.readline()
    (folder / "store.sqlite3").rename(folder / "elsewhere.sqlite3")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert "there is no" in errors
    assert not (folder / "store.sqlite3").exists(), "and none is made in its place"


@pytest.mark.parametrize(
    "database",
    [
        pytest.param("postgres://u:hunter2@127.0.0.1:1/banyan", id="away"),
        pytest.param("sqlite:///banyan.toml", id="none"),
        pytest.param("sqlite:///missing.sqlite3", id="missing"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--wait", "--for", "5s"]], ids=["once", "waiting"])
def test_a_database_that_cannot_be_read_is_no_answer(tmp_path: Path, database: str, arguments: list[str]) -> None:
    (tmp_path / "banyan.toml").write_text(CONFIG.replace("sqlite:///store.sqlite3", database))
    began = time.monotonic()
    done = banyan(tmp_path, "gate", "reviews", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
    assert time.monotonic() - began < 50


def test_tables_of_an_older_version_are_no_answer_either(tmp_path: Path) -> None:
    (tmp_path / "banyan.toml").write_text(CONFIG)
    (tmp_path / "store.sqlite3").touch()
    done = banyan(tmp_path, "gate", "reviews")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`banyan run` brings its tables up to date" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--for", "1h"], "--for says how long to wait: it goes with --wait"),
        (["--wait", "--for", "soon"], "--for: write a duration"),
        (["--wait", "--since", "yesterday"], "--since: write a duration"),
    ],
)
def test_wrong_use(folder: Path, arguments: list[str], said: str) -> None:
    done = banyan(folder, "gate", "reviews", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_the_rate_says_how_long_and_whether_ever() -> None:
    from gateway.cli.waiting import outlook
    from shadow.gate import gate

    result = gate(100, 100, minimum=10, match=0.999)
    assert "3738 more are needed, all of them equal; 60 a minute now, so about 1h 2m" in outlook(result, 1.0, 86400)
    assert "6.0 a minute now, which is never enough within the 1h that count" in outlook(result, 0.1, 3600)
    assert "so about" in outlook(result, 0.1, None)
    assert "nothing was compared in the last two minutes" in outlook(result, 0.0, 3600)
    assert "no number of comparisons would do" in outlook(gate(0, 10**7, minimum=1, match=0.9999999), 1.0, 60)
