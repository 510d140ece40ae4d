"""A worker that runs the edge engine, on uvloop: `python -m gateway.worker`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from gateway.quick import importing

with importing():
    import uvloop

    from gateway import engine
    from gateway.access import AccessLog
    from gateway.net.edge import Edge
    from gateway.net.listener import Listener
    from gateway.net.traced import Tracer
    from gateway.policy.decision import Policy
    from gateway.settings import Config
    from gateway.shipping import ShipperLink
    from gateway.tally import Tally
    from gateway.telemetry import Stats
    from gateway.tls import Pair


class EdgeEngine:
    """The edge with its listener, as a worker wants an engine."""

    def __init__(self, config: Config, policy: Policy, access: AccessLog, shipper: ShipperLink | None) -> None:
        self._edge = Edge(asyncio.get_running_loop(), config, policy, access=access, shipper=shipper)
        self._listener = Listener(self._edge)
        self._tracer = Tracer()

    def take_stats(self) -> Stats:
        edge = self._edge
        tally, edge.tally = edge.tally, Tally()
        stats = tally.report()
        stats.connections = len(edge.connections) + len(self._listener.handshakes)
        stats.in_flight = edge.in_flight
        stats.questions = edge.questions()
        stats.upstreams = edge.upstreams()
        stats.turnstiles = edge.turnstiles()
        if edge.ledger is not None:
            stats.owed = edge.ledger.owing
            if edge.ledger.up:
                stats.in_doubt = edge.ledger.in_doubt
        stats.spans_dropped, self._tracer.dropped = self._tracer.dropped, {}
        stats.seen, stats.seen_of = edge.sample.hand_over()
        return stats

    def watch_ends(self, ended: Callable[[bytes], None]) -> None:
        self._edge.ended = ended

    def trace(self, link: ShipperLink | None, config: Config) -> None:
        self._tracer.configure(link, config.tracing.sample, {route.name: route.match for route in config.routes})
        self._edge.tracer = self._tracer if link is not None else None

    def end(self, key: bytes) -> None:
        self._edge.end(key)

    def refuse(self) -> None:
        self._listener.refuse()

    def reconfigure(self, config: Config, policy: Policy, shipper: ShipperLink | None) -> None:
        self._edge.reconfigure(config, policy)  # first: it may fail, and then nothing has changed
        self._edge.shipper = shipper
        self._listener.reconfigure(config.gateway)

    def certify(self, pairs: Sequence[Pair]) -> None:
        self._listener.front.take(pairs)

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        await self._listener.start(sockets)

    async def drain(self, seconds: float) -> int:
        self._listener.stop_accepting()
        answered = await self._listener.drain(seconds)
        return 0 if answered else self._edge.in_flight

    async def close(self) -> None:
        self._edge.close()
        if self._edge.ledger is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._edge.ledger.close)


if __name__ == "__main__":
    engine.main(EdgeEngine, uvloop.run)
