"""One address of an upstream, and how it is with the connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.net.upstream import UpstreamConnection

AVOID_SECONDS: Final = 5.0
"""After a connection could not be opened, how long the others are preferred. Envoy's outlier detection begins with 30 s, HAProxy's checks
with 2."""


class Place:
    """`socket`: the path of a unix socket; '' where `host` and `port` are asked."""

    __slots__ = ("complained_at", "complaint", "failed_at", "host", "idle", "port", "socket", "total")

    def __init__(self, host: str, port: int, socket: str) -> None:
        self.host = host
        self.port = port
        self.socket = socket
        self.idle: dict[UpstreamConnection, float] = {}
        """With the time of their return, in its order: the last is taken first, so that a quiet gateway lets the others go."""
        self.total = 0
        """Connections that are open or being opened."""
        self.failed_at = -AVOID_SECONDS
        """When one could last not be opened."""
        self.complaint = ""
        """What was last said about TLS with it, and when."""
        self.complained_at = 0.0

    @property
    def pending(self) -> int:
        """Requests under way, those that wait for their connection included."""
        return self.total - len(self.idle)


def choose(places: list[Place], now: float, turn: int) -> Place:
    """The one with the fewest requests pending among those that can be reached, as far as is known. `turn`: who is looked at first, so that
    equals are taken in turn."""
    best = places[turn % len(places)]
    for number in range(1, len(places)):
        place = places[(turn + number) % len(places)]
        avoided, best_avoided = now - place.failed_at < AVOID_SECONDS, now - best.failed_at < AVOID_SECONDS
        if best_avoided > avoided or (best_avoided == avoided and place.pending < best.pending):
            best = place
    return best
