"""The real Unleash 8.2 on a real PostgreSQL: a flip arrives within 2 s, usage is counted, and its end is survived."""

# ruff: noqa: ASYNC110 - what is published has no event to wait for
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.postgres import start_postgres
from demo.unleash import RunningUnleash, start_unleash
from flags.admin import AdminError, FlagState, UnleashAdmin
from flags.decisions import Decisions
from flags.snapshot import Context, Snapshot
from flags.unleash import UnleashSource

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]


class Seen(list[Snapshot]):
    """What was published; `until` waits for a state and says how long it took."""

    async def until(self, wanted: Callable[[Snapshot], bool], within: float = 10.0) -> float:
        started = time.monotonic()
        async with asyncio.timeout(within):
            while not (self and wanted(self[-1])):
                await asyncio.sleep(0.01)
        return time.monotonic() - started


def share(snapshot: Snapshot, flag: str) -> float:
    decisions = Decisions.build(snapshot)
    return sum(decisions.enabled(flag, Context(user_id=str(user))) for user in range(500)) / 500


@asynccontextmanager
async def running(server: RunningUnleash, **more: Any) -> AsyncIterator[tuple[UnleashSource, Seen]]:
    seen = Seen()
    source = UnleashSource(server.api_url, server.client_token, refresh=0.5, **more)
    task = asyncio.create_task(source.run(seen.append), name="source")
    try:
        await seen.until(lambda snapshot: True)
        yield source, seen
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_flip_arrives_within_two_seconds(unleash: RunningUnleash) -> None:
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        await asyncio.to_thread(admin.ensure_flag, "flip", "flipped by a test")
        async with running(unleash) as (_, seen):
            await seen.until(lambda snapshot: b'"flip"' in snapshot.features)
            assert seen[-1].source == "unleash"
            assert not seen[-1].error
            await asyncio.to_thread(admin.set, "flip", True, 100)
            await seen.until(lambda snapshot: share(snapshot, "flip") == 1.0)
            slowest = 0.0
            for _ in range(2):
                await asyncio.to_thread(admin.off, "flip")
                slowest = max(slowest, await seen.until(lambda snapshot: share(snapshot, "flip") == 0.0))
                await asyncio.to_thread(admin.set, "flip", True)
                slowest = max(slowest, await seen.until(lambda snapshot: share(snapshot, "flip") == 1.0))
            print(f"slowest of 4 flips: {slowest:.2f} s")
            assert slowest <= 2.0
            await asyncio.to_thread(admin.set, "flip", True, 20)
            await seen.until(lambda snapshot: 0.12 < share(snapshot, "flip") < 0.28)


async def fix_its_list_of_flags(unleash: RunningUnleash) -> None:
    """Whoever reports usage makes Unleash list its flags. It goes by that list for 10 s, and drops the usage of flags made meanwhile."""
    now = datetime.now(UTC).isoformat()
    usage = {"appName": "somebody-else", "bucket": {"start": now, "stop": now, "toggles": {"unheard-of": {"yes": 1, "no": 0}}}}
    async with httpx.AsyncClient(base_url=unleash.api_url, headers={"Authorization": unleash.client_token}, timeout=5) as client:
        assert (await client.post("/client/metrics", json=usage)).status_code == 202


