"""A worker's end of the way to the exporter: the connection, and the Tracer that its requests ask."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.net.traced import Tracer
from gateway.settings import Config
from gateway.shipping import ShipperLink

BYTES: Final = 4 * 1024**2
"""Of records that wait in a worker: some 8,000 of the usual 500 bytes."""


class Spans:
    """It lives as long as the worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._path = ""
        self._link: ShipperLink | None = None
        self._tracer: Tracer | None = None

    async def adopt(self, path: str, config: Config) -> Tracer | None:
        """Goes over to the exporter at `path`, and to the configuration's share. Who is asked by requests; None: nothing is traced."""
        before, same = self._link, path == self._path
        if not same:
            self._path = path
            self._link = ShipperLink(self._loop, path, queue=config.tracing.queue, queue_bytes=BYTES) if path else None
            if self._link is not None:
                self._link.start()
        elif before is not None:
            before.resize(config.tracing.queue, BYTES)
        if self._tracer is None and path:
            self._tracer = Tracer()
        if self._tracer is not None:
            patterns = {route.name: route.match for route in config.routes}
            self._tracer.configure(self._link, config.tracing.sample, patterns)
        if before is not None and not same:
            await before.close()
            self._lost(before)
        return self._tracer if path else None

    def take_dropped(self) -> dict[str, int]:
        """Spans that the exporter was not given, by reason, since the last time."""
        if self._tracer is None:
            return {}
        dropped, self._tracer.dropped = self._tracer.dropped, {}
        return dropped

    async def close(self) -> None:
        """Hands over what waits, and ends."""
        if self._link is not None:
            await self._link.close()
            self._lost(self._link)

    def _lost(self, link: ShipperLink) -> None:
        if link.abandoned and self._tracer is not None:
            dropped = self._tracer.dropped
            dropped["exporter_gone"] = dropped.get("exporter_gone", 0) + link.abandoned
