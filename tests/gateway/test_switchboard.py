"""Overrides while the disk is of no help and the clock is not to be trusted. The worker is a stand-in: it decides by what it is sent."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from flags import overrides
from flags.overrides import Override
from gateway import switchboard
from gateway.children import WorkerProcess
from gateway.config import parse
from gateway.control import Applied
from gateway.control import Overrides as Message
from gateway.switchboard import Switchboard

pytestmark = pytest.mark.asyncio

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
new = "http://127.0.0.1:2"
[[routes]]
name = "reviews"
match = "/r"
candidate = "new"
"""


class Worker:
    """Takes what it is sent at once."""

    index = 0
    revision = ""
    overrides = -1

    def __init__(self) -> None:
        self.board: Switchboard | None = None
        self.answers: dict[str, bool] = {}

    def send(self, message: object) -> None:
        if isinstance(message, Message) and self.board is not None:
            self.answers = message.answers
            applied = Applied(self.revision, message.number)
            asyncio.get_running_loop().call_soon(self.board.heard, cast("WorkerProcess", self), applied)


class Running:
    """A switchboard, as the supervisor runs it."""

    def __init__(self, folder: Path) -> None:
        (folder / "flags.json").write_text('{"version": 1, "features": []}')
        self.tasks: list[asyncio.Task[object]] = []
        self.worker = Worker()
        self.board = Switchboard(parse(folder / "banyan.toml", TOML), [cast("WorkerProcess", self.worker)], self._keep)
        self.worker.board = self.board
        self.file = folder / "var" / "flag-overrides.json"
        self._keep(self.board.run(), "flags")

    def _keep(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.board.source.close()

    async def set(self, enabled: bool, seconds: float) -> switchboard.Outcome:
        now = time.time()
        return await self.board.override("reviews", Override(enabled, now, now + seconds, "ana", "a reason"))


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    started = Running(tmp_path)
    await started.board.first.wait()
    yield started
    await started.stop()


async def until(happened: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_disk_that_hangs_keeps_no_override_from_beginning_or_ending(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    go, write = threading.Event(), overrides.write

    def hang(path: Path, data: bytes) -> None:
        go.wait(20)
        write(path, data)

    monkeypatch.setattr(overrides, "write", hang)
    monkeypatch.setattr(switchboard, "WRITE_SECONDS", 0.1)
    try:
        outcome = await running.set(True, 0.5)
        assert outcome.workers == {"0": True}
        assert "is not written yet (the disk takes its time)" in outcome.warning
        assert running.worker.answers == {"reviews": True}
        await until(lambda: running.worker.answers == {})
        assert not running.file.exists()
    finally:
        go.set()
    await until(lambda: running.file.exists() and json.loads(running.file.read_text()) == {})


async def test_a_full_disk_is_said_once_and_tried_again_until_the_file_is_as_the_overrides_are(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await running.set(True, 60)).warning == ""
    held = json.loads(running.file.read_text())
    assert held["reviews"]["enabled"] is True
    full, write = True, overrides.write

    def refuse(path: Path, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(overrides, "write", refuse)
    monkeypatch.setattr(switchboard, "WRITE_AGAIN_SECONDS", 0.05)
    outcome = await running.board.clear("reviews", "bo", "over")
    assert outcome is not None
    assert "No space left on device" in outcome.warning
    assert "would go by what it holds" in outcome.warning
    assert running.worker.answers == {}
    assert json.loads(running.file.read_text()) == held
    await asyncio.sleep(0.3)
    full = False
    await until(lambda: json.loads(running.file.read_text()) == {})
    assert caplog.text.count("No space left on device") == 1
    assert "is written again" in caplog.text


async def test_an_override_ends_by_the_clock_on_the_wall(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.set(False, 3600)
    assert running.worker.answers == {"reviews": False}
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 7200)  # set, or the machine slept
    await until(lambda: running.worker.answers == {})
    assert running.board.changes.after(0)[-1].why == "its time was over"


async def test_history_that_cannot_be_written_stops_no_flags(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(features: bytes, at: float) -> None:
        raise TypeError("odd")

    monkeypatch.setattr(running.board.changes, "state", break_down)
    path = running.file.parent.parent / "flags.json"
    for name in ("a", "b"):
        path.write_text(json.dumps({"version": 1, "features": [{"name": name, "enabled": True, "strategies": []}]}))
        await until(lambda: name.encode() in running.board.snapshot.features)  # noqa: B023 - waited for in this turn
    assert "could not be written down" in caplog.text
