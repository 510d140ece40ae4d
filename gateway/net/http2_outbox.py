"""What goes out on one HTTP/2 connection: frames of all its streams, in turns, as far as the client lets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hyperframe.frame import GoAwayFrame

from gateway.net.http2_frames import Patience
from gateway.net.http2_state import State
from gateway.net.upstream import HIGH_WATER

if TYPE_CHECKING:
    from gateway.net.http2 import Http2
    from gateway.net.http2_stream import Stream
    from gateway.net.listener import Listener

PIECE: Final = 16 * 1024
"""Bytes of one DATA frame, so that streams take turns."""


class Outbox:
    """See the module's docstring."""

    __slots__ = ("_connection", "_listener", "_patience", "_state", "_transport", "_waiting", "held_up", "paused", "shut")

    def __init__(self, connection: Http2, listener: Listener, state: State, patience: Patience, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._listener = listener
        self._state = state
        self._patience = patience
        self._transport = transport
        self._waiting: dict[int, Stream] = {}
        """Those that have something to send and whose own window is open, in the order of their turns."""
        self.held_up = False
        """What was received is being looked at: what is to be sent goes out after that, in one piece."""
        self.paused = False
        """The client takes nothing at all."""
        self.shut = False
        """Nothing goes out any more."""

    def head(self, stream: Stream, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        if not self.shut:
            self._state.send_headers(stream.number, fields, end_stream=last)

    def offer(self, stream: Stream) -> None:
        """It may have something to send."""
        if stream.waiting and not self.shut:
            self._waiting[stream.number] = stream

    def acknowledge(self, number: int, size: int) -> None:
        """So much of a body is dealt with: the client may send as much more."""
        if not self.shut:
            self._state.acknowledge_received_data(size, number)
            self.flush()

    def reset(self, number: int, code: int) -> None:
        if not self.shut:
            self._state.reset_stream(number, code)

    def goaway(self, code: int, last: int) -> None:
        # Not with h2, which takes every GOAWAY for the last word.
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code)
        self._transport.write(self._state.data_to_send() + frame.serialize())

    def forget(self, stream: Stream) -> None:
        self._waiting.pop(stream.number, None)
        self._listener.http2_blocked.end(stream)

    def shut_down(self) -> None:
        """Nothing follows what was written."""
        data = b"" if self.shut else self._state.data_to_send()
        self.shut = True
        self._waiting.clear()
        if data:
            self._transport.write(data)

    def pump(self) -> None:
        """Sends what the windows allow, a piece of each stream in turn."""
        if self.held_up:
            return
        state, waiting = self._state, self._waiting
        blocked = self._listener.http2_blocked
        written = 0
        while waiting and not self.paused and not self.shut:
            number, stream = next(iter(waiting.items()))
            del waiting[number]
            if not stream.waiting:
                continue
            if not stream.held:
                stream.sent()
                state.end_stream(number)
                self._sent(stream)
                continue
            window = state.local_flow_control_window(number)
            if window <= 0:
                self._block(stream)
                if state.outbound_flow_control_window > 0:
                    continue  # until its own window opens
                for other in waiting.values():
                    self._block(other)
                waiting[number] = stream
                break
            data = stream.take(min(window, PIECE, state.max_outbound_frame_size))
            last = stream.sent()
            state.send_data(number, data, end_stream=last)
            self._patience.give(len(data) / Patience.BYTES)
            if last:
                self._sent(stream)
            else:
                blocked.end(stream)
                self.offer(stream)
                stream.drained()
            written += len(data)
            if written > HIGH_WATER:
                self.flush()  # which may say that this is enough
                written = 0
        self.flush()

    def flush(self) -> None:
        if not self.held_up and not self.shut:
            data = self._state.data_to_send()
            if data:
                self._transport.write(data)

    def _block(self, stream: Stream) -> None:
        """The client has to let it through, in time."""
        if stream.held and not self._listener.http2_blocked.running(stream):
            self._listener.http2_blocked.begin(stream, self._connection.edge.clock.now)

    def _sent(self, stream: Stream) -> None:
        self._listener.http2_blocked.end(stream)
        if stream.closed:
            self._connection.settle(stream)
