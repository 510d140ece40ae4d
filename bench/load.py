"""The load: GET requests with twelve header fields over keep-alive connections, at a fixed rate or as fast as answers come.

A fixed rate is the default. At the same offered load every peer does the same work in the same time, which is what someone who sizes
machines wants to know; as fast as possible, each peer meets a load of its own, and batches more the busier it is. Every answer is checked
whole: one wrong byte spoils the run. It runs as a process of its own (`python -m bench.load`), pinned away from the proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from typing import cast

import uvloop

CONNECTIONS = 32

# The Referer is another one in every request, and the Cookie on every connection: what a proxy remembers of heads that it has seen must not
# make it look better here than among real clients.
HEAD = (
    "GET {path}?page=%d HTTP/1.1\r\n"
    "Host: shop.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n"
    "Accept: application/json, text/plain, */*\r\n"
    "Accept-Language: en-GB,en;q=0.9,ko;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://shop.example.com/products/%d\r\n"
    "Cookie: sessionid=%s; csrftoken=pX2vB8nM4kL9\r\n"
    "Cache-Control: no-cache\r\n"
    "Sec-Fetch-Dest: empty\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "X-Requested-With: XMLHttpRequest\r\n\r\n"
)


class _Client(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.busy = False
        self.buffer = b""
        self.sent_at = 0.0
        self.session = secrets.token_hex(12).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self.busy = True
        request = self.load.request(self.session)
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4 or len(self.buffer) < end + len(self.load.body):
            return
        if not self.buffer.startswith(b"HTTP/1.1 200 ") or self.buffer[end:] != self.load.body:
            self.load.wrong += 1
        self.buffer = b""
        self.busy = False
        self.load.answered(time.perf_counter() - self.sent_at)
        if self.load.rate == 0 and not self.load.over:
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.load.over:
            self.load.wrong += 1


class Load:
    """`rate` requests a second, 0 for as many as are answered, for `seconds`."""

    def __init__(self, port: int, path: str, body: bytes, rate: int, seconds: float, *, vary: bool) -> None:
        self.port = port
        self.body = body
        self.rate = rate
        self.seconds = seconds
        self.wrong = 0
        self.over = False
        self.latencies: list[float] = []
        self._number = 0
        self._vary = vary
        self._head = HEAD.replace("{path}", path).encode()

    def request(self, session: bytes) -> bytes:
        if self._vary:
            self._number += 1
        return self._head % (self._number % 7, self._number, session)

    def answered(self, seconds: float) -> None:
        self.latencies.append(seconds)

    async def run(self) -> dict[str, float]:
        """Sends, and returns the counts."""
        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port))[1] for _ in range(CONNECTIONS)]
        began = time.perf_counter()
        if self.rate == 0:
            for client in clients:
                client.ask()
            await asyncio.sleep(self.seconds)
        else:
            await self._paced(clients, began)
        took = time.perf_counter() - began
        count = len(self.latencies)
        self.over = True
        await asyncio.sleep(0.1)
        for client in clients:
            client.transport.abort()
        self.latencies.sort()
        return {
            "requests": count,
            "seconds": took,
            "wrong": self.wrong,
            "p50": self.latencies[count // 2] if count else 0.0,
            "p99": self.latencies[int(count * 0.99)] if count else 0.0,
        }

    async def _paced(self, clients: list[_Client], began: float) -> None:
        sent = turn = 0
        while (elapsed := time.perf_counter() - began) < self.seconds:
            while sent < elapsed * self.rate:
                # The next idle connection, if there is one: a proxy that is behind is not given a backlog to choke on.
                for _ in range(CONNECTIONS):
                    turn += 1
                    client = clients[turn % CONNECTIONS]
                    if not client.busy:
                        client.ask()
                        break
                sent += 1
            await asyncio.sleep(0.0005)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body")
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--same", action="store_true", help="send the same header fields every time")
    given = parser.parse_args()
    load = Load(given.port, given.path, given.body.encode(), given.rate, given.seconds, vary=not given.same)
    json.dump(uvloop.run(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
