"""One request and its answer in an HTTP/2 connection.

It is the transport of a Downstream, which speaks HTTP/1.1 with it as with any client: so all that is decided, refused, limited and counted
for a request is done once, in one place, whatever the client speaks. The request goes in as HTTP/1.1; the answer that comes out is taken
apart into a head and a body, for which the client's flow control counts.

Invariants:
- A body goes on exactly as long as it was said to be. Its last part waits for the end of the stream, so that a request of which more comes
  than was said is never whole.
- What is held for a slow client is bounded as in HTTP/1 (edge.md 33): over HIGH_WATER the upstream is not read. What is held for a slow
  upstream is bounded by the stream's window, which opens again only when the Downstream wants more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.net.chunked import LAST, ChunkedReader, chunk
from gateway.net.http2_fields import Request, answer
from gateway.net.upstream import HIGH_WATER

if TYPE_CHECKING:
    from gateway.net.downstream import Downstream
    from gateway.net.http2 import Http2

LOW_WATER: Final = 16 * 1024
"""Bytes waiting for the client below which the upstream is read again."""


class Stream:
    """See the module's docstring. An asyncio.Transport in all but name."""

    __slots__ = (
        "_ahead",
        "_buffer",
        "_chunked",
        "_chunks",
        "_complete",
        "_connection",
        "_downstream",
        "_head_only",
        "_headed",
        "_last",
        "_left",
        "_out",
        "_reading_paused",
        "_unacknowledged",
        "_writing_paused",
        "closed",
        "ended",
        "number",
        "over",
    )

    def __init__(self, connection: Http2, number: int, request: Request, *, ended: bool) -> None:
        self.number = number
        self.ended = ended
        """The client's side is through."""
        self.over = False
        """Nothing more goes out: the answer is there whole, or the stream was reset."""
        self.closed = False
        """The Downstream will write nothing more."""
        self._connection = connection
        self._downstream: Downstream | None = None
        self._head_only = request.head_only
        # The request's body
        self._ahead = request.length
        """Bytes still to come; negative: nobody has said how many."""
        self._chunked = request.length <= 0
        self._last = b""
        """The last part, which waits for the stream's end."""
        self._reading_paused = False
        self._unacknowledged = 0
        """Bytes that the client's window is smaller by, for as long as the Downstream wants no more."""
        # The answer
        self._headed = False
        self._buffer = b""
        self._chunks: ChunkedReader | None = None
        self._left = 0
        """Bytes of the answer's body that will still be written; -1: until it says that this was all."""
        self._out = bytearray()
        """Those that wait for the client's window."""
        self._complete = False
        """They are the last ones."""
        self._writing_paused = False

    # The client's side

    def begin(self, downstream: Downstream, head: bytes) -> None:
        self._downstream = downstream
        downstream.data_received(head)

    def expects(self, size: int, *, ended: bool) -> bool:
        """So much more of the request's body, and `ended`, that this is all: is it what was said?"""
        return self._ahead < 0 or (size == self._ahead if ended else size <= self._ahead)

    def receive(self, data: bytes, size: int, *, ended: bool) -> None:
        """More of the request's body, as expected; `size` is what the client's window became smaller by."""
        self._unacknowledged += size
        self.ended = ended
        if self._ahead >= 0:
            self._ahead -= len(data)
        if self._chunked:
            data = (chunk(data) if data else b"") + (LAST if ended else b"")
        else:
            data = self._last + data
            self._last = b""
            if self._ahead == 0 and not ended:
                self._last = data
                data = b""
        downstream = self._downstream
        if data and downstream is not None:
            downstream.data_received(data)
        if not self._reading_paused:
            self.acknowledge()

    def acknowledge(self) -> None:
        """The client may send as much more."""
        if self._unacknowledged:
            size, self._unacknowledged = self._unacknowledged, 0
            self._connection.out.acknowledge(self.number, size)

    def lost(self) -> None:
        """The client wants no answer any more, or is gone."""
        self.over = True
        self._out.clear()
        downstream, self._downstream = self._downstream, None
        if downstream is not None:
            downstream.connection_lost(None)

    def leave(self) -> None:
        """The worker ends."""
        if self._downstream is not None:
            self._downstream.leave()

    def expired(self) -> None:
        """The client has let nothing of what it asked for through for too long (edge.md 33)."""
        self._connection.edge.tally.event("http2-slow-reader")
        self.abort()

    # asyncio.Transport, as far as Downstream and Relay use it

    def write(self, data: bytes) -> None:
        if self.over or self.closed:
            return
        if self._headed:
            self._body(data)
        else:
            self._heads(data)
        self._send()
        if len(self._out) > HIGH_WATER and not self._writing_paused and not self.over and self._downstream is not None:
            self._writing_paused = True
            self._downstream.pause_writing()

    def _send(self) -> None:
        out = self._connection.out
        out.offer(self)
        out.pump()

    def close(self) -> None:
        """All is written."""
        if self.closed:
            return
        self.closed = True
        # Not now: whoever closes is not done yet.
        self._connection.edge.loop.call_soon(self._let_go)
        if self.over:
            self._connection.settle(self)
        elif self._headed and (self._complete or (self._left < 0 and self._chunks is None)):
            self._complete = True
            self._send()
        else:
            self.abort()  # what there is of an answer is not whole

    def write_eof(self) -> None:
        self.close()

    def abort(self) -> None:
        if self.over:
            return
        self.over = self.closed = True
        self._out.clear()
        self._connection.edge.loop.call_soon(self._let_go)
        self._connection.break_off(self)

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        self.acknowledge()

    def is_closing(self) -> bool:
        return self.closed or self.over

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: object = None) -> object:
        """There is no socket of its own."""
        return default

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    # The answer

    def _heads(self, data: bytes) -> None:
        data = self._buffer + data
        while not self._headed:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            head = answer(data[:end])
            data = data[end + 4 :]
            if head.status < 200:
                self._connection.out.head(self, head.fields, last=False)
                if not data:
                    return
                continue
            self._headed = True
            if self._head_only or head.status in (204, 304):
                self._complete = True
            elif head.chunked:
                self._chunks = ChunkedReader()
                self._left = -1
            else:
                self._left = head.length
                self._complete = head.length == 0
            self._connection.out.head(self, head.fields, last=self._complete)
            self.over = self._complete
        self._buffer = b""
        if data and not self._complete:
            self._body(data)

    def _body(self, data: bytes) -> None:
        chunks = self._chunks
        if chunks is not None:
            data = chunks.feed(data)
            self._complete = chunks.done
        elif self._left >= 0:
            data = data[: self._left]
            self._left -= len(data)
            self._complete = self._left == 0
        self._out += data

    @property
    def waiting(self) -> bool:
        """Is there something to send?"""
        return not self.over and (len(self._out) > 0 or (self._complete and self._headed))

    @property
    def held(self) -> int:
        """Bytes that wait for a window."""
        return len(self._out)

    def take(self, most: int) -> bytes:
        """The next bytes to send, at most so many."""
        data = bytes(self._out[:most])
        del self._out[:most]
        return data

    def sent(self) -> bool:
        """What was taken is on its way. True: it was the last."""
        if self._complete and not self._out:
            self.over = True
            return True
        return False

    def drained(self) -> None:
        """After the client has taken some: may the upstream be read again?"""
        if self._writing_paused and len(self._out) <= LOW_WATER:
            self._writing_paused = False
            if self._downstream is not None:
                self._downstream.resume_writing()

    def _let_go(self) -> None:
        downstream, self._downstream = self._downstream, None
        if downstream is not None:
            downstream.connection_lost(None)
