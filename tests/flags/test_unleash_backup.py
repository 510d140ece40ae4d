"""Unleash down at the start: the backup, and what is not taken for one."""

# ruff: noqa: ASYNC240 - the files are local and tiny
from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flags import backup as backups
from flags.backup import Backup, BackupError
from tests.support.fake_unleash import OFF, ON, FakeUnleash, on, running


@pytest.mark.parametrize("mode", ["hang", "500", "html", "always-304"])
async def test_down_at_the_start_the_backup_is_in_force(
    server: FakeUnleash, backup: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    backup.parent.mkdir()
    backup.write_bytes(ON)
    server.mode = mode
    server.features = OFF
    started = time.monotonic()
    async with running(server.url, backup) as (_, seen):
        assert time.monotonic() - started < 1.5
        assert on(seen[0])
        assert seen[0].source == "backup"
        assert seen[0].error
        assert str(backup) in caplog.text
        server.mode = "ok"
        server.hold.set()
        await seen.until(lambda snapshot: snapshot.source == "unleash")
        assert not on(seen[-1])
        assert not seen[-1].error


@pytest.mark.parametrize("content", [None, b"{broken"])
async def test_down_at_the_start_without_a_backup_everything_is_off(
    server: FakeUnleash, backup: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        backup.parent.mkdir()
        backup.write_bytes(content)
    server.mode = "500"
    async with running(server.url, backup) as (_, seen):
        assert seen[0].source == "none"
        assert not on(seen[0])
        await asyncio.sleep(0.3)
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1, warnings
        assert "legacy answers everything" in warnings[0]
        server.mode = "ok"
        await seen.until(on)
        assert seen[-1].source == "unleash"


async def test_nobody_listens() -> None:
    with socket.socket() as bound:  # bound, not listening: a connection is refused, and nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/api"
        async with running(url) as (_, seen):
            assert seen[0].source == "none"
            assert seen[0].error.startswith(f"Unleash at {url} can't be reached: Connection refused")


def _nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(backups.MAX_BYTES + 1)


def _anybodys(path: Path) -> None:
    path.write_bytes(ON)
    path.chmod(0o666)


def _holding(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_nothing, "there is no backup at"),
    (_directory, "is not a file"),
    (_pipe, "is not a file"),
    (_loop, "can't be read .Too many levels of symbolic links"),
    (_huge, "can't be used .over 64 MiB"),
    (_anybodys, "others may write it: chmod 600"),
    (_holding(b""), "can't be used .not JSON"),
    (_holding(b"\x80\x04\x95pickle"), "can't be used .not JSON"),
    (_holding(ON[:-5]), "can't be used .not JSON"),
    (_holding(b"<html>"), "can't be used .not JSON"),
    (_holding(b'{"features":{}}'), "can't be used .not a flags document"),
    (_holding(b"\0" * 4096), "can't be used .not JSON"),  # what a power failure may leave of a file
]


@pytest.mark.parametrize(("make", "says"), BAD)
async def test_what_is_no_backup_is_said_and_legacy_answers(
    server: FakeUnleash, backup: Path, make: Callable[[Path], None], says: str
) -> None:
    backup.parent.mkdir()
    make(backup)
    server.mode = "500"
    async with running(server.url, backup) as (_, seen):
        assert (seen[0].source, on(seen[0])) == ("none", False)
        assert re.search(f"answered 500, and .*{says}", seen[0].error), seen[0].error
        server.mode = "ok"
        await seen.until(on)
        if make is not _directory:  # what stands in its place is replaced
            assert backup.read_bytes() == ON
            assert not backup.is_symlink()


def test_a_backup_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote it would decide what everybody is served."""
    path = tmp_path / "backup.json"
    path.write_bytes(ON)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(BackupError, match="it belongs to another user"):
        Backup(path).read()
    found, _ = Backup(path).read(whosever=True)  # to explain what a gateway of his would do
    assert found.features == ON


def test_reading_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for make, _ in BAD:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        make(path)
        with pytest.raises(BackupError):
            Backup(path).read()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_backup_with_a_malformed_flag_costs_that_flag(server: FakeUnleash, backup: Path) -> None:
    backup.parent.mkdir()
    backup.write_bytes(ON.replace(b'"features":[', b'"features":[{"name":"bad","enabled":"yes","strategies":[]},'))
    server.mode = "500"
    async with running(server.url, backup) as (_, seen):
        assert (seen[0].source, on(seen[0])) == ("backup", True)
        assert [name for name, _ in seen[0].refused] == ["bad"]


@contextmanager
def no_room() -> Iterator[None]:
    """No file may grow beyond 10 bytes: the write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_no_room_for_the_backup_is_said_once_and_it_is_written_later(
    server: FakeUnleash, backup: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if "flags.backup" in record.getMessage()]

    async with running(server.url, backup) as (_, seen):
        await seen.until(on)
        assert backup.read_bytes() == ON
        with no_room():
            server.features = OFF
            await seen.until(lambda snapshot: not on(snapshot))  # the flags are in force all the same
            await server.polled(3)
            server.features = ON.replace(b"2", b"1", 1)
            await seen.until(on)
            await server.polled(3)
        assert len(said()) == 1
        assert "can't be written (File too large)" in said()[0]
        assert backup.read_bytes() == ON
        assert [file.name for file in backup.parent.iterdir()] == [backup.name]
        monkeypatch.setattr(backups, "RETRY", 0.0)
        await server.polled(2)  # they bring nothing new, and still it is written
        assert backup.read_bytes() == server.features
        assert len(said()) == 2
        assert "is written again" in said()[1]
        written = backup.stat().st_mtime_ns
        await server.polled(3)
        assert backup.stat().st_mtime_ns == written


async def test_a_backup_is_replaced_whole(server: FakeUnleash, backup: Path) -> None:
    """Whoever reads it while it is written reads one or the other."""
    async with running(server.url, backup) as (_, seen):
        await seen.until(on)
        with backup.open("rb") as old:
            server.features = OFF
            await seen.until(lambda snapshot: not on(snapshot))
            assert old.read() == ON
        assert backup.read_bytes() == OFF
        assert backup.stat().st_mode & 0o777 == 0o600
