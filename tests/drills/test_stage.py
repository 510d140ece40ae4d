"""Whatever a drill started is ended with it, by its id, and nothing is left on the disk."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from demo.processes import Running, StartError, listen, python, start
from drills.gateway import start_gateway
from drills.stage import stage

SERVER = "import socket, sys, time; s = socket.socket(fileno=int(sys.argv[1])); time.sleep(60)"


def server(folder: Path, name: str) -> Running:
    return start(name, python("-c", SERVER, "{fd}"), log_dir=folder, sock=listen())


def test_everything_is_ended_and_the_folder_is_gone() -> None:
    with stage("test", print) as found:
        running = [found.start(lambda name=name: server(found.folder, name)) for name in ("one", "two")]  # type: ignore[misc]
        running[0].kill()  # what has ended by itself is no trouble
        found.end(running[1])
        assert not running[1].alive()
        third = found.start(lambda: server(found.folder, "three"))
        assert third.alive()
    assert not third.alive()
    assert not found.folder.exists()


def test_it_is_ended_also_when_the_drill_fails_and_kept_when_that_is_wanted() -> None:
    started: list[Running] = []
    folders: list[Path] = []

    def fail() -> None:
        with stage("test", print, keep=True) as found:
            folders.append(found.folder)
            started.append(found.start(lambda: server(found.folder, "one")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not started[0].alive()
    assert [path.name for path in folders[0].iterdir()] == ["one.log"]
    shutil.rmtree(folders[0])


def test_what_is_being_started_when_the_drill_ends_is_ended_too() -> None:
    begun, go = threading.Event(), threading.Event()
    ended: list[Running] = []

    with stage("test", print) as found:

        def slowly() -> Running:
            begun.set()
            go.wait(10)
            ended.append(server(found.folder, "slow"))
            return ended[0]

        thread = threading.Thread(target=lambda: found.start(slowly), name="starting")
        thread.start()
        begun.wait(10)
        threading.Timer(0.1, go.set).start()
    thread.join(10)
    assert not ended[0].alive()
    with pytest.raises(StartError, match="over"):
        found.start(lambda: server(found.folder, "late"))


def test_a_gateway_of_its_own_is_found_again_after_a_restart() -> None:
    with stage("test", print) as found:
        toml = '[upstreams]\nlegacy = "http://127.0.0.1:9"\n'
        first = start_gateway(found, toml, workers=1)
        found.end(first)
        second = start_gateway(found, toml, workers=1)
        assert second.alive()
        assert second.config.read_text().count("[gateway]") == 1
        assert second.admin not in (0, first.admin) or second.port != first.port
    assert not second.alive()
