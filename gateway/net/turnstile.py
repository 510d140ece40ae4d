"""The way in to one upstream: as many requests are let through as it is good for, a few wait, and the others are told to come again.

Invariant: `inside` is the number of requests that were let in and have not gone out. Who is let in goes out once, however the request ends
(gateway/net/admitting.py). What the shadow asks, and who is calling, comes in by other doors: it takes no client's place.

One turnstile lives as long as its upstream's name stands in the configuration with a limit: a reload changes it in place, so that those who
are inside are counted on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.net.clock import Clock
from gateway.policy.concurrency import Adaptive
from gateway.policy.waiting import PRIORITIES, TIMEOUT, Room, Waiter

if TYPE_CHECKING:
    from gateway.net.outbound import Outbound

_log = logging.getLogger("banyan.worker")

LATE: Final = 0.005
"""Seconds that somebody may wait for longer than the room's timeout: so those whose time ends at about the same moment are told at once."""


class Waiting(Waiter):
    """A request that waits."""

    __slots__ = ("relay",)

    def __init__(self, relay: Outbound, priority: int, client: str, since: float) -> None:
        super().__init__(priority, client, since)
        self.relay = relay


class Turnstile:
    """See the module's docstring. `limit`, or with `adaptive` between `floor` and `limit`; `seats` and `timeout`: of who waits."""

    __slots__ = ("_adaptive", "_clock", "_loop", "_timer", "inside", "limit", "room", "shed", "upstream", "waited")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, upstream: str) -> None:
        self.upstream = upstream
        self.limit = 1
        self.inside = 0
        self.room = Room(0, 1.0)
        self.waited = 0
        """Those who were let in after a while, since they were taken count of."""
        self.shed: dict[str, int] = {}
        """Those who were told to come again: "normal queue-full" → how many."""
        self._loop = loop
        self._clock = clock
        self._adaptive: Adaptive | None = None
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, *, adaptive: bool, floor: int, limit: int, seats: int, timeout: float, same: bool) -> None:
        """At the start, and at a reload. `same`: it is still the same upstream, and what is known of it holds."""
        if not adaptive:
            self._adaptive = None
            self.limit = limit
        else:
            if self._adaptive is None or not same:
                self._adaptive = Adaptive(floor, limit)
            self._adaptive.bounds(floor, limit)
            self.limit = self._adaptive.limit
        self.room.seats = seats
        self.room.timeout = timeout
        self._let_in()

    @property
    def base(self) -> float:
        """Seconds that an answer takes without a crowd; 0.0: nobody knows."""
        return self._adaptive.base if self._adaptive is not None else 0.0

    @property
    def latency(self) -> float:
        """Seconds that it takes now."""
        return self._adaptive.latency if self._adaptive is not None else 0.0

    def enter(self) -> bool:
        """Whether there is a place, which is taken with this."""
        if self.inside < self.limit and not len(self.room):
            self.inside += 1
            return True
        return False

    def wait(self, waiting: Waiting) -> Waiting | None:
        """`waiting` found no place, and takes a seat. Returns who has none now, if anybody."""
        if self._adaptive is not None:
            self._adaptive.held_back()
        now = self._clock.now
        displaced = self.room.enter(waiting, now)
        if self._timer is None and len(self.room):
            self._timer = self._loop.call_later(self.room.timeout, self._tick)
        assert displaced is None or isinstance(displaced, Waiting)  # noqa: S101 - nobody else waits here
        return displaced

    def answered(self, seconds: float) -> None:
        """The head of an answer came after `seconds`, or nothing did."""
        adaptive = self._adaptive
        if adaptive is not None and adaptive.answered(seconds, self.inside, self._clock.now):
            self.limit = adaptive.limit

    def abandoned(self, seconds: float) -> None:
        """A client left after `seconds` without an answer: it would have taken longer still."""
        adaptive = self._adaptive
        if adaptive is not None and seconds > adaptive.latency:
            self.answered(seconds)

    def leave(self) -> None:
        """One goes out; whoever is next comes in."""
        self.inside -= 1
        if len(self.room):
            self._let_in()

    def give_up(self, waiting: Waiting) -> None:
        """It waits no more."""
        self.room.leave(waiting)

    def refused(self, priority: int, why: str) -> None:
        """Somebody was told to come again."""
        key = f"{PRIORITIES[priority]} {why}"
        self.shed[key] = self.shed.get(key, 0) + 1

    def _let_in(self) -> None:
        while self.inside < self.limit:
            waiting = self.room.call(self._clock.now)
            if waiting is None:
                return
            assert isinstance(waiting, Waiting)  # noqa: S101 - nobody else waits here
            self.inside += 1
            self.waited += 1
            waiting.relay.let_in(self)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.read()
        while True:
            waiting = self.room.expired(now + LATE)
            if waiting is None:
                break
            assert isinstance(waiting, Waiting)  # noqa: S101 - nobody else waits here
            try:
                waiting.relay.turned_away(self, TIMEOUT)
            except Exception:  # whatever goes wrong is this request's end, and of none that waits beside it
                told = {"request_id": waiting.relay.request_id.decode("latin-1")}
                _log.exception("a request could not be told to come again", extra=told)
                waiting.relay.client.abort()
        if len(self.room) and self._timer is None:
            self._timer = self._loop.call_later(max(0.0, self.room.next_expiry() - now), self._tick)
