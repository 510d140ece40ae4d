"""mitmproxy's own connections to upstreams: how long it may take to open one, whom it has to find there, and how long an answer may take.

mitmproxy tells of a connection without the request that it is for. In HTTP/1 a client has one request at a time, so that is the one. In
HTTP/2 and 3 mitmproxy opens a connection for each request, and in their order: it is for the first that waits for this place.
"""

from __future__ import annotations

from functools import partial

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from gateway.mitm.relay import Relay
from gateway.policy.failure import Failure


class Connecting:
    """A mitmproxy addon of its own."""

    def __init__(self, server: Proxyserver) -> None:
        self._server = server
        self._busy: dict[str, list[tuple[http.HTTPFlow, Relay]]] = {}
        """What each client connection is busy with."""
        self._opened: dict[str, tuple[http.HTTPFlow, Relay]] = {}
        """Whose each upstream connection is that was opened for a request under way, by its id."""

    # For the other addon

    def begin(self, flow: http.HTTPFlow, relay: Relay) -> None:
        self._busy.setdefault(flow.client_conn.id, []).append((flow, relay))

    def await_answer(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """mitmproxy has sent the whole request, or will have as soon as it is connected."""
        if relay.serve is not None:
            seconds = relay.terms.config.upstreams[relay.serve.upstream].response_timeout
            relay.arm(seconds, Failure.TIMEOUT, partial(self._drop, flow, relay))

    def forget(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """It is over."""
        self._opened.pop(relay.connection, None)
        left = [each for each in self._busy.get(flow.client_conn.id, ()) if each[1] is not relay]
        if left:
            self._busy[flow.client_conn.id] = left
        else:
            self._busy.pop(flow.client_conn.id, None)

    # mitmproxy's hooks

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """mitmproxy opens a connection, and would wait for as long as the kernel does."""
        for flow, relay in self._busy.get(data.client.id, ()):
            if relay.serve is None or relay.connection:
                continue
            upstream = relay.terms.config.upstreams[relay.serve.upstream]
            if upstream.address == data.server.address:
                relay.connection = data.server.id
                self._opened[data.server.id] = flow, relay
                relay.arm(upstream.connect_timeout, Failure.CONNECT_TIMEOUT, partial(self._drop, flow, relay))
                return

    def tls_start_server(self, data: TlsData) -> None:
        """mitmproxy is connected, and this upstream is to prove who it is."""
        _, relay = self._opened.get(data.conn.id, (None, None))
        if relay is not None and relay.serve is not None:
            relay.terms.upstreams_tls.begin(relay.serve.upstream, data)

    def tls_failed_server(self, data: TlsData) -> None:
        _, relay = self._opened.get(data.conn.id, (None, None))
        if relay is not None:
            relay.tls_failed = True

    def server_connected(self, data: ServerConnectionHookData) -> None:
        found = self._opened.get(data.server.id)
        if found is not None:
            flow, relay = found
            relay.disarm()
            if relay.asked:
                self.await_answer(flow, relay)

    def client_disconnected(self, client: Client) -> None:
        for _, relay in self._busy.pop(client.id, ()):
            self._opened.pop(relay.connection, None)

    # Inside

    def _drop(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """Ends the waiting: mitmproxy sees its connection closed, and reports the flow to `error`."""
        handler = self._server.connections.get(flow.client_conn.id)
        if handler is None:
            return
        its = (relay.connection, flow.server_conn.id)
        for connection, io in list(handler.transports.items()):
            if connection is not flow.client_conn and io.handler is not None and (not relay.multiplexed or connection.id in its):
                io.handler.cancel("timeout")
