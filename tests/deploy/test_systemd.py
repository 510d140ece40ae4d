"""The units of one machine, as far as they can be looked at without being run: by systemd's own reader, and against the product."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.processes import python, start
from gateway.cli.verbs import app
from gateway.config import load
from shadow.database import sqlite_path
from tests.support.deploying import ROOT, SYSTEMD, adapted, seconds
from tests.support.placed import AWAY, until
from tests.support.required import missing

UNITS = sorted(SYSTEMD.glob("*.service"))
units = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
TARGETS = ("sysinit", "basic", "shutdown", "multi-user", "network-online")


def setting(unit: Path, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", unit.read_text())


def verify(text: str, name: str, root: Path) -> subprocess.CompletedProcess[str]:
    """What systemd says of a unit on a machine that has nothing but the programs that it names."""
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze is not here: install systemd")
    folder = root / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    for target in TARGETS:
        (folder / f"{target}.target").write_text("[Unit]\n")
    for command in re.findall(r"(?m)^Exec\w+=(\S+)", text):
        path = root / command.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (folder / name).write_text(text)
    return subprocess.run([program, "verify", f"--root={root}", "--man=no", name], capture_output=True, text=True, timeout=60, check=False)


@units
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    ended = verify(unit.read_text(), unit.name, tmp_path / "right")
    # What systemd has to say of the machine that it runs on, such as a container's, is none of the unit's.
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if unit.name in line]) == (0, [])
    ended = verify(unit.read_text().replace("ProtectHome=", "ProtectHomes="), unit.name, tmp_path / "wrong")
    assert "Unknown key" in ended.stderr


@units
def test_it_starts_a_command_that_there_is(unit: Path) -> None:
    (command,) = setting(unit, "ExecStart")
    program, *arguments = shlex.split(command)
    # Where `make setup` puts it, in the folder that the guide says.
    assert program == "/opt/banyan/.venv/bin/banyan"
    assert "make -C /opt/banyan setup" in (ROOT / "docs" / "guide" / "deploy.md").read_text()
    app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert arguments[arguments.index("--config") + 1] == "/etc/banyan/banyan.toml"


def test_there_is_time_to_drain() -> None:
    unit = SYSTEMD / "banyan.service"
    config = load(SYSTEMD / "banyan.toml")
    assert seconds(setting(unit, "TimeoutStopSec")[0]) >= config.gateway.limits.drain_timeout + 10
    # Workers drain when the supervisor says so: SIGTERM to all of them at once would end the supervisor's part of it.
    assert setting(unit, "KillMode") == ["mixed"]
    assert setting(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_what_is_written_is_where_the_services_may_write() -> None:
    for unit in UNITS:
        assert setting(unit, "ProtectSystem") == ["strict"]
        assert setting(unit, "StateDirectory") == ["banyan"]
        assert not setting(unit, "ReadWritePaths")
    config = load(SYSTEMD / "banyan.toml")
    state = Path("/var/lib/banyan")
    database = sqlite_path(config.shadow.database, Path("/etc/banyan"))
    assert database is not None
    written = [database, Path(config.flags.path), Path(config.flags.overrides)]
    assert all(path.is_relative_to(state) for path in written)
    assert config.flags.source == "file"
    assert not config.ledgered
    assert config.gateway.access_log == "-"


def test_the_gateway_runs_by_these_files_in_the_guides_order(tmp_path: Path) -> None:
    etc, state = tmp_path / "etc", tmp_path / "state"
    etc.mkdir()
    state.mkdir()
    config = etc / "banyan.toml"
    addresses = {
        'listen = ["0.0.0.0:8080"]': 'listen = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nworkers = 1',
        'drain_timeout = "30s"': 'drain_timeout = "2s"',  # with nobody to wait for, half of it is waited for load balancers
        "/var/lib/banyan": str(state),
        "127.0.0.1:8001": AWAY,
        "127.0.0.1:8101": AWAY,
    }
    config.write_text(adapted((SYSTEMD / "banyan.toml").read_text(), addresses))

    def arguments(command: str) -> list[str]:
        return [str(config) if word == "/etc/banyan/banyan.toml" else word for word in shlex.split(command)[1:]]

    (synced,) = re.findall(r"(?m)^sudo -u banyan (\S+banyan flags sync .*)$", (ROOT / "docs" / "guide" / "deploy.md").read_text())
    subprocess.run(python("-m", "gateway.cli", *arguments(synced)), cwd=ROOT, check=True, capture_output=True, timeout=60)
    (command,) = setting(SYSTEMD / "banyan.service", "ExecStart")
    running = start(
        "gateway",
        python("-m", "gateway.cli", *arguments(command)),
        log_dir=tmp_path / "log",
        ready=lambda running: "serving on" in running.log.read_text(),
        timeout=60,
    )
    try:
        (reload,) = setting(SYSTEMD / "banyan.service", "ExecReload")
        subprocess.run(reload.replace("$MAINPID", str(running.pid)).split(), check=True, timeout=10)
        until(lambda: "was reloaded (SIGHUP)" in running.log.read_text(), "it says that it has reloaded")
        assert running.stop(timeout=40) == 0, running.tail()
    finally:
        running.stop()
    assert [path.name for path in etc.iterdir()] == ["banyan.toml"]  # which its user may not write to
    assert {"flags.json", "banyan.sqlite3", "redact.key"} <= {path.name for path in state.iterdir()}


@units
def test_secrets_are_in_a_file_of_their_own(unit: Path) -> None:
    assert setting(unit, "EnvironmentFile") == ["-/etc/banyan/secrets.env"]
    assert not setting(unit, "Environment")
    assert setting(unit, "User") == ["banyan"]
    assert setting(unit, "NoNewPrivileges") == ["yes"]
