"""What a shadow worker makes of a message: something to count, whatever the message holds.

What is quick is compared in the thread that asks. The rest is for a pool of processes (shadow/pool.py), so that one message with a hostile
body in it is whole a little later, and the others are not. Nothing is dropped for want of room there: whoever asks waits, and the rest
waits in the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from shadow import counters
from shadow.batch import Batch
from shadow.budget import NotStartedError
from shadow.consumed import Counted
from shadow.judge import Judgement
from shadow.logs import about
from shadow.opening import Opener
from shadow.pack import Pack, PackError, Pair, counts, judgement, name_of, size
from shadow.pool import Pool
from shadow.sealing import PairJudge
from shadow.worker import INLINE_BYTES

_log = logging.getLogger("banyan.shadow")

CAREFUL = 3
"""A pack that is delivered for this time has perhaps ended a worker: it is opened, and each of its pairs compared, in processes that may be
ended."""


@dataclass(slots=True)
class Figures:
    """What this worker has done since its start."""

    exchanges: dict[str, int] = field(default_factory=dict)
    """By what came of them: compared, and as counters.DROPPED has it."""
    messages: int = 0
    """Counted and acknowledged."""
    redelivered: int = 0
    """Messages that had been in some worker's hand before."""
    repeated: int = 0
    """Messages that were counted already."""
    held: int = 0
    waiting: int = 0
    """Messages in the stream behind the last that was delivered here."""
    database: bool = True
    """It took the last write."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, number: int = 1) -> None:
        """From any thread."""
        with self._lock:
            self.exchanges[what] = self.exchanges.get(what, 0) + number


class LeavingError(Exception):
    """The message in hand is given back."""


@dataclass(slots=True, eq=False)
class Held:
    """A message in hand: judged, or on the way there."""

    message: Msg
    counted: Counted
    left: int = 1
    """Pairs that the pool has, and one for whoever is still reading the message."""

    @property
    def whole(self) -> bool:
        """Everything in it is judged."""
        return not self.left


class Judging:
    """`judge` in one thread alone; the rest from any."""

    def __init__(
        self, judge: PairJudge, stream: str, figures: Figures, whole: Callable[[], None], *, max_age: float, processes: int = 0
    ) -> None:
        """`whole` is called, in some thread, when another message is. `max_age`: seconds; 0: never too old. `processes`: see
        shadow.pool.size."""
        self._judge = judge
        self._stream = stream
        self._figures = figures
        self._whole = whole
        self._max_age = max_age
        self._opener = Opener()
        self._pool: Pool[Pair, Judgement] = Pool(judge, self._judged_slowly, size, processes=processes)
        self._of: dict[int, Held] = {}
        """Whose each pair in the pool is, by the pair's identity."""
        self._lock = threading.Lock()
        """Over `_of`, and over what is in messages that the pool works for."""
        self._leaving = threading.Event()
        """Nobody waits for what is being judged any more."""

    def start(self) -> None:
        self._pool.start()

    def use(self, judge: PairJudge) -> None:
        """From now on this one judges. What is being compared ends under the one before."""
        self._judge = judge
        self._pool.use(judge)

    def finish(self, seconds: float) -> None:
        """Takes no message any more, and waits for what the pool has, for at most `seconds`. What is not whole then never will be."""
        self._leaving.set()
        self._pool.finish(seconds)
        self._pool.clear()
        self._pool.close()
        self._opener.kill()
        with self._lock:
            self._of.clear()

    def close(self) -> None:
        """Ends all processes. Behind the last `judge`."""
        self.finish(0)
        self._opener.close()

    def judge(self, message: Msg) -> Held:
        """Whatever the message holds, there is something to count, as soon as it is whole.

        Raises:
            LeavingError: `finish` was called.
            OSError, shadow.budget.NotStartedError: it needs a process, and this machine cannot start one.
        """
        fields = message.headers or {}
        about = message.metadata
        self._figures.waiting = about.num_pending
        deliveries = about.num_delivered or 1
        if deliveries > 1:
            self._figures.redelivered += 1
        name = name_of(fields)
        producer, number = name if name is not None else (f"stream {self._stream}"[:64], about.sequence.stream)
        sent = about.timestamp.timestamp()
        spoilt = _as_lost(counts(fields), sent, counters.UNREADABLE)
        held = Held(message, Counted(producer, number, about.sequence.stream, spoilt=spoilt))
        try:
            contents = self._open(message, careful=deliveries >= CAREFUL)
            if contents is None:
                self._unread(held, fields, sent, counters.POISON, "it ends the process that opens it")
            else:
                self._add_all(held, contents, sent, careful=deliveries >= CAREFUL)
        except (LeavingError, OSError, NotStartedError):
            raise
        except PackError as error:
            self._unread(held, fields, sent, counters.UNREADABLE, str(error))
        except Exception as error:  # whatever somebody has put there, it must not come back for ever
            _log.exception("a message of %s stumbled this worker", self._stream)
            self._unread(held, fields, sent, counters.UNREADABLE, type(error).__name__)
        message.data = b""  # what is waited for, and what is written, has all that is needed of it
        with self._lock:
            held.left -= 1
        if held.whole:
            self._whole()
        return held

    def _open(self, message: Msg, *, careful: bool) -> Pack | None:
        contents = self._opener.open(message.data, message.headers or {}, careful=careful)
        if contents is None and self._leaving.is_set():  # the process was ended by us
            raise LeavingError
        return contents

    def _add_all(self, held: Held, contents: Pack, sent: float, *, careful: bool) -> None:
        """Raises:
        PackError: a part of it cannot be read.
        LeavingError: see `judge`.
        """
        told = [judgement(each) for each in contents.told]  # ahead of the first pair: from here on nothing in it can be unreadable
        batch = held.counted.batch
        with self._lock:
            for route, at, counter, count in contents.tallies:
                batch.count(route, at, counter, count)
            for each in told:
                batch.judgement(each)
        for each in told:
            self._figures.add(_outcome(each))
        expired = self._max_age and time.time() - sent > self._max_age
        for pair in contents.pairs:
            if expired:
                batch.count(pair.route, pair.at, counters.lost(counters.EXPIRED, noise=pair.kind == "noise"))
                self._figures.add("expired")
            else:
                self._add(held, pair, careful=careful)

    def _add(self, held: Held, pair: Pair, *, careful: bool) -> None:
        if self._leaving.is_set():
            raise LeavingError
        found, broke = None, False
        try:
            found = None if careful else self._judge.judge(pair, INLINE_BYTES)  # another thread may put another judge in its place
        except Exception:  # the next pair must be compared whatever this one hit
            broke = True
            _log.exception("comparing request %s on route %s failed", pair.request_id, pair.route, extra=about(pair.request_id, pair.route))
        with self._lock:
            if found is not None or broke:
                self._settle(held, pair, found)
                return
            held.left += 1
            self._of[id(pair)] = held
        if not self._pool.put(pair):
            raise LeavingError

    def _judged_slowly(self, pair: Pair, found: Judgement | None) -> None:
        """In a thread of the pool's. None: comparing broke, which was told."""
        mine = self._pool.settle(pair)
        with self._lock:
            held = self._of.pop(id(pair), None)
            if held is None or not mine:
                return
            self._settle(held, pair, found)
            held.left -= 1
        if held.whole:
            self._whole()

    def _settle(self, held: Held, pair: Pair, found: Judgement | None) -> None:
        """Under the lock."""
        if found is not None:
            held.counted.batch.judgement(found)
            self._figures.add(_outcome(found))
        else:
            held.counted.batch.count(pair.route, pair.at, counters.failed(noise=pair.kind == "noise"))
            self._figures.add("comparison_failed")

    def _unread(self, held: Held, fields: dict[str, str], at: float, name: str, why: str) -> None:
        """A message that is not looked into counts by what its headers say that it holds."""
        said = counts(fields)
        with self._lock:
            held.counted.batch = _as_lost(said, at, name)
            held.left = 1
            for pair in [pair for pair, whose in self._of.items() if whose is held]:
                del self._of[pair]  # it is counted already
        self._figures.add(name.removeprefix(counters.DROPPED), said.total() or 1)
        _log.error("message %d of %s is not counted but as lost: %s", held.counted.sequence, self._stream, why)


def _outcome(judgement: Judgement) -> str:
    return counters.STALE if judgement.reason == counters.STALE else "compared"


def _as_lost(said: Counter[tuple[str, bool]], at: float, name: str) -> Batch:
    """What a message counts as that nobody looks into, by what its headers say; one of an unknown route, where they say nothing."""
    batch = Batch()
    for (route, noise), number in said.items():
        batch.count(route[:100], at, counters.lost(name, noise=noise), number)
    if not said:
        batch.count("", at, name)
    return batch
