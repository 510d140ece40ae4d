"""What a new state of many flags costs a worker's event loop: the longest it does not run, while the state is taken in its executor.

The interpreter lets one thread at a time run. A thread that computes in Python hands over every 5 ms (sys.getswitchinterval), and one that
is inside a single C call that keeps the lock (decoding a large JSON document) hands over when that call is through.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from dataclasses import dataclass
from typing import Final

import uvloop

from bench import manyflags
from flags.decisions import Decisions
from flags.features import revision
from flags.snapshot import Context, Snapshot

TICK: Final = 0.001
"""Seconds between two looks at the clock."""
USERS: Final = 100
"""Who is remembered of each flag when the next state comes: what was remembered is thrown away then."""


@dataclass(frozen=True)
class Pauses:
    """In ms, by which a tick was late."""

    each: list[float]
    """The largest of each load, by the clock on the wall."""
    own: list[float]
    """The same, without the time in which this process did not compute either: another had the core. On an idle machine it is the same."""
    idle: float
    """By the clock on the wall, for as long a time in which no state was taken: what the machine itself does."""
    load: float
    """The median time of a load."""

    @property
    def largest(self) -> float:
        return max(self.each)


class _Ticker:
    """Runs every millisecond, or says by how much it could not."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._largest = self._own = 0.0
        self._last, self._cpu = time.perf_counter(), time.process_time()
        self._handle = loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._look()
        self._handle = self._loop.call_later(TICK, self._tick)

    def _look(self) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        late = now - self._last - TICK
        self._largest = max(self._largest, late)
        self._own = max(self._own, min(late, cpu - self._cpu))
        self._last, self._cpu = now, cpu

    def stop(self) -> tuple[float, float]:
        """The largest by the wall's clock, and of this process's own making, in ms."""
        self._handle.cancel()
        self._look()
        return self._largest * 1000, self._own * 1000


def states(flags: int) -> list[Snapshot]:
    """Two that differ in one flag."""
    document = manyflags.data(flags)
    other = document.replace(b'"enabled":false', b'"enabled":true', 1)
    return [Snapshot(revision(data), data, "unleash", time.time()) for data in (document, other)]


def measure(flags: int = 1000, loads: int = 7) -> Pauses:
    """Takes `loads` states of so many flags in a thread beside a uvloop event loop, as a worker does."""
    return uvloop.run(_measure(flags, loads))


async def _measure(flags: int, loads: int) -> Pauses:
    loop = asyncio.get_running_loop()
    snapshots = states(flags)
    decisions = Decisions()
    decisions.install(await loop.run_in_executor(None, Decisions.build, snapshots[0]))
    gc.collect()
    gc.freeze()  # as a worker does once it has started
    found: list[tuple[float, float]] = []
    times: list[float] = []
    try:
        for number in range(loads):
            _remember(decisions, snapshots[0])
            await asyncio.sleep(0.01)
            ticker = _Ticker(loop)
            began = time.perf_counter()
            built = await loop.run_in_executor(None, Decisions.build, snapshots[(number + 1) % 2])
            decisions.install(built)
            await loop.run_in_executor(None, built.discard)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
            found.append(ticker.stop())
        ticker = _Ticker(loop)
        await asyncio.sleep(sum(times) + loads * 0.01)
        each, own = ([pauses[place] for pauses in found] for place in (0, 1))
        return Pauses(each, own, ticker.stop()[0], sorted(times)[loads // 2] * 1000)
    finally:
        gc.unfreeze()


def _remember(decisions: Decisions, snapshot: Snapshot) -> None:
    names = manyflags.names(snapshot.features)
    for name in names[:20]:
        for user in range(USERS):
            decisions.enabled(name, Context(user_id=str(user), properties={"country": "se"}))


def main() -> None:
    """`python -m bench.flagload [FLAGS] [--json]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flags", nargs="?", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.flags)
    if given.json:
        print(json.dumps({"largest": found.largest, "own": max(found.own), "idle": found.idle, "load": found.load}))
        return
    print(f"{given.flags} flags: largest pause {found.largest:.1f} ms ({max(found.own):.1f} of its own), idle {found.idle:.1f} ms")
    print("each:", *(f"{pause:.1f}" for pause in found.each), f"ms; a load takes {found.load:.0f} ms")


if __name__ == "__main__":
    main()
