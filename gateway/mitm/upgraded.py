"""What follows a 101: another protocol (WebSocket, mostly), passed both ways by mitmproxy, and counted here as one request until it ends.

mitmproxy would keep every piece that passes. Here none is kept: a connection may stay for days.
"""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.tcp import TCPFlow

from gateway.mitm.relay import Relay
from gateway.mitm.shared import Shared


class Upgraded:
    """A mitmproxy addon of its own."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._open: dict[str, tuple[http.HTTPFlow, Relay]] = {}
        """By client connection."""

    def begin(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """The client's 101 is on its way."""
        self._open[flow.client_conn.id] = flow, relay
        if not flow.client_conn.connected:  # it has left meanwhile, and nothing will be told of it any more
            self.client_disconnected(flow.client_conn)

    # mitmproxy's hooks

    def tcp_message(self, flow: TCPFlow) -> None:
        """A piece of what mitmproxy does not read: of a WebSocket too, unless somebody looks."""
        _, relay = self._open.get(flow.client_conn.id, (None, None))
        if relay is not None:
            relay.sent += sum(len(message.content) for message in flow.messages if not message.from_client)
        flow.messages.clear()  # mitmproxy has the one in hand that it passes on next

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """A message of a WebSocket that mitmproxy reads, because somebody looks."""
        if flow.websocket is None:
            return
        _, relay = self._open.get(flow.client_conn.id, (None, None))
        for message in flow.websocket.messages:
            if relay is not None and not message.from_client:
                relay.sent += len(message.content)
            if self._shared.watch is not None:
                self._shared.watch.message(flow, message)
        flow.websocket.messages.clear()

    def client_disconnected(self, client: Client) -> None:
        """Whichever side has ended it, mitmproxy has closed the client's connection."""
        found = self._open.pop(client.id, None)
        if found is not None:
            flow, relay = found
            relay.finish()
            if self._shared.watch is not None:
                self._shared.watch.over(flow, relay)
