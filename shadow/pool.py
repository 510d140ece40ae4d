"""Several children that judge what may take long, so that one slow exchange does not hold up the next.

A bounded number waits. Whoever offers what finds no room is told so at once, and counts it: a queue that fills up with slow ones never
keeps quick ones waiting, since those are compared before they come here. Or he waits for room, where what he has is safe elsewhere. The
order of what comes out is nobody's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from shadow.budget import BudgetedJudge, Judging, Routed
from shadow.logs import about

_log = logging.getLogger("banyan.shadow")

FEWEST, MOST = 2, 4
"""Processes, where nobody has said how many. With one, what is slow waits for what is hostile."""
MAX_COUNT = 256
MAX_BYTES = 64 * 1024 * 1024
"""Of exchanges that wait. The children's own memory comes on top: shadow.budget.BUDGET_BYTES each, at most."""


def size(processes: int) -> int:
    """How many processes there are to be. 0: one for each core, within FEWEST and MOST."""
    return processes or min(MOST, max(FEWEST, len(os.sched_getaffinity(0))))


class Named(Routed, Protocol):
    """An exchange that a line of the log can name."""

    @property
    def request_id(self) -> str: ...


class Pool[Given: Named, Found]:
    """`done` is called in a thread of the pool's, with the judgement, or None where comparing broke. It asks `settle` whether that still
    counts."""

    def __init__(
        self,
        judge: Judging[Given, Found],
        done: Callable[[Given, Found | None], None],
        weight: Callable[[Given], int],
        *,
        processes: int = 0,
        max_count: int = MAX_COUNT,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`weight`: about the bytes of memory that one holds."""
        self._judge = judge
        self._done = done
        self._weight = weight
        self._size = size(processes)
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._waiting: deque[Given] = deque()
        self._bytes = 0
        self._idle = 0
        self._in_hand: dict[int, Given] = {}
        """By identity: two exchanges may be equal."""
        self._closed = False
        self._changed = threading.Condition()
        self.children: list[BudgetedJudge[Given, Found]] = []

    def use(self, judge: Judging[Given, Found]) -> None:
        """From now on this one judges."""
        self._judge = judge

    def start(self) -> None:
        """Starts the first child ahead of the first exchange, which takes half a second: for one whose every exchange comes here. A shipper
        does without, as most of what it compares is small and never comes here: each child would cost it 0.4 s of CPU and its memory."""
        with self._changed:
            if not self.children and not self._closed:
                self._add()

    def offer(self, exchange: Given) -> bool:
        """Takes an exchange without waiting, and says whether there was room."""
        with self._changed:
            if self._closed or not self._fits(exchange):
                return False
            self._put(exchange)
        return True

    def put(self, exchange: Given) -> bool:
        """Takes an exchange as soon as there is room. False: nothing is taken any more."""
        with self._changed:
            # What is larger than all the room there is has it for itself.
            while not self._closed and self._waiting and not self._fits(exchange):
                self._changed.wait()
            if self._closed:
                return False
            self._put(exchange)
        return True

    def _fits(self, exchange: Given) -> bool:
        return len(self._waiting) < self._max_count and self._bytes + self._weight(exchange) <= self._max_bytes

    def _put(self, exchange: Given) -> None:
        self._waiting.append(exchange)
        self._bytes += self._weight(exchange)
        if len(self._waiting) > self._idle and len(self.children) < self._size:
            self._add()
        self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Exchanges that no child has."""
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """About the memory that they hold."""
        return self._bytes

    def settle(self, exchange: Given) -> bool:
        """Whether what was judged is still to be counted: not when `clear` has come in between."""
        with self._changed:
            mine = self._in_hand.pop(id(exchange), None) is not None
            self._changed.notify_all()
            return mine

    def finish(self, seconds: float) -> None:
        """Takes nothing more, and waits until everything is judged, for at most `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._waiting or self._in_hand:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def clear(self) -> list[Given]:
        """Everything that waits or is being judged, taken away."""
        with self._changed:
            left = [*self._in_hand.values(), *self._waiting]
            self._in_hand.clear()
            self._waiting.clear()
            self._bytes = 0
            return left

    def close(self) -> None:
        """Ends the children, whatever they are doing, and with them the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            children = self.children.copy()
        for child in children:
            child.kill()

    def _add(self) -> None:
        child: BudgetedJudge[Given, Found] = BudgetedJudge(self._judge)
        self.children.append(child)
        threading.Thread(target=self._run, args=(child,), name=f"comparison {len(self.children)}", daemon=True).start()

    def _run(self, child: BudgetedJudge[Given, Found]) -> None:
        """One thread, which waits for one child."""
        try:
            try:
                child.start()
            except OSError as error:
                _log.error("no process for comparisons: %s", error)  # tried again for the first exchange
            while (exchange := self._take()) is not None:
                judgement: Found | None = None
                try:
                    child.use(self._judge)
                    judgement = child.judge(exchange)
                except Exception:  # the next exchange must be compared whatever this one hit; it is told here and counted by the owner
                    _log.exception(
                        "comparing request %s on route %s failed",
                        exchange.request_id,
                        exchange.route,
                        extra=about(exchange.request_id, exchange.route),
                    )
                self._done(exchange, judgement)
        finally:
            child.close()

    def _take(self) -> Given | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._changed.wait()
            finally:
                self._idle -= 1
            exchange = self._waiting.popleft()
            self._bytes -= self._weight(exchange)
            self._in_hand[id(exchange)] = exchange
            self._changed.notify_all()
            return exchange
