"""`python -m bench.slow FD`: an upstream that takes its time: every answer comes DELAY seconds after its request.

GET /waiting says how many requests it held at most at one time, which is the proof that they were all under way at once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop

from bench.bulk import LENGTH

DELAY = 0.5
"""Seconds."""
ANSWER = b"z" * 16 * 1024


class Counts:
    """Of all connections."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0


class Slow(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self.buffer = b""
        if head.startswith(b"GET /waiting"):
            self.answer(b"%d" % self.counts.most)
            self.counts.most = self.counts.waiting
        elif head.startswith(b"GET /ready"):
            self.answer(b"")
        else:
            self.counts.waiting += 1
            self.counts.most = max(self.counts.most, self.counts.waiting)
            asyncio.get_running_loop().call_later(DELAY, self.late)

    def late(self) -> None:
        self.counts.waiting -= 1
        self.answer(ANSWER)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve(sock: socket.socket) -> None:
    """Until it is stopped."""
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(lambda: Slow(counts), sock=sock, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))
