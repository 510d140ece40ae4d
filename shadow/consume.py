"""A shadow worker: takes packs from the stream, compares them, writes what came of it, and only then acknowledges.

Any number of them, on any machines, share one durable consumer. One that ends with packs in hand, in whatever way, leaves them to the
others; shadow.consumed sees to it that none is counted twice. While the database is away nothing is acknowledged: what is in hand is kept
from the others (JetStream is told that it is being worked on), the rest waits in the stream.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shadow.broker import CALL_SECONDS, CONSUMER, TROUBLE, Broker, Place, being_cancelled, ensure_consumer, ensure_stream
from shadow.budget import NotStartedError
from shadow.consumed import Counted
from shadow.judging import Figures, Held, Judging
from shadow.rules import Rule
from shadow.sealing import PairJudge
from shadow.worker import PATIENCE_SECONDS, RULES_SECONDS

_log = logging.getLogger("banyan.shadow")

FETCH = 16
"""Packs asked for at once."""
FETCH_SECONDS = 1.0
MAX_HELD = 64
"""Packs in hand, judged or not: while the database is away no more are taken."""
WRITE_SECONDS = 0.5
RETRY_SECONDS = (0.5, 10.0)
UPKEEP_SECONDS = 60.0
STOP_SECONDS = 10.0


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
        processes: int = 0,
    ) -> None:
        """`rules`: says which reviewed rules are in force, where they are others than when it was last asked; in the storing thread.
        `announce`: told once that it has begun to take. `processes`: that compare what may take long; see shadow.pool.size."""
        self.figures = Figures()
        self._judge = judge
        self._judging = Judging(judge, place.stream, self.figures, self._tell_whole, max_age=max_age, processes=processes)
        self._place = place
        self._broker = Broker(place, "banyan shadow worker")
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
        # Threads of their own: a database connection belongs to the thread that made it, and messages are opened by one.
        self._reading = ThreadPoolExecutor(1, "judge")
        self._storing = ThreadPoolExecutor(1, "store")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: list[Held] = []
        """Whole, or with pairs in the pool."""
        self._in_hand: list[Msg] = []
        """Taken, and not looked into yet."""
        self._room = asyncio.Event()
        self._filled = asyncio.Event()
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        """Nothing more is taken, nor judged."""

    @property
    def connected(self) -> bool:
        """To NATS."""
        return self._broker.usable.is_set()

    def _tell_whole(self) -> None:
        """From any thread: there is another message to write."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: nobody writes any more, and the message was given back
                self._loop.call_soon_threadsafe(self._filled.set)

    def stop(self) -> None:
        """Takes nothing more, finishes what is in hand, and leaves the rest to the others."""
        self._stop.set()

    async def run(self) -> bool:
        """Until `stop`. Whether everything that was taken is counted, or given back."""
        self._loop = asyncio.get_running_loop()
        self._room.set()
        self._judging.start()
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
            await asyncio.to_thread(self._judging.finish, 0)  # in no thread of ours: the one that reads may be waiting for room
            await self._in(self._reading, self._judging.close)
            for pool in (self._reading, self._storing):
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
            except (*TROUBLE, NotStartedError, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                if isinstance(error, NotStartedError):
                    _log.error("a message has to wait: %s", error)
                _log.debug("taking from NATS: %s", type(error).__name__)
                self._in_hand.clear()  # what was not judged comes again, here or elsewhere
                self._broker.doubt()

    async def _judge_in_hand(self) -> None:
        while self._in_hand:
            message = self._in_hand[0]
            held = await self._in(self._reading, self._judging.judge, message)
            self._in_hand.pop(0)
            self._held.append(held)
            self.figures.held = len(self._held)
            self._filled.set()
            if len(self._held) >= MAX_HELD:
                self._room.clear()
                await self._room.wait()
            if self._stop.is_set():
                return

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
            writing = [held for held in self._held if held.whole]
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
                self._judging.use(self._judge)
        except Exception:  # comparing goes on by the rules of before, whatever is wrong with new ones
            _log.exception("the reviewed rules can't be applied; those of before hold")
        self._ruled.set()

    async def _written(self, writing: list[Held], new: int) -> None:
        """After the commit: acknowledges. An acknowledgement that is lost costs a second delivery, which is not counted."""
        self._held = [held for held in self._held if held not in writing]
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
        """At the end: what nobody has begun to judge goes to the others at once, and so does what is not judged in a few seconds."""
        deadline = time.monotonic() + FETCH_SECONDS + STOP_SECONDS / 2
        if self._broker.usable.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(taking), FETCH_SECONDS + STOP_SECONDS / 2)
        taking.cancel()
        # In no thread of ours: the one that reads may be waiting for room until this says that there will be none.
        await asyncio.to_thread(self._judging.finish, deadline - time.monotonic())
        await asyncio.gather(taking, return_exceptions=True)
        left, self._in_hand = self._in_hand, []
        left += [held.message for held in self._held if not held.whole]
        self._held = [held for held in self._held if held.whole]
        self._over.set()
        self._filled.set()
        for message in left:
            await self._say(message, Msg.Ack.Nak)


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
