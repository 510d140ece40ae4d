"""One connection to an upstream: carries one exchange at a time, and knows exactly where a response ends.

Invariant: a connection goes back to its pool only when the request was sent whole, the response ended where its framing says, both sides
keep it alive, and not one byte came after the end (edge.md 22). In every other case it is thrown away.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Final, cast

from mypy_extensions import trait

from gateway.net.chunked import ChunkedReader, ChunkError
from gateway.net.head import HeadError, ResponseHead
from gateway.net.place import GATEWAY_ERRORS, Place
from gateway.net.recurring import Responses
from gateway.net.transports import pause_reading, resume_reading
from gateway.policy.failure import Failure
from gateway.tls import refused_us

if TYPE_CHECKING:
    from gateway.net.pool import Pool

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response's head. nginx: 4 to 8 KiB, Envoy: 60 KiB, HAProxy: 16 KiB."""
MAX_UNREAD: Final = 64 * 1024
"""Bytes of a request. Who answers a longer one with anything but success may not have read it, and then ends the connection although it
promised to keep it (gunicorn, once it has thrown 64 KiB away): the next request would be written into that end."""
HIGH_WATER: Final = 64 * 1024
"""Bytes waiting to be written before the other side's reading is paused."""


class State(Enum):
    """Where the connection is in its exchange."""

    IDLE = "idle"
    HEAD = "waiting for a response's head"
    LENGTH = "reading a body of known length"
    CHUNKED = "reading a chunked body"
    UNTIL_CLOSE = "reading a body that ends with the connection"
    TUNNEL = "carrying another protocol, after a 101"
    GONE = "closed or being closed"


