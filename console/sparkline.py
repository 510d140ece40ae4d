"""Who served, over time, as a small drawing: bars as high as there were requests, the candidate's part filled. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 160
HEIGHT: Final = 24


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Two paths for an SVG of WIDTH by HEIGHT; "" where there is nothing to draw."""

    legacy: str = ""
    candidate: str = ""
    most: int = 0
    """Requests in the highest bar."""


def sparkline(served: Mapping[int, tuple[int, int]], first: int, last: int, step: int) -> Sparkline:
    """`served`: (legacy, candidate) by the beginning of the step that they are counted in; `first` and `last`: steps' beginnings too."""
    steps: Sequence[int] = range(first, last + 1, step)
    most = max((sum(served.get(at, (0, 0))) for at in steps), default=0)
    if not most:
        return Sparkline()
    wide = WIDTH / len(steps)
    legacy, candidate = [], []
    for place, at in enumerate(steps):
        old, new = served.get(at, (0, 0))
        if not old + new:
            continue
        left, right = f"{place * wide:.1f}", f"{(place + 0.85) * wide:.1f}"
        high = max(1.0, HEIGHT * (old + new) / most)  # so that what there was is seen
        foot = HEIGHT - high * new / (old + new)
        if new:
            candidate.append(f"M{left} {HEIGHT}V{foot:.1f}H{right}V{HEIGHT}Z")
        if old:
            legacy.append(f"M{left} {foot:.1f}V{HEIGHT - high:.1f}H{right}V{foot:.1f}Z")
    return Sparkline("".join(legacy), "".join(candidate), most)
