"""How many different things there were among many, in bounded memory.

K minimum values (Z. Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002): of evenly spread hashes the smallest
are kept. As long as there is room for all of them, the number is exact; after that it is right to about 1/√KEPT.
"""

from __future__ import annotations

import heapq
from typing import Final

KEPT: Final = 128
_SPACE: Final = 2**61
_MASK: Final = _SPACE - 1


class Distinct:
    """Counts different bytes. Python's hashes are keyed anew in each process: what another counted can be added only if it was forked."""

    __slots__ = ("_hashes", "_limit")

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self._limit = _SPACE
        """What is not below it is not among the smallest."""

    def add(self, value: bytes) -> None:
        """One more, which may have been there before."""
        found = hash(value) & _MASK
        if found < self._limit:
            self._hashes.add(found)
            if len(self._hashes) >= 2 * KEPT:
                self._prune()

    def merge(self, other: Distinct) -> None:
        """Adds what another counted."""
        limit = min(self._limit, other._limit)
        self._hashes |= other._hashes
        if limit < self._limit:
            self._limit = limit
            self._hashes = {each for each in self._hashes if each < limit}
        elif other._limit > limit:
            self._hashes = {each for each in self._hashes if each < limit}
        if len(self._hashes) >= 2 * KEPT:
            self._prune()

    def _prune(self) -> None:
        smallest = heapq.nsmallest(KEPT + 1, self._hashes)
        self._limit = smallest.pop()
        self._hashes = set(smallest)

    def __len__(self) -> int:
        if self._limit == _SPACE:
            return len(self._hashes)
        return round(len(self._hashes) * (_SPACE / self._limit))
