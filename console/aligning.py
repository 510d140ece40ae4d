"""Two lists of lines, aligned by what reads the same, in bounded time.

difflib looks for the longest run that both have, then before and behind it, and so on. Where the same lines come again and again between
others that differ, as each `{` of a list whose elements all have another id, every run is a line or two long: 1,442 lines took 12 s. What
there is no time for is not aligned; who shows it lets its lines stand beside each other in their order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from difflib import Match, SequenceMatcher
from typing import Final

WORK: Final = 700_000
"""Lines, and pairs of equal lines, that are looked at: less than a tenth of a second."""


class Aligner(SequenceMatcher[str]):
    """As difflib's own, without its guesses, but for what is left over once `work` is done."""

    a: Sequence[str]
    b: Sequence[str]
    b2j: dict[str, list[int]]
    """Line → where the right side has it."""

    def __init__(self, left: Sequence[str], right: Sequence[str], work: int = WORK) -> None:
        self._work = work
        super().__init__(None, left, right, autojunk=False)

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        """None (a run without lines) where there is no time for it."""
        last_a, last_b = len(self.a) if ahi is None else ahi, len(self.b) if bhi is None else bhi
        work = sum(1 + bisect_left(self.b2j.get(line, ()), last_b) for line in self.a[alo:last_a])
        if work > self._work:
            return Match(alo, blo, 0)
        self._work -= work
        return super().find_longest_match(alo, last_a, blo, last_b)
