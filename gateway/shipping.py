"""The edge's only way to hand observations on: a local socket to the shipper.

Bounded by count and bytes, and never waited for: when the shipper is slow or gone, exchanges are dropped and counted, and requests go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from shadow.exchange import ENCODER, LENGTH, MAX_RECORD, Record

FLUSH_SECONDS = 0.02
FLUSH_BYTES: Final = 64 * 1024
"""So much goes out at once. What is written while it lies in the processor's cache and in memory that was just in use costs less than what
waited among 1.5 MB of its like, as it does at 20,000 exchanges a second: those touch fresh pages each time."""
_PREFIX: Final = LENGTH.size
RECONNECT_SECONDS = (0.1, 2.0)
"""First and longest wait between two tries."""


class ShipperLink:
    """One worker's connection to the shipper. It reconnects for ever. An asyncio.Protocol in all but name, as compiled classes have no
    interpreted bases."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, *, queue: int, queue_bytes: int) -> None:
        self._loop = loop
        self._path = path
        self._max_count = queue
        self._max_bytes = queue_bytes
        self._waiting: list[bytes] = []
        """Records, each behind its length. Of one piece of memory that grows to 64 KiB, all would be moved for nearly each of them: by what
        lies behind it 2,500 to 5,700 instructions of the 90,000 that a request takes in the shadow."""
        self._bytes = 0
        """In all of them."""
        self._count = 0
        """Records."""
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flush_handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self.abandoned = 0
        """Records that nobody took, counted at the end."""

    def start(self) -> None:
        self._task = self._loop.create_task(self._stay_connected(), name="shipper link")

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def offer(self, record: Record) -> str:
        """Takes a record, or says why not: '' | shipper_gone | queue_full | record_too_large."""
        if self._count >= self._max_count or self._bytes >= self._max_bytes:
            return "queue_full" if self._transport is not None else "shipper_gone"
        return self._take(ENCODER.encode(record))

    def put(self, data: bytes) -> str:
        """The same of something that is encoded already."""
        if self._count >= self._max_count or self._bytes >= self._max_bytes:
            return "queue_full" if self._transport is not None else "shipper_gone"
        return self._take(data)

    def _take(self, data: bytes) -> str:
        size = len(data)
        if size > MAX_RECORD:
            return "record_too_large"  # the shipper would take it for a stream that is out of step, and drop the connection
        self._waiting.append(LENGTH.pack(size))
        self._waiting.append(data)
        self._bytes += size + _PREFIX
        self._count += 1
        if self._transport is None or self._paused:
            return ""
        if self._bytes >= FLUSH_BYTES:
            self._flush()
        elif self._flush_handle is None:
            self._flush_handle = self._loop.call_later(FLUSH_SECONDS, self._flush_due)
        return ""

    def resize(self, queue: int, queue_bytes: int) -> None:
        """Other bounds from now on."""
        self._max_count = queue
        self._max_bytes = queue_bytes

    async def close(self) -> None:
        """Hands over what waits, and ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._paused = False
            self._flush()
            transport, self._transport = self._transport, None
            transport.close()  # after what was written has gone out
        self.abandoned += self._count

    def _flush_due(self) -> None:
        self._flush_handle = None
        self._flush()

    def _flush(self) -> None:
        if self._transport is None or self._paused or self._count == 0:
            return
        waiting, size = self._waiting, self._bytes
        self._waiting, self._bytes, self._count = [], 0, 0
        if size < 2 * FLUSH_BYTES:
            self._transport.write(b"".join(waiting))
        else:
            self._transport.writelines(waiting)  # what waited for the shipper: to copy it would take long

    async def _stay_connected(self) -> None:
        wait, longest = RECONNECT_SECONDS
        while True:
            try:
                self._lost.clear()
                make: Callable[[], asyncio.BaseProtocol] = lambda: self  # type: ignore[assignment,return-value] # noqa: E731 - see above
                await self._loop.create_unix_connection(make, self._path)
                wait = RECONNECT_SECONDS[0]
                await self._lost.wait()
            except OSError:
                pass  # not there yet, or gone: tried again below, and every offer meanwhile says shipper_gone
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(1024 * 1024)
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        # What still waits here goes out after the next connection. What was already written may or may not have arrived: the difference
        # between `captured` here and what the shipper says it received shows how much.
        self._lost.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._count and self._flush_handle is None:
            self._flush_handle = self._loop.call_later(FLUSH_SECONDS, self._flush_due)
