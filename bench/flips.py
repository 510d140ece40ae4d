"""How long a flip takes: from the moment at which somebody begins to change a flag, until the last worker answers by it."""

from __future__ import annotations

import asyncio
import http.client
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.bars import BARS
from bench.load import PATH
from bench.peers import Peer
from bench.section import Section
from bench.stage import ClientError, Say, Stage, stage
from demo.processes import StartError
from demo.unleash import running_unleash
from flags.admin import UnleashAdmin, set_flag
from gateway.cli.admin import AdminPort, AdminPortError

WORKERS = 2
CONNECTIONS = 12
INTERVAL = 0.01
"""Seconds between an answer and the next request on each connection: so exact are the figures."""
PATIENCE = 15.0
_COLUMNS = ["where it is changed", "median, ms", "the 99th of 100, ms", "fastest, ms", "flips"]
_GET = f"GET {PATH}/3 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n".encode()
_ROUTE = '[[routes]]\nname = "reviews"\nmatch = "/api/v1/reviews/*"\ncandidate = "reviews"\n'

Flip = Callable[[bool], object]


@dataclass
class _Connection:
    """One client's, to one of the workers."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def candidate(self) -> bool:
        """Whether the candidate answers now."""
        self.writer.write(_GET)
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await self.reader.readexactly(int(fields[b"Content-Length"]))
        return b"served-by=candidate" in fields[b"Banyan-Route"]

    async def until(self, wanted: bool) -> float:
        """When it first does."""
        for _ in range(int(PATIENCE / INTERVAL)):
            if await self.candidate() is wanted:
                return time.perf_counter()
            await asyncio.sleep(INTERVAL)
        raise ClientError(f"a flip did not arrive within {PATIENCE:g} s")


def run(*, only: Sequence[str] = (), count: int = 30, say: Say) -> Section:
    """`count` flips of each kind. `only` names peers, of which there are none here.

    Raises:
        ClientError: a flip that did not arrive.
    """
    found: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    with stage(peers.upstream, {}, ()) as set_up:
        with _gateway(set_up, "file") as (peer, folder):
            path = folder / "flags.json"
            found["in the flag file"] = _flips(peer, lambda on: set_flag(path, "reviews", on), count, 0.3, say)
            found["by an override"] = _flips(peer, lambda on: _override(peer.admin, on), count, 0.3, say)
        try:
            with _unleash(set_up, say) as (peer, flip):
                found["in Unleash"] = _flips(peer, flip, count, 1.0, say)
        except StartError as error:
            missing["in Unleash"] = str(error).splitlines()[0]
    rows = [
        [
            where,
            f"{statistics.median(each):.0f}",
            f"{_p99(each):.0f}",
            f"{min(each):.0f}",
            str(len(each)),
        ]
        for where, each in found.items()
    ]
    bars = {"in the flag file": "flip-file", "by an override": "flip-override", "in Unleash": "flip-unleash"}
    verdicts = [BARS[bars[where]].judge(_p99(each)) for where, each in found.items()]
    intro = _INTRO.format(workers=WORKERS, connections=CONNECTIONS, interval=INTERVAL * 1000)
    return Section("Flags: flips", _COLUMNS, rows, intro, verdicts=verdicts, missing=missing, data={"ms": found})


def _p99(figures: Sequence[float]) -> float:
    """The 99th percentile; of thirty, the largest."""
    return sorted(figures)[math.ceil(0.99 * len(figures)) - 1]


def _override(admin: int, on: bool) -> None:
    body = {"enabled": on, "seconds": 600, "by": "bench", "why": "measuring"}
    try:
        AdminPort(f"127.0.0.1:{admin}").ask("PUT", "/flags/overrides/reviews", body, within=10)
    except AdminPortError as error:
        raise ClientError(f"an override: {error}") from error


@contextmanager
def _gateway(set_up: Stage, name: str, settings: str = "", env: dict[str, str] | None = None) -> Iterator[tuple[Peer, Path]]:
    folder = set_up.folder / name
    folder.mkdir()
    set_flag(folder / "flags.json", "reviews", False)
    peer = peers.banyan_from(folder, set_up.upstream.port, settings + _ROUTE, workers=WORKERS, gateway="expose_decision = true\n", env=env)
    try:
        yield peer, folder
    finally:
        peer.stop()


@contextmanager
def _unleash(set_up: Stage, say: Say) -> Iterator[tuple[Peer, Flip]]:
    say("flips: starting Unleash")
    logs = set_up.folder / "unleash"
    logs.mkdir()
    with running_unleash(logs, say) as server, UnleashAdmin(server.api_url, server.admin_token) as admin:
        admin.ensure_flag("reviews")
        admin.set("reviews", False, 100)
        settings = f'[flags]\nsource = "unleash"\nurl = "{server.api_url}"\ntoken = "${{BENCH_TOKEN}}"\n'
        with _gateway(set_up, "unleash-gateway", settings, {"BENCH_TOKEN": server.client_token}) as (peer, _):
            yield peer, lambda on: admin.set("reviews", on)


def _flips(peer: Peer, flip: Flip, count: int, pause: float, say: Say) -> list[float]:
    return asyncio.run(_measured(peer, flip, count, pause, say))


async def _measured(peer: Peer, flip: Flip, count: int, pause: float, say: Say) -> list[float]:
    """ms, of `count` flips with random times between them, up to `pause` seconds: sources look at their own times."""
    connections = await _connected(peer)
    chance = random.Random(7)  # noqa: S311 - when, not what
    found = []
    try:
        on = await connections[0].candidate()
        for number in range(count):
            say(f"flips: {number + 1} of {count}")
            await asyncio.sleep(chance.uniform(0.1, pause))
            on = not on
            began = time.perf_counter()
            changing = asyncio.create_task(asyncio.to_thread(flip, on), name="flip")
            seen = await asyncio.gather(*(connection.until(on) for connection in connections))
            await changing
            found.append((max(seen) - began) * 1000)
    finally:
        for connection in connections:
            connection.writer.close()
    return found


async def _connected(peer: Peer) -> list[_Connection]:
    """Connections to all the workers."""
    for _ in range(10):
        made = [_Connection(*await asyncio.open_connection("127.0.0.1", peer.port)) for _ in range(CONNECTIONS)]
        for connection in made:
            await connection.candidate()
        await asyncio.sleep(2.5)  # until workers have reported how many they have
        if all(await asyncio.to_thread(_connections, peer.admin)):
            return made
        for connection in made:
            connection.writer.close()
    raise ClientError("not every worker has a connection")


def _connections(admin: int) -> list[bool]:
    """Whether each worker has any."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return [float(line.rpartition(" ")[2]) > 0 for line in lines if line.startswith("banyan_connections{")]


_INTRO = """
{workers} workers, and {connections} connections over both of them, each of which asks again {interval:.0f} ms after its last answer. The
time runs from when the change is begun (the file is written, the request to Unleash or to the gateway's admin port goes out) until the last
of the connections is answered by the other side. Flips come at random times. Unleash is the real one, asked every 500 ms.
"""
