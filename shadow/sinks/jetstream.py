"""The sink of several machines: exchanges are redacted here, packed, and published to a JetStream stream; others compare them.

Three parts, none of which waits for another: the reader's `offer` fills a bounded queue; one thread redacts and fills a bounded outbox; an
event loop in a thread of its own publishes, some packs at once, each until it is acknowledged. What has no room is dropped and counted,
and counts are added up in memory until the stream takes them, however long that is.

A pack has a name under which it is counted once. One that may or may not have arrived is never counted as dropped beside it: when time is
up, what is sent under the same name is the count of its loss, and whichever of the two comes first is the one that counts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nats.js import JetStreamContext
from nats.js.errors import APIError

from shadow import counters
from shadow.batch import Batch
from shadow.broker import CALL_SECONDS, TROUBLE, Broker, Place, being_cancelled, ensure_stream, reason
from shadow.exchange import Exchange, Record, Summary, weight
from shadow.logs import about
from shadow.pack import Draft, Pair, TallyRow, Told, headers, pack
from shadow.pool import Pool
from shadow.sealing import Sealer
from shadow.sinks import Status
from shadow.sinks.left import Left
from shadow.sinks.outbox import Outbox, Parcel, parcel
from shadow.worker import INLINE_BYTES, Intake

_log = logging.getLogger("banyan.shadow")

SENDERS = 16
"""Packs under way at once."""
LINGER_SECONDS = 0.05
"""A sender that finds a little waits this long for more: packs compress better, and are counted one by one."""
FEW = 20
LOOK_SECONDS = 5.0
CLOSE_SECONDS = 1.0
"""For the connection's end."""
TALLY_SECONDS = 1.0
TALLY_ROWS = 5000
"""Counts in one pack."""
COARSE = 100_000
"""Counts in memory above which seconds become minutes: NATS has been away for long."""
FULL_SECONDS = 0.5
"""Between two tries while the stream is full."""
_FULL = frozenset((10077, 10047, 10023))
"""JetStream's codes of a stream or account that has no more room (maximum bytes, storage, resources)."""
_TOO_LARGE = 10054
"""Its code of a message that is over the stream's own limit."""


@dataclass(slots=True)
class _Sending:
    """A pack that is under way."""

    contents: Draft
    parcels: list[Parcel] = field(default_factory=list)
    doubtful: bool = False
    """It was sent, and nothing was heard of it."""


