"""The real Unleash 8.2: the weights of a split made there are read as they are, and of variants it counts what the answers were."""

# ruff: noqa: ASYNC110 - what is published has no event to wait for
from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from demo.unleash import RunningUnleash
from flags.decisions import Decisions
from flags.snapshot import Context, Snapshot
from flags.unleash import UnleashSource

pytestmark = [pytest.mark.unleash, pytest.mark.timeout(300)]

FLAG = "payments.split"
FEATURES = "/admin/projects/default/features"


def half(name: str) -> dict[str, Any]:
    return {"name": name, "weight": 500, "weightType": "variable", "stickiness": "userId", "payload": {"type": "string", "value": name}}


async def make_split(client: httpx.AsyncClient) -> None:
    (await client.post(FEATURES, json={"name": FLAG, "type": "operational"})).raise_for_status()
    place = f"{FEATURES}/{FLAG}/environments/development"
    strategy = {
        "name": "flexibleRollout",
        "parameters": {"rollout": "80", "stickiness": "userId", "groupId": FLAG},
        "variants": [half("psp-a"), half("psp-b")],
    }
    (await client.post(f"{place}/strategies", json=strategy)).raise_for_status()
    (await client.post(f"{place}/on")).raise_for_status()


async def test_a_split_in_unleash(unleash: RunningUnleash) -> None:
    seen: list[Snapshot] = []
    source = UnleashSource(unleash.api_url, unleash.client_token, refresh=0.5, metrics_interval=1, app_name="banyan-split")
    admin = {"Authorization": unleash.admin_token}
    async with httpx.AsyncClient(base_url=unleash.api_url, headers=admin, timeout=5) as client:
        await make_split(client)
        task = asyncio.create_task(source.run(seen.append), name="source")
        try:
            async with asyncio.timeout(10):
                while not (seen and (live := Decisions.build(seen[-1])).weights(FLAG)):  # others make flags there too
                    await asyncio.sleep(0.02)
            assert live.weights(FLAG) == {"psp-a": 500, "psp-b": 500}
            answers: Counter[str] = Counter()
            for request in range(1000):
                found = live.variant(FLAG, Context(user_id=str(request % 250)))
                answers[found.name] += 1
                assert found.payload == (("string", found.name) if found.enabled else None)
            assert min(answers[name] for name in ("psp-a", "psp-b", "disabled")) > 50
            usage, variants = live.take_usage(), live.take_variants()
            assert variants == {FLAG: answers}
            source.report(usage, variants)

            async def counted() -> tuple[int, int, Counter[str]]:
                rows = (await client.get(f"/admin/client-metrics/features/{FLAG}/raw")).raise_for_status().json()["data"]
                named: Counter[str] = Counter()
                for row in rows:
                    named.update(row.get("variants") or {})
                return sum(row["yes"] for row in rows), sum(row["no"] for row in rows), named

            async with asyncio.timeout(40):
                while sum((await counted())[:2]) < 1000:
                    await asyncio.sleep(0.2)
            assert await counted() == (1000 - answers["disabled"], answers["disabled"], answers)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