@trait
class Sink:
    """Who an exchange's events are for. After `complete` or `on_failure` nothing more comes."""

    @abstractmethod
    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx answer."""

    @abstractmethod
    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        """The answer's head, with what came of its body."""

    @abstractmethod
    def on_data(self, data: bytes, complete: bool) -> None:
        """More of the body."""

    @abstractmethod
    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """A 101: from now on the connection carries whatever was agreed on, beginning with `data`. It ends as a body does."""

    @abstractmethod
    def on_failure(self, failure: Failure, stale: bool) -> None:
        """There will be no (whole) answer. `stale`: the connection had died in the pool, unnoticed."""

    @abstractmethod
    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream reads more slowly than it is written to."""


class UpstreamConnection:
    """See the module's docstring. An asyncio.Protocol in all but name: compiled classes have no interpreted bases."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_ended",
        "_head_only",
        "_heads",
        "_left",
        "_reusable",
        "_satisfied",
        "_sent",
        "_told_end",
        "_upgrade",
        "_written",
        "epoch",
        "home",
        "place",
        "pool",
        "refusal",
        "reused",
        "since",
        "sink",
        "state",
        "transport",
        "until",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.state = State.IDLE
        self.sink: Sink | None = None
        self.place: Place | None = None
        """Where it leads to; None once it is gone."""
        self.home: Place | None = None
        """The same, also afterwards."""
        self.epoch = 0
        """What the outcome of its exchange brings back to the address's breaker."""
        self.until = 0.0
        """It takes no request after this time."""
        self.since = 0.0
        """When it came back to its pool."""
        self.reused = False
        """It has carried an exchange before, so it may have died while it waited in the pool."""
        self.refusal: ssl.SSLError | None = None
        """It does not accept us: nothing of what was sent was read."""
        self._ended = False
        """Nothing more will be written: a tunnel's client has said its last word."""
        self._told_end = False
        """The upstream has said that it ends here. Without TLS the end of the connection says it."""
        self._heads = Responses()
        self._buffer = b""
        self._left = 0
        self._chunks: ChunkedReader | None = None
        self._head_only = False
        self._reusable = False
        self._satisfied = False
        """The answer under way, once it is whole, says that the address is well."""
        self._sent = False
        self._upgrade = b""
        self._written = 0
        """Bytes of the request, head and body."""

    # What the engine asks of it

    def begin(self, sink: Sink, data: bytes, *, head_only: bool, whole: bool, upgrade: bytes = b"") -> None:
        """Sends a request's head, with what is there of its body. `whole`: nothing more will follow. `head_only`: it is a HEAD. `upgrade`:
        the answer may be a 101 to one of these protocols."""
        self.sink = sink
        self._upgrade = upgrade
        self.state = State.HEAD
        self._head_only = head_only
        self._sent = whole
        self._written = len(data)
        if whole:
            self.pool.answering.begin(self, self.pool.clock.now)
        self.transport.write(data)

    def write(self, data: bytes, *, last: bool) -> None:
        """More of the request's body."""
        if self.state is State.GONE:
            return
        self._sent = last
        self._written += len(data)
        if last and self.state is State.HEAD:
            self.pool.answering.begin(self, self.pool.clock.now)
        if data:
            self.transport.write(data)

    def end(self) -> None:
        """Nothing more will be written; what the upstream still has to say is read."""
        if self.state is State.GONE:
            return
        self._ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def hurry(self) -> None:
        """The whole answer is awaited as its head was: nobody has seen anything of it yet."""
        self.pool.answering.begin(self, self.pool.clock.now)

    def unhurry(self) -> None:
        """It is passed on as it comes after all."""
        self.pool.answering.end(self)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: throws the connection away, silently."""
        place = self.place
        if place is not None:
            if self.state is State.HEAD and self.sink is not None:
                self._unheard(place)
            elif self.state is State.IDLE:
                place.breaker.abandoned(self.epoch)  # opened as a probe, perhaps, for somebody who is gone by now
        self.sink = None
        if self._ended and self.state is State.TUNNEL and self.transport.get_write_buffer_size():
            # The last words of a tunnel's client are still on their way.
            self.pool.streaming.begin(self, self.pool.clock.now)
            self.transport.close()
        else:
            self._close()

    def pause(self, paused: bool) -> None:
        """Stops or resumes reading, while the client is slow."""
        if self.state is State.GONE:
            return
        if paused:
            pause_reading(self.transport, self.pool.secure)
            self.pool.streaming.end(self)  # it is the client who is slow; the listener has a time for that
        else:
            resume_reading(self.transport, self.pool.secure)
            if self.state in (State.LENGTH, State.CHUNKED, State.UNTIL_CLOSE):
                self.pool.streaming.begin(self, self.pool.clock.now)

    def timed_out(self) -> None:
        """No head, or no more of the body, came in time."""
        self._fail(Failure.TIMEOUT)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.pool.clock.read()
        state = self.state
        if state is State.HEAD:
            self._read_head(data)
        elif state is State.LENGTH:
            self._read_length(data)
        elif state is State.CHUNKED:
            self._read_chunks(data)
        elif state is State.TUNNEL:
            if self.sink is not None:
                self.sink.on_data(data, False)
        elif state is State.UNTIL_CLOSE:
            self.pool.streaming.begin(self, self.pool.clock.now)
            if self.sink is not None:
                self.sink.on_data(data, False)
        elif state is State.IDLE:
            # Surplus: an answer that nobody asked for must never become the next request's answer.
            self._close()

    def eof_received(self) -> bool:
        self._told_end = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.clock.read()
        if not self.reused and isinstance(error, ssl.SSLError) and refused_us(error):
            self.refusal = error
            if self.place is not None:
                self.pool.complain(error, self.place)
        state = self.state
        place = self.place
        self.state = State.GONE
        self._forget()
        sink, self.sink = self.sink, None
        if sink is None or state in (State.IDLE, State.GONE):
            return
        # Over TLS an end that was not announced may be anybody's doing, and so is not one (RFC 8446, 6.1; edge.md 45).
        in_order = error is None and (self._told_end or self._ended or not self.pool.secure)
        if (state is State.UNTIL_CLOSE or state is State.TUNNEL) and in_order:
            sink.on_data(b"", True)
        elif self.refusal is not None:
            _blame(place, Failure.TLS, state, self)
            sink.on_failure(Failure.TLS, False)
        else:
            stale = self.reused and state is State.HEAD and not self._buffer
            if not stale:
                _blame(place, Failure.RESET, state, self)
            elif place is not None:
                place.breaker.abandoned(self.epoch)
            sink.on_failure(Failure.RESET, stale)

    def pause_writing(self) -> None:
        self.pool.clock.read()
        if self.state is State.HEAD:
            self.pool.streaming.begin(self, self.pool.clock.now)  # an upstream that does not read its request
        if self.sink is not None:
            self.sink.on_upstream_paused(True)

    def resume_writing(self) -> None:
        if self.state is State.HEAD:
            self.pool.streaming.end(self)
        if self.sink is not None:
            self.sink.on_upstream_paused(False)

    # Reading

    def _read_head(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while True:
            try:
                head = self._heads.read(data)
            except HeadError:
                self._fail(Failure.BAD_ANSWER)
                return
            if (len(data) if head is None else head.size) > MAX_HEAD:
                self._fail(Failure.BAD_ANSWER)
                return
            if head is None:
                self._buffer = data
                return
            data = data[head.size :]
            if head.status >= 200:
                break
            if self.sink is None or (head.status == 101 and not _asked_for(head.upgrade, self._upgrade)):
                self._fail(Failure.BAD_ANSWER)  # a switch that nobody asked for
                return
            if head.status == 101:
                if self.place is not None:
                    self.place.answered(101, self.epoch, self.pool.clock.now)
                self.state = State.TUNNEL
                self.pool.answering.end(self)
                self.sink.on_upgrade(head, data)
                return
            self.sink.on_interim(head)
            if self.state is not State.HEAD:
                return
        self._reusable = head.keep_alive and (head.status < 300 or self._written <= MAX_UNREAD)
        self._read_body(head, data)

    def _read_body(self, head: ResponseHead, data: bytes) -> None:
        sink, place = self.sink, self.place
        self.pool.answering.end(self)
        self._satisfied = head.status < 500 or head.status not in GATEWAY_ERRORS
        if place is not None:
            place.answered(head.status, self.epoch, self.pool.clock.now)
        # RFC 9112, 6.3, in its order.
        if self._head_only or head.status in (204, 304):
            self._finish(surplus=data)
            if sink is not None:
                sink.on_response(head, b"", True)
            return
        if head.chunked:
            self._chunks = ChunkedReader()
            self.state = State.CHUNKED
            try:
                body = self._chunks.feed(data)
            except ChunkError:
                self._fail(Failure.BAD_ANSWER)
                return
            complete = self._chunks.done
            if complete:
                self._finish(surplus=self._chunks.surplus)
        elif head.length >= 0:
            size = len(data)
            complete = size >= head.length
            if complete:
                body = data[: head.length] if size > head.length else data
                self._finish(surplus=data[head.length :])
            else:
                self.state = State.LENGTH
                self._left = head.length - size
                body = data
        else:
            self.state = State.UNTIL_CLOSE
            self._reusable = False
            body, complete = data, False
        if not complete:
            self.pool.streaming.begin(self, self.pool.clock.now)
        if sink is not None:
            sink.on_response(head, body, complete)

    def _read_length(self, data: bytes) -> None:
        sink = self.sink
        left = self._left - len(data)
        self._left = left
        if left > 0:
            self.pool.streaming.begin(self, self.pool.clock.now)
            if sink is not None:
                sink.on_data(data, False)
            return
        body, surplus = (data[:left], data[left:]) if left else (data, b"")
        self._finish(surplus=surplus)
        if sink is not None:
            sink.on_data(body, True)

    def _read_chunks(self, data: bytes) -> None:
        sink, chunks = self.sink, self._chunks
        assert chunks is not None  # noqa: S101 - the state says so
        try:
            body = chunks.feed(data)
        except ChunkError:
            self._fail(Failure.BAD_ANSWER)
            return
        if chunks.done:
            self._finish(surplus=chunks.surplus)
        else:
            self.pool.streaming.begin(self, self.pool.clock.now)
        if sink is not None and (body or chunks.done):
            sink.on_data(body, chunks.done)

    # Ending

    def _finish(self, *, surplus: bytes) -> None:
        """The response is whole. Called before the sink hears of it, so that its next request may have this connection."""
        self.sink = None
        self._chunks = None
        place = self.place
        if place is not None and place.outlier.streak and self._satisfied:
            place.outlier.well(self.pool.clock.now)
        if surplus or not self._reusable or not self._sent:
            self._close()
            return
        if self.state is not State.HEAD:
            self.pool.streaming.end(self)
            self.pool.answering.end(self)
        self.state = State.IDLE
        self.reused = True
        self.pool.release(self)

    def _fail(self, failure: Failure) -> None:
        sink, self.sink = self.sink, None
        state, place = self.state, self.place
        self._close()
        if sink is not None:
            _blame(place, failure, state, self)
            sink.on_failure(failure, False)

    def _close(self) -> None:
        if self.state is not State.GONE:
            self.state = State.GONE
            self._forget()
            self.transport.abort()

    def _unheard(self, place: Place) -> None:
        """Its client did not wait for the answer. Most clients have less patience than `response_timeout`: an address that hangs must not
        go unseen by that, so half of it is as good as all."""
        pool = self.pool
        began = pool.answering.since(self)
        if began is not None and pool.clock.now - began >= pool.answering.seconds / 2:
            place.failed(Failure.TIMEOUT.code, self.epoch, pool.clock.now)
        else:
            place.breaker.abandoned(self.epoch)

    def _forget(self) -> None:
        pool = self.pool
        pool.answering.end(self)
        pool.streaming.end(self)
        pool.forget(self)


def _blame(place: Place | None, failure: Failure, state: State, connection: UpstreamConnection) -> None:
    """Counts a failure for the address. Not one that says nothing of it: a tunnel's end, or a stream that has been quiet for too long."""
    if place is None or state is State.TUNNEL or state is State.UNTIL_CLOSE or (state is State.CHUNKED and failure is Failure.TIMEOUT):
        return
    place.failed(failure.code, connection.epoch, connection.pool.clock.now, begun=state is not State.HEAD)


def _asked_for(chosen: bytes, asked: bytes) -> bool:
    """Is it among the protocols that were asked for (RFC 9110, 7.8), and all of it?"""
    members = {member.strip(b" \t") for member in asked.lower().split(b",")}
    return bool(chosen) and bool(asked) and all(member.strip(b" \t") in members for member in chosen.lower().split(b","))
