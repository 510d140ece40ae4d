"""Asks, pair by pair, and compares. One event loop, as in an edge worker; what may take long to compare is for a pool of processes.

Bounded: so many pairs are under way at once, and the recording is read no faster than they end. Every wait has its end: an upstream's own
timeouts, and one for all of an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from gateway.policy.decision import LEGACY, MIRRORED
from gateway.settings import Config
from recorded.entry import Entry, Trouble
from shadow import counters
from shadow.exchange import Exchange, weight
from shadow.judge import Judge, Judgement
from shadow.logs import about
from shadow.pool import Pool as Processes
from shadow.replay.asking import Asker, Options
from shadow.replay.pair import Pair
from shadow.replay.plan import RECORDED, Planner, Wanted
from shadow.replay.tally import Tally
from shadow.worker import INLINE_BYTES

_log = logging.getLogger("banyan.replay")

BEHIND: Final = 1.0
"""Seconds. A pace that was not kept is not made up for beyond this: it would be a burst that nobody asked for."""
NEAR: Final = 0.002
"""Seconds that are not slept for."""
LONGEST_PAUSE: Final = 60.0
"""Seconds between two entries of a recording, as they are replayed: neither a night in which nobody came is waited for, nor a time that is
wrong."""
TURN: Final = 50
"""Entries that are left out in a row before the loop looks at what else there is."""
CHECKPOINT_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.05


class Pace:
    """At which a recording was made, so many times as fast. Pure: whoever asks says what time it is."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._latest: float | None = None
        """The recording's time that is counted from: the latest so far, for logs have requests in the order of their ends."""
        self._due = 0.0
        """When that one's turn was."""

    def due(self, at: float, now: float) -> float:
        """When it is the turn of what was recorded at `at`. Never before that of what stands before it."""
        if self._latest is None:
            self._latest, self._due = at, now
        pause = (at - self._latest) / self._speed
        if pause >= 0 or pause < -LONGEST_PAUSE:  # what is much earlier follows a time that was wrong, or begins another log
            self._latest = at
            self._due += min(max(pause, 0.0), LONGEST_PAUSE)
        if now - self._due > BEHIND:  # the replay itself is late
            self._due = now
        return self._due


