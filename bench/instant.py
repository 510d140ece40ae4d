"""`python -m bench.instant FD`: an upstream that answers at once: at /one/* and /other/* the same document in other words, at /same/* one.

The size is in the path: /one/27/5 is of 27 records. A record is 300 bytes.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from functools import cache
from typing import cast

import uvloop


def _records(count: int) -> list[dict[str, object]]:
    chance = random.Random(count)  # noqa: S311 - the same documents in each run
    return [
        {
            "id": 1000 + number,
            "number": f"ORD-2026-{number:06d}",
            "state": chance.choice(("paid", "sent", "returned")),
            "total": round(chance.uniform(1, 900), 2),
            "created_at": "2026-03-01T12:00:00Z",
            "customer": {"id": chance.randrange(10**6), "name": f"Customer {number}", "segment": None, "city": "Seoul"},
            "lines": [{"sku": f"S{chance.randrange(10**5)}", "quantity": chance.randrange(1, 9)} for _ in range(3)],
        }
        for number in range(count)
    ]


@cache
def answer(kind: bytes, count: int) -> bytes:
    """The whole of it."""
    body = json.dumps(_records(count), sort_keys=kind == b"other", indent=None if kind == b"same" else 1).encode()
    fields = b"Content-Type: application/json\r\nCache-Control: no-store\r\nServer: one\r\n"
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (fields, len(body), body)


class Instant(asyncio.Protocol):
    """One connection. Requests have no bodies."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            _, kind, count, _ = (*self.buffer.split(b" ", 2)[1].split(b"/", 3), b"", b"", b"")[:4]
            self.buffer = self.buffer[end + 4 :]
            self.transport.write(answer(kind, int(count) if count.isdigit() else 0))


async def serve(sock: socket.socket) -> None:
    """Until it is stopped."""
    server = await asyncio.get_running_loop().create_server(Instant, sock=sock, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))
