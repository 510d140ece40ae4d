"""Applies a store's events to another store: one durable consumer in NATS for each partition, and the events of a partition in their order.

Where a partition stands is what the inbox says, which is written with the effects; so a session begins by making the durable anew from
there. One that was left by a process that died has messages which NATS would deliver again after those that follow them: with it the order
would be lost, with a new one nothing is. Within a session a message that is not the next one that this durable was to deliver ends it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from events import stream as streams
from events.envelope import PARTITIONS
from events.inbox import Applied, Delivery, Inbox, InboxError, MovedError, why
from events.metrics import ConsumerMetrics
from events.standing import MOST_PARKED, ConsumerStanding
from events.stream import Stream
from shadow.broker import TROUBLE, Broker, being_cancelled, reason

_log = logging.getLogger("banyan.events")

BATCH: Final = 256
"""Messages that NATS may have handed over and that are not applied: what memory holds of a partition, and one transaction at most."""
PULL_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 5.0
INACTIVE_SECONDS: Final = 86400.0
"""NATS drops a durable that nobody asked for so long: its store is gone, or makes it anew. No effect takes as long."""
CLOCKS_APART_SECONDS: Final = 60.0
"""At most, those of NATS and of who made a copy."""
ANEW: Final = "fill the store anew (import --nats; at the shop, manage.py follow --begin-here)"
SILENCE_SECONDS: Final = 3 * HEARTBEAT_SECONDS
"""Without even a heartbeat: the connection is not to be trusted."""
ASK_SECONDS: Final = 5.0
NEVER: Final = "0001-01-01T00:00:00Z"
"""A moment in NATS' answers that is none."""
LOOK_SECONDS: Final = 0.25
RETRY_SECONDS: Final = 0.5
PARKED_SECONDS: Final = 5.0
"""Between two looks at what is parked."""
ACK_WAIT_SECONDS: Final = 300.0
"""NATS waits this long before it delivers again, and does not get to it: a session that stops applying ends before."""


class SessionError(Exception):
    """This session is over; the next one begins from the inbox."""


class GapError(SessionError):
    """The stream has forgotten what would come next, or is another one. Only a new copy helps."""