class JetStreamSink:
    """See the module's docstring."""

    def __init__(
        self,
        sealer: Sealer,
        place: Place,
        left: Path,
        *,
        buffer: int,
        buffer_bytes: int,
        intake: Intake | None = None,
        processes: int = 0,
    ) -> None:
        """`left`: the folder for counts that could not be sent at the end. `processes`: that do what may take long; see
        shadow.pool.size."""
        self._sealer = sealer
        self._slow: Pool[Exchange, Pair | Told] = Pool(sealer, self._sealed_slowly, weight, processes=processes)
        self._intake = intake or Intake()
        self._handing = threading.Lock()
        """Held while an exchange goes from one of the three to the next: it is always in one of them."""
        self._outbox = Outbox(buffer, buffer_bytes)
        self._broker = Broker(place, "banyan shipper")
        self._place = place
        self._left = Left(left)
        self._producer = uuid.uuid4().hex
        self._numbered = 0
        self._batch = Batch()
        self._lock = threading.Lock()
        self._status = Status(connected=False)
        self._has_room = True
        """The stream, when it was last heard of."""
        self._next_look = 0.0
        self._under_way: dict[str, _Sending] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._deadline = float("inf")
        self._ready = threading.Event()
        self._whole = False
        self._redacting = threading.Thread(target=self._redact_all, name="redact", daemon=True)
        self._publishing = threading.Thread(target=self._publish_all, name="publish", daemon=True)

    # The reader's side

    def start(self) -> None:
        self._publishing.start()
        self._ready.wait(10)
        self._redacting.start()

    def offer(self, record: Record) -> None:
        """Takes a record without waiting."""
        if isinstance(record, Summary):
            with self._lock:
                self._batch.summary(record)
        elif not self._intake.put(record):
            self._drop(record.route, record.at, counters.QUEUE_FULL, noise=record.kind == "noise")

    def count(self, route: str, at: float, name: str, number: int = 1) -> None:
        with self._lock:
            self._batch.count(route, at, name, number)

    def status(self) -> Status:
        with self._lock:
            under_way = sum(len(sending.parcels) for sending in list(self._under_way.values()))
            return Status(
                self._intake.waiting + self._slow.waiting + self._outbox.waiting + under_way,
                self._intake.bytes + self._slow.bytes + self._outbox.bytes,
                self._status.shipped,
                self._broker.usable.is_set(),
                self._status.repeated,
                {route: dict(reasons) for route, reasons in self._status.dropped.items()},
                self._status.stream_messages,
                self._status.stream_bytes,
            )

    def stop(self, seconds: float) -> bool:
        """Redacts and sends what is here, for at most about `seconds`. Whether the stream has it all, or a file its counts."""
        seconds = max(1.0, seconds - CLOSE_SECONDS)
        began = time.monotonic()
        self._deadline = began + seconds
        self._intake.close()
        self._redacting.join(seconds * 0.4)
        self._slow.finish(began + seconds * 0.4 - time.monotonic())
        with self._handing:
            left = [*self._intake.clear(), *self._slow.clear()]
        self._slow.close()
        for exchange in left:
            self._drop(exchange.route, exchange.at, counters.SHUTDOWN, noise=exchange.kind == "noise")
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._publishing.join(max(1.0, self._deadline - time.monotonic()) + CLOSE_SECONDS)
        return self._whole and not self._publishing.is_alive()

    def _drop(self, route: str, at: float, name: str, *, noise: bool) -> None:
        with self._lock:
            self._batch.count(route, at, counters.lost(name, noise=noise))
            if not noise:
                self._status.drop(route, name.removeprefix(counters.DROPPED))

    # The redacting thread

    def _redact_all(self) -> None:
        while (exchange := self._intake.take()) is not None:
            try:
                found, broke = self._sealer.judge(exchange, INLINE_BYTES), False
            except Exception:  # the next exchange must go out whatever this one hit
                found, broke = None, True
                _log.exception(
                    "redacting request %s on route %s failed",
                    exchange.request_id,
                    exchange.route,
                    extra=about(exchange.request_id, exchange.route),
                )
            ready = _ready(exchange, found)
            with self._handing:
                if not self._intake.done():
                    return
                if found is not None or broke:
                    self._hand_on(exchange, ready)
                elif not self._slow.offer(exchange):
                    self._drop(exchange.route, exchange.at, counters.POOL_FULL, noise=exchange.kind == "noise")

    def _sealed_slowly(self, exchange: Exchange, found: Pair | Told | None) -> None:
        """In a thread of the pool's. None: it broke, which was told."""
        ready = _ready(exchange, found)
        with self._handing:
            if self._slow.settle(exchange):
                self._hand_on(exchange, ready)

    def _hand_on(self, exchange: Exchange, ready: Parcel | None) -> None:
        noise = exchange.kind == "noise"
        if ready is None:
            self.count(exchange.route, exchange.at, counters.failed(noise=noise))
        elif not self._outbox.put(ready):
            self._drop(exchange.route, exchange.at, self._why(), noise=noise)

    def _why(self) -> str:
        """Why there is no room in the outbox, which NATS alone empties: it refuses, or it does not answer, or not as fast as they come."""
        return counters.BROKER_FULL if self._broker.usable.is_set() and not self._has_room else counters.BROKER_AWAY

    # The publishing thread

    def _publish_all(self) -> None:
        asyncio.run(self._publish())

    async def _publish(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbox.open()
        self._broker.start(self._prepare)
        self._ready.set()
        senders = [asyncio.create_task(self._send_all(), name=f"sender {index}") for index in range(SENDERS)]
        telling = asyncio.create_task(self._tell_all(), name="counts")
        coarsening = asyncio.create_task(self._coarsen_all(), name="coarse counts")
        try:
            await self._stopping.wait()
            await self._finish(senders, telling)
        finally:
            for task in (*senders, telling, coarsening):
                task.cancel()
            await asyncio.gather(*senders, telling, coarsening, return_exceptions=True)
            await self._broker.close()

    async def _prepare(self, stream: JetStreamContext) -> None:
        await ensure_stream(stream, self._place)

    async def _send_all(self) -> None:
        """One pack after the other. What stumbles it costs what it holds at the most, and is told."""
        while True:
            try:
                await self._send()
            except (Exception, asyncio.CancelledError):
                if being_cancelled():
                    raise
                _log.exception("sending to NATS stumbled")
                await asyncio.sleep(FULL_SECONDS)

    async def _send(self) -> None:
        while True:
            await self._broker.usable.wait()
            taken = await self._outbox.take()
            if len(taken) < FEW and not self._outbox.waiting and not self._stopping.is_set():
                self._outbox.give_back(taken)
                await asyncio.sleep(LINGER_SECONDS)
                taken = await self._outbox.take()
            await self._until_taken(_Sending(self._new(taken), taken))

    def _new(self, parcels: Sequence[Parcel] = (), tallies: Sequence[TallyRow] = ()) -> Draft:
        self._numbered += 1
        pairs = [each.data for each in parcels if not each.compared]
        told = [each.data for each in parcels if each.compared]
        return Draft(self._producer, self._numbered, pairs, told, list(tallies))

    async def _until_taken(self, sending: _Sending) -> None:
        """Publishes one pack until the stream has it, or says that it never will."""
        contents = sending.contents
        self._under_way[contents.id] = sending
        body, fields = pack(contents), headers(contents, [(each.route, each.noise) for each in sending.parcels])
        length = len(body) + sum(len(name) + len(value) + 4 for name, value in fields.items()) + 256
        while True:
            await self._broker.usable.wait()
            if length > self._broker.max_payload and len(sending.parcels) > 1 and not sending.doubtful:
                await self._halve(sending)
                return
            if length > self._broker.max_payload:
                await self._refuse(sending, f"a pack of {length} bytes is over NATS' max_payload of {self._broker.max_payload}: raise that")
                return
            if sending.doubtful:
                self._status.repeated += 1
            try:
                async with asyncio.timeout(CALL_SECONDS + 1):  # the call's own does not hold while its buffer is full
                    await self._broker.stream.publish(
                        self._place.subject, body, timeout=CALL_SECONDS, stream=self._place.stream, headers=dict(fields)
                    )
            except APIError as error:
                # An answer: it is not in the stream. Unless an earlier try under the same name is, which is why the name is kept.
                if error.err_code in _FULL:
                    self._full()
                elif error.err_code == _TOO_LARGE:
                    await self._refuse(sending, f"NATS refused a pack of {length} bytes: {reason(error)}")
                    return
                else:
                    self._broker.doubt()
                await asyncio.sleep(FULL_SECONDS)
            except (Exception, asyncio.CancelledError) as error:  # it may or may not have arrived, so it is sent again by the same name
                if being_cancelled():
                    raise
                if not isinstance(error, (*TROUBLE, asyncio.CancelledError)):
                    _log.exception("publishing to NATS failed")
                sending.doubtful = True
                self._broker.doubt()
            else:
                self._has_room = True
                self._status.shipped += len(sending.parcels)
                del self._under_way[contents.id]
                return

    async def _halve(self, sending: _Sending) -> None:
        """Two packs in the place of one that NATS has no room for, and that nobody has seen yet."""
        middle = len(sending.parcels) // 2
        parts = [sending.parcels[:middle], sending.parcels[middle:]]
        halves = [_Sending(self._new(part), part) for part in parts]
        del self._under_way[sending.contents.id]
        self._under_way |= {half.contents.id: half for half in halves}
        for half in halves:
            await self._until_taken(half)

    def _full(self) -> None:
        if self._has_room:
            _log.error("the stream %s is full: are there shadow workers? What finds no room here is dropped", self._place.stream)
        self._has_room = False

    async def _refuse(self, sending: _Sending, why: str) -> None:
        """It will never be in the stream. Unless it is already, because of a try of which nothing was heard."""
        _log.error("%s", why)
        if sending.doubtful:
            await self._until_taken(_Sending(_given_up(sending, counters.BROKER_REFUSED)))
            return
        del self._under_way[sending.contents.id]
        for each in sending.parcels:
            self._drop(each.route, each.at, counters.BROKER_REFUSED, noise=each.noise)

    # Counts

    async def _tell_all(self) -> None:
        left = self._left.read()
        while True:
            await asyncio.sleep(TALLY_SECONDS)
            if not self._broker.usable.is_set():
                continue
            try:
                while left:
                    await self._until_taken(_Sending(left[0]))
                    self._left.remove(left.pop(0))
                await self._tell()
                await self._look()
            except (Exception, asyncio.CancelledError):
                if being_cancelled():
                    raise
                _log.exception("sending counts to NATS stumbled")

    async def _look(self) -> None:
        """How much waits in the stream, now and then: a worker that could say so may not be there."""
        if time.monotonic() < self._next_look or not self._broker.usable.is_set():
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        with suppress(*TROUBLE):
            state = (await self._broker.stream.stream_info(self._place.stream)).state
            self._status.stream_messages, self._status.stream_bytes = state.messages, state.bytes

    async def _tell(self) -> None:
        sendings = [_Sending(contents) for contents in self._tallied()]
        self._under_way |= {sending.contents.id: sending for sending in sendings}
        for sending in sendings:
            await self._until_taken(sending)

    def _tallied(self) -> list[Draft]:
        with self._lock:
            batch, self._batch = self._batch, Batch()
        if batch.lost:
            _log.error("%d counts were lost: NATS was away too long", batch.lost)
        rows = [(route, at, name, number) for (route, at, name), number in sorted(batch.tallies.items())]
        return [self._new(tallies=rows[at : at + TALLY_ROWS]) for at in range(0, len(rows), TALLY_ROWS)]

    async def _coarsen_all(self) -> None:
        """Beside the telling, which waits for as long as NATS is away, or its stream full."""
        while True:
            await asyncio.sleep(TALLY_SECONDS)
            self._coarsen()

    def _coarsen(self) -> None:
        with self._lock:
            if len(self._batch.tallies) > COARSE:
                coarse: Counter[tuple[str, int, str]] = Counter()
                for (route, at, name), number in self._batch.tallies.items():
                    coarse[route, at // 60 * 60, name] += number
                self._batch.tallies = coarse

    # The end

    async def _finish(self, senders: list[asyncio.Task[None]], telling: asyncio.Task[None]) -> None:
        """Sends what is left while there is time; then only what became of it, and what of that can't be sent goes to a file."""
        half = time.monotonic() + max(0.2, (self._deadline - time.monotonic()) * 0.6)
        while (self._outbox.waiting or self._under_way) and time.monotonic() < half and self._broker.usable.is_set():  # noqa: ASYNC110 - several things, none an event
            await asyncio.sleep(0.02)
        for task in (*senders, telling):
            task.cancel()
        await asyncio.gather(*senders, telling, return_exceptions=True)
        for each in self._outbox.clear():
            self._drop(each.route, each.at, counters.SHUTDOWN, noise=each.noise)
        packs = [
            _given_up(sending, counters.SHUTDOWN) for sending in self._under_way.values() if sending.contents.producer == self._producer
        ]
        self._under_way.clear()
        packs += self._tallied()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.2, self._deadline - time.monotonic() - 0.3)):
                while packs:
                    await self._until_taken(_Sending(packs[0]))
                    packs.pop(0)
        self._whole = self._left.write(packs)


def _ready(exchange: Exchange, found: Pair | Told | None) -> Parcel | None:
    """`found` as it is sent; None: there is nothing to send, which was told."""
    try:
        return parcel(found) if found is not None else None
    except Exception:  # the next exchange must go out whatever this one holds; it is counted by whoever asks
        _log.exception(
            "request %s on route %s cannot be sent", exchange.request_id, exchange.route, extra=about(exchange.request_id, exchange.route)
        )
        return None


def _given_up(sending: _Sending, name: str) -> Draft:
    """What is sent in the place of a pack, under its name: that what was in it is lost."""
    lost = Batch()
    for each in sending.parcels:
        lost.count(each.route, each.at, counters.lost(name, noise=each.noise))
    rows = [(route, at, counted, number) for (route, at, counted), number in lost.tallies.items()]
    contents = sending.contents
    return Draft(contents.producer, contents.number, [], [], [*contents.tallies, *rows])
