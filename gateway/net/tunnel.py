"""What follows a 101: bytes of another protocol (WebSocket, mostly), passed both ways unread (RFC 9110, 7.8; edge.md 42).

The upstream agreed to the switch before the client hears of it; whatever came glued to either head is the first that passes. Either side's
end is passed on: a client that has said its last word still hears the upstream's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.net.head import ResponseHead
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure

if TYPE_CHECKING:
    from gateway.net.relay import Relay


class Tunnel(Sink):
    """One upgraded connection: the upstream connection's Sink, and where the client's bytes go."""

    __slots__ = ("_connection", "_relay")

    def __init__(self, relay: Relay, connection: UpstreamConnection) -> None:
        self._relay = relay
        self._connection = connection

    def from_client(self, data: bytes) -> None:
        self._relay.client.tunnel_active()
        self._connection.write(data, last=False)

    def client_ended(self) -> None:
        """The client sends no more."""
        self._connection.end()

    # Sink

    def on_interim(self, head: ResponseHead) -> None:
        """Never: the answer's head has been there."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        """Never, likewise."""

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never, likewise."""

    def on_data(self, data: bytes, complete: bool) -> None:
        relay = self._relay
        relay.client.tunnel_active()
        relay.sent += len(data)
        if data:
            relay.client.write(data)
        if complete:
            relay.tunnel_closed()

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._relay.cut_off(failure.code)

    def on_upstream_paused(self, paused: bool) -> None:
        self._relay.on_upstream_paused(paused)
