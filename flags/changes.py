"""What has changed of the flags while this gateway ran, and when: the first question after "it was fine until ten past three".

Kept in memory, the last thousand: whoever wants them for longer collects them by their numbers, as the console does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

KEPT: Final = 1000
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of all that is kept, as JSON; the oldest goes first."""
LARGEST: Final = 64 * 1024
"""Bytes of a flag. Of a larger one it is kept whether it was on."""

Feature = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One flag's."""

    number: int
    """From 1, without gaps."""
    at: float
    """Unix seconds at which this gateway learnt of it."""
    kind: Literal["flag", "override"]
    flag: str
    old: Any
    """flag: as the client API describes it; override: {"enabled", "until"}. None: there was none."""
    new: Any
    by: str = ""
    why: str = ""


class Changes:
    """The last of them."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Change, int]] = deque()
        self._size = 0
        self._next = 1
        self._features: dict[str, Feature] | None = None
        self._segments: dict[Any, Any] = {}
        self._expected: dict[str, tuple[str, str]] = {}

    def expect(self, flag: str, by: str, why: str) -> None:
        """The next time that the flag is seen to have been turned off, it was `by`, because of `why`."""
        self._expected[flag] = (by, why)

    def forget(self, flag: str) -> None:
        """It was somebody else."""
        self._expected.pop(flag, None)

    @property
    def last(self) -> int:
        """The number of the newest; 0: there was none."""
        return self._next - 1

    @property
    def features(self) -> Mapping[str, Feature]:
        """All flags as they are now, by name, as the client API describes them."""
        return self._features or {}

    def after(self, number: int) -> list[Change]:
        """Those with a higher number, oldest first."""
        return [change for change, _ in self._kept if change.number > number]

    def add(self, at: float, kind: Literal["flag", "override"], flag: str, old: Any, new: Any, by: str = "", why: str = "") -> None:
        (old, before), (new, after) = _bounded(old), _bounded(new)
        size = before + after
        self._kept.append((Change(self._next, at, kind, flag, old, new, by, why), size))
        self._next += 1
        self._size += size
        while len(self._kept) > KEPT or self._size > KEPT_BYTES:
            self._size -= self._kept.popleft()[1]

    def state(self, features: bytes, at: float) -> None:
        """A new state of all flags: what differs from the last is written down. The first has nothing to differ from."""
        document = orjson.loads(features)
        new: dict[str, Feature] = {feature["name"]: feature for feature in document["features"]}
        segments = {segment.get("id"): segment for segment in document.get("segments") or () if isinstance(segment, dict)}
        old, self._features = self._features, new
        changed = {number for number in segments.keys() | self._segments.keys() if segments.get(number) != self._segments.get(number)}
        self._segments = segments
        if old is None:
            return
        for name in sorted(old.keys() | new.keys()):
            before, now = old.get(name), new.get(name)
            if before != now:
                off = now is None or not now.get("enabled")
                by, why = self._expected.pop(name, ("", "")) if off else ("", "")
                self.add(at, "flag", name, before, now, by, why)
            elif now is not None and (used := sorted(changed & _segments(now), key=str)):
                self.add(at, "flag", name, before, now, why=f"the segment {', '.join(map(str, used))} has changed")


def _segments(feature: Feature) -> set[Any]:
    return {number for strategy in feature.get("strategies") or () for number in strategy.get("segments") or ()}


def _bounded(state: Any) -> tuple[Any, int]:
    """What is kept of it, and its size."""
    size = len(orjson.dumps(state))
    if size <= LARGEST:
        return state, size
    return {"name": state.get("name"), "enabled": state.get("enabled"), "bytes": size}, 100
