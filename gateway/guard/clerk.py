"""The supervisor's end of the guard's clerk (shadow/clerk.py): the process, what it is told, and what it says.

The guard does without it: while it is away, mismatches are not watched, what has to be kept waits, and errors and latency are watched on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import msgspec
import orjson

from gateway.children import Backoff
from gateway.guard.trips import KEPT, Trip
from gateway.guard.watch import Compared

_log = logging.getLogger("banyan.guard")

_LONGEST: Final = 16 * 1024 * 1024
"""Bytes of a line: an hour of a hundred routes, second by second."""
FRESH_SECONDS: Final = 10.0
"""What was said longer ago is not gone by."""
END_SECONDS: Final = 2.0
UNREADABLE: Final = -1
"""In the place of the status of one that was ended for what it said."""


class _Message(msgspec.Struct):
    """What it says: see shadow/clerk.py."""

    error: str = ""
    kept: int = 0
    compared: dict[str, list[tuple[int, int, int]]] | None = None


class Clerk:
    """See the module's docstring. `command` starts it; `ended` is told its name and status when it ends unasked."""

    def __init__(self, command: Callable[[], Sequence[str]], ended: Callable[[str, int], None]) -> None:
        self.error = ""
        """What it says that is wrong."""
        self._command = command
        self._ended = ended
        self._windows: dict[str, float] = {}
        self._waiting: OrderedDict[int, Trip] = OrderedDict()
        """Trips that it has not kept yet, as far as is known."""
        self._compared: dict[str, Compared] = {}
        self._said_at = 0.0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def compared(self) -> Mapping[str, Compared]:
        """Route → comparisons by the second; nothing where it has not said anything lately."""
        return self._compared if time.monotonic() - self._said_at < FRESH_SECONDS else {}

    @property
    def silent(self) -> bool:
        return time.monotonic() - self._said_at >= FRESH_SECONDS

    def watch(self, windows: Mapping[str, float]) -> None:
        """Of which routes it counts comparisons, and how many seconds back."""
        self._windows = dict(windows)
        self._tell({"watch": self._windows})

    def keep(self, trip: Trip) -> None:
        """To be kept, or kept anew."""
        self._waiting.pop(trip.number, None)
        self._waiting[trip.number] = trip
        while len(self._waiting) > KEPT:
            self._waiting.popitem(last=False)
        self._tell({"trip": asdict(trip)})

    async def run(self) -> None:
        """Keeps it running until cancelled."""
        backoff = Backoff()
        while True:
            backoff.began()
            try:
                status = await self._once()
            except OSError as error:  # no open files or no memory left: it may be otherwise soon
                _log.error("guard: the clerk cannot be started: %s", error.strerror)
            except (ValueError, msgspec.MsgspecError) as error:  # killed in mid-line, or something else prints there
                _log.error("guard: what the clerk said cannot be read (%s)", error)
                self._ended("clerk", UNREADABLE)
            else:
                self._ended("clerk", status)
            await asyncio.sleep(backoff.wait())

    async def _once(self) -> int:
        # A session of its own: Ctrl-C in the terminal is the supervisor's to pass on.
        process = await asyncio.create_subprocess_exec(
            *self._command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True, limit=_LONGEST
        )
        self._process = process
        try:
            self._tell({"watch": self._windows})
            for trip in self._waiting.values():
                self._tell({"trip": asdict(trip)})
            assert process.stdout is not None  # noqa: S101 - it was asked for
            while line := await process.stdout.readline():
                self._heard(msgspec.json.decode(line, type=_Message))
            return await process.wait()
        finally:
            self._process = None
            if process.stdin is not None:
                process.stdin.close()
            if process.returncode is None:
                try:
                    async with asyncio.timeout(END_SECONDS):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()

    def _tell(self, message: Mapping[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(orjson.dumps(message) + b"\n")

    def _heard(self, message: _Message) -> None:
        self.error = message.error
        trip = self._waiting.get(message.kept)
        if trip is not None and trip.outcome != "pending":  # else it will be kept again when it is over
            del self._waiting[trip.number]
        if message.compared is not None:
            self._said_at = time.monotonic()
            self._compared = {
                route: {at: (matched, mismatched) for at, matched, mismatched in seconds} for route, seconds in message.compared.items()
            }
