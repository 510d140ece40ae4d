"""`banyan demo` comes up, says where everything is, and leaves neither process nor folder behind."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.processes import python
from tests.support.demos import Demo, folders, left
from tests.support.unleash import required

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(40)


def test_everything_answers_and_ctrl_c_leaves_nothing(demo: Demo, tmp_path: Path) -> None:
    said = demo.wait_for("Ctrl-C stops everything", demo.out)
    places = dict(re.findall(r"(?m)^(\S+|admin port) +(http://127\.0\.0\.1:\d+) ", said))
    assert set(places) == {"gateway", "console", "admin port", "shop", "reviews", "recommendations"}
    for name, path in [("gateway", "/"), ("console", "/login/"), ("admin port", "/readyz"), ("shop", "/healthz"), ("reviews", "/healthz")]:
        assert httpx.get(places[name] + path, timeout=10).status_code == 200, name
    said = demo.wait_for("requests: ", demo.out, 30)
    assert re.search(r"(?m)^reviews: legacy \+ shadow; legacy [1-9]\d*, candidate 0, match [\d.]+ %, coverage [\d.]+ %$", said), said
    processes = demo.descendants()
    assert len(processes) >= 10
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0, demo.err.read_text()
    assert left(processes) == []
    assert folders(tmp_path) == []
    assert "Traceback" not in demo.err.read_text()


def flags_of(config: str) -> None:
    """A slip of the hand makes no flag in Unleash; one that somebody made there is switched with a note."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = python("-m", "gateway.cli", "flags", *arguments, "--config", config)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    for status, note, arguments in [(2, "banyan: ", ()), (0, "", ("--force",)), (0, "note: ", ())]:
        done = run("off", "revews", *arguments)
        assert (done.returncode, done.stderr[: len(note)]) == (status, note), done.stderr
        assert ("Did you mean 'reviews'?" in done.stderr) is bool(note)
        assert ("revews" in run("list").stdout) is (status == 0)


@pytest.mark.unleash
def test_with_unleash_it_says_where_the_flags_are_and_a_flip_there_moves_the_traffic(tmp_path: Path) -> None:
    required()
    demo = Demo(tmp_path, "--unleash")
    try:
        said = demo.wait_for("Ctrl-C stops everything", demo.out, 110)
        found = re.search(r"(?m)^Unleash +(http://127\.0\.0\.1:\d+) +the flags: sign in as (\S+), password ([^;]+);", said)
        assert found is not None, said
        url, user, password = found.groups()
        with httpx.Client(base_url=url, timeout=10) as person:
            assert "<html" in person.get("/").text
            assert person.post("/auth/simple/login", json={"username": user, "password": "wrong"}).status_code == 401
            assert person.post("/auth/simple/login", json={"username": user, "password": password}).status_code == 200
            flags = {flag["name"] for flag in person.get("/api/admin/projects/default/features").json()["features"]}
            assert {"reviews", "reviews.shadow"} <= flags
            place = "/api/admin/projects/default/features/reviews/environments/development/on"
            assert person.post(place).status_code == 200
        deadline = time.monotonic() + 30
        while not re.search(r"(?m)^reviews: candidate", demo.out.read_text()):
            assert time.monotonic() < deadline, demo.out.read_text()
            time.sleep(0.2)
        found = re.search(r"flags off reviews --config (\S+)", said)
        assert found is not None, said
        flags_of(found[1])
        processes = demo.descendants()
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(40) == 0, demo.err.read_text()
        assert left(processes) == []
        assert folders(tmp_path) == []
        assert "Traceback" not in demo.err.read_text()
    finally:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
            demo.process.wait(40)


def test_interrupted_while_starting_it_stops_what_it_had_started(demo: Demo, tmp_path: Path) -> None:
    demo.wait_for("filling and starting the new services", demo.err)
    processes = demo.descendants()
    assert processes
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(40) == 0
    assert left(processes | demo.descendants()) == []
    assert folders(tmp_path) == []


def test_json_without_the_script_is_wrong_use() -> None:
    done = subprocess.run(python("-m", "gateway.cli", "demo", "--json"), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == "banyan: --json and --keep go with --script\n"