async def test_usage_arrives_exactly(unleash: RunningUnleash) -> None:
    await fix_its_list_of_flags(unleash)
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        await asyncio.to_thread(admin.ensure_flag, "counted")
        await asyncio.to_thread(admin.set, "counted", True, 50)
    async with running(unleash, metrics_interval=1, app_name="banyan-usage", instance_id="gateway-7") as (source, seen):
        await seen.until(lambda snapshot: 0.3 < share(snapshot, "counted") < 0.7)
        decisions = Decisions.build(seen[-1])
        for request in range(1000):
            decisions.enabled("counted", Context(user_id=str(request % 50)))
        usage = decisions.take_usage()
        assert sum(usage["counted"]) == 1000
        source.report(usage)

        async with httpx.AsyncClient(base_url=unleash.api_url, headers={"Authorization": unleash.admin_token}, timeout=5) as client:

            async def counted() -> tuple[int, int]:
                answer = await client.get("/admin/client-metrics/features/counted/raw")
                rows = answer.raise_for_status().json()["data"]
                return sum(row["yes"] for row in rows), sum(row["no"] for row in rows)

            async with asyncio.timeout(30):
                while sum(await counted()) < 1000:
                    await asyncio.sleep(0.2)
            assert await counted() == usage["counted"]
            # What a person sees under Applications. Unleash writes registrations down every few seconds.
            async with asyncio.timeout(30):
                while b'"banyan-usage"' not in (await client.get("/admin/metrics/applications")).raise_for_status().content:
                    await asyncio.sleep(0.2)
            shown = (await client.get("/admin/metrics/applications/banyan-usage")).raise_for_status().json()
            (instance,) = shown["instances"]
            assert instance["instanceId"] == "gateway-7"
            assert instance["sdkVersion"] == f"unleash-python-sdk:{version('UnleashClient')}"
            assert (instance["sdkType"], instance["environment"]) == ("backend", "development")
            assert time.time() - datetime.fromisoformat(instance["lastSeen"]).timestamp() < 60
            assert [flag["name"] for flag in shown["seenToggles"]] == ["counted"]


async def test_a_wrong_token_is_said_and_not_shown(unleash: RunningUnleash) -> None:
    seen = Seen()
    source = UnleashSource(unleash.api_url, "default:development.0123456789abcdef-wrong", refresh=1)
    task = asyncio.create_task(source.run(seen.append), name="source")
    await seen.until(lambda snapshot: True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen[0].source == "none"
    assert "answered 401: flags.token is not valid there" in seen[0].error
    assert "wrong" not in seen[0].error


async def test_after_the_end_of_unleash_a_restart_goes_by_the_backup(unleash: RunningUnleash, tmp_path: Path) -> None:
    """Its own server, since it ends. `unleash` is asked for so that a missing installation is handled in one place."""
    backup = tmp_path / "var" / "backup.json"
    database = await asyncio.to_thread(start_postgres, tmp_path, "unleash")
    try:
        server = await asyncio.to_thread(start_unleash, tmp_path, database)
        try:
            with UnleashAdmin(server.api_url, server.admin_token) as admin:
                await asyncio.to_thread(admin.ensure_flag, "kept")
                await asyncio.to_thread(admin.set, "kept", True, 100)
            async with running(server, backup=backup) as (_, seen):
                await seen.until(lambda snapshot: share(snapshot, "kept") == 1.0)
                await asyncio.to_thread(server.running.kill)
                await seen.until(lambda snapshot: bool(snapshot.error))
                assert share(seen[-1], "kept") == 1.0
                assert seen[-1].source == "unleash"
        finally:
            server.stop()
        async with running(server, backup=backup) as (_, seen):
            assert seen[0].source == "backup"
            assert "can't be reached" in seen[0].error
            assert share(seen[0], "kept") == 1.0
    finally:
        await asyncio.to_thread(database.stop)


def test_the_admin_api(unleash: RunningUnleash) -> None:
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        assert admin.ensure_flag("reviews", "served by the new service") is True
        assert admin.ensure_flag("reviews", "again") is False
        assert admin.set("reviews", True) == FlagState("reviews", True, 100, stickiness="default")
        assert admin.set("reviews", True, 10) == FlagState("reviews", True, 10, stickiness="default")
        admin.off("reviews")
        assert FlagState("reviews", False, 10, "served by the new service", stickiness="default") in admin.list()
        assert admin.set("reviews", True) == FlagState("reviews", True, 10, stickiness="default")
        with pytest.raises(AdminError, match=r"404.*no feature named .nowhere.*flags\.project = 'default'"):
            admin.off("nowhere")
        with pytest.raises(AdminError, match="URL friendly"):
            admin.ensure_flag("not a name")
        with pytest.raises(AdminError, match="0 to 100"):
            admin.set("reviews", True, 101)
    with UnleashAdmin(unleash.api_url, unleash.client_token) as admin, pytest.raises(AdminError, match=r"403.*admin token"):
        admin.list()
    with UnleashAdmin(unleash.url, unleash.admin_token) as admin, pytest.raises(AdminError, match="ends with /api"):
        admin.list()
    with pytest.raises(AdminError) as caught:
        UnleashAdmin(unleash.api_url, "secret token")
    assert "secret" not in str(caught.value)
