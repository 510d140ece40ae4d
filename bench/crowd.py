"""`python -m bench.crowd PORT COUNT SECONDS`: COUNT connections, each with a request under way all the time.

Three in four are a GET, the fourth is a POST with 16 KiB; every answer has 16 KiB, and is compared. Prints how many were answered.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import cast

import uvloop

from bench import descriptors
from bench.load import request
from bench.slow import ANSWER

BODY = b"b" * 16 * 1024


class _Client(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.buffer = b""
        self.session = secrets.token_hex(12).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.ask()

    def ask(self) -> None:
        number = self.crowd.asked = self.crowd.asked + 1
        data = request(number, self.session)
        if number % 4 == 0:
            data = data.replace(b"GET ", b"POST ", 1)[:-2] + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or (len(body) < len(ANSWER) and head.startswith(b"HTTP/1.1 200 ")):
            return
        if body != ANSWER:
            self.crowd.wrong.append(head)
        self.buffer = b""
        self.crowd.answered += 1
        if not self.crowd.over:
            self.ask()
        elif self.crowd.answered == self.crowd.asked:
            self.crowd.settled.set()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.crowd.settled.is_set():
            self.crowd.wrong.append(b"a connection was closed")
            self.crowd.settled.set()


class Crowd:
    """All of them."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.over = False
        self.settled = asyncio.Event()
        """Nothing is under way any more, or a connection was lost."""
        self.wrong: list[bytes] = []

    async def run(self, port: int, count: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(lambda: _Client(self), "127.0.0.1", port))[1] for _ in range(count)]
        await asyncio.sleep(seconds)
        self.over = True
        # What is under way is answered, or wrong.
        async with asyncio.timeout(10):
            await self.settled.wait()
        for client in clients:
            client.transport.abort()


def main() -> None:
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    descriptors.allow(count + 100)
    crowd = Crowd()
    uvloop.run(crowd.run(port, count, seconds))
    if crowd.wrong:
        sys.exit(f"{len(crowd.wrong)} of {crowd.answered} were wrong, the first: {crowd.wrong[0]!r}")
    json.dump({"answered": crowd.answered}, sys.stdout)


if __name__ == "__main__":
    main()
