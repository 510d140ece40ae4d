"""What is mitmproxy's own: several workers on one address, memory that does not grow, upstreams that do not answer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok

TOML = """
[upstreams]
new = "http://127.0.0.1:{new}"
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
response_timeout = "400ms"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""
GET = b"GET /reviews/ HTTP/1.1\r\nHost: a\r\n\r\n"


def resident(gateway: Gateway) -> int:
    """MiB of all workers."""
    return sum(
        int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index] # it is always there
        for pid in gateway.workers()
    ) // 1024  # fmt: skip


async def test_two_workers_carry_much_and_keep_nothing(tmp_path: Path) -> None:
    async def large(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 200_000)

    legacy, new = Upstream(large), Upstream(large)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port)
        async with gateway(tmp_path, toml, engine="mitmproxy", workers=2, reviews=50) as running:
            assert len(running.workers()) == 2

            async def carry(count: int) -> None:
                client = await running.connect()
                for _ in range(count):
                    assert len((await client.request(GET)).body) == 200_000

            await asyncio.gather(*(carry(5) for _ in range(8)))
            before = resident(running)
            await asyncio.gather(*(carry(50) for _ in range(8)))
            # 400 answers of 200 kB are 80 MB.
            assert resident(running) - before < 25
    finally:
        await legacy.stop()
        await new.stop()


async def test_an_upstream_that_does_not_answer_in_time(tmp_path: Path) -> None:
    async def hang(exchange: Exchange) -> None:
        await asyncio.sleep(5)

    async def slow_reader(exchange: Exchange) -> None:
        await exchange.answer(b"%d" % len(exchange.body))

    legacy, new = Upstream(hang), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=legacy.port, new=new.port), engine="mitmproxy") as running:
            began = asyncio.get_running_loop().time()
            response = await running.request(GET)
            assert (response.status, response.header("Banyan-Error")) == (504, "upstream-timeout")
            response = await running.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            assert (response.status, response.header("Banyan-Error")) == (504, "outcome-unknown-timeout")
            assert asyncio.get_running_loop().time() - began < 2
            # The time for the answer begins when the request is whole: a slow upload is not the upstream's fault.
            legacy.handler = slow_reader
            client = await running.connect()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            await asyncio.sleep(0.7)
            assert (await client.request(b"x" * 100_000)).body == b"200000"
    finally:
        await legacy.stop()
        await new.stop()


async def test_what_follows_an_upgrade_is_not_kept_either(tmp_path: Path) -> None:
    async def push(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        for _ in range(pieces):
            await exchange.send(bytes(2**16))
        exchange.writer.close()

    legacy = Upstream(push)
    await legacy.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=legacy.port, new=legacy.port), engine="mitmproxy") as running:

            async def carry() -> None:
                client = await running.connect()
                await client.send(b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 ")
                left = pieces * 2**16
                while data := await client.reader.read(2**20):
                    left -= len(data)
                assert left == 0

            pieces = 100
            await carry()
            before = resident(running)
            pieces = 1600  # 100 MiB
            await carry()
            assert resident(running) - before < 25
    finally:
        await legacy.stop()
