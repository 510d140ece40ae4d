"""The real Unleash 8.2: sync makes a split's flag with the configured weights, and what is moved there is what the gateway goes by."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from demo.unleash import RunningUnleash
from flags.admin import Synced, UnleashAdmin, Wanted
from flags.decisions import Decisions
from flags.problems import find
from flags.snapshot import Context, Snapshot
from flags.splits import Split
from flags.unleash import UnleashSource

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

FLAG = "refunds.split"
CONFIGURED = {"psp-a": 2, "psp-b": 1, "psp-c": 4}
WANTED = [Wanted(FLAG, "Banyan, route refunds (/refunds/*): …", "operational", CONFIGURED)]
PLACE = f"/admin/projects/default/features/{FLAG}/environments/development"


async def weights(seen: list[Snapshot], expected: dict[str, int] | None) -> Decisions:
    """Waits until the flag in Unleash gives these."""
    async with asyncio.timeout(15):
        while True:
            live = Decisions.build(seen[-1]) if seen else Decisions()
            if seen and live.weights(FLAG) == expected:
                return live
            await asyncio.sleep(0.05)


async def test_it_is_made_turned_on_and_moved(unleash: RunningUnleash) -> None:
    seen: list[Snapshot] = []
    source = UnleashSource(unleash.api_url, unleash.client_token, refresh=0.3, app_name="banyan-refunds")
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        assert await asyncio.to_thread(lambda: [each for each in admin.sync(WANTED) if each.outcome != "unread"]) == [Synced(FLAG, "made")]
        assert await asyncio.to_thread(lambda: next(iter(admin.sync(WANTED)))) == Synced(FLAG, "kept")
        task = asyncio.create_task(source.run(seen.append), name="source")
        try:
            await weights(seen, None)  # it is off
            await asyncio.to_thread(admin.set, FLAG, True)
            live = await weights(seen, {"psp-a": 286, "psp-b": 143, "psp-c": 571})
            assert live.enabled(FLAG, Context())  # for everybody, known or not
            assert find(seen[-1], [FLAG], [Split(FLAG, "refunds", tuple(CONFIGURED))]) == []
            await move(unleash, {"psp-a": 0, "psp-b": 400, "psp-c": 600})
            await weights(seen, {"psp-a": 0, "psp-b": 400, "psp-c": 600})
            await asyncio.to_thread(admin.off, FLAG)
            await weights(seen, None)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def move(unleash: RunningUnleash, to: dict[str, int]) -> None:
    """As its UI does: the whole strategy anew."""
    headers = {"Authorization": unleash.admin_token}
    async with httpx.AsyncClient(base_url=unleash.api_url, headers=headers, timeout=10) as client:
        (strategy,) = (await client.get(f"{PLACE}/strategies")).raise_for_status().json()
        made: list[dict[str, Any]] = strategy["variants"]
        assert [each["weightType"] for each in made].count("variable") == 1
        strategy["variants"] = [{**each, "weight": to[each["name"]]} for each in made]
        body = {key: strategy[key] for key in ("name", "parameters", "constraints", "variants")}
        (await client.put(f"{PLACE}/strategies/{strategy['id']}", json=body)).raise_for_status()


async def test_one_that_was_left_half_made_is_completed_and_one_of_somebodys_is_not(unleash: RunningUnleash) -> None:
    half, own = (Wanted(name, "", "operational", {"psp-a": 1}) for name in ("half.split", "own.split"))
    headers = {"Authorization": unleash.admin_token}
    features = "/admin/projects/default/features"
    with UnleashAdmin(unleash.api_url, unleash.admin_token) as admin:
        for flag in (half, own):
            assert await asyncio.to_thread(admin.ensure_flag, flag.name)
        await asyncio.to_thread(admin.set, own.name, True, 10)
        done = await asyncio.to_thread(lambda: [each for each in admin.sync([half, own]) if each.outcome != "unread"])
        assert [each.outcome for each in done] == ["tagged", "tagged"]
    async with httpx.AsyncClient(base_url=unleash.api_url, headers=headers, timeout=10) as client:
        for flag, variants in ((half, ["psp-a"]), (own, [])):
            (strategy,) = (await client.get(f"{features}/{flag.name}/environments/development/strategies")).raise_for_status().json()
            assert [each["name"] for each in strategy["variants"]] == variants
