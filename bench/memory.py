"""Resident memory of processes, from /proc/PID/smaps_rollup, where it is exact (statm's is a sum of counters that lag)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

MIB = 1024 * 1024


class Memory(NamedTuple):
    """Bytes."""

    rss: int
    """Resident; a page that two processes share counts in both."""
    pss: int
    """Resident, each page divided by the processes that share it."""


def read(pids: Sequence[int]) -> Memory:
    """Of these processes together."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(" ")
            if name in sums:
                sums[name] += int(rest.split()[0]) * 1024
    return Memory(sums["Rss:"], sums["Pss:"])


def rss(pids: Sequence[int]) -> int:
    """Bytes resident."""
    return read(pids).rss


class Sampler:
    """Reads the RSS again and again, from a thread: `with Sampler(pids) as seen: …; seen.highest`."""

    def __init__(self, pids: Sequence[int], seconds: float = 0.01) -> None:
        self._pids = pids
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rss", daemon=True)
        self.samples: list[Memory] = []
        """Oldest first; at least the one at the beginning and the one at the end."""

    @property
    def highest(self) -> Memory:
        """The sample with the highest RSS."""
        return max(self.samples)

    def __enter__(self) -> Self:
        self.samples.append(read(self._pids))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            self.samples.append(read(self._pids))

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.samples.append(read(self._pids))
            except OSError:
                return  # the process is gone: whoever measures will notice
