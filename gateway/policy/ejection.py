"""Whether one address among several is left out for a while, because it alone fails.

A breaker needs some requests to be sure, and looks at shares. An outlier is found sooner, by failures in a row, since others of the same
upstream can do its work meanwhile: so this may be wrong, and must then cost little. Never is more than half of the addresses out, and one
that comes back and fails again stays out for twice as long (Envoy's outlier detection, from which the five in a row are). Pure: the time is
passed in, monotonic seconds.
"""

from __future__ import annotations

from typing import Final

IN_A_ROW: Final = 5
"""Failures."""
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 60.0


class Outlier:
    """How one address has done lately."""

    __slots__ = ("ejections", "streak", "times", "until")

    def __init__(self) -> None:
        self.streak = 0
        """Failures in a row."""
        self.times = 0
        """How often it was left out since it was last well."""
        self.until = 0.0
        """Until when it is left out."""
        self.ejections = 0
        """All of them, since whoever counts has last looked."""

    def out(self, now: float) -> bool:
        return now < self.until

    def well(self, now: float) -> None:
        """It has answered, after it failed. Forgiven is what it did only when it has been back for as long as it was out."""
        self.streak = 0
        if self.times and now - self.until >= _seconds(self.times):
            self.times = 0

    def failed(self, now: float, others_out: int, addresses: int) -> bool:
        """It has not answered, or for something behind it. `others_out`: how many others are left out, of `addresses` in all. Whether it is
        left out for that."""
        self.streak += 1
        if self.streak < IN_A_ROW or now < self.until or 2 * (others_out + 1) > addresses:
            return False
        self.times += 1
        self.ejections += 1
        self.until = now + _seconds(self.times)
        self.streak = IN_A_ROW - 1  # back again, it has one try
        return True


def _seconds(times: int) -> float:
    seconds = FIRST_SECONDS
    for _ in range(times - 1):
        seconds *= 2
        if seconds >= LONGEST_SECONDS:
            return LONGEST_SECONDS
    return seconds
