"""Liveness and readiness say how the gateway is, and no upstream can take them down: the restart loop of the push incident is impossible.

In that incident the probes went to the application itself. It was flooded, answered them too late, was restarted, came back cold to the
same flood, and so on. Here somebody does to the gateway what Kubernetes' kubelet does: asks, and restarts whoever fails three times in a
row.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, gateway
from tests.support.ledgers import Outcome
from tests.support.load import Plan, load
from tests.support.recorded import Process

PERIOD = 0.25
TIMEOUT = 1.0
"""What Kubernetes has by default."""
FAILURES = 3

TOML = """
[upstreams]
legacy = {{ url = "http://127.0.0.1:{legacy}", response_timeout = "1s", health = {{ path = "/healthz", interval = "200ms" }} }}
new = "http://127.0.0.1:{legacy}"
[identity]
source = "introspection"
timeout = "500ms"
[[routes]]
name = "work"
match = "/jobs/*"
candidate = "new"
"""


@dataclass
class Kubelet:
    """Asks `url` and counts how often it would have restarted what is behind it."""

    url: str
    asked: int = 0
    failures: int = 0
    """In a row."""
    restarts: int = 0

    async def run(self) -> None:
        while True:
            ok = await asyncio.to_thread(self._ask)
            self.asked += 1
            self.failures = 0 if ok else self.failures + 1
            if self.failures == FAILURES:
                self.restarts += 1
                self.failures = 0
            await asyncio.sleep(PERIOD)

    def _ask(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=TIMEOUT) as answer:  # noqa: S310 - http, always
                return 200 <= int(answer.status) < 400
        except (OSError, urllib.error.URLError):
            return False


@asynccontextmanager
async def watched(*urls: str) -> AsyncIterator[list[Kubelet]]:
    kubelets = [Kubelet(url) for url in urls]
    tasks = [asyncio.create_task(each.run(), name=each.url) for each in kubelets]
    try:
        yield kubelets
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def processes(running: Gateway) -> list[int]:
    return sorted([running.process.pid, *running.children("")])


@pytest.mark.timeout(120)
async def test_the_restart_loop_is_impossible(tmp_path: Path) -> None:
    legacy = Process("legacy", tmp_path)
    await legacy.start()
    try:
        async with gateway(tmp_path, TOML.format(legacy=legacy.port), workers=2, work=True) as running:
            urls = [f"http://127.0.0.1:{running.admin}/{path}" for path in ("healthz", "readyz")]
            before = processes(running)
            async with watched(*urls, f"http://127.0.0.1:{legacy.port}/healthz") as (live, ready, legacys):
                async with load(running.port, lambda _: Plan(path="/jobs/x"), clients=40, pause=0.01, prefix="floodx") as flood:
                    await flood.until(100)
                    # It hangs: connections are accepted, by the kernel, and nothing is answered.
                    assert legacy.running is not None
                    os.kill(legacy.running.pid, signal.SIGSTOP)
                    await asyncio.sleep(6)
                    assert legacys.restarts >= 1, "whoever asked legacy itself would have restarted it"
                    # It is gone.
                    legacy.kill()
                    await asyncio.sleep(3)
                    # Something is there that resets whoever comes.
                    with socket.create_server(("127.0.0.1", legacy.port)) as rude:
                        rude.setblocking(False)
                        ending = asyncio.create_task(resetting(rude), name="resetting")
                        await asyncio.sleep(3)
                        ending.cancel()
                        await asyncio.gather(ending, return_exceptions=True)
                    assert processes(running) == before
                    # It comes back, to the same flood.
                    await legacy.start()
                    await asyncio.sleep(6)
                    back = len(flood.asked)
                    await flood.until(200)
                assert (live.restarts, ready.restarts) == (0, 0)
                assert live.asked > 20
                assert ready.asked > 20
            assert {asked.outcome for asked in flood.asked[back + 40 :]} == {Outcome.ANSWERED}
            assert not [asked for asked in flood.asked if asked.outcome is Outcome.SILENCE]
            assert processes(running) == before, "nothing was restarted"
            metrics = await asyncio.to_thread(running.metrics)
            assert "banyan_child_restarts_total{" not in metrics
    finally:
        await legacy.stop()


async def resetting(listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        sock, _ = await loop.sock_accept(listening)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.close()


@pytest.mark.timeout(60)
async def test_a_gateway_whose_upstreams_are_all_down_starts_and_is_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    async with gateway(tmp_path, TOML.format(legacy=port)) as running:
        assert running.get("/readyz") == {"status": "ready"}
        assert running.get("/healthz") == {"status": "alive"}
