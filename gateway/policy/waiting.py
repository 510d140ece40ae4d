"""Who waits for a place with an upstream, who is let in next, and who is told to come again: a small room with three rows of seats.

- **Priority.** critical is let in before normal, normal before sheddable; in a full room, whoever has the lower priority gives his seat up.
- **Fairness.** Within one priority the clients take turns, so one that sends a thousand requests is let in as often as one that sends two.
  In a full room, whoever has most seats gives one up to whoever has fewer.
- **Deadline.** Nobody waits for longer than `timeout`.
- **Order.** A short crowd is let in as it came. Once the room has not been empty for a fifth of that, more come than can be served, and
  some will be told to come again in any case: from then on whoever came last is let in first, because his patience is the longest, and in
  a full room whoever came first makes way. In order of arrival all would wait for as long as anybody can, and then be served too late
  (adaptive LIFO: B. Maurer, "Fail at Scale", ACM Queue 13/8, 2015).

Pure: times are passed in. Every operation is O(1) but for those in a full room, which look at each client in one row.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

CRITICAL: Final = 0
NORMAL: Final = 1
SHEDDABLE: Final = 2
PRIORITIES: Final = ("critical", "normal", "sheddable")
"""By their number."""
CROWDED: Final = 0.2
"""Part of the timeout: after so long without an empty room more come than can be served. Of 500 ms it is as long as CoDel's interval (RFC
8289, 4.2)."""

FULL: Final = "queue-full"
DISPLACED: Final = "displaced"
TIMEOUT: Final = "queue-timeout"
"""Why somebody is told to come again."""


class Waiter:
    """One request that waits. `priority`: CRITICAL, NORMAL or SHEDDABLE. `client`: whom it is from."""

    __slots__ = ("client", "priority", "since")

    def __init__(self, priority: int, client: str, since: float) -> None:
        self.priority = priority
        self.client = client
        self.since = since
        """Seconds, on the clock that is passed in."""


class Room:
    """See the module's docstring. `seats`: 0 for a room in which nobody can wait."""

    __slots__ = ("_all", "_crowded_since", "_rows", "seats", "timeout")

    def __init__(self, seats: int, timeout: float) -> None:
        self.seats = seats
        self.timeout = timeout
        self._all: dict[Waiter, None] = {}
        """In order of arrival."""
        self._rows: tuple[OrderedDict[str, dict[Waiter, None]], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        """By priority: client → who waits of his, in order of arrival. Clients are in the order in which they have their turns; in a crowd
        the last has the next."""
        self._crowded_since = 0.0
        """When the room was empty last."""

    def __len__(self) -> int:
        return len(self._all)

    def crowded(self, now: float) -> bool:
        """Have more come than can be served, for a while?"""
        return bool(self._all) and now - self._crowded_since > CROWDED * self.timeout

    def enter(self, waiter: Waiter, now: float) -> Waiter | None:
        """Takes a seat. Returns who has none now: somebody who had one, `waiter` itself, or None."""
        displaced = None
        if len(self._all) >= self.seats:
            displaced = self._least(waiter, now)
            if displaced is waiter:
                return waiter
            self.leave(displaced)
        if not self._all:
            self._crowded_since = now
        self._all[waiter] = None
        row = self._rows[waiter.priority]
        seated = row.get(waiter.client)
        if seated is None:
            row[waiter.client] = {waiter: None}
        else:
            seated[waiter] = None
        return displaced

    def leave(self, waiter: Waiter) -> None:
        """Gives its seat up, if it has one."""
        if waiter not in self._all:
            return
        del self._all[waiter]
        row = self._rows[waiter.priority]
        seated = row[waiter.client]
        del seated[waiter]
        if not seated:
            del row[waiter.client]

    def call(self, now: float) -> Waiter | None:
        """Whoever is let in next, who leaves the room with this; None: it is empty."""
        crowded = self.crowded(now)
        for row in self._rows:
            if not row:
                continue
            client = next(reversed(row)) if crowded else next(iter(row))
            seated = row[client]
            waiter = next(reversed(seated)) if crowded else next(iter(seated))
            self.leave(waiter)
            if client in row:  # his next turn comes after everybody else's
                row.move_to_end(client, last=not crowded)
            return waiter
        return None

    def expired(self, now: float) -> Waiter | None:
        """One whose time is over, who leaves the room with this; None: there is none."""
        for waiter in self._all:
            if now - waiter.since < self.timeout:
                return None
            self.leave(waiter)
            return waiter
        return None

    def next_expiry(self) -> float:
        """When the next one's time is over; 0.0: nobody is there."""
        for waiter in self._all:
            return waiter.since + self.timeout
        return 0.0

    def _least(self, waiter: Waiter, now: float) -> Waiter:
        """Of everybody in a full room and `waiter`, who has no seat."""
        for priority in (SHEDDABLE, NORMAL, CRITICAL):
            if priority < waiter.priority:
                break
            row = self._rows[priority]
            if not row:
                continue
            most: dict[Waiter, None] | None = None
            for seated in row.values():
                if most is None or len(seated) > len(most):
                    most = seated
            if most is None:
                continue
            if priority > waiter.priority:
                return next(iter(most)) if self.crowded(now) else next(reversed(most))
            mine = row.get(waiter.client)
            if len(most) > (len(mine) if mine is not None else 0) + 1:
                return next(iter(most)) if self.crowded(now) else next(reversed(most))
            if self.crowded(now):
                # Nobody has more than his part: of equals the first makes way, the client's own where he has as many as anybody.
                if mine is not None and len(mine) == len(most):
                    return next(iter(mine))
                return next(iter(most))
        return waiter
