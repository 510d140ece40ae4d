"""`banyan doctor` beside what really runs: a gateway, NATS, PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import RunningPostgres, start_postgres
from demo.processes import ROOT, python, start
from gateway.config import load
from shadow.broker import glance
from shadow.sinks.remote import place_of
from tests.support.gateway import listening, write_flags
from tests.support.nats import start_nats

TOML = """
[gateway]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
workers = 1
access_log = ""
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
reviews = "http://127.0.0.1:{legacy}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""


@pytest.fixture
def legacy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[RunningPostgres]:
    server = start_postgres(tmp_path / "postgres")
    yield server
    server.stop()


def write(folder: Path, legacy: int, more: str = "") -> tuple[int, int]:
    """The ports that it is to listen on: free ones, which a configuration has to name, or doctor could ask nobody."""
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    port, admin = (sock.getsockname()[1] for sock in ports)
    for sock in ports:
        sock.close()
    write_flags(folder / "flags.json", {"reviews": False, "reviews__shadow": False})
    (folder / "banyan.toml").write_text(TOML.format(port=port, admin=admin, legacy=legacy) + more)
    return port, admin


def doctor(folder: Path, status: int | None) -> dict[str, dict[str, str]]:
    """`status`: with which it is to end; None: whichever."""
    done = subprocess.run(
        python("-m", "gateway.cli", "doctor", "--json", "--within", "60s", "--config", str(folder / "banyan.toml")),
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (done.returncode if status is None else status, ""), done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return {each["about"]: each for each in told["findings"]}


def test_a_gateway_that_runs_is_known_as_the_one_that_holds_the_ports(tmp_path: Path, legacy: int) -> None:
    port, admin = write(tmp_path, legacy)
    running = start(
        "gateway", python("-m", "gateway.cli", "run", "--config", str(tmp_path / "banyan.toml")), log_dir=tmp_path, ready=listening
    )
    try:
        found = doctor(tmp_path, 0)
        assert (found["gateway"]["level"], found["gateway"]["said"]) == ("fine", f"ready at 127.0.0.1:{admin}")
        for each in (port, admin):
            assert "held by a gateway that runs" in found[f"port 127.0.0.1:{each}"]["said"]
        assert "up to date" in found["store"]["said"]
        text = (tmp_path / "banyan.toml").read_text()
        (tmp_path / "banyan.toml").write_text(text.replace("workers = 1", "workers = 2"))  # which no reload can change
        os.kill(running.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while (found := doctor(tmp_path, None))["gateway"]["level"] != "wrong":
            assert found["gateway"]["level"] == "warning", "until it has tried, it goes by another configuration"
            assert time.monotonic() < deadline
        assert "its last reload failed" in found["gateway"]["said"]
    finally:
        running.stop()


def test_nats(tmp_path: Path, legacy: int) -> None:
    server = start_nats(tmp_path / "nats")
    try:
        write(tmp_path, legacy, f'[shadow]\nsink = "jetstream"\nnats = "{server.url}"\n')
        found = doctor(tmp_path, 0)
        assert (found["NATS"]["level"], "no stream BANYAN_SHADOW yet" in found["NATS"]["said"]) == ("note", True)
        assert asyncio.run(glance(place_of(load(tmp_path / "banyan.toml")), "a look")) is None, "and doctor has made none"
    finally:
        server.stop()
    plain = start_nats(tmp_path / "plain", jetstream=False)
    try:
        write(tmp_path, legacy, f'[shadow]\nsink = "jetstream"\nnats = "{plain.url}"\n')
        found = doctor(tmp_path, 1)
        assert (found["NATS"]["level"], "JetStream" in found["NATS"]["said"]) == ("wrong", True)
    finally:
        plain.stop()


def test_postgresql(tmp_path: Path, legacy: int, postgres: RunningPostgres) -> None:
    write(tmp_path, legacy, f'[shadow]\ndatabase = "{postgres.url}"\n')
    found = doctor(tmp_path, 0)
    assert (found["store"]["level"], "no tables yet" in found["store"]["said"]) == ("note", True)
    assert "agrees with PostgreSQL" in found["clock"]["said"] or found["clock"]["level"] == "note"
    make = f"from pathlib import Path; from shadow import store; store.open_database({postgres.url!r}, Path())"
    subprocess.run(python("-c", make), cwd=ROOT, check=True, timeout=60)
    assert "up to date" in doctor(tmp_path, 0)["store"]["said"]
    postgres.stop()
    found = doctor(tmp_path, 1)
    assert found["store"]["level"] == "wrong"
