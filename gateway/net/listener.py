"""Accepts clients on sockets that the supervisor owns, and holds the timeouts that all clients of one worker share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import zip_longest

from gateway.net.downstream import Downstream
from gateway.net.edge import Edge
from gateway.settings import Limits
from gateway.tls import HANDSHAKE_SECONDS, Front

BODY_STALL_SECONDS = 30.0
SLOW_READER_SECONDS = 60.0
LINGER_SECONDS = 2.0
SHUTDOWN_SECONDS = SLOW_READER_SECONDS + 5.0
"""uvloop's own limit for the end of a TLS connection: ours come first."""
TUNNEL_SECONDS = 300.0
"""Silence both ways in an upgraded connection. nginx: 60 s, Envoy: 5 min, HAProxy recommends 1 h; WebSockets ping every 20 to 30 s."""
GRACE_SECONDS = 0.5
"""How long idle connections are kept while draining."""


class Listener:
    """The accepting side of a worker."""

    def __init__(self, edge: Edge, *, handshake_timeout: float = HANDSHAKE_SECONDS) -> None:
        self.edge = edge
        self.front = Front()
        limits, deadlines = edge.terms.config.gateway.limits, edge.deadlines
        self.idle = deadlines.add(limits.idle_timeout, Downstream.idle_expired)
        self.heading = deadlines.add(limits.header_timeout, Downstream.head_expired)
        self.stalled = deadlines.add(BODY_STALL_SECONDS, Downstream.body_stalled)
        self.slow = deadlines.add(SLOW_READER_SECONDS, Downstream.abort)
        self.lingering = deadlines.add(LINGER_SECONDS, Downstream.lingered)
        self.tunnels = deadlines.add(TUNNEL_SECONDS, Downstream.abort)
        # uvloop ends a handshake that takes too long, and says nothing of one that failed: whatever is left here a moment later has.
        self._handshake = 0
        self.handshakes = deadlines.add(handshake_timeout + 1.0, self._handshake_failed)
        self._handshake_timeout = handshake_timeout
        self._servers: list[asyncio.Server] = []

    def reconfigure(self, limits: Limits) -> None:
        """Idle connections and unfinished heads have other times from now on, those that wait already too."""
        self.idle.seconds = limits.idle_timeout
        self.heading.seconds = limits.header_timeout

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to accept."""
        self.edge.deadlines.start()
        # The sockets are those of `listen`, in its order.
        for sock, secure in zip_longest(sockets, [secure for _, secure in self.edge.terms.config.gateway.addresses], fillvalue=False):
            assert isinstance(sock, socket.socket)  # noqa: S101 - there is at least one for each address
            if secure:
                made = self.edge.loop.create_server(
                    self._secure,
                    sock=sock,
                    backlog=1024,
                    ssl=self.front.context,
                    ssl_handshake_timeout=self._handshake_timeout,
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
            else:
                made = self.edge.loop.create_server(self._plain, sock=sock, backlog=1024)
            self._servers.append(await made)

    def _plain(self) -> asyncio.BaseProtocol:
        return Downstream(self, secure=False)  # type: ignore[return-value] # a Protocol in all but name

    def _secure(self) -> asyncio.BaseProtocol:
        connection = Downstream(self, secure=True)
        self._handshake += 1
        connection.handshake = self._handshake
        self.handshakes.begin(connection.handshake, self.edge.clock.read())
        return connection  # type: ignore[return-value] # a Protocol in all but name

    def _handshake_failed(self, _: int) -> None:
        self.edge.tally.event("tls-handshake-failed")

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()

    async def drain(self, seconds: float) -> bool:
        """Waits until all requests in flight are answered, for at most `seconds`, then closes idle connections. True: all were."""
        edge = self.edge
        edge.draining = True
        # A request may be on its way on a connection that looks idle: it is still answered, and told that the connection ends with it.
        await self._until(lambda: not edge.connections, min(GRACE_SECONDS, seconds / 2))
        answered = await self._until(lambda: edge.in_flight == 0, seconds)
        for connection in list(edge.connections):
            connection.idle_expired()
        await self._until(lambda: not edge.connections, LINGER_SECONDS)
        return answered

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = self.edge.clock.read() + seconds
        while not condition():
            if self.edge.clock.read() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True
