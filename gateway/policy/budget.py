"""How many requests may be sent again: a share of those that come, so that whoever is in trouble is not sent a multiple of them.

A limit on tries for each request does not do that: where every request fails, three tries each are three times the load, just then (Google,
"Site Reliability Engineering", ch. 22). A bucket that fills with the requests that come, and is emptied by those that are sent again, holds
what ten seconds may take (as Linkerd's retry budget does). Pure: the time and the rate are passed in.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.2
"""Of the requests that come."""
LEAST: Final = 10.0
"""A second, in the whole gateway, however few come."""
SECONDS: Final = 10.0
"""What the bucket holds."""


class Budget:
    """`least`: a second, whatever comes."""

    __slots__ = ("_at", "_least", "_left", "refused", "taken")

    def __init__(self, least: float = LEAST) -> None:
        self._least = least
        self._left = least * SECONDS
        self._at = 0.0
        self.taken = 0
        """How many were sent again, since whoever counts has last looked …"""
        self.refused = 0
        """… and how many were not, for want of a budget."""

    def take(self, now: float, rate: float) -> bool:
        """May one more be sent again? `rate`: requests a second that come; `now`: monotonic seconds."""
        fills = max(self._least, SHARE * rate)
        self._left = min(fills * SECONDS, self._left + fills * max(0.0, now - self._at))
        self._at = now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        self.taken += 1
        return True
