"""Every test of this folder runs on both engines: what it says is what Banyan does, whichever engine does it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from demo.processes import listen
from gateway import limiting
from gateway.children import Said, WorkerProcess
from gateway.cli.run import ENGINES
from gateway.control import Applied, Configure, Drain, FlagState, Report
from gateway.telemetry import RouteStats, Stats, merge
from shadow.exchange import Exchange, Frames
from tests.support.gateway import Client, Gateway, Response, Upstream, gateway, ok, write_flags

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[gateway.limits]
header_timeout = "1s"
body_bytes = "1MiB"
[upstreams.legacy]
url = "http://127.0.0.1:{legacy}"
breaker = false
[upstreams.new]
breaker = false
url = "http://127.0.0.1:{new}"
connect_timeout = "500ms"
response_timeout = "700ms"
[flags]
headers = ["X-App-Version"]
impressions = "{folder}/impressions.log"
[identity]
source = "introspection"
path = "/who"
claims = ["plan"]
visitor = {{ key = "a key for tests alone" }}
[shadow]
timeout = "1s"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow]
capture = "1KiB"
[[routes]]
name = "moved"
match = "/moved/*"
candidate = "new"
rewrite = "/v2/*"
host = "new.internal"
[[routes]]
name = "noisy"
match = "/noisy"
candidate = "new"
[routes.shadow]
noise = 1.0
[[routes]]
name = "writes"
match = "/writes/*"
candidate = "new"
[routes.shadow]
methods = ["GET", "HEAD", "POST", "PUT"]
sandbox = true
noise = 1.0
[[routes]]
name = "both"
match = "/both/*"
candidate = "new"
[routes.shadow]
methods = ["POST"]
sandbox = true
sandbox_legacy = true
"""


def configuration(folder: Path, legacy: Upstream, new: Upstream) -> str:
    return TOML.format(folder=folder, legacy=legacy.port, new=new.port)


