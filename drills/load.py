"""An open loop: requests at the times that were planned, whatever became of those before.

Invariant: request number n has its time, and its latency is counted from then, not from when it could be sent. Counted from the sending, a
stall would delay the very requests that should have seen it, and each of these would look quick (coordinated omission).

Bounded all the same: of what is under way at once, by `most`; what finds no room is not sent, and is counted as `UNSENT`. To a person that
is a shop that did not open. What is still under way when patience ends is `UNANSWERED`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from demo.client import Client

UNSENT: Final = "unsent"
UNANSWERED: Final = "unanswered"
MOST: Final = 2000
"""Requests under way at once: each is a socket and a task."""

type Act = Callable[[int], Awaitable[str]]
"""Makes request number n, and says in a word what came of it. It must bound its own time, and raise nothing but CancelledError."""


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second for so long."""

    name: str
    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one request. Times are seconds."""

    number: int
    phase: str
    due: float
    """From the beginning of the load."""
    took: float
    """From when it was due to the end of its answer."""
    outcome: str

    @property
    def ended(self) -> float:
        """From the beginning of the load."""
        return self.due + self.took


class OpenLoop:
    """One load, phase after phase. Its figures are complete when `run` has returned."""

    def __init__(
        self,
        phases: Sequence[Phase],
        act: Act,
        *,
        most: int = MOST,
        patience: float = 10.0,
        enough: Callable[[int], bool] = lambda number: False,
    ) -> None:
        """`patience`: how long the last answers are waited for, in seconds. `enough`: asked before each request, by its number; once it
        says so, no more are made."""
        self.seen: list[Seen] = []
        self.began = 0.0
        """Of time.monotonic()."""
        self._phases = phases
        self._act = act
        self._most = most
        self._patience = patience
        self._enough = enough
        self._under_way: dict[asyncio.Task[None], tuple[int, str, float]] = {}
        self._mistakes: list[BaseException] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the first request was due."""
        return time.monotonic() - self.began

    @property
    def under_way(self) -> int:
        """Requests that wait for their answers."""
        return len(self._under_way)

    async def run(self) -> list[Seen]:
        """Sends everything, and waits for it. What `act` raised by mistake is raised in the end."""
        self.began = time.monotonic()
        for number, (phase, due) in enumerate(_plan(self._phases)):
            if (early := due - self.elapsed) > 0:
                await asyncio.sleep(early)
            if self._enough(number):
                break
            if len(self._under_way) >= self._most:
                self.seen.append(Seen(number, phase, due, 0.0, UNSENT))
            else:
                task = asyncio.create_task(self._one(number, phase, due), name=f"request {number}")
                self._under_way[task] = (number, phase, due)
                task.add_done_callback(self._done)
            if not number % 64:
                await asyncio.sleep(0)  # behind the plan nothing above waits: the answers must have their turn
        left = dict(self._under_way)
        if left:
            await asyncio.wait(left, timeout=self._patience)
        for task, (number, phase, due) in left.items():
            if not task.done():
                task.cancel()
                self.seen.append(Seen(number, phase, due, self.elapsed - due, UNANSWERED))
        await asyncio.gather(*left, return_exceptions=True)
        if self._mistakes:
            raise self._mistakes[0]
        return self.seen

    async def _one(self, number: int, phase: str, due: float) -> None:
        outcome = await self._act(number)
        self.seen.append(Seen(number, phase, due, self.elapsed - due, outcome))

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._mistakes.append(error)


def _plan(phases: Iterable[Phase]) -> Iterator[tuple[str, float]]:
    """(phase, when) of each request."""
    start = 0.0
    for phase in phases:
        for number in range(round(phase.rate * phase.seconds)):
            yield phase.name, start + number / phase.rate
        start += phase.seconds


class Connections:
    """Kept connections to one port of this machine, for a load: as many as are needed at once, the last used first."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Client] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Client]:
        """A connection for one request after another. A client that hung up or was hung up on connects anew by itself."""
        client = self._idle.pop() if self._idle else Client(self._port)
        try:
            yield client
        finally:
            self._idle.append(client)

    def close(self) -> None:
        """Hangs up."""
        while self._idle:
            self._idle.pop().close()
