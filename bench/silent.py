"""`python -m bench.silent FD`: an upstream that hangs: it takes every request and answers none but GET /ready."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop


class Silent(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /ready"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def serve(sock: socket.socket) -> None:
    """Until it is stopped."""
    server = await asyncio.get_running_loop().create_server(Silent, sock=sock, backlog=2048)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))
