"""The shipper follows a reload: what is captured under a file is redacted by that file, and what is lost meanwhile is counted."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.integration.test_reload import ROUTE, World, served
from tests.support.gateway import Exchange

JSON = b"Content-Type: application/json\r\n"


def ask(name: str) -> bytes:
    return f"GET /reviews/{name} HTTP/1.1\r\nHost: a\r\nX-Secret: head-{name}\r\n\r\n".encode()


async def legacy(exchange: Exchange) -> None:
    """An answer that holds the name which the request gave, and that differs from the candidate's."""
    await exchange.answer(b'{"nick": "nick-%b", "n": 1}' % exchange.line.split(b"/")[2].split(b" ")[0], extra=JSON)


async def candidate(exchange: Exchange) -> None:
    await exchange.answer(b'{"nick": "nick-%b", "n": 2}' % exchange.line.split(b"/")[2].split(b" ")[0], extra=JSON)


def samples(folder: Path) -> str:
    """Everything that is kept of single exchanges."""
    path = folder / "var" / "banyan.sqlite3"
    if not path.exists():
        return ""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            rows = database.execute("SELECT target, legacy, candidate, differences FROM shadow_sample ORDER BY id").fetchall()
        except sqlite3.OperationalError:
            return ""  # not made yet
    return "\n".join(str(row) for row in rows)


async def stored(world: World, name: str) -> str:
    """The samples, as soon as the exchange of this name is among them."""
    for _ in range(400):
        found = await asyncio.to_thread(samples, world.gateway.folder)
        if f"/reviews/{name}'" in found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} was not stored:\n{found}\n{world.gateway.process.tail()}")


def shippers(world: World) -> list[int]:
    return world.gateway.children("shadow.shipper")


async def test_rules_of_redaction_hold_from_the_first_request_on(tmp_path: Path) -> None:
    async with served(tmp_path, reviews=False, reviews__shadow=True) as world:
        world.legacy.handler, world.new.handler = legacy, candidate
        assert (await world.gateway.request(ask("before"))).status == 200
        assert "nick-before" in await stored(world, "before"), "nothing says yet that it is a secret"

        client = await world.gateway.connect()
        stop, begun = asyncio.Event(), 0

        async def load() -> None:
            nonlocal begun
            while not stop.is_set():
                begun += 1
                assert (await client.request(ask(f"during{begun}"))).status == 200
                await asyncio.sleep(0.01)

        loading = asyncio.create_task(load())
        await asyncio.sleep(0.3)
        (old,) = shippers(world)
        await world.reload(world.toml(rest=ROUTE + '[shadow]\nredact = ["x-secret", "$..nick"]\n'))
        first = begun + 1  # began surely after the answer to POST /reload
        await asyncio.sleep(0.5)
        stop.set()
        await loading
        assert (await world.gateway.request(ask("after"))).status == 200
        found = await stored(world, "after")
        assert "nick-after" not in found
        assert "redacted:" in found
        for number in range(first, begun + 1):
            assert f"nick-during{number}" not in found
        for _ in range(200):
            if shippers(world) != [old] and len(shippers(world)) == 1:
                break
            await asyncio.sleep(0.05)
        assert len(shippers(world)) == 1, "the old one has ended"
        assert shippers(world) != [old]
        assert "shipper" not in re.findall(r'child_restarts_total{child="(\w+)"}', world.gateway.metrics()), "asked to end is not died"

        # And back: a rule that is gone is gone for what begins afterwards.
        await world.reload(world.toml())
        assert (await world.gateway.request(ask("open"))).status == 200
        assert "nick-open" in await stored(world, "open")


async def test_an_exchange_under_way_while_the_rules_change_is_dropped_and_counted(tmp_path: Path) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        arrived.set()
        await go_on.wait()
        await candidate(exchange)

    async with served(tmp_path, reviews=False, reviews__shadow=True) as world:
        world.legacy.handler, world.new.handler = legacy, slow
        assert (await world.gateway.request(ask("torn"))).status == 200
        await arrived.wait()
        await world.reload(world.toml(rest=ROUTE + '[shadow]\nredact = ["$..nick"]\n'))
        go_on.set()
        wanted = 'banyan_shadow_dropped_total{reason="reload",route="reviews"}'
        for _ in range(100):
            if wanted in world.gateway.metrics():
                break
            await asyncio.sleep(0.05)
        assert world.metric(wanted) == 1.0
        # One that is under way while something else changes is kept, and goes to whoever is there in the end.
        arrived.clear()
        go_on.clear()
        assert (await world.gateway.request(ask("whole"))).status == 200
        await arrived.wait()
        await world.reload(world.toml(rest=ROUTE + 'fallback = false\n[shadow]\nredact = ["$..nick"]\nretention = "7d"\n'))
        go_on.set()
        found = await stored(world, "whole")
        assert "nick-" not in found
        assert "torn" not in found


async def test_a_shipper_that_is_not_concerned_goes_on_and_comes_back_by_the_good_file(tmp_path: Path) -> None:
    async with served(tmp_path, reviews=False, reviews__shadow=True) as world:
        world.legacy.handler, world.new.handler = legacy, candidate
        before = shippers(world)
        await world.reload(world.toml(gateway='replay_buffer = "1KiB"'))
        assert shippers(world) == before
        world.file.write_text("broken")
        await world.view(lambda view: view["reloads"]["failed"] == 1)
        os.kill(before[0], signal.SIGKILL)
        for _ in range(200):
            if shippers(world) not in ([], before):
                break
            await asyncio.sleep(0.05)
        assert (await world.gateway.request(ask("again"))).status == 200
        await stored(world, "again")
