"""`python -m bench.floor FD PORT`: the least that a relay on uvloop can do: two sockets, and bytes copied without a look at them.

What it costs is the kernel's part and the event loop's. Everything that Banyan takes above it is Banyan's own.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop


class _End(asyncio.Protocol):
    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self.other = other
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.abort()


class _Client(_End):
    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self.relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = asyncio.get_running_loop().create_task(self._connect(), name="connect")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        upstream, _ = await loop.create_connection(lambda: _End(self.transport), "127.0.0.1", self.relay.port)
        self.other = upstream
        upstream.write(b"".join(self.early))


class Relay:
    """To one port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def serve(self, sock: socket.socket) -> None:
        """Until it is stopped."""
        server = await asyncio.get_running_loop().create_server(lambda: _Client(self), sock=sock)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(Relay(int(sys.argv[2])).serve(socket.socket(fileno=int(sys.argv[1]))))
