"""How often something may happen: the generic cell rate algorithm (ITU-T I.371, A.1), a token bucket that keeps one number for each client.

That number is the time at which the client's bucket will be full again. It lies in memory that all workers of a gateway share, so that a
limit holds for the gateway and not for each worker; two workers that look at one number in the same instant may let one request more
through, which a lock for every request would not be worth. Pure: the memory and the time are passed in.
"""

from __future__ import annotations

from typing import Final

WAYS: Final = 4
"""Places that one name may have. Who finds all taken gets that of whoever has waited longest, who then has his whole burst anew."""
PLACE: Final = 16
"""Bytes: a name and a time."""
_NEARLY: Final = 1e-9
"""Seconds that rounding may add up to."""


class Limit:
    """`rate` a second in the long run, and up to `burst` at once."""

    __slots__ = ("interval", "tolerance")

    def __init__(self, rate: float, burst: int) -> None:
        self.interval = 1 / rate
        self.tolerance = self.interval * (burst - 1)


class Places:
    """Who has been how busy. `memory`: zeroes at first, some multiple of WAYS * PLACE bytes."""

    __slots__ = ("_names", "_sets", "_times")

    def __init__(self, memory: memoryview) -> None:
        half = len(memory) // 2
        self._names = memory[:half].cast("Q")
        self._times = memory[half:].cast("d")
        self._sets = half // 8 // WAYS

    def take(self, name: int, limit: Limit, now: float) -> float:
        """0.0 for one that is let through, which is counted; else the seconds after which one like it would be. `name`: 64 bits that nobody
        else has, all of them as good as random. `now`: monotonic seconds."""
        names, times = self._names, self._times
        first = name % self._sets * WAYS
        place = first
        for each in range(first, first + WAYS):
            if names[each] == name:
                place = each
                break
            if times[each] < times[place]:
                place = each
        else:
            names[place] = name
            times[place] = 0.0
        full = max(times[place], now)
        wait = full - now - limit.tolerance
        if wait > _NEARLY:
            return wait
        times[place] = full + limit.interval
        return 0.0
