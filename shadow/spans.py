"""How a stretch of time is made up of spans for which sums are kept: the fewest that cover it exactly. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

WIDTHS: Final = (1, 60, 600, 3600)
"""Seconds. Each is a multiple of the one before."""


@dataclass(frozen=True, slots=True)
class Part:
    """Spans of one width, from `start` up to but not including `end` (Unix seconds); `end` None: and all that come."""

    width: int
    start: int
    end: int | None


def parts(since: int, until: int | None = None, widest: int = WIDTHS[-1]) -> list[Part]:
    """[`since`, `until`) in order: seconds up to the first whole minute, minutes up to the first whole ten of them, and so on, and down
    again towards `until`. No span is wider than `widest`."""
    widths = [width for width in WIDTHS if width <= widest]
    up: list[Part] = []
    down: list[Part] = []
    for width, wider in pairwise(widths):
        start, end = -(-since // wider) * wider, None if until is None else until // wider * wider
        if end is not None and until is not None and start >= end:  # no wider span fits in between: the rest is of this width
            return [*up, Part(width, since, until), *reversed(down)] if since < until else [*up, *reversed(down)]
        if since < start:
            up.append(Part(width, since, start))
        if end is not None and until is not None and end < until:
            down.append(Part(width, end, until))
        since, until = start, end
    return [*up, Part(widths[-1], since, until), *reversed(down)] if until is None or since < until else [*up, *reversed(down)]
