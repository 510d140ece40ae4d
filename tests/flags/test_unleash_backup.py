"""Unleash down at the start: the backup, and what is not taken for one."""

# ruff: noqa: ASYNC240 - the files are local and tiny
from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path

import pytest

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
