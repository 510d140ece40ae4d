"""The file source with real files: whatever happens to the file, the last good state stands."""

# ruff: noqa: ASYNC240, ASYNC110 - the files are local and tiny, and what is published has no event to wait for
from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flags.admin import set_flag, write_atomically
from flags.decisions import Decisions
from flags.file import POLL, FileSource, FlagFileError
from flags.snapshot import Context, Snapshot
from flags.source import FlagSourceError, create

ON = b'{"version": 1, "features": [{"name": "f", "enabled": true, "strategies": []}]}'
OFF = b'{"version": 1, "features": [{"name": "f", "enabled": false, "strategies": []}]}'


class Seen(list[Snapshot]):
    """What was published; `until` waits for a state."""

    async def until(self, wanted: Callable[[Snapshot], bool], within: float = 5.0) -> float:
        """Seconds until the last published snapshot was as wanted."""
        started = time.monotonic()
        async with asyncio.timeout(within):
            while not (self and wanted(self[-1])):
                await asyncio.sleep(0.005)
        return time.monotonic() - started


def on(snapshot: Snapshot) -> bool:
    return Decisions.build(snapshot).enabled("f", Context())


def off(snapshot: Snapshot) -> bool:
    return not on(snapshot)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[tuple[FileSource, Seen]]:
    seen = Seen()
    source = FileSource(path)
    task = asyncio.create_task(source.run(seen.append), name="source")
    try:
        await seen.until(lambda snapshot: True)
        yield source, seen
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        source.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "flags.json"
    file.write_bytes(ON)
    return file


async def test_a_flip_is_seen_within_200_ms(path: Path) -> None:
    async with running(path) as (source, seen):
        assert on(seen[-1])
        assert seen[-1].source == "file"
        fastest = 9.0
        for wanted, data in [(off, OFF), (on, ON), (off, OFF)]:
            write_atomically(path, data)
            fastest = min(fastest, await seen.until(wanted))
        assert fastest < 0.2
        assert len(seen) == 4
        assert source.staleness() < 1


async def test_written_in_place_within_one_clock_tick(path: Path) -> None:
    """The same size, the same inode, perhaps the same time stamp: only the content tells."""
    async with running(path) as (_, seen):
        path.write_bytes(OFF.replace(b"false", b"true "))
        path.write_bytes(OFF)
        await seen.until(off)


async def test_a_symlink_swap_is_seen(tmp_path: Path) -> None:
    """The way that Kubernetes updates a ConfigMap: flags.json -> ..data/flags.json, and ..data is what moves."""
    for name, data in [("first", ON), ("second", OFF)]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "flags.json").write_bytes(data)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "flags.json").symlink_to("..data/flags.json")
    async with running(tmp_path / "flags.json") as (_, seen):
        assert on(seen[-1])
        (tmp_path / "..data_tmp").symlink_to("second")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await seen.until(off)


@pytest.mark.parametrize("damage", ["broken", "deleted", "directory", "empty", "deep"])
async def test_damage_keeps_the_last_good_state_and_is_said_once(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "banyan.flags")
    async with running(path) as (source, seen):
        if damage == "broken":
            path.write_bytes(b'{"version": 1, "features": [{"name": "f"')
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "deep":
            path.write_bytes(b'{"version": 1, "features": [], "x": %b%b}' % (b"[" * 500, b"]" * 500))
        else:
            path.unlink()
            if damage == "directory":
                path.mkdir()
        await seen.until(lambda snapshot: bool(snapshot.error))
        assert on(seen[-1])
        assert str(path) in seen[-1].error
        await asyncio.sleep(POLL * 5)
        assert len(seen) == 2
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in warnings] == [f"{seen[-1].error}. The last good flags stay in force."]
        assert source.staleness() > POLL
        if damage == "directory":
            path.rmdir()
        write_atomically(path, OFF)
        await seen.until(lambda snapshot: not snapshot.error)
        assert off(seen[-1])


async def test_what_nobody_has_thought_of_does_not_end_the_looking(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise MemoryError("no room")

    async with running(path) as (_, seen):
        with monkeypatch.context() as patched:
            patched.setattr("flags.file.normalised", broken)
            path.write_bytes(OFF)
            await seen.until(lambda snapshot: "MemoryError: no room" in snapshot.error)
            assert on(seen[-1])
        path.write_bytes(OFF + b" ")
        await seen.until(off)


async def test_the_same_content_again_heals(path: Path) -> None:
    async with running(path) as (_, seen):
        path.unlink()
        await seen.until(lambda snapshot: bool(snapshot.error))
        path.write_bytes(ON)
        await seen.until(lambda snapshot: not snapshot.error)
        assert seen[-1].revision == seen[0].revision


async def test_caught_half_written_is_no_error(path: Path) -> None:
    async with running(path) as (source, seen):
        path.write_bytes(OFF[:20])
        await source.refresh()
        path.write_bytes(OFF)
        await seen.until(off)
        assert not any(snapshot.error for snapshot in seen)


async def test_refresh_looks_now(path: Path) -> None:
    async with running(path) as (source, seen):
        write_atomically(path, OFF)
        await source.refresh()
        assert off(seen[-1])


async def test_an_untouched_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(path, (1, 1))
    async with running(path) as (source, seen):

        def fail(path: Path) -> bytes:
            raise AssertionError("read again")

        monkeypatch.setattr("flags.file._bytes", fail)
        for _ in range(3):
            await source.refresh()
        assert len(seen) == 1


async def test_a_file_from_the_future_is_read_and_not_compiled_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any is whose clock was set back since: its time stamp says nothing."""
    future = time.time() + 86400
    os.utime(path, (future, future))
    async with running(path) as (source, seen):
        with monkeypatch.context() as patched:
            patched.setattr("flags.file.normalised", lambda *_, **__: pytest.fail("compiled again"))
            for _ in range(3):
                await source.refresh()
        path.write_bytes(OFF)
        os.utime(path, (future, future))
        await seen.until(off)
        assert [snapshot.error for snapshot in seen] == ["", ""]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"no such file.*banyan flags off NAME"),
        (b"{", r"not JSON.*Correct it"),
        (b'{"features": [{"name": "f", "enabled": 1, "strategies": []}]}', r"flag 'f'.*true or false"),
    ],
)
async def test_unusable_at_the_start_is_one_clear_error(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "flags.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FlagFileError, match=says) as caught:
        await FileSource(path).run(lambda snapshot: None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_create_takes_the_configuration_and_flips_reach_it(tmp_path: Path) -> None:
    set_flag(tmp_path / "var" / "flags.json", "f", True)
    source = create(source="file", path="var/flags.json", folder=tmp_path)
    assert isinstance(source, FileSource)
    async with running(tmp_path / "var" / "flags.json") as (_, seen):
        set_flag(tmp_path / "var" / "flags.json", "f", False)
        await seen.until(off)
    with pytest.raises(FlagSourceError, match=r"flags.source.*redis"):
        create(source="redis")
