"""Where a provider is reached: it can be shut for a while, and it can kill whoever serves behind it.

Two of the faults happen before there is a request, so no endpoint can have them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any, Final, override

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.psp.faults import Plan

BACKLOG: Final = 1024


class Door:
    """Of one server, with the plan that is in force."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._server: Server | None = None
        self._shut: asyncio.Task[None] | None = None

    def opened(self, server: Server) -> None:
        """The server listens, for the first time."""
        self._server = server
        self.keep(self.plan)

    def keep(self, plan: Plan) -> None:
        """Does as `plan` says from now on. A time for which it is shut begins now, and is not ended by another plan."""
        self.plan = plan
        if self._server is None:
            return
        if plan.die_after_accept:
            self._server.hang_up()  # or those who are connected already would not have to come in again
        if plan.refuse and (self._shut is None or self._shut.done()):
            self._shut = asyncio.create_task(self._refuse(self._server, plan.refuse), name="shut")

    def accepted(self) -> None:
        """A connection was accepted, and nothing of it read."""
        if self.plan.die_after_accept:
            os.kill(os.getpid(), signal.SIGKILL)

    async def _refuse(self, server: Server, seconds: float) -> None:
        server.shut()
        await asyncio.sleep(seconds)
        await server.open()


class Server(uvicorn.Server):
    """uvicorn's, with a door."""

    def __init__(self, config: uvicorn.Config, door: Door, sock: socket.socket) -> None:
        super().__init__(config)
        self._door = door
        self._sock = sock
        self._address = sock.getsockname()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._door.opened(self)

    def hang_up(self) -> None:
        """Closes every connection: idle ones now, others after their answer."""
        for connection in list(self.server_state.connections):
            connection.shutdown()

    def shut(self) -> None:
        """Nobody listens any more: whoever connects is refused."""
        for server in self.servers:
            server.close()
        self._sock.close()
        self.hang_up()

    async def open(self) -> None:
        """Listens again, where it was."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(self._address)
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._protocol, sock=self._sock, backlog=BACKLOG)]

    def _protocol(self) -> asyncio.Protocol:
        return doorman(self._door)(self.config, self.server_state, self.lifespan.state)


def doorman(door: Door) -> type[H11Protocol]:
    """uvicorn's protocol, that tells `door` of each connection before anything is read."""

    class Doorman(H11Protocol):
        @override
        def connection_made(self, transport: Any) -> None:
            door.accepted()
            super().connection_made(transport)

    return Doorman