class Replay:
    """One run. `stop` ends it early: what is under way is finished."""

    def __init__(
        self,
        config: Config,
        options: Options,
        planner: Planner,
        judge: Judge,
        tally: Tally,
        *,
        judged: Callable[[Judgement], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
        progress: Callable[[], None] | None = None,
    ) -> None:
        """`judged` is told of each judgement. `checkpoint` is called every few seconds, while nothing is under way: what it raises ends the
        run. `progress` is called again and again.

        Raises:
            gateway.tls.TlsError: an upstream's files cannot be used.
            gateway.identity.stamping.StampKeyError: the stamps' key cannot be used.
        """
        self.tally = tally
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._options = options
        self._planner = planner
        self._judge = judge
        self._told = judged
        self._checkpoint = checkpoint
        self._progress = progress
        self.asker = Asker(self._loop, config, options)
        self.from_recording = options.reference == RECORDED
        """The reference is not asked: its answers are there."""
        self._slow: Processes[Exchange, Judgement] = Processes(judge, self._slowly, weight, processes=config.shadow.processes)
        self._slowly_judged: dict[int, tuple[Exchange, Pair]] = {}
        self._pairs: set[Pair] = set()
        self._room = asyncio.Event()
        """A pair has ended."""
        self._counts: dict[str, int] = {}
        """By route: pairs begun, by which those are chosen that are asked for noise."""
        self._epoch = 0.0
        """The loop's time to which the pace is counted."""
        self._paced = 0
        self._pace = Pace(options.speed)

    async def run(self, found: Iterable[Entry | Trouble]) -> bool:
        """All of it, but for as many as `tally.read` says are done with. Whether it came to the end."""
        self.asker.start()
        try:
            whole = await self._ask(found)
            await self._quiet()
            return whole
        finally:
            self._close()

    async def _ask(self, found: Iterable[Entry | Trouble]) -> bool:
        done, idle = self.tally.read, 0
        self._epoch = self._loop.time()
        due = self._epoch + CHECKPOINT_SECONDS
        for number, each in enumerate(found, 1):
            idle += 1
            if idle >= TURN:
                idle = 0
                await asyncio.sleep(0)
            if self.stop.is_set():
                return False
            if number <= done:
                continue
            wanted = self._planned(each)
            if wanted is not None:
                idle = 0
                await self._turn(wanted.entry)
                while len(self._pairs) >= self._options.concurrency:
                    await self._wait()
                if self.stop.is_set():
                    return False  # it was not asked: the next run begins with it
                self._begin(wanted)
            self.tally.read = number
            if self._progress is not None:
                self._progress()
            if self._checkpoint is not None and self._loop.time() >= due:
                await self._quiet()
                self._checkpoint()
                due = self._loop.time() + CHECKPOINT_SECONDS
        return True

    def _close(self) -> None:
        for pair in self._pairs:
            pair.cancel()
        self._slow.clear()
        self._slow.close()
        self.asker.close()

    async def _wait(self) -> None:
        """Until a pair has ended."""
        self._room.clear()
        await self._room.wait()

    async def _quiet(self) -> None:
        """Until nothing is under way."""
        while self._pairs:
            await self._wait()

    def _planned(self, found: Entry | Trouble) -> Wanted | None:
        if isinstance(found, Trouble):
            self.tally.trouble(found)
            return None
        plan = self._planner.plan(found)
        if isinstance(plan, Wanted):
            return plan
        if plan.route:
            self.tally.route(plan.route).skip(plan.reason, time.time())
        else:
            self.tally.left_out[plan.reason] += 1
        return None

    async def _turn(self, entry: Entry) -> None:
        """Waits until it is time for it, or for the end."""
        options, now = self._options, self._loop.time()
        if options.speed:
            if entry.at is None:
                return
            due = self._pace.due(entry.at, now)
        elif options.rate:
            due = self._epoch + self._paced / options.rate
            self._paced += 1
            if now - due > BEHIND:
                self._epoch += now - due
        else:
            return
        if due - now > NEAR:
            try:
                async with asyncio.timeout(due - now):
                    await self.stop.wait()
            except TimeoutError:
                pass  # it is time

    def _begin(self, wanted: Wanted) -> None:
        count = self._counts[wanted.route] = self._counts.get(wanted.route, 0) + 1
        share = self._options.noise
        # Evenly, as many as the share says. A write is never sent again, sandbox or not.
        again = share > 0 and self._options.reference == LEGACY and wanted.head.method in MIRRORED
        pair = Pair(self, wanted, noise=again and int(count * share) > int((count - 1) * share), again=again)
        self._pairs.add(pair)
        pair.start()

    # What a pair asks of it

    def compare(self, pair: Pair, exchange: Exchange) -> None:
        """Sooner or later `pair` is told that it was judged."""
        try:
            found = self._judge.judge(exchange, INLINE_BYTES)
        except Exception:  # the next pair must be compared whatever this one hit; it is told here, and counted
            _log.exception(
                "comparing request %s on route %s failed",
                exchange.request_id,
                exchange.route,
                extra=about(exchange.request_id, exchange.route),
            )
            self._judged(pair, exchange, None)
            return
        if found is not None:
            self._judged(pair, exchange, found)
        else:
            self._slowly_judged[id(exchange)] = exchange, pair
            self._slow.start()
            self._offer(exchange)

    def ended(self, pair: Pair) -> None:
        """Nothing more comes of it."""
        self._pairs.discard(pair)
        self._room.set()

    def _offer(self, exchange: Exchange) -> None:
        if not self._slow.offer(exchange):
            self._loop.call_later(AGAIN_SECONDS, self._offer, exchange)  # its pair holds its place meanwhile, so they are few

    def _slowly(self, exchange: Exchange, judgement: Judgement | None) -> None:
        """In a thread of the pool's."""
        if self._slow.settle(exchange):
            self._loop.call_soon_threadsafe(self._judged_slowly, exchange, judgement)

    def _judged_slowly(self, exchange: Exchange, judgement: Judgement | None) -> None:
        _, pair = self._slowly_judged.pop(id(exchange))
        self._judged(pair, exchange, judgement)

    def _judged(self, pair: Pair, exchange: Exchange, judgement: Judgement | None) -> None:
        route = self.tally.route(exchange.route)
        proof = pair.proof(exchange)
        if judgement is not None and proof is not None:
            route.proved(proof, judgement)
        elif judgement is not None:
            route.judged(judgement)
            if self._told is not None:
                self._told(judgement)
            if exchange.kind == "pair" and judgement.outcome == "mismatch":
                pair.prove(judgement.signatures)
        elif exchange.kind == "pair":
            route.skip(counters.FAILED.removeprefix(counters.SKIPPED), exchange.at)
        pair.judged()
