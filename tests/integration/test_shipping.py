"""A real gateway whose exchanges go through NATS: its clients never notice what becomes of that."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from demo.processes import Running, python, start
from tests.support.gateway import Exchange, Gateway, Upstream, gateway
from tests.support.nats import Nats, start_nats

JSON = b"Content-Type: application/json\r\n"
TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow]
noise = 0.0
[shadow]
sink = "jetstream"
nats = "{nats}"
[shadow.jetstream]
ack_wait = "1s"
buffer = 100
"""


@dataclass
class World:
    gateway: Gateway
    nats: Nats
    folder: Path

    async def ask(self, number: int) -> None:
        """Answered at once, whatever stands still behind the gateway."""
        client = await self.gateway.connect()
        try:
            for at in range(number):
                async with asyncio.timeout(10):
                    answer = await client.request(b"GET /reviews/%d HTTP/1.1\r\nHost: a\r\n\r\n" % at)
                assert (answer.status, json.loads(answer.body)["by"]) == (200, "legacy")
        finally:
            client.close()

    def metric(self, name: str) -> float | None:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.gateway.metrics(), re.MULTILINE)
        return float(found[1]) if found else None

    async def until(self, check: Callable[[], bool]) -> None:
        for _ in range(800):
            if await asyncio.to_thread(check):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"it did not happen in time: {self.counted()}\n{self.gateway.metrics()}\n{self.gateway.process.tail()}")

    def counted(self) -> dict[str, int]:
        path = self.folder / "var" / "banyan.sqlite3"
        if not path.exists():
            return {}
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            try:
                return dict(database.execute("SELECT name, SUM(count) FROM shadow_tally WHERE route = 'reviews' GROUP BY name"))
            except sqlite3.OperationalError:
                return {}  # not made yet

    def worker(self) -> Running:
        command = python("-m", "gateway.cli", "shadow", "--config", str(self.folder / "banyan.toml"))
        return start("worker", command, log_dir=self.folder / "log", ready=lambda running: "taking from" in running.log.read_text())


@asynccontextmanager
async def world(folder: Path, *, away: bool = False) -> AsyncIterator[World]:
    async def legacy(exchange: Exchange) -> None:
        await exchange.answer(b'{"by": "legacy"}', extra=JSON)

    async def candidate(exchange: Exchange) -> None:
        await exchange.answer(b'{"by": "candidate"}', extra=JSON)

    one, other = Upstream(legacy), Upstream(candidate)
    nats = await asyncio.to_thread(start_nats, folder / "nats")
    try:
        if away:
            nats.kill()
        await one.start()
        await other.start()
        toml = TOML.format(legacy=one.port, new=other.port, nats=nats.url)
        async with gateway(folder, toml, reviews=False, reviews__shadow=True) as running:
            yield World(running, nats, folder)
    finally:
        await one.stop()
        await other.stop()
        await asyncio.to_thread(nats.stop)


async def test_from_the_client_to_the_database(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.until(lambda: made.metric("banyan_shipper_nats_connected") == 1)
        await made.ask(20)
        await made.until(lambda: made.metric("banyan_shipper_shipped_total") == 20)
        assert not (tmp_path / "var" / "banyan.sqlite3").exists(), "the gateway itself needs no database"
        worker = await asyncio.to_thread(made.worker)
        try:
            await made.until(lambda: made.counted().get("mismatched") == 20 and made.counted().get("captured") == 20)
        finally:
            status = await asyncio.to_thread(worker.stop, 20)
        assert status == 0
        assert made.counted()["served.legacy"] == 20


async def test_a_frozen_broker_is_not_noticed_by_clients_and_what_has_no_room_is_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.until(lambda: made.metric("banyan_shipper_nats_connected") == 1)
        made.nats.freeze()
        await made.ask(2000)
        lost = 'banyan_shadow_dropped_total{reason="broker_away",route="reviews"}'
        await made.until(lambda: (made.metric(lost) or 0) > 0)
        await made.ask(10)
        await made.until(lambda: made.metric("banyan_shipper_nats_connected") == 0)
        made.nats.thaw()
        await made.until(lambda: made.metric("banyan_shipper_nats_connected") == 1)
        worker = await asyncio.to_thread(made.worker)
        try:
            await made.until(lambda: adds_up(made.counted(), 2010))
        finally:
            await asyncio.to_thread(worker.stop, 20)
        assert made.counted()["dropped.broker_away"] == made.metric(lost)


def adds_up(counted: dict[str, int], captured: int) -> bool:
    ended = sum(number for name, number in counted.items() if name == "mismatched" or name.startswith("dropped."))
    return counted.get("captured") == captured == ended


async def test_a_broker_that_is_away_at_the_start_is_nobodys_trouble(tmp_path: Path) -> None:
    async with world(tmp_path, away=True) as made:
        await made.ask(50)
        await made.until(lambda: made.metric("banyan_shipper_nats_connected") == 0)
        await made.until(lambda: "NATS can't be used" in made.gateway.process.log.read_text())
        made.nats.restart()
        await made.until(lambda: made.metric("banyan_shipper_shipped_total") == 50)
