"""Takes exchanges in, compares them in one thread and writes what came of it in another. What may take long is for a pool of processes.

The reader never waits: `offer` takes a record or counts its loss. The comparing thread never waits for the database, since a batch holds
counts and a few samples however long it grows. What goes wrong in one exchange is that exchange's end, counted and told, and nothing
else's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from shadow import counters
from shadow.batch import Batch
from shadow.exchange import Exchange, Record, Summary, weight
from shadow.judge import Judge, Judgement
from shadow.logs import about
from shadow.pool import Pool
from shadow.rules import Rule
from shadow.sinks import Status

_log = logging.getLogger("banyan.shadow")

MAX_COUNT = 20_000
MAX_BYTES = 256 * 1024 * 1024
INLINE_BYTES = 64 * 1024
"""Bodies up to this are compared in the thread: a quarter of a second at worst. Larger ones go to processes that can be ended."""
WRITE_SECONDS = 0.5
RETRY_SECONDS = (0.5, 10.0)
UPKEEP_SECONDS = 60.0
RULES_SECONDS = 1.0
"""How often reviewed rules are looked for."""
PATIENCE_SECONDS = 10.0
"""How long the first comparison waits for the first rules: a database may be away."""


class Intake:
    """The queue between reading and comparing, bounded by count and bytes."""

    def __init__(self, max_count: int = MAX_COUNT, max_bytes: int = MAX_BYTES) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._waiting: deque[Exchange] = deque()
        self._in_hand: Exchange | None = None
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, exchange: Exchange) -> bool:
        """Whether there was room."""
        size = weight(exchange)
        with self._changed:
            if self._closed or len(self._waiting) >= self._max_count or self._bytes + size > self._max_bytes:
                return False
            self._waiting.append(exchange)
            self._bytes += size
            self._changed.notify()
        return True

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        return self._bytes

    def take(self) -> Exchange | None:
        """The next one, as soon as there is one; None once it is closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            self._in_hand = exchange = self._waiting.popleft()
            self._bytes -= weight(exchange)
            return exchange

    def done(self) -> bool:
        """Whether what was taken is still the taker's to count: not when `clear` has come in between."""
        with self._changed:
            mine, self._in_hand = self._in_hand is not None, None
            return mine

    def close(self) -> None:
        """Takes nothing more. What waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> list[Exchange]:
        """Everything that waits or is being compared, taken away."""
        with self._changed:
            left = [*([self._in_hand] if self._in_hand is not None else []), *self._waiting]
            self._in_hand = None
            self._waiting.clear()
            self._bytes = 0
            return left


class Worker:
    """The two threads, and the pool. `write` and `upkeep` are the store's, called in the writing thread alone; `prepare` before either."""

    def __init__(
        self,
        judge: Judge,
        *,
        prepare: Callable[[], None],
        write: Callable[[Batch], None],
        upkeep: Callable[[float], None],
        close: Callable[[], None] = lambda: None,
        rules: Callable[[float], Mapping[str, Sequence[Rule]] | None] | None = None,
        intake: Intake | None = None,
        processes: int = 0,
    ) -> None:
        """`close`: behind the last write, in the same thread. `rules`: says which reviewed rules are in force, where they are others than
        when it was last asked. `processes`: that compare what may take long; see shadow.pool.size."""
        self._judge = judge
        self._rules = rules
        self._ruled = threading.Event()
        if rules is None:
            self._ruled.set()
        self._slow = Pool(judge, self._judged_slowly, weight, processes=processes)
        self._prepare = prepare
        self._write = write
        self._upkeep = upkeep
        self._close = close
        self._intake = intake or Intake()
        self._batch = Batch()
        self._status = Status()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        """Nothing more will be counted: the next write is the last."""
        self._deadline = float("inf")
        self._comparing = threading.Thread(target=self._compare_all, name="compare", daemon=True)
        self._writing = threading.Thread(target=self._write_all, name="write", daemon=True)

    def start(self) -> None:
        self._comparing.start()
        self._writing.start()

    def offer(self, record: Record) -> None:
        """Takes a record without waiting."""
        if isinstance(record, Summary):
            with self._lock:
                self._batch.summary(record)
        elif not self._intake.put(record):
            with self._lock:
                self._drop(record, counters.QUEUE_FULL)

    def count(self, route: str, at: float, name: str, number: int = 1) -> None:
        with self._lock:
            self._batch.count(route, at, name, number)

    def status(self) -> Status:
        with self._lock:
            dropped = {route: dict(reasons) for route, reasons in self._status.dropped.items()}
            waiting, size = self._intake.waiting + self._slow.waiting, self._intake.bytes + self._slow.bytes
            return Status(waiting, size, self._status.shipped, dropped=dropped, stale=dict(self._status.stale))

    def _drop(self, exchange: Exchange, name: str) -> None:
        self._batch.count(exchange.route, exchange.at, counters.lost(name, noise=exchange.kind == "noise"))
        if exchange.kind != "noise":
            self._status.drop(exchange.route, name.removeprefix(counters.DROPPED))

    def stop(self, seconds: float) -> bool:
        """Compares and writes what is here, for at most about `seconds`. Whether all of it was written."""
        self._deadline = time.monotonic() + seconds
        self._intake.close()
        self._ruled.set()
        began = time.monotonic()
        self._comparing.join(seconds * 0.6)
        self._slow.finish(began + seconds * 0.6 - time.monotonic())
        with self._lock:
            for exchange in (*self._intake.clear(), *self._slow.clear()):
                self._drop(exchange, counters.SHUTDOWN)
        self._slow.close()
        self._ending.set()
        self._writing.join(max(0.5, self._deadline - time.monotonic()))
        with self._lock:
            return not self._batch and not self._writing.is_alive()

    # The comparing thread

    def _compare_all(self) -> None:
        self._ruled.wait(PATIENCE_SECONDS)
        while (exchange := self._intake.take()) is not None:
            broke, judgement = False, None
            try:
                judgement = self._judge.judge(exchange, INLINE_BYTES)  # the writing thread may put another judge in its place
            except Exception:  # the next exchange must be compared whatever this one hit
                broke = True
                _log.exception(
                    "comparing request %s on route %s failed",
                    exchange.request_id,
                    exchange.route,
                    extra=about(exchange.request_id, exchange.route),
                )
            with self._lock:
                if not self._intake.done():
                    return
                if judgement is not None:
                    self._status.shipped += 1
                    self._add(judgement)
                elif broke:
                    self._status.shipped += 1
                    self._batch.count(exchange.route, exchange.at, counters.failed(noise=exchange.kind == "noise"))
                elif not self._slow.offer(exchange):
                    self._drop(exchange, counters.POOL_FULL)

    def _judged_slowly(self, exchange: Exchange, judgement: Judgement | None) -> None:
        """In a thread of the pool's. None: comparing broke, which was told."""
        with self._lock:
            if not self._slow.settle(exchange):
                return
            self._status.shipped += 1
            if judgement is None:
                self._batch.count(exchange.route, exchange.at, counters.failed(noise=exchange.kind == "noise"))
            else:
                self._add(judgement)

    def _add(self, judgement: Judgement) -> None:
        self._batch.judgement(judgement)
        if judgement.reason == counters.STALE:
            self._status.stale[judgement.route] = self._status.stale.get(judgement.route, 0) + 1

    # The writing thread

    def _write_all(self) -> None:
        wait, longest = RETRY_SECONDS
        prepared = False
        next_upkeep = next_rules = 0.0
        failing = False
        while True:
            ending = self._ending.wait(wait if failing else WRITE_SECONDS if self._ruled.is_set() else 0.0)
            if prepared and self._rules is not None and time.monotonic() >= next_rules:
                next_rules = time.monotonic() + RULES_SECONDS
                self._follow(self._rules)
            try:
                if not prepared:
                    self._prepare()
                    prepared = True
                self._write_batch()
                if not ending and time.monotonic() >= next_upkeep:
                    next_upkeep = time.monotonic() + UPKEEP_SECONDS
                    self._upkeep(time.time())
            except Exception as error:  # a database can fail in any way; the batch waits, and it is told
                if not failing:
                    _log.error("the database can't be written (%s: %s); counts wait in memory", type(error).__name__, str(error).strip())
                wait = min(wait * 2, longest) if failing else RETRY_SECONDS[0]
                failing = True
            else:
                if failing:
                    _log.warning("the database can be written again")
                failing = False
            if ending:
                if not failing or time.monotonic() + 0.2 > self._deadline:
                    self._close()
                    return
                time.sleep(0.2)

    def _follow(self, rules: Callable[[float], Mapping[str, Sequence[Rule]] | None]) -> None:
        """Judges by the rules in force. What is being compared ends under those of before."""
        try:
            found = rules(time.time())
            if found is not None:
                self._judge = self._judge.under(found)
                self._slow.use(self._judge)
        except Exception:  # comparing goes on by the rules of before, whatever is wrong with new ones
            _log.exception("the reviewed rules can't be applied; those of before hold")
        self._ruled.set()

    def _write_batch(self) -> None:
        with self._lock:
            batch, self._batch = self._batch, Batch()
        if batch.lost:
            _log.error("%d counts were lost: the database was away too long", batch.lost)
        if not batch:
            return
        try:
            self._write(batch)
        except BaseException:
            with self._lock:
                self._batch.merge(batch)
            raise
