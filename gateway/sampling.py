"""What a worker tells of finished requests, for the list of hot endpoints (gateway/endpoints): all of them, or a fair part.

Of up to MOST requests between two reports each is told; of more, one in `gap` by chance, so that a busy worker has no more to do for it
than an idle one, and whoever templates and counts, which is the supervisor, has a bounded amount of work. Their number is exact: it goes
with them, and each counts as so many.

Measured on the engine alone (the requests of `python -m bench.engine passthrough`, in turns, best of 15 rounds, compiled): where 1 in 16 is
told, as at 10,000 requests a second, it costs 0.15 µs a request of 10; where all are, which is at less than 1,000 a second, 1.4 µs. So a
worker never has more than 1.5 ms a second to do for it.
"""

from __future__ import annotations

import random
import re
from typing import Final

MOST: Final = 1000
"""Rows between two reports. When there are as many, a random half of them stays, and half as many are taken from then on."""

_PRIVATE: Final = re.compile(rb"\r\n(?i:set-cookie:|cache-control:[^\r]*?(?:private|no-store|no-cache|max-age=0(?![0-9])))")
_CACHEABLE: Final = re.compile(rb"\r\n(?i:cache-control:[^\r]*?(?:public|max-age|s-maxage))")


class Sample:
    """One worker's."""

    __slots__ = ("_gap", "_left", "_rows", "_seen")

    def __init__(self) -> None:
        self._rows: list[tuple[str, bytes, str, str, int, float, int]] = []
        """gateway/endpoints/figures.py says what they are."""
        self._seen = 0
        self._gap = 1
        self._left = 0
        """Requests to pass over."""

    def due(self) -> bool:
        """A request is finished. Is it to be told?"""
        self._seen += 1
        if self._left > 0:
            self._left -= 1
            return False
        return True

    def take(self, method: str, target: bytes, route: str, side: str, status: int, seconds: float, fields: bytes) -> None:
        """One that is. `fields`: those of the answer's head, each with its CRLF before it. Of the target's query nothing is kept."""
        if self._gap > 1:
            self._left = int(random.random() * (2 * self._gap - 1))  # noqa: S311 - a sample
        query = target.find(b"?")
        path = target if query < 0 else target[:query]
        self._rows.append((method, path, route, side, status, seconds, caches(fields)))
        if len(self._rows) >= MOST:
            self._rows = random.sample(self._rows, MOST // 2)
            self._gap *= 2

    def hand_over(self) -> tuple[list[tuple[str, bytes, str, str, int, float, int]], int]:
        """The rows, and how many requests they stand for. It begins anew."""
        rows, seen = self._rows, self._seen
        self._rows = []
        self._seen = 0
        if self._gap > 1 and len(rows) < MOST // 4:
            self._gap //= 2
        return rows, seen


def caches(fields: bytes) -> int:
    """May shared caches keep an answer with these lines? 0: it does not say; 1: yes; 2: no."""
    # Most answers say nothing, which is seen at a fifth of the cost of a pattern. Who writes the names in capitals says nothing, too.
    if fields.find(b"ache-") < 0 and fields.find(b"et-") < 0:
        return 0
    if _PRIVATE.search(fields) is not None:
        return 2
    return 1 if _CACHEABLE.search(fields) is not None else 0
