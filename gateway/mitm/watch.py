"""Who looks at requests as they pass, where somebody does (`banyan inspect`). Without one nothing of a flow is kept.

What is told here has happened already: nothing that a watcher does changes a request, and it may not wait or raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from mitmproxy import http
    from mitmproxy.websocket import WebSocketMessage

    from gateway.mitm.relay import Relay
    from shadow.exchange import Exchange


class Watch(Protocol):
    """See the module's docstring."""

    body: int
    """Bytes of each body that it wants to see, from its beginning."""

    def begun(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """It is decided who serves, or that nobody does."""
        ...

    def message(self, flow: http.HTTPFlow, message: WebSocketMessage) -> None:
        """One of an upgraded connection's."""
        ...

    def over(self, flow: http.HTTPFlow, relay: Relay) -> None:
        """The request is accounted for: the client has its answer, or never will."""
        ...

    def paired(self, exchange: Exchange) -> None:
        """Somebody was asked beside, and has answered or failed: the two answers, as the shipper gets them."""
        ...


class Peek:
    """The beginning of a body that passes by."""

    __slots__ = ("_kept", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._kept = bytearray()
        self.size = 0
        """Bytes of the whole body so far."""

    def add(self, data: bytes) -> bytes:
        """Looks at a part of it, and gives it back: what mitmproxy streams through a function is what that returns."""
        self.size += len(data)
        if len(self._kept) < self._limit:
            self._kept += data[: self._limit - len(self._kept)]
        return data

    @property
    def kept(self) -> bytes:
        return bytes(self._kept)
