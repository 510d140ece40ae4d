"""How much memory samples take that wait to be written: each counted once, however many signatures show it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from shadow.judge import Sample

MAX_BYTES = 64 * 1024 * 1024
"""Of the samples of one batch. A sample may be a megabyte, and a route may have five hundred signatures while a database is away."""
_OVERHEAD = 4000
_DIFFERENCE = 1000


def weight(sample: Sample) -> int:
    """About the bytes that it takes. Values of differences are short: shadow.documents cuts them."""
    texts = [side.get("text") for side in (sample.legacy, sample.candidate, sample.request or {})]
    return _OVERHEAD + _DIFFERENCE * len(sample.differences) + sum(sys.getsizeof(text) for text in texts if text is not None)


@dataclass(slots=True)
class Room:
    """What there is, and who has it."""

    limit: int = MAX_BYTES
    bytes: int = 0
    _kept: dict[int, tuple[Sample, int]] = field(default_factory=dict)
    """By identity: the sample, and how many keep it."""

    @property
    def tight(self) -> bool:
        """Half of it is gone: one sample of each signature has to do."""
        return self.bytes * 2 >= self.limit

    def take(self, sample: Sample) -> bool:
        """Whether there is room for it."""
        _, times = self._kept.get(id(sample), (sample, 0))
        if not times:
            size = weight(sample)
            if self.bytes + size > self.limit:
                return False
            self.bytes += size
        self._kept[id(sample)] = sample, times + 1
        return True

    def leave(self, sample: Sample) -> None:
        """One who kept it does so no more."""
        _, times = self._kept.pop(id(sample))
        if times > 1:
            self._kept[id(sample)] = sample, times - 1
        else:
            self.bytes -= weight(sample)
