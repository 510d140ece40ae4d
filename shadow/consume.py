"""A shadow worker: takes packs from the stream, compares them, writes what came of it, and only then acknowledges.

Any number of them, on any machines, share one durable consumer. One that ends with packs in hand, in whatever way, leaves them to the
others; shadow.consumed sees to it that none is counted twice. While the database is away nothing is acknowledged: what is in hand is kept
from the others (JetStream is told that it is being worked on), the rest waits in the stream.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shadow import counters
from shadow.batch import Batch
from shadow.broker import CALL_SECONDS, CONSUMER, TROUBLE, Broker, Place, being_cancelled, ensure_consumer, ensure_stream
from shadow.budget import BudgetedJudge
from shadow.consumed import Counted
from shadow.judge import Judgement
from shadow.pack import PackError, Pair, counts, judgement, name_of, unpack
from shadow.rules import Rule
from shadow.sealing import PairJudge
from shadow.worker import INLINE_BYTES, PATIENCE_SECONDS, RULES_SECONDS

_log = logging.getLogger("banyan.shadow")

FETCH = 16
"""Packs asked for at once."""
FETCH_SECONDS = 1.0
MAX_HELD = 64
"""Packs in hand, judged or not: while the database is away no more are taken."""
WRITE_SECONDS = 0.5
RETRY_SECONDS = (0.5, 10.0)
UPKEEP_SECONDS = 60.0
CAREFUL = 3
"""A pack that is delivered for this time has perhaps ended a worker: each of its pairs is compared in the process that may be ended."""
MAX_DELIVERIES = 10
"""A pack that comes more often is not looked into any more."""
STOP_SECONDS = 10.0


@dataclass(slots=True)
class _Held:
    """A message in hand, judged."""

    message: Msg
    counted: Counted


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

    def add(self, what: str, number: int = 1) -> None:
        self.exchanges[what] = self.exchanges.get(what, 0) + number


class _LeavingError(Exception):
    """The message in hand is given back."""


class ShadowWorker:
    """See the module's docstring. `write` and `upkeep` are the store's and called in a thread, one at a time; `prepare` before either."""

    def __init__(
        self,
        judge: PairJudge,
        place: Place,
        *,
        max_age: float,
        prepare: Callable[[], None],
        write: Callable[[Sequence[Counted]], int],
        upkeep: Callable[[float, int], None],
        rules: Callable[[float], Mapping[str, Sequence[Rule]] | None] | None = None,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`rules`: says which reviewed rules are in force, where they are others than when it was last asked; in the storing thread.
        `announce`: told once that it has begun to take."""
        self.figures = Figures()
        self._judge = judge
        self._slow: BudgetedJudge[Pair, Judgement] = BudgetedJudge(judge)
        self._place = place
        self._broker = Broker(place, "banyan shadow worker")
        self._max_age = max_age
        self._prepare = prepare
        self._write = write
        self._upkeep = upkeep
        self._rules = rules
        self._ruled = asyncio.Event()
        """It has been asked for them once, or there are none to ask for."""
        if rules is None:
            self._ruled.set()
        self._announce = announce
        self._announced = False
        # Threads of their own: a database connection belongs to the thread that made it, and the slow comparisons are not for several.
        self._judging = ThreadPoolExecutor(1, "judge")
        self._storing = ThreadPoolExecutor(1, "store")
        self._held: list[_Held] = []
        self._in_hand: list[Msg] = []
        """Taken, and not judged yet."""
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        """Nothing more is taken, nor judged."""
        self._leaving = threading.Event()
        """Nobody waits for what is being judged any more."""

    @property
    def connected(self) -> bool:
        """To NATS."""
        return self._broker.usable.is_set()

    def stop(self) -> None:
        """Takes nothing more, finishes what is in hand, and leaves the rest to the others."""
        self._stop.set()

    async def run(self) -> bool:
        """Until `stop`. Whether everything that was taken is counted, or given back."""
        self._room.set()
        await self._in(self._judging, self._slow.start)
        self._broker.start(self._ready)
        taking = asyncio.create_task(self._take_all(), name="take")
        writing = asyncio.create_task(self._write_all(), name="write")
        beating = asyncio.create_task(self._keep_all(), name="keep")
        tasks = (taking, writing, beating)
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            # None of the three ends by itself: if one does, it is by a fault that this process must not outlive.
            done, _ = await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._give_back(taking)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(writing), STOP_SECONDS)
            for held in self._held:  # the database did not take it in time: perhaps it takes it from another
                await self._say(held.message, Msg.Ack.Nak)
            return not self._held
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)
            await self._broker.close()
            await self._in(self._judging, self._slow.close)
            for pool in (self._judging, self._storing):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _in[**Given, Found](
        self, pool: ThreadPoolExecutor, what: Callable[Given, Found], *given: Given.args, **named: Given.kwargs
    ) -> Found:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(what, *given, **named))

    async def _ready(self, stream: JetStreamContext) -> None:
        await ensure_stream(stream, self._place)
        await ensure_consumer(stream, self._place)

    # Taking

    async def _take_all(self) -> None:
        with suppress(TimeoutError):  # by the configuration's alone, rather than never
            await asyncio.wait_for(self._ruled.wait(), PATIENCE_SECONDS)
        while not self._stop.is_set():
            await self._broker.usable.wait()
            try:
                subscription = await self._broker.stream.pull_subscribe_bind(CONSUMER, self._place.stream)
                if not self._announced:
                    self._announced = True
                    self._announce(f"taking from {self._place.stream} at {', '.join(self._place.servers)}")
                try:
                    while self._broker.usable.is_set() and not self._stop.is_set():
                        await self._room.wait()
                        self._in_hand += await _fetch(subscription, FETCH)
                        await self._judge_in_hand()
                finally:
                    await _leave(subscription)
            except (*TROUBLE, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                _log.debug("taking from NATS: %s", type(error).__name__)
                self._in_hand.clear()  # what was not judged comes again, here or elsewhere
                self._broker.doubt()

    async def _judge_in_hand(self) -> None:
        while self._in_hand:
            message = self._in_hand[0]
            held = await self._in(self._judging, self._judge_message, message)
            self._in_hand.pop(0)
            self._held.append(held)
            self.figures.held = len(self._held)
            self._filled.set()
            if len(self._held) >= MAX_HELD:
                self._room.clear()
                await self._room.wait()
            if self._stop.is_set():
                return

    def _judge_message(self, message: Msg) -> _Held:
        """In a thread. Whatever the message holds, there is something to count."""
        fields = message.headers or {}
        about = message.metadata
        self.figures.waiting = about.num_pending
        deliveries = about.num_delivered or 1
        if deliveries > 1:
            self.figures.redelivered += 1
        name = name_of(fields)
        producer, number = name if name is not None else (f"stream {self._place.stream}"[:64], about.sequence.stream)
        now = time.time()
        sent = about.timestamp.timestamp()
        held = _Held(message, Counted(producer, number, about.sequence.stream, spoilt=_as_lost(counts(fields), sent, counters.UNREADABLE)))
        if deliveries > MAX_DELIVERIES:
            self._unread(held, fields, sent, counters.POISON, "it has ended every worker that had it")
            return held
        try:
            contents = unpack(message.data, fields)
            batch = Batch()
            for route, at, counter, count in contents.tallies:
                batch.count(route, at, counter, count)
            expired = self._max_age and now - sent > self._max_age
            for pair in contents.pairs:
                if expired:
                    batch.count(pair.route, pair.at, counters.lost(counters.EXPIRED, noise=pair.kind == "noise"))
                    self.figures.add("expired")
                else:
                    self._add(batch, pair, deliveries >= CAREFUL)
            for each in contents.told:
                batch.judgement(judgement(each))
                self.figures.add("compared")
        except _LeavingError:
            raise
        except PackError as error:
            self._unread(held, fields, sent, counters.UNREADABLE, str(error))
        except Exception as error:  # whatever somebody has put there, it must not come back for ever
            _log.exception("a message of %s stumbled this worker", self._place.stream)
            self._unread(held, fields, sent, counters.UNREADABLE, type(error).__name__)
        else:
            held.counted.batch = batch
        return held

    def _add(self, batch: Batch, pair: Pair, careful: bool) -> None:
        if self._leaving.is_set():
            raise _LeavingError
        try:
            judge = self._judge  # the loop may put another in its place
            self._slow.use(judge)
            found = (None if careful else judge.judge(pair, INLINE_BYTES)) or self._slow.judge(pair)
        except Exception:  # the next pair must be compared whatever this one hit
            _log.exception("comparing request %s on route %s failed", pair.request_id, pair.route)
            batch.count(pair.route, pair.at, counters.failed(noise=pair.kind == "noise"))
            self.figures.add("comparison_failed")
        else:
            batch.judgement(found)
            self.figures.add("compared")

    def _unread(self, held: _Held, fields: dict[str, str], at: float, name: str, why: str) -> None:
        """A message that is not looked into counts by what its headers say that it holds."""
        said = counts(fields)
        held.counted.batch = _as_lost(said, at, name)
        self.figures.add(name.removeprefix(counters.DROPPED), said.total() or 1)
        _log.error("message %d of %s is not counted but as lost: %s", held.counted.sequence, self._place.stream, why)

    # Writing

    async def _write_all(self) -> None:
        wait, longest = RETRY_SECONDS
        prepared = False
        failing = False
        next_upkeep = next_rules = 0.0
        while True:
            if not failing and self._ruled.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._filled.wait(), WRITE_SECONDS)
            self._filled.clear()
            if self._over.is_set() and not self._held:
                return
            writing = list(self._held)
            try:
                if not prepared:
                    await self._in(self._storing, self._prepare)
                    prepared = True
                if self._rules is not None and time.monotonic() >= next_rules:
                    next_rules = time.monotonic() + RULES_SECONDS
                    await self._follow(self._rules)
                if writing:
                    new = await self._in(self._storing, self._write, [each.counted for each in writing])
                    await self._written(writing, new)
                if time.monotonic() >= next_upkeep and not self._stop.is_set():
                    next_upkeep = time.monotonic() + UPKEEP_SECONDS
                    await self._in(self._storing, self._upkeep, time.time(), await self._floor())
            except Exception as error:  # a database can fail in any way; nothing is acknowledged, and it is told
                if not failing:
                    _log.error(
                        "the database can't be written (%s: %s); what is to be compared waits in NATS",
                        type(error).__name__,
                        str(error).strip(),
                    )
                wait = min(wait * 2, longest) if failing else RETRY_SECONDS[0]
                failing = True
                self.figures.database = False
                await asyncio.sleep(wait)
            else:
                if failing:
                    _log.warning("the database can be written again")
                failing = False
                self.figures.database = True

    async def _follow(self, rules: Callable[[float], Mapping[str, Sequence[Rule]] | None]) -> None:
        """Judges by the rules in force. What is being compared ends under those of before."""
        try:
            found = await self._in(self._storing, rules, time.time())
            if found is not None:
                self._judge = self._judge.under(found)
        except Exception:  # comparing goes on by the rules of before, whatever is wrong with new ones
            _log.exception("the reviewed rules can't be applied; those of before hold")
        self._ruled.set()

    async def _written(self, writing: list[_Held], new: int) -> None:
        """After the commit: acknowledges. An acknowledgement that is lost costs a second delivery, which is not counted."""
        self._held = self._held[len(writing) :]
        self.figures.held = len(self._held)
        self.figures.messages += new
        self.figures.repeated += len(writing) - new
        self._room.set()
        for each in writing:
            await self._say(each.message, Msg.Ack.Ack)

    async def _floor(self) -> int:
        """The stream's sequence up to which everything is acknowledged; 0: not known."""
        if not self._broker.usable.is_set():
            return 0
        try:
            info = await self._broker.stream.consumer_info(self._place.stream, CONSUMER)
        except (*TROUBLE, asyncio.CancelledError):
            if being_cancelled():
                raise
            return 0
        return info.ack_floor.stream_seq if info.ack_floor is not None else 0

    # Keeping what is in hand, and giving it back

    async def _keep_all(self) -> None:
        """Tells JetStream that what is here is being worked on, however long the database is away."""
        while True:
            await asyncio.sleep(self._place.ack_wait / 3)
            for message in [*self._in_hand, *(each.message for each in self._held)]:
                await self._say(message, Msg.Ack.Progress)

    async def _say(self, message: Msg, what: bytes) -> None:
        """Answers for a message, on whatever connection there is now. What is not heard is what JetStream repeats messages for."""
        if self._broker.usable.is_set():
            with suppress(*TROUBLE):
                await self._broker.answer(message.reply, what)

    async def _give_back(self, taking: asyncio.Task[None]) -> None:
        """At the end: what nobody has begun to judge goes to the others at once."""
        if self._broker.usable.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(taking), FETCH_SECONDS + STOP_SECONDS / 2)
        self._leaving.set()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        left, self._in_hand = self._in_hand, []
        self._over.set()
        self._filled.set()
        for message in left:
            await self._say(message, Msg.Ack.Nak)


def _as_lost(said: Counter[tuple[str, bool]], at: float, name: str) -> Batch:
    """What a message counts as that nobody looks into, by what its headers say; one of an unknown route, where they say nothing."""
    batch = Batch()
    for (route, noise), number in said.items():
        batch.count(route[:100], at, counters.lost(name, noise=noise), number)
    if not said:
        batch.count("", at, name)
    return batch


async def _leave(subscription: JetStreamContext.PullSubscription) -> None:
    """What still comes for it goes to another. On a connection that is gone there is nothing to leave."""
    with suppress(*TROUBLE):
        async with asyncio.timeout(1):
            await subscription.unsubscribe()


async def _fetch(subscription: JetStreamContext.PullSubscription, number: int) -> list[Msg]:
    """Up to `number` messages; none where nothing came for a while."""
    try:
        async with asyncio.timeout(FETCH_SECONDS + CALL_SECONDS):
            return list(await subscription.fetch(number, timeout=FETCH_SECONDS))
    except TimeoutError:
        return []
