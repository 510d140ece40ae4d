"""Callers by the SHA-256 of their credentials: what is remembered could not be used to log in.

Bounded; the oldest goes first, since entries live for seconds. No clock of its own.
"""

from __future__ import annotations

from gateway.identity.caller import Caller


class Remembered:
    """At most `entries` callers. `now` and `until` are readings of whichever one clock its user has, in seconds."""

    __slots__ = ("_callers", "_entries")

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._callers: dict[bytes, tuple[Caller, float, float]] = {}

    def get(self, key: bytes, now: float) -> Caller | None:
        """The caller, if he is remembered beyond `now`."""
        known = self._callers.get(key)
        if known is None or known[1] <= now:
            return None
        return known[0]

    def lately(self, key: bytes, now: float) -> tuple[Caller, float] | None:
        """(the caller, until when), if he is within his grace."""
        known = self._callers.get(key)
        if known is None or known[2] <= now:
            return None
        return known[0], known[2]

    def keep(self, key: bytes, caller: Caller, until: float, grace: float = 0.0) -> None:
        """Remembers him, as the youngest; and for `grace` seconds longer for `lately`."""
        callers = self._callers
        callers.pop(key, None)
        while len(callers) >= self._entries:
            del callers[next(iter(callers))]
        callers[key] = (caller, until, until + grace)

    def drop(self, key: bytes) -> None:
        """Forgets him."""
        self._callers.pop(key, None)

    def clear(self) -> None:
        """Forgets everybody."""
        self._callers.clear()

    def __len__(self) -> int:
        return len(self._callers)
