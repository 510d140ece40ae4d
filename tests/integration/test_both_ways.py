"""Before the switch the candidate is in the shadow, after it legacy may be: counts, coverage, gate and samples say the same of both."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.processes import ROOT, python
from gateway.cli.run import ENGINES
from tests.integration.test_reload import ROUTE, World, served
from tests.support.gateway import Exchange

GATED = ROUTE + "[routes.gate]\nminimum = 40\nmatch = 0.9\n"
COUNT = 50
JSON = b"Content-Type: application/json\r\n"


def asked(config: Path, *verb: str) -> tuple[int, Any]:
    command = python("-m", "gateway.cli", *verb, "reviews", "--config", str(config), "--json")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert not ended.stderr, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


async def compared(config: Path, count: int) -> dict[str, Any]:
    """The report, as soon as it has so many, and all that was eligible is accounted for."""
    for _ in range(60):
        _, told = await asyncio.to_thread(asked, config, "report")
        if told["compared"] >= count and told["captured"] >= count:
            return dict(told)
        await asyncio.sleep(0.2)
    raise AssertionError(told)


async def ask(world: World, path: str, count: int) -> None:
    client = await world.gateway.connect()
    for _ in range(count):
        assert (await client.request(f"GET /reviews/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
    client.close()


@pytest.mark.parametrize("switched", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("engine", list(ENGINES))
async def test_counts_coverage_and_gate(tmp_path: Path, engine: str, switched: bool) -> None:
    async def legacy(exchange: Exchange) -> None:
        await exchange.answer(b'{"who": "legacy", "a": 1}' if b"/differs" in exchange.line else b'{"a": 1}', extra=JSON)

    async def candidate(exchange: Exchange) -> None:
        # Other bytes, the same document.
        await exchange.answer(b'{"who": "candidate", "a": 1}' if b"/differs" in exchange.line else b'{ "a": 1 }', extra=JSON)

    async with served(tmp_path, engine=engine, rest=GATED, reviews=switched, reviews__shadow=True) as world:
        world.legacy.handler, world.new.handler = legacy, candidate
        await ask(world, "same", COUNT)
        told = await compared(world.file, COUNT)
        assert (told["matched"], told["mismatched"], told["eligible"], told["captured"]) == (COUNT, 0, COUNT, COUNT)
        assert (told["coverage"], told["mode"]) == (1.0, "candidate" if switched else "legacy")
        assert (told["legacy"], told["candidate"]) == ((0, COUNT) if switched else (COUNT, 0))
        assert (told["skipped"], told["dropped"]) == ({}, {})
        status, gate = await asyncio.to_thread(asked, world.file, "gate")
        assert (status, gate["passed"], gate["compared"], gate["coverage"]) == (0, True, COUNT, 1.0)
        await ask(world, "differs", 2)
        told = await compared(world.file, COUNT + 2)
        assert told["mismatched"] == 2
        # Who was in the shadow got each of these once, marked.
        beside, front = (world.legacy, world.new) if switched else (world.new, world.legacy)
        assert [request.header("Banyan-Shadow") for request in beside.requests] == [["1"]] * (COUNT + 2)
        assert [request.header("Banyan-Shadow") for request in front.requests] == [[]] * (COUNT + 2)
    with closing(sqlite3.connect(tmp_path / "var" / "banyan.sqlite3")) as database:
        rows = database.execute("SELECT served, legacy, candidate, differences FROM shadow_sample").fetchall()
        signatures = database.execute("SELECT kind, path, count FROM shadow_signature").fetchall()
    assert signatures == [("value", "$.who", 2)]
    for side, left, right, differences in rows:
        assert side == ("candidate" if switched else "legacy")
        assert json.loads(json.loads(left)["text"])["who"] == "legacy", "legacy is the reference, whoever was served"
        assert json.loads(json.loads(right)["text"])["who"] == "candidate"
        (difference,) = json.loads(differences)
        assert "legacy" in difference["legacy"]
        assert "candidate" in difference["candidate"]