class Consumer:
    """One consumer, all of its partitions. `run` ends when it is cancelled."""

    def __init__(
        self,
        inbox: Inbox,
        store: str,
        stream: Stream,
        metrics: ConsumerMetrics,
        thread: ThreadPoolExecutor,
        redrive: Callable[[str], str] = lambda event: "",
    ) -> None:
        """`store`: whose events they are. `thread`: one thread, in which alone the inbox is used; consumers of one database share it.
        `redrive`: the command that tries a parked event again, by its id."""
        self.standing = ConsumerStanding(inbox.consumer, store, redrive=redrive)
        self._inbox = inbox
        self._name = inbox.consumer
        self._store = store
        self._stream = stream
        self._metrics = metrics
        self._thread = thread
        self._broker: Broker = stream.broker(f"banyan consumer {self._name}")
        self._told: dict[int, str] = {}
        for number, partition in enumerate(self.standing.partitions):
            metrics.oldest.labels(self._name, str(number)).set_function(partition.age)
            self._lag(number, None)

    async def run(self) -> None:
        self._broker.start(lambda stream: streams.ensure(stream, self._stream))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(PARTITIONS):
                    group.create_task(self._stay(number), name=f"{self._name}-{number}")
                group.create_task(self._look_at_parked(), name=f"{self._name}-parked")
        finally:
            await self._broker.close()

    async def _stay(self, partition: int) -> None:
        while True:
            connected = self._metrics.connected.labels(self._name)
            self.standing.nats = self._broker.usable.is_set()
            if not self.standing.nats:
                self._lag(partition, None)
            connected.set(self.standing.nats)
            await self._broker.usable.wait()
            connected.set(1)
            self.standing.nats = True
            session = _Session(self._broker, self._stream.name, streams.of_partition(self._store, partition))
            try:
                await self._session(session, partition)
            except (*TROUBLE, asyncio.CancelledError) as error:
                if being_cancelled():
                    raise
                self._broker.doubt()
                self._failed(partition, f"NATS: {reason(error)}")
            except MovedError:
                _log.warning("%s: its store was filled anew; it goes on from there", self._name)
                continue
            except (InboxError, SessionError) as error:
                self._failed(partition, str(error))
            finally:
                await session.close()
            await asyncio.sleep(RETRY_SECONDS)

    def _failed(self, partition: int, trouble: str) -> None:
        """Told once, until it is another trouble."""
        self._metrics.failures.labels(self._name).inc()
        self.standing.partitions[partition].trouble = trouble
        self._lag(partition, None)
        if self._told.get(partition) != trouble:
            self._told[partition] = trouble
            _log.error("%s, partition %d: %s", self._name, partition, trouble)

    async def _session(self, session: _Session, partition: int) -> None:
        at, store = await self._ask(lambda: (self._inbox.at(partition), self._inbox.identity()))
        await self._require_next(session, partition, at)
        await session.begin(f"{self._name}-{store}-{partition}", at)
        self._lag(partition, session.pending)
        await self._count_parked()
        self.standing.partitions[partition].trouble = ""
        while True:
            messages = await session.some()
            if messages:
                self._lag(partition, session.pending + len(messages))
                at = await self._apply(partition, at, [_delivery(message) for message in messages])
                self._well(partition)
                await session.done(messages[-1])
                self._lag(partition, session.pending)
                continue
            asked = time.time()
            end = await session.end_of_stream()
            if end is not None:
                await self._ask(lambda at=at, end=end, asked=asked: self._inbox.advance(partition, at, max(at, end), asked))  # type: ignore[misc]
                at = max(at, end)

    async def _require_next(self, session: _Session, partition: int, at: int) -> None:
        """What comes after `at` is in the stream, or will be.

        Raises:
            GapError: it is not, or the stream is not the one in which `at` was.
        """
        info = await session.look()
        which, first, last = streams.identity(info), info.state.first_seq, info.state.last_seq
        if at > last:
            raise GapError(f"the stream ends at {last}, and {at} was applied here: it is another stream; {ANEW}")
        if not await self._ask(lambda: self._inbox.belongs(which, last)):
            raise GapError(f"it is another stream, made at {which}, and not the one that was followed here: {ANEW}")
        if 0 < at < first - 1:
            raise GapError(f"the stream begins at {first}, and {at} was the last one applied here: {ANEW}")
        if at == 0 and first > 1 and not await self._ask(self._inbox.begins_here):
            # What it forgot was in it before its first message was. It is in a copy that was begun after that.
            as_of, forgot = await self._ask(lambda: self._inbox.as_of(partition)), await session.forgot_until()
            if as_of is None or forgot is None or as_of / 1000 < forgot + CLOCKS_APART_SECONDS:
                raise GapError(f"the stream begins at {first}, and no copy here is known to hold what was before: {ANEW}")

    def _lag(self, partition: int, pending: int | None) -> None:
        """None: not known. What it was before would say that it still is."""
        standing = self.standing.partitions[partition]
        self._metrics.lag.labels(self._name, str(partition)).set(math.nan if pending is None else pending)
        standing.lag = pending
        if pending == 0:
            standing.waiting = None

    def _well(self, partition: int) -> None:
        self._told.pop(partition, None)
        self.standing.partitions[partition].trouble = ""

    async def _apply(self, partition: int, at: int, deliveries: list[Delivery]) -> int:
        """All of them; returns where the partition is then."""
        self.standing.partitions[partition].waiting = deliveries[0]
        try:
            applied = await self._ask(lambda: self._inbox.apply(partition, at, deliveries))
        except InboxError:
            raise
        except Exception as error:
            if len(deliveries) == 1:
                return await self._again(partition, at, deliveries[0], error)
            for one in deliveries:  # one of them is the trouble: the others are not to wait for it
                at = await self._apply(partition, at, [one])
            return at
        self._count(partition, applied)
        if applied.parked:
            await self._count_parked()
        return deliveries[-1].sequence

    async def _again(self, partition: int, at: int, delivery: Delivery, error: Exception) -> int:
        self._metrics.failures.labels(self._name).inc()
        if not self._inbox.exhausted(delivery):
            await asyncio.sleep(RETRY_SECONDS / 5)
            return await self._apply(partition, at, [delivery])
        _log.error("%s: event %d of the stream is parked: %s", self._name, delivery.sequence, why(error))
        self._count(partition, await self._ask(lambda: self._inbox.park(partition, at, delivery, why(error))))
        await self._count_parked()
        return delivery.sequence

    def _count(self, partition: int, applied: Applied) -> None:
        now = time.time()
        age = self._metrics.age.labels(self._name)
        for event in applied.took_effect:
            age.observe(max(now - event.time.timestamp(), 0.0))
        self._metrics.applied.labels(self._name).inc(len(applied.took_effect))
        for name, number in applied.skipped.items():
            self._metrics.skipped.labels(self._name, name).inc(number)
        if applied.last is not None:
            self.standing.partitions[partition].last = applied.last.timestamp()
            self._metrics.last.labels(self._name, str(partition)).set(applied.last.timestamp())

    async def _count_parked(self) -> None:
        count, first = await self._ask(lambda: self._inbox.set_aside(MOST_PARKED))
        self.standing.parked, self.standing.first_parked = count, first
        self._metrics.parked.labels(self._name).set(count)

    async def _look_at_parked(self) -> None:
        """A command of another process tries them again, or gives them up."""
        while True:
            await asyncio.sleep(PARKED_SECONDS)
            try:
                await self._count_parked()
            except InboxError:  # the sessions tell of it
                self.standing.parked, self.standing.first_parked = None, ()

    async def _ask[Answer](self, what: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)


