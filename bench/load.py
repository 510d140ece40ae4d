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

# What a proxy remembers of heads that it has seen must not make it look better here than among real clients and servers: so seven pages of
# different lengths are asked for in turn, the Referer is another one in every request, and the Cookie on every connection.
BODIES = {number: b"y" * (1000 + 7 * (number - 3)) for number in range(7)}
"""The pages under PATH, 1,000 bytes in the mean."""
PATH = "/api/v1/reviews"
_HEAD = (
    f"GET {PATH}/%d?sort=new HTTP/1.1\r\n"
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
).encode()


def request(number: int, session: bytes) -> bytes:
    """The `number`-th request, for page number modulo 7."""
    return _HEAD % (number % 7, number, session)


class _Client(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.busy = False
        self.buffer = b""
        self.body = b""
        self.sent_at = 0.0
        self.session = secrets.token_hex(12).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self.busy = True
        self.load.number += 1
        number = self.load.number
        self.body = BODIES[number % 7]
        users = self.load.users
        data = request(number, users[number % len(users)] if users else self.session)
        self.sent_at = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4 or len(self.buffer) < end + len(self.body):
            return
        if not self.buffer.startswith(b"HTTP/1.1 200 ") or self.buffer[end:] != self.body:
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
    """`rate` requests a second, 0 for as many as are answered, for `seconds`. `users`: so many, whose sessions take turns from one request
    to the next; 0: each connection has its own."""

    def __init__(self, port: int, rate: int, seconds: float, users: int = 0) -> None:
        self.port = port
        self.number = 0
        self.rate = rate
        self.seconds = seconds
        self.users = [b"session-%d" % number for number in range(users)]
        self.wrong = 0
        self.over = False
        self.latencies: list[float] = []

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
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=0)
    given = parser.parse_args()
    load = Load(given.port, given.rate, given.seconds, given.users)
    json.dump(uvloop.run(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
