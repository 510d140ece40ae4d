"""Accepts clients on sockets that the supervisor owns, and holds the timeouts that all clients of one worker share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

from gateway.net import room
from gateway.net.deadlines import Timeouts
from gateway.net.downstream import Downstream
from gateway.net.edge import Edge
from gateway.net.handshakes import Handshakes
from gateway.settings import Gateway
from gateway.tls import HANDSHAKE_SECONDS, Front

if TYPE_CHECKING:
    from gateway.net.http2 import Http2
    from gateway.net.http2_stream import Stream

BACKLOG = 1024
"""Connections that wait to be accepted, for each socket."""
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

    http2_blocked: Timeouts[Stream]
    http2_heading: Timeouts[Http2]
    http2_idle: Timeouts[Http2]
    http2_leaving: Timeouts[Http2]
    http2_lingering: Timeouts[Http2]
    http2_slow: Timeouts[Http2]

    def __init__(self, edge: Edge, *, handshake_timeout: float = HANDSHAKE_SECONDS) -> None:
        self.edge = edge
        gateway, deadlines = edge.terms.config.gateway, edge.deadlines
        limits = gateway.limits
        self.front = Front(http2=gateway.http2)
        self.idle = deadlines.add(limits.idle_timeout, Downstream.idle_expired)
        self.heading = deadlines.add(limits.header_timeout, Downstream.head_expired)
        self.stalled = deadlines.add(BODY_STALL_SECONDS, Downstream.body_stalled)
        self.slow = deadlines.add(SLOW_READER_SECONDS, Downstream.abort)
        self.lingering = deadlines.add(LINGER_SECONDS, Downstream.lingered)
        self.tunnels = deadlines.add(TUNNEL_SECONDS, Downstream.abort)
        self.handshakes = Handshakes(self, handshake_timeout, SHUTDOWN_SECONDS)
        self._servers: list[asyncio.Server] = []
        self._http2 = False
        self.share = room.share(gateway)
        self.further = 0
        """HTTP/2 streams beside the first of their connections: each counts as a connection (gateway/net/room.py)."""

    def http2(self, host: str, *, secure: bool) -> Http2:
        """A client that has chosen HTTP/2."""
        # Only who serves HTTP/2 has h2 in memory.
        from gateway.net.http2 import Http2
        from gateway.net.http2_stream import Stream

        if not self._http2:
            self._http2 = True
            limits, deadlines = self.edge.terms.config.gateway.limits, self.edge.deadlines
            self.http2_idle = deadlines.add(limits.idle_timeout, Http2.idle_expired)
            self.http2_heading = deadlines.add(limits.header_timeout, Http2.head_expired)
            self.http2_leaving = deadlines.add(GRACE_SECONDS, Http2.idle_expired)
            self.http2_lingering = deadlines.add(LINGER_SECONDS, Http2.lingered)
            self.http2_slow = deadlines.add(SLOW_READER_SECONDS, Http2.abort)
            self.http2_blocked = deadlines.add(SLOW_READER_SECONDS, Stream.expired)
        return Http2(self, host, secure=secure)

    def began_http2(self, transport: asyncio.BaseTransport) -> bool:
        """Has a client whose handshake is done chosen HTTP/2? Then this is done, too: another protocol has the transport."""
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            return False
        peer = transport.get_extra_info("peername")
        connection = self.http2(peer[0] if isinstance(peer, tuple) else "unix", secure=True)
        cast("asyncio.Transport", transport).set_protocol(cast("asyncio.BaseProtocol", connection))
        connection.connection_made(transport)
        return True

    def reconfigure(self, gateway: Gateway) -> None:
        """Idle connections and unfinished heads have other times from now on, those that wait already too. Who is in stays in."""
        limits = gateway.limits
        self.idle.seconds = limits.idle_timeout
        self.heading.seconds = limits.header_timeout
        self.share = room.share(gateway)
        self.front.offer(http2=gateway.http2)
        if self._http2:
            self.http2_idle.seconds = limits.idle_timeout
            self.http2_heading.seconds = limits.header_timeout

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begins to accept."""
        self.edge.deadlines.start()
        # The sockets are those of `listen`, in its order.
        for sock, secure in zip_longest(sockets, [secure for _, secure in self.edge.terms.config.gateway.addresses], fillvalue=False):
            assert isinstance(sock, socket.socket)  # noqa: S101 - there is at least one for each address
            if secure:
                self.handshakes.listen(sock, BACKLOG)
            else:
                self._servers.append(await self.edge.loop.create_server(self._plain, sock=sock, backlog=BACKLOG))

    def _plain(self) -> asyncio.BaseProtocol:
        return Downstream(self, secure=False)  # type: ignore[return-value] # a Protocol in all but name

    def admit(self, connection: Downstream | Http2) -> bool:
        """One that has just come. False: nothing is read from it (edge.md 36, gateway/net/room.py)."""
        edge = self.edge
        count = self.taken
        if count <= self.share or self._made_room():
            return True
        connection.surplus = True
        if count + len(self.handshakes) <= room.beyond(self.share):
            return True
        edge.tally.event("connection-reset-over-limit")
        return False

    @property
    def taken(self) -> int:
        """How much of the share."""
        return len(self.edge.connections) + self.further

    def admit_stream(self) -> bool:
        """May a connection that has a stream have one more?"""
        return self.taken < self.share or self._made_room()

    def _made_room(self) -> bool:
        """Was there a connection that could be spared?"""
        since = self.edge.clock.now - room.IDLE_ENOUGH
        idle = self.idle.oldest(since)
        if idle is not None:
            self.idle.end(idle)
            idle.idle_expired()
            self.edge.tally.event("idle-connection-made-room")
            return True
        other = self.http2_idle.oldest(since) if self._http2 else None
        if other is not None:
            self.http2_idle.end(other)
            other.idle_expired()
            self.edge.tally.event("idle-connection-made-room")
            return True
        return False

    def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self.handshakes.stop_accepting()

    def refuse(self) -> None:
        """From now on every answer ends its connection, or where several requests share one, no more of them are wanted there."""
        self.edge.draining = True
        for connection in list(self.edge.connections):
            connection.drain()

    async def drain(self, seconds: float) -> bool:
        """Waits until all requests in flight are answered, for at most `seconds`, and ends what is left. True: all were."""
        edge = self.edge
        self.refuse()
        # A request may be on its way on a connection that looks idle: it is still answered, and told that the connection ends with it.
        grace = min(GRACE_SECONDS, seconds / 2)
        await self._until(lambda: not edge.connections, grace)
        answered = await self._until(lambda: edge.in_flight == 0, seconds - grace)
        await self.handshakes.end()
        for connection in list(edge.connections):
            connection.leave()
        await self._until(lambda: not edge.connections, LINGER_SECONDS)
        return answered

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = self.edge.clock.read() + seconds
        while not condition():
            if self.edge.clock.read() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True