class World:
    """A gateway, as `banyan run` starts it, between two upstreams of ours."""

    def __init__(self, engine: str, gateway: Gateway, legacy: Upstream, new: Upstream) -> None:
        self.engine = engine
        self.gateway = gateway
        self.legacy = legacy
        self.new = new


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("conformance")
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        async with gateway(folder, configuration(folder, legacy, new), engine=engine) as started:
            yield World(engine, started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(running: World) -> AsyncIterator[World]:
    """The one gateway of this module, with nothing left of the test before."""
    for upstream in (running.legacy, running.new):
        await upstream.forget()
    await running.gateway.current(reviews=False, moved=False)
    yield running
    for client in running.gateway.clients:
        client.close()
    running.gateway.clients.clear()


class Worker:
    """One worker without its supervisor: the test is its supervisor, and its shipper."""

    def __init__(self, engine: str, folder: Path, legacy: Upstream, new: Upstream) -> None:
        self.legacy = legacy
        self.new = new
        self.stats = Stats()
        self.exchanges: asyncio.Queue[Exchange] = asyncio.Queue()
        self._folder = folder
        self._revision = 0
        self._sock = listen()
        self.port = self._sock.getsockname()[1]
        self._clients: list[Client] = []
        self.unix = str(folder / "gateway")
        self._unix_sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unix_sock.bind(self.unix)
        self._unix_sock.listen()
        text = '[gateway]\nlisten = ["127.0.0.1:0"]\n' + configuration(folder, legacy, new).replace("[gateway]\n", "")
        self._configure = Configure(str(folder / "banyan.toml"), text, str(folder / "shipper"))
        self._applied = asyncio.Event()
        self._limits = limiting.make()
        sockets = [self._sock, self._unix_sock]
        self._process = WorkerProcess(0, f"tests.support.hasty_{engine}", sockets, self._limits, self._configure, self._told, self._heard)
        self._flags: dict[str, bool] = {}
        self._under_way = 0
        """Connections and requests, as last reported."""
        self._since = 0.0
        """Unix time since when requests are the test's own."""
        self.statuses: list[int] = []

    async def start(self) -> None:
        self._shipper = await asyncio.start_unix_server(self._receive, self._configure.shipper)
        self._task = asyncio.create_task(self._process.run(lambda name, status: self.statuses.append(status)), name="worker")
        async with asyncio.timeout(20):
            await self._process.ready.wait()

    async def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._process.stopping = True
        self._process.send(Drain(1.0))
        await self._process.ended(8.0)
        await self._task
        self._shipper.close()
        self._sock.close()
        self._unix_sock.close()
        os.close(self._limits)

    async def forget(self) -> None:
        """As new for the next test, once all that the last one began has ended and is counted."""
        if not self._flags and not self._clients and not self.legacy.connections:
            return  # nobody had it yet
        for client in self._clients:
            client.close()
        self._clients.clear()
        for upstream in (self.legacy, self.new):
            await upstream.forget()
        await self.flags()
        async with asyncio.timeout(20):
            await self.counted()
            while self._under_way or not all(map(_accounted, self.stats.routes.values())):
                await self.counted()
        for upstream in (self.legacy, self.new):
            await upstream.forget()  # what was in the shadow may have asked once more
        self.stats = Stats()
        self.exchanges = asyncio.Queue()
        self._since = time.time()

    async def flags(self, **flags: bool) -> None:
        """Sets flags and waits until the worker decides by them."""
        self._flags = {name.replace("__", "."): state for name, state in flags.items()}
        self._revision += 1
        self._applied.clear()
        self._process.send(self._flag_state())
        async with asyncio.timeout(5):
            await self._applied.wait()

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def request(self, raw: bytes) -> Response:
        return await (await self.connect()).request(raw)

    async def exchange(self) -> Exchange:
        async with asyncio.timeout(5):
            return await self.exchanges.get()

    async def counted(self) -> Stats:
        """Everything counted so far: the next report brings the rest. What is still in the shadow then has a second more."""
        until = time.monotonic() + 1.0
        while True:
            self._reported = asyncio.Event()
            async with asyncio.timeout(5):
                await self._reported.wait()
            if all(map(_accounted, self.stats.routes.values())) or time.monotonic() > until:
                return self.stats

    def drain(self, seconds: float) -> None:
        self._process.stopping = True
        self._process.send(Drain(seconds))

    async def ended(self) -> None:
        async with asyncio.timeout(15):
            await self._task

    def _told(self) -> list[FlagState]:
        return [self._flag_state()]

    def _flag_state(self) -> FlagState:
        path = self._folder / "flags.json"
        write_flags(path, self._flags)
        return FlagState(str(self._revision), path.read_bytes(), "file", 0.0, "")

    def _heard(self, worker: WorkerProcess, message: Said) -> None:
        if isinstance(message, Report):
            merge(self.stats, message.stats)
            self._under_way = message.stats.connections + message.stats.in_flight
            self._reported.set()
        elif isinstance(message, Applied):
            self._applied.set()

    _reported = asyncio.Event()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(65536):
            for record in frames.feed(data):
                if isinstance(record, Exchange) and record.at >= self._since:
                    self.exchanges.put_nowait(record)
        writer.close()


def _accounted(route: RouteStats) -> bool:
    counts = route.shadow
    return counts.eligible == counts.captured + sum(counts.skipped.values()) + sum(counts.dropped.values())


@asynccontextmanager
async def one_worker(engine: str, folder: Path) -> AsyncIterator[Worker]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    started = Worker(engine, folder, legacy, new)
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
        await legacy.stop()
        await new.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_worker(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    async with one_worker(engine, tmp_path_factory.mktemp("worker")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def worker(shared_worker: Worker) -> Worker:
    """The one worker of this module, with nothing left of the test before: to start one takes up to a second of CPU."""
    await shared_worker.forget()
    return shared_worker


@pytest_asyncio.fixture(loop_scope="module")
async def own_worker(engine: str, tmp_path: Path) -> AsyncIterator[Worker]:
    """For a test that ends it, or looks at its memory."""
    async with one_worker(engine, tmp_path) as started:
        yield started
