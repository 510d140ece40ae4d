"""Publishes what an outbox holds, in the order of each key, however often the relay, the database or the broker dies.

A batch goes out in waves: a wave has one event of a key at most, and the next one waits until all of it is acknowledged. So an event is in
the stream before the next one of its key is sent. Whatever came of a batch, what was acknowledged is taken out of the outbox, and what was
not is read again. A relay that died in between publishes again under the same ids, which the stream knows (Nats-Msg-Id).

While the broker is away nothing is read: what waits, waits in the outbox, where it costs the store nothing but room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from nats.js.errors import APIError

from events import stream as streams
from events.envelope import CONTENT_TYPE, PARTITIONS, Event, parsed
from events.metrics import RelayMetrics
from events.outbox import Outbox, OutboxError
from events.standing import RelayStanding
from events.stream import Stream
from shadow.broker import TROUBLE, being_cancelled, reason

_log = logging.getLogger("banyan.events")

BATCH: Final = 500
POLL_SECONDS: Final = 0.05
"""Between two looks at an outbox that was empty: half of it is what an event waits on average."""
LOOK_SECONDS: Final = 1.0
"""Between two looks at the backlog, and at partitions that another relay may have left."""
RETRY_SECONDS: Final = 0.5
"""After a failure of the database, and while the stream has no room."""


class Relay:
    """Of one store. `run` ends when it is cancelled, between two batches or in one."""

    def __init__(
        self,
        open_it: Callable[[], Outbox],
        stream: Stream,
        metrics: RelayMetrics,
        partitions: Sequence[int] = tuple(range(PARTITIONS)),
        *,
        store: str = "",
    ) -> None:
        """`open_it`: connects to the outbox; called again after each loss. `store`: its name, for people."""
        self.standing = RelayStanding(store)
        self._open = open_it
        self._stream = stream
        self._broker = stream.broker("banyan relay")
        self._metrics = metrics
        self._partitions = partitions
        self._held: frozenset[int] = frozenset()
        self._told = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        """The database's: whatever it waits for, the event loop goes on."""

    async def run(self) -> None:
        self._broker.start(lambda stream: streams.ensure(stream, self._stream))
        try:
            while True:
                try:
                    await self._serve()
                except OutboxError as error:
                    self._metrics.failures.labels("outbox").inc()
                    self._tell(f"the outbox can't be read; trying on: {error}")
                    self.standing.backlog = self.standing.oldest = None
                    self._metrics.unknown()
                self._held = frozenset()
                self._metrics.partitions.set(0)
                self.standing.held = 0
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._broker.close()
            self._thread.shutdown()

    async def _serve(self) -> None:
        """Until the database fails."""
        outbox = await self._ask(self._open)
        try:
            looked = 0.0
            loop = asyncio.get_running_loop()
            while True:
                if loop.time() - looked >= LOOK_SECONDS:
                    looked = loop.time()
                    await self._look(outbox)
                if not await self._round(outbox):
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            await asyncio.shield(self._ask(outbox.close))

    async def _look(self, outbox: Outbox) -> None:
        self._held = await self._ask(outbox.hold, self._partitions)
        backlog = await self._ask(outbox.backlog)
        self._metrics.partitions.set(len(self._held))
        self._metrics.backlog.set(backlog.rows)
        self.standing.held, self.standing.backlog = len(self._held), backlog.rows
        self.standing.oldest = parsed(backlog.oldest).timestamp() if backlog.oldest else None
        age = (datetime.now(UTC) - parsed(backlog.oldest)).total_seconds() if backlog.oldest else 0.0
        self._metrics.oldest.set(max(age, 0.0))

    async def _round(self, outbox: Outbox) -> bool:
        """One batch. Whether there may be more at once."""
        usable = self._broker.usable.is_set()
        self._metrics.connected.set(usable)
        self.standing.nats = usable
        if not usable or not self._held:
            return False
        events = await self._ask(outbox.waiting, self._held, BATCH)
        if not events:
            self._tell("")
            return False
        done: list[Event] = []
        whole = True
        for wave in waves(events):
            there = await self._publish(wave)
            done += there
            whole = len(there) == len(wave)
            if not whole:
                break
        if done:
            await self._ask(outbox.published, done)
        if not whole:
            await asyncio.sleep(RETRY_SECONDS)
            return False
        self._tell("")
        return len(events) >= BATCH

    async def _publish(self, wave: Sequence[Event]) -> list[Event]:
        """Those that the stream has now."""
        if not self._broker.usable.is_set():
            return []  # it was lost while the database was asked, or the wave before was sent
        context = self._broker.stream
        answers = await asyncio.gather(
            *(
                context.publish(streams.subject(event), event.encoded(), headers={"Nats-Msg-Id": event.id, "Content-Type": CONTENT_TYPE})
                for event in wave
            ),
            return_exceptions=True,
        )
        there = []
        trouble = ""
        for event, answer in zip(wave, answers, strict=True):
            if not isinstance(answer, BaseException):
                there.append(event)
                self._metrics.published.inc()
                if answer.duplicate:
                    self._metrics.repeated.inc()
            elif isinstance(answer, APIError):
                self._metrics.failures.labels("refused").inc()
                trouble = trouble or f"the stream takes nothing; trying on: {reason(answer)}"
            elif isinstance(answer, (*TROUBLE, asyncio.CancelledError)) and not being_cancelled():
                self._metrics.failures.labels("broker").inc()
                trouble = trouble or f"NATS: {reason(answer)}"
                self._broker.doubt()  # nats-py cancels what waits when its connection ends
            else:
                raise answer
        if trouble:
            self._tell(trouble)  # the first one: a wave that fails may do so in several ways
        return there

    async def _ask[**P, Answer](self, what: Callable[P, Answer], *arguments: P.args, **named: P.kwargs) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: what(*arguments, **named))

    def _tell(self, trouble: str) -> None:
        """Once, until it is another one."""
        if trouble != self._told:
            if trouble:
                _log.error("%s", trouble)
            elif self._told:
                _log.warning("the outbox is relayed again")
            self._told = self.standing.trouble = trouble


def waves(events: Sequence[Event]) -> list[list[Event]]:
    """`events` in parts, of which each has one event of a key at most, and a later one has what came later."""
    found: list[list[Event]] = []
    depth: dict[str, int] = {}
    for event in events:
        at = depth.get(event.key, 0)
        depth[event.key] = at + 1
        if at == len(found):
            found.append([])
        found[at].append(event)
    return found
