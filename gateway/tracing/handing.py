"""A worker's end of the way to the exporter of spans, whichever engine it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.settings import Config
from gateway.shipping import ShipperLink

BYTES: Final = 4 * 1024**2
"""Of records that wait in a worker: some 8,000 of the usual 500 bytes."""


class Handing:
    """It lives as long as the worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._path = ""
        self._link: ShipperLink | None = None
        self._abandoned = 0

    async def adopt(self, path: str, config: Config, trace: Callable[[ShipperLink | None, Config], None]) -> None:
        """Goes over to the exporter at `path` ('': there is none), and tells `trace`."""
        before, same = self._link, path == self._path
        if not same:
            self._path = path
            self._link = ShipperLink(self._loop, path, queue=config.tracing.queue, queue_bytes=BYTES) if path else None
            if self._link is not None:
                self._link.start()
        elif before is not None:
            before.resize(config.tracing.queue, BYTES)
        trace(self._link, config)
        if before is not None and not same:
            await before.close()
            self._abandoned += before.abandoned

    def take_abandoned(self) -> int:
        """Records that no exporter took before another came, or before the end, since the last time. Each counts as one span, which is the
        least it was."""
        abandoned, self._abandoned = self._abandoned, 0
        return abandoned

    async def close(self) -> None:
        """Hands over what waits, and ends. What nobody takes any more is among the abandoned."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
            self._abandoned += link.abandoned
