"""What is redacted and waits for the broker: bounded by count and bytes, filled by a thread and emptied by an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import NamedTuple

import msgspec

from shadow.pack import Pair, Told, encoded

PACK_BYTES = 256 * 1024
"""About what a pack holds before it is compressed; one exchange may be more."""
PACK_COUNT = 200


class Parcel(NamedTuple):
    """One exchange's way."""

    data: msgspec.Raw
    compared: bool
    """It is a judgement."""
    at: float
    route: str
    noise: bool

    @property
    def size(self) -> int:
        return len(memoryview(self.data)) + 100


def parcel(record: Pair | Told) -> Parcel:
    """`record`, ready to be packed.

    Raises:
        ValueError, TypeError, OverflowError: it holds something that cannot travel.
    """
    noise = record.kind == "noise" if isinstance(record, Pair) else record.noise
    return Parcel(encoded(record), isinstance(record, Told), record.at, record.route, noise)


class Outbox:
    """See the module's docstring."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._filled = asyncio.Event()

    def open(self) -> None:
        """Called in the loop that takes."""
        self._loop = asyncio.get_running_loop()

    def put(self, item: Parcel) -> bool:
        """Whether there was room. From any thread."""
        with self._lock:
            if len(self._waiting) >= self._max_count or self._bytes + item.size > self._max_bytes:
                return False
            wake = not self._waiting
            self._waiting.append(item)
            self._bytes += item.size
        if wake and self._loop is not None:
            self._loop.call_soon_threadsafe(self._filled.set)
        return True

    async def take(self) -> list[Parcel]:
        """As much as a pack holds, as soon as there is anything."""
        while True:
            taken = self._take()
            if taken:
                return taken
            self._filled.clear()
            if not self.waiting:  # looked at after the event was cleared: what comes from now on sets it again
                await self._filled.wait()

    def give_back(self, items: list[Parcel]) -> None:
        """What was taken and is not sent after all goes first again."""
        with self._lock:
            self._waiting.extendleft(reversed(items))
            self._bytes += sum(item.size for item in items)

    def clear(self) -> list[Parcel]:
        """Everything, taken away."""
        with self._lock:
            left = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return left

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        return self._bytes

    def _take(self) -> list[Parcel]:
        taken: list[Parcel] = []
        total = 0
        with self._lock:
            while self._waiting and len(taken) < PACK_COUNT and (not taken or total + self._waiting[0].size <= PACK_BYTES):
                item = self._waiting.popleft()
                taken.append(item)
                total += item.size
            self._bytes -= total
        return taken