def _delivery(message: Msg) -> Delivery:
    about = message.metadata
    return Delivery(about.sequence.stream, message.data, about.timestamp.timestamp())


class _Session:
    """One durable consumer, from its making to the first trouble. It has asked NATS for BATCH messages at most, ever, that are not done."""

    def __init__(self, broker: Broker, stream: str, subject: str) -> None:
        self._broker = broker
        self._client = broker.client
        self._context: JetStreamContext = broker.stream
        self._stream = stream
        self._name = ""
        self._subject = subject
        self._inbox = self._client.new_inbox()
        self._came: asyncio.Queue[Msg] = asyncio.Queue()  # bounded by what was asked for, and one status for each question
        self._asked = 0
        self._next = 1
        """The durable's own number of the message that is to come."""
        self._subscription: object = None
        self.pending = 0
        """Messages in the stream that it has not delivered."""

    async def look(self) -> api.StreamInfo:
        """At the stream as it is now."""
        return await self._context.stream_info(self._stream)

    async def forgot_until(self) -> float | None:
        """All that the stream has forgotten had come to it by then, in seconds since 1970; None: it does not say."""
        # Asked by hand: the client's own classes leave the moments out.
        answer = await self._client.request(f"$JS.API.STREAM.INFO.{self._stream}", timeout=ASK_SECONDS)
        state = json.loads(answer.data).get("state") or {}
        moment = datetime.fromisoformat((state.get("first_ts") if state.get("messages") else state.get("last_ts")) or NEVER)
        return moment.timestamp() if moment.year > 1 else None

    async def begin(self, name: str, at: int) -> None:
        """`name`: of the durable, which no other store has."""
        self._name = name
        try:
            await self._context.delete_consumer(self._stream, self._name)
        except NotFoundError:
            pass
        info = await self._context.add_consumer(
            self._stream,
            api.ConsumerConfig(
                durable_name=self._name,
                description="Banyan: one partition",
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=at + 1,
                ack_policy=api.AckPolicy.ALL,
                ack_wait=ACK_WAIT_SECONDS,
                max_ack_pending=2 * BATCH,
                filter_subject=self._subject,
                inactive_threshold=INACTIVE_SECONDS,
            ),
        )
        self.pending = info.num_pending or 0

        async def came(message: Msg) -> None:
            self._came.put_nowait(message)

        self._subscription = await self._client.subscribe(self._inbox, cb=came)
        await self._pull()

    async def some(self) -> list[Msg]:
        """What has come, at least one message; none: for a while there was nothing.

        Raises:
            SessionError, TimeoutError: this one is over.
        """
        found = [await self._first()]
        while not self._came.empty():
            found.append(self._came.get_nowait())
        messages = []
        for message in found:
            status = (message.headers or {}).get("Status")
            if status is None:
                messages.append(message)
            elif status in ("404", "408") or (status == "409" and "Batch Completed" in str(message.headers)):
                self._asked = 0
            elif status != "100":
                raise SessionError(f"NATS ended it with status {status}")
        for message in messages:
            number = message.metadata.sequence.consumer
            if number != self._next:
                raise SessionError(f"message {number} came where {self._next} was to come")
            self._next += 1
        self._asked -= len(messages)
        if self._asked <= 0:
            await self._pull()
        if messages:
            self.pending = messages[-1].metadata.num_pending
        return messages

    async def _first(self) -> Msg:
        """Nobody puts an end into the queue when the connection ends: that is looked at."""
        silent = asyncio.get_running_loop().time() + SILENCE_SECONDS
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    return await self._came.get()
            except TimeoutError:
                if not self._broker.usable.is_set() or not self._client.is_connected:
                    raise SessionError("the connection to NATS was lost") from None
                if asyncio.get_running_loop().time() >= silent:
                    raise

    async def done(self, last: Msg) -> None:
        """It, and all before it, are applied."""
        await last.ack()

    async def end_of_stream(self) -> int | None:
        """The stream's last number, if there was nothing up to it that was not delivered; else None."""
        state = (await self._context.stream_info(self._stream)).state
        info = await self._context.consumer_info(self._stream, self._name)
        quiet = not info.num_pending and not info.num_ack_pending and self._came.empty()
        return int(state.last_seq) if quiet else None

    async def close(self) -> None:
        """Nothing more is to come for it."""
        if self._subscription is not None:
            try:
                async with asyncio.timeout(1):
                    await self._subscription.unsubscribe()  # type: ignore[attr-defined]
            except (*TROUBLE, asyncio.CancelledError):
                if being_cancelled():
                    raise

    async def _pull(self) -> None:
        self._asked = BATCH
        question = {"batch": BATCH, "expires": int(PULL_SECONDS * 1e9), "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9)}
        await self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}", json.dumps(question).encode(), self._inbox)
