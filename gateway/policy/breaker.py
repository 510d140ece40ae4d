"""Whether an address is worth asking: a breaker, which opens where too many of its last requests got no good answer.

Closed, it counts, in a window that moves on by slices (`tick`), so that counting a good answer is one addition. Open, it lets nothing
through for a while. Then it is half open: one request goes through at a time, as a probe, and its outcome closes the breaker or opens it
anew (Nygard, "Release It!", 2nd ed., 5.2).

A probe keeps all others waiting, so it is a request that is there as a whole: an upload takes as long as its client likes. Only where none
such comes for as long as the breaker was open is one taken that is still arriving, lest an address that gets nothing else is never tried.
It keeps nobody waiting but others like it, and its success counts whenever it comes. Just so, where other addresses are fine, one that
cannot be sent a second time is taken only when nobody came by then who can (gateway/net/place.py).

Every request that is let through is given a number, the breaker's epoch, and brings it back with its outcome. Whoever was sent before the
breaker opened has another number, and says nothing any more: a late failure of before does not put an end to a probe. Pure: the time is
passed in, monotonic seconds.
"""

from __future__ import annotations

from typing import Final

CLOSED: Final = 0
OPEN: Final = 1
HALF_OPEN: Final = 2
STATES: Final = ("closed", "open", "half-open")
SLICES: Final = 10
"""Of a window. The oldest falls out whole, so the window is up to a tenth shorter than it is called."""
NEVER: Final = 2.0
"""A share of errors that is never reached: the breaker counts and does not open."""
MOST_SLOW: Final = 16
"""Probes that are still arriving, of which the outcome is awaited."""


class Breaker:
    """`errors`: the share of requests at which it opens; `window`: seconds that are looked at, in which there have to be `minimum`
    requests. `open_seconds`: how long nothing goes through. `lease`: how long a probe is waited for that nobody tells anything of."""

    __slots__ = (
        "_bads",
        "_errors",
        "_goods",
        "_lease",
        "_minimum",
        "_open_seconds",
        "_probe_until",
        "_slice",
        "_slow",
        "_sum_bad",
        "_sum_good",
        "_turned",
        "bad",
        "epoch",
        "good",
        "opened",
        "state",
        "until",
    )

    def __init__(
        self,
        *,
        errors: float = NEVER,
        window: float = 10.0,
        minimum: int = 20,
        open_seconds: float = 5.0,
        lease: float = 30.0,
    ) -> None:
        self._errors = errors
        self._minimum = minimum
        self._open_seconds = open_seconds
        self._lease = lease
        self._slice = window / SLICES
        self.state = CLOSED
        self.epoch = 0
        """The number of the requests whose outcome counts."""
        self.opened = 0
        """How often it has opened, since whoever counts has last looked."""
        self.until = 0.0
        """Until when it is open."""
        self.good = 0
        """Outcomes of the slice under way."""
        self.bad = 0
        self._goods = [0] * SLICES
        """Of the slices before, the oldest first."""
        self._bads = [0] * SLICES
        self._sum_good = 0
        self._sum_bad = 0
        self._turned = -1.0
        """When the slice under way began; below 0: nobody has said what time it is."""
        self._probe_until = 0.0
        """Until when the probe under way is waited for; 0.0: there is none."""
        self._slow: list[int] = []
        """The numbers of the probes that were still arriving, since it opened."""

    @property
    def requests(self) -> int:
        """In the window."""
        return self._sum_good + self._sum_bad + self.good + self.bad

    @property
    def failures(self) -> int:
        """Those among them without a good answer."""
        return self._sum_bad + self.bad

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / (self._slice * SLICES)

    def admits(self, now: float, whole: bool = True) -> bool:
        """May a request go through? Nothing is changed by asking. `whole`: its body has come."""
        if self.state == CLOSED:
            return True
        if self.state == OPEN:
            return now >= self.until if whole else self.overdue(now)
        return now >= self._probe_until or (whole and self.epoch in self._slow)

    def overdue(self, now: float) -> bool:
        """It is not closed: has nobody tried it for as long again as it was open?"""
        return now >= self.until + self._open_seconds

    def enter(self, now: float, whole: bool = True) -> int:
        """A request goes through, which must be admitted: the number that its outcome has to bring back."""
        if self.state != CLOSED:
            self.state = HALF_OPEN
            self.epoch += 1
            self._probe_until = now + self._lease
            if not whole:
                self._slow = [*self._slow[1 - MOST_SLOW :], self.epoch]
        return self.epoch

    def succeeded(self, epoch: int) -> bool:
        """A good answer. Whether that has closed it."""
        if epoch != self.epoch and (self.state != HALF_OPEN or epoch not in self._slow):
            return False
        if self.state == CLOSED:
            self.good += 1
            return False
        if self.state == HALF_OPEN:
            self.state = CLOSED
            self._slow = []
            self._forget()
            return True
        return False

    def failed(self, epoch: int, now: float, *, begun: bool = False) -> bool:
        """No answer, or a bad one; `begun`: one that was taken for good, and broke off. Whether that has opened it."""
        if epoch != self.epoch:
            return False
        if self.state == HALF_OPEN:
            self._open(now)
            return True
        if self.state == OPEN:
            return False
        if begun and self.good:
            self.good -= 1
        self.bad += 1
        requests = self.requests
        if requests >= self._minimum and self.failures >= self._errors * requests:
            self._open(now)
            return True
        return False

    def abandoned(self, epoch: int) -> None:
        """A request that went through will have no outcome: its client is gone. If it was the probe, another may go."""
        if epoch == self.epoch and self.state == HALF_OPEN:
            self._probe_until = 0.0

    def tick(self, now: float) -> None:
        """Moves the window on. Called several times in each slice."""
        passed = now - self._turned
        if passed < self._slice:
            return
        if self._turned < 0:
            self._turned = now
            return
        if passed >= self._slice * (SLICES + 1):
            self._forget()
            self._turned = now
            return
        while now - self._turned >= self._slice:
            self._turned += self._slice
            self._sum_good += self.good - self._goods.pop(0)
            self._sum_bad += self.bad - self._bads.pop(0)
            self._goods.append(self.good)
            self._bads.append(self.bad)
            self.good = self.bad = 0

    def _open(self, now: float) -> None:
        self.state = OPEN
        self._slow = []
        self.epoch += 1
        self.opened += 1
        self.until = now + self._open_seconds

    def _forget(self) -> None:
        self._goods = [0] * SLICES
        self._bads = [0] * SLICES
        self._sum_good = self._sum_bad = self.good = self.bad = 0
