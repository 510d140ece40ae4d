"""mitmproxy inside a worker process: its core without its front ends, on sockets that the supervisor owns.

How mitmproxy is run:
- Its `Master` runs as a task on the worker's loop, with its own `Proxyserver` and our addons. Nothing that keeps flows (view,
  dumper, recorder) is loaded, so a flow is gone when its client has the answer.
- mitmproxy opens listening sockets by itself and cannot be given one. So it is told to open none (`server=False`); a reverse-mode server
  instance is made as it would make one, and each inherited socket is served with that instance's public `handle_stream`. Nothing
  is patched, there is no second hop, and any number of workers can share an address.
- It runs on asyncio's own loop, the one that mitmproxy is tested on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from itertools import zip_longest

from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ReverseMode

from gateway.access import AccessLog
from gateway.mitm.addon import GatewayAddon
from gateway.mitm.quic import Quic
from gateway.mitm.shared import Shared
from gateway.mitm.watch import Watch
from gateway.policy.decision import Policy
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.tally import Tally
from gateway.telemetry import Stats
from gateway.tls import HANDSHAKE_SECONDS, Front, Pair

START_SECONDS = 10.0
LINGER_SECONDS = 2.0


Stage = tuple[Master, Proxyserver]


class MitmEngine:
    """See the module's docstring."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        access: AccessLog,
        shipper: ShipperLink | None,
        stage: Stage | None = None,
        watch: Watch | None = None,
    ) -> None:
        """`stage`: a master with more to it than the proxy; `watch`: who looks at what passes."""
        # mitmproxy says each connection and each streamed body at INFO: one line a request is the access log's.
        logging.getLogger("mitmproxy").setLevel(logging.WARNING)
        self._shared = Shared(config, policy, access, shipper, watch=watch)
        self._master, self._server = stage or _bare()
        addon = self._addon = GatewayAddon(self._shared, self._server)
        self._servers: list[asyncio.Server] = []
        self._run: asyncio.Task[None] | None = None
        self._master.addons.add(addon, addon.connecting, addon.upgraded)  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        self._master.options.update(  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            server=False,
            mode=[],
            connection_strategy="lazy",
            keep_host_header=True,
            # What follows a 101 passes unread, as at the edge. Only for somebody who looks are its messages taken apart.
            websocket=watch is not None,
            rawtcp=True,
        )
        self._set_options(config)
        self._front = Front(http2=config.gateway.http2)
        self._secure = [secure for _, secure in config.gateway.addresses]
        host, port = config.upstreams["legacy"].address
        shown = f"[{host}]" if ":" in host else host
        self._instance: ServerInstance[ReverseMode] = ServerInstance.make(f"reverse:http://{shown}:{port}", self._server)
        self._quic = Quic(self._server, f"{shown}:{port}") if config.gateway.http3 else None
        if self._quic is not None:
            self._master.addons.add(self._quic)  # type: ignore[no-untyped-call] # mitmproxy is typed in part

    def take_stats(self) -> Stats:
        shared = self._shared
        shared.sweep()
        tally, shared.tally = shared.tally, Tally()
        stats = tally.report()
        stats.connections = len(self._server.connections)
        stats.in_flight = shared.in_flight
        stats.questions = shared.questions()
        stats.seen, stats.seen_of = shared.sample.hand_over()
        return stats

    def watch_ends(self, ended: Callable[[bytes], None]) -> None:
        self._shared.ended = ended

    def trace(self, link: ShipperLink | None, config: Config) -> None:
        """It records no spans: unfit.py says so before a start."""

    def end(self, key: bytes) -> None:
        self._shared.end(key)

    def refuse(self) -> None:
        self._shared.draining = True

    def reconfigure(self, config: Config, policy: Policy, shipper: ShipperLink | None) -> None:
        self._shared.reconfigure(config, policy)  # first: it may fail, and then nothing has changed
        self._shared.shipper = shipper
        self._set_options(config)
        self._front.offer(http2=config.gateway.http2)

    def certify(self, pairs: Sequence[Pair]) -> None:
        self._front.take(pairs)
        if self._quic is not None:
            self._quic.take(pairs)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        self._run = asyncio.get_running_loop().create_task(self._master.run(), name="mitmproxy")
        async with asyncio.timeout(START_SECONDS):
            await self._addon.up.wait()
        # The sockets are those of `listen`, in its order.
        for sock, secure in zip_longest(sockets, self._secure, fillvalue=False):
            assert isinstance(sock, socket.socket)  # noqa: S101 - there is at least one for each address
            if sock.family == socket.AF_UNIX:
                self._servers.append(await asyncio.start_unix_server(self._unix_client, sock=sock, backlog=1024))
            else:
                # TLS to clients ends before mitmproxy: one way to choose certificates and to renew them for both engines.
                context, limit = (self._front.context, HANDSHAKE_SECONDS) if secure else (None, None)
                handle = self._instance.handle_stream
                self._servers.append(await asyncio.start_server(handle, sock=sock, backlog=1024, ssl=context, ssl_handshake_timeout=limit))
                if secure and self._quic is not None:
                    await self._quic.start(sock)

    async def drain(self, seconds: float) -> int:
        for server in self._servers:
            server.close()
        shared = self._shared
        shared.draining = True
        await _until(lambda: shared.in_flight == 0, seconds)
        left = shared.in_flight
        # A task that is cancelled here closes its connection, after what was written has gone out: mitmproxy's own way to end one.
        for handler in list(self._server.connections.values()):
            io = handler.transports.get(handler.client)
            if io is not None and io.handler is not None:
                io.handler.cancel("drain")
        await _until(lambda: not self._server.connections, LINGER_SECONDS)
        if self._quic is not None:
            self._quic.stop()
        return left

    async def close(self) -> None:
        await self._shared.close()
        self._master.shutdown()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        if self._run is not None:
            await self._run

    def _set_options(self, config: Config) -> None:
        self._master.options.update(  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            stream_large_bodies=str(config.gateway.replay_buffer), tcp_timeout=_quiet_seconds(config)
        )

    async def _unix_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._instance.handle_stream(reader, _UnixWriter(reader, writer))


class _UnixWriter(asyncio.StreamWriter):
    """mitmproxy wants a host and a port of every peer; a Unix socket's has neither."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        super().__init__(transport, transport.get_protocol(), reader, asyncio.get_running_loop())
        self._writer = writer  # kept: a StreamWriter that is collected closes its transport

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name in ("peername", "sockname"):
            return ("unix", 0)
        return super().get_extra_info(name, default)


def _bare() -> Stage:
    """Nothing but the proxy."""
    master, server = Master(Options()), Proxyserver()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
    master.addons.add(server)  # type: ignore[no-untyped-call] # mitmproxy is typed in part
    return master, server


def _quiet_seconds(config: Config) -> int:
    """How long a client connection may be silent. mitmproxy has one timeout, whether it waits for the client or for an upstream."""
    longest = max(upstream.response_timeout for upstream in config.upstreams.values())
    return max(1, round(config.gateway.limits.idle_timeout), round(longest) + 1)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition() and loop.time() < deadline:  # noqa: ASYNC110 - what is waited for is mitmproxy's state, which has no event
        await asyncio.sleep(0.02)
