"""Several children that judge what may take long, so that one slow exchange does not hold up the next.

A bounded number waits. What finds no room is told so at once, and counted by whoever offered it: a queue that fills up with slow ones never
keeps quick ones waiting, since those are compared before they come here. The order of what comes out is nobody's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from shadow.budget import BudgetedJudge
from shadow.exchange import Exchange, weight
from shadow.judge import Judge, Judgement

_log = logging.getLogger("banyan.shadow")

FEWEST, MOST = 2, 4
"""Processes, where nobody has said how many. With one, what is slow waits for what is hostile."""
MAX_COUNT = 256
MAX_BYTES = 64 * 1024 * 1024
"""Of exchanges that wait. The children's own memory comes on top: shadow.budget.BUDGET_BYTES each, at most."""


def size(processes: int) -> int:
    """How many processes there are to be. 0: one for each core, within FEWEST and MOST."""
    return processes or min(MOST, max(FEWEST, len(os.sched_getaffinity(0))))


class Pool:
    """`done` is called in a thread of the pool's, with the judgement, or None where comparing broke. It asks `settle` whether that still
    counts."""

    def __init__(
        self,
        judge: Judge,
        done: Callable[[Exchange, Judgement | None], None],
        *,
        processes: int = 0,
        max_count: int = MAX_COUNT,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._judge = judge
        self._done = done
        self._size = size(processes)
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._waiting: deque[Exchange] = deque()
        self._bytes = 0
        self._idle = 0
        self._in_hand: dict[int, Exchange] = {}
        """By identity: two exchanges may be equal."""
        self._closed = False
        self._changed = threading.Condition()
        self.children: list[BudgetedJudge[Exchange, Judgement]] = []

    def use(self, judge: Judge) -> None:
        """From now on this one judges."""
        self._judge = judge

    def start(self) -> None:
        """Starts the first child ahead of the first exchange, which takes half a second. The others come when they are needed."""
        with self._changed:
            if not self.children and not self._closed:
                self._add()

    def offer(self, exchange: Exchange) -> bool:
        """Takes an exchange without waiting, and says whether there was room."""
        size = weight(exchange)
        with self._changed:
            if self._closed or len(self._waiting) >= self._max_count or self._bytes + size > self._max_bytes:
                return False
            self._waiting.append(exchange)
            self._bytes += size
            if len(self._waiting) > self._idle and len(self.children) < self._size:
                self._add()
            self._changed.notify()
        return True

    def settle(self, exchange: Exchange) -> bool:
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

    def clear(self) -> list[Exchange]:
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
        child: BudgetedJudge[Exchange, Judgement] = BudgetedJudge(self._judge)
        self.children.append(child)
        threading.Thread(target=self._run, args=(child,), name=f"comparison {len(self.children)}", daemon=True).start()

    def _run(self, child: BudgetedJudge[Exchange, Judgement]) -> None:
        """One thread, which waits for one child."""
        try:
            try:
                child.start()
            except OSError as error:
                _log.error("no process for comparisons: %s", error)  # tried again for the first exchange
            while (exchange := self._take()) is not None:
                judgement: Judgement | None = None
                try:
                    child.use(self._judge)
                    judgement = child.judge(exchange)
                except Exception:  # the next exchange must be compared whatever this one hit; it is told here and counted by the owner
                    _log.exception("comparing request %s on route %s failed", exchange.request_id, exchange.route)
                self._done(exchange, judgement)
        finally:
            child.close()

    def _take(self) -> Exchange | None:
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
            self._bytes -= weight(exchange)
            self._in_hand[id(exchange)] = exchange
            return exchange
