"""Who is calling, across workers and with a crowd at the door."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path

import pytest

from gateway import build
from gateway.access import AccessLog
from gateway.cli.run import ENGINES
from gateway.config import parse
from gateway.net.edge import Edge
from gateway.net.listener import Listener
from tests.support.flags import Stumbling
from tests.support.gateway import Client, Exchange, Gateway, Held, Upstream, gateway, ok

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[identity]
source = "introspection"
path = "/who"
cache = "{cache}"
grace = "{grace}"
timeout = "30s"
[[routes]]
name = "account"
match = "/account/*"
candidate = "new"
identity = "required"
"""
GET = b"GET %b HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid=alice\r\n\r\n"


class Legacy(Upstream):
    def __init__(self) -> None:
        super().__init__(self.serve)
        self.questions = 0
        self.hold = Held()
        self.hold.go.set()
        self.known = True
        self.broken = False

    async def serve(self, exchange: Exchange) -> None:
        if exchange.line.startswith(b"GET /logout "):
            self.known = False
            await exchange.answer(extra=b'Set-Cookie: sessionid=""; Max-Age=0\r\n')
        elif not exchange.line.startswith(b"GET /who "):
            await exchange.answer()
        else:
            self.questions += 1
            await self.hold.go.wait()
            if self.broken:
                await exchange.answer(b"no", "500 No")
                return
            await exchange.answer(json.dumps({"authenticated": self.known, "user_id": 7}).encode())


async def until_in_flight(running: Gateway, number: int) -> None:
    async with asyncio.timeout(30):
        while True:
            text = await asyncio.to_thread(running.metrics)
            found = sum(int(float(count)) for count in re.findall(r"banyan_requests_in_flight\{.*\} (\S+)", text))
            if found == number:
                return
            await asyncio.sleep(0.1)


# mitmproxy takes 3 ms of CPU a request: a crowd of its size.
@pytest.mark.parametrize(("engine", "crowd"), [("edge", 1000), ("mitmproxy", 200)])
async def test_a_thousand_first_requests_of_one_session_are_one_question(tmp_path: Path, engine: str, crowd: int) -> None:
    legacy, new = Legacy(), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, cache="60s", grace="0s")
        async with gateway(tmp_path, toml, engine=engine, account=True) as running:
            legacy.hold.go.clear()
            clients: list[Client] = []
            for _ in range(crowd // 50):
                clients += await asyncio.gather(*(running.connect() for _ in range(50)))
            for client in clients:
                await client.send(GET % b"/account/1")
            await until_in_flight(running, crowd)
            legacy.hold.go.set()
            answers = await asyncio.gather(*(client.response() for client in clients))
            assert [answer.status for answer in answers] == [200] * crowd
            assert legacy.questions == 1
    finally:
        await legacy.stop()
        await new.stop()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_logout_is_in_force_on_every_worker(tmp_path: Path, engine: str) -> None:
    """Well within the cache's time, and though legacy, who could say so, is gone: its grace is not for what has ended."""
    legacy, new = Legacy(), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, cache="60s", grace="60s")
        async with gateway(tmp_path, toml, engine=engine, workers=2, account=True) as running:
            clients: list[Client] = []
            async with asyncio.timeout(30):
                while legacy.questions < 2:  # each worker has a cache of its own
                    clients.append(client := await running.connect())
                    assert (await client.request(GET % b"/account/1")).status == 200
            assert (await running.request(GET % b"/logout")).status == 200
            await legacy.stop()
            async with asyncio.timeout(10):
                while True:
                    statuses = {(await client.request(GET % b"/account/1")).status for client in clients}
                    if statuses == {503}:
                        break
    finally:
        await legacy.stop()
        await new.stop()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_while_legacy_hangs_whom_it_knew_does_not_wait_for_it_each_time(tmp_path: Path, engine: str) -> None:
    legacy, new = Legacy(), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        toml = TOML.format(legacy=legacy.port, new=new.port, cache="100ms", grace="60s")
        async with gateway(tmp_path, toml, engine=engine, account=True) as running:
            assert (await running.request(GET % b"/account/1")).status == 200
            legacy.broken = True
            async with asyncio.timeout(10):
                while legacy.questions < 2:
                    assert (await running.request(GET % b"/account/1")).status == 200
                    await asyncio.sleep(0.05)
            legacy.hold.go.clear()
            async with asyncio.timeout(10):  # a question may take 30 s
                while legacy.questions < 3:
                    assert (await running.request(GET % b"/account/1")).status == 200
                    await asyncio.sleep(0.05)
                assert (await running.request(GET % b"/account/1")).status == 200
            legacy.hold.go.set()
    finally:
        await legacy.stop()
        await new.stop()


async def test_one_request_that_goes_wrong_is_the_end_of_none_that_waited_with_it(tmp_path: Path) -> None:
    legacy = Legacy()
    await legacy.start()
    config = parse(tmp_path / "banyan.toml", TOML.format(legacy=legacy.port, new=legacy.port, cache="60s", grace="0s"))
    edge = Edge(asyncio.get_running_loop(), config, build.policy(config, Stumbling(times=1)), access=AccessLog(""), shipper=None)
    engine = Listener(edge)
    sock = socket.create_server(("127.0.0.1", 0))
    await engine.start([sock])
    clients = [Client(*await asyncio.open_connection(*sock.getsockname())) for _ in range(2)]
    try:
        legacy.hold.go.clear()
        for number, client in enumerate(clients, 1):
            await client.send(GET % b"/account/1")
            for _ in range(1000):
                if edge.in_flight == number:
                    break
                await asyncio.sleep(0.01)
            assert edge.in_flight == number
        legacy.hold.go.set()
        async with asyncio.timeout(10):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await clients[0].response()
            assert (await clients[1].response()).status == 200
        assert (edge.in_flight, legacy.questions) == (0, 1)
    finally:
        for client in clients:
            client.close()
        engine.stop_accepting()
        edge.close()
        await legacy.stop()
