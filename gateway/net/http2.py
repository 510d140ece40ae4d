"""One HTTP/2 client connection (RFC 9113): its streams, each a request of its own, and what a client may not do to it.

h2 keeps the protocol's state and speaks HPACK; each stream is the transport of a Downstream (gateway/net/http2_stream.py), so nothing about
requests is decided here. What is: who may open a stream, which of them may send next, when the connection ends, and how much work that
brings nothing is put up with.

Fields are judged by gateway/net/http2_fields.py and not by h2, for which every malformed request is the connection's end: behind a load
balancer one client's bad request must not cost the others theirs. For the same reason lengths are counted here, although h2 does as well.
(tests/gateway/net/test_http2_fields.py holds what passes against h2's own judgement.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamReset, TrailersReceived, WindowUpdated
from h2.exceptions import ProtocolError

from gateway.net import http2_frames as frames
from gateway.net.downstream import Downstream
from gateway.net.http2_fields import MalformedError, check, request
from gateway.net.http2_frames import FrameError, Frames, Patience, Resets
from gateway.net.http2_outbox import Outbox
from gateway.net.http2_state import MAX_STREAM_ID, MAX_STREAMS, State
from gateway.net.http2_stream import Stream
from gateway.net.peer import Peer
from gateway.net.recurring import Requests
from gateway.net.transports import pause_reading, resume_reading, untaken
from gateway.net.upstream import HIGH_WATER
from gateway.policy.forwarded import unmapped

if TYPE_CHECKING:
    from gateway.net.listener import Listener
    from gateway.net.terms import Terms

CRUMBS: Final = 200
"""Fields of a head beyond those that the limit allows, for cookies come in pieces. A byte can be a field, and each costs 10 µs to unpack:
those beyond cost patience."""
TINY: Final = 128
"""Bytes. A DATA frame with less in it costs some patience, if it is not the last."""


class Http2:
    """See the module's docstring. An asyncio.Protocol in all but name: compiled classes have no interpreted bases."""

    __slots__ = (
        "_block",
        "_block_open",
        "_client_leaves",
        "_closing",
        "_frames",
        "_going",
        "_greeted",
        "_heads",
        "_host",
        "_last_said",
        "_listener",
        "_patience",
        "_peer",
        "_resets",
        "_secure",
        "_settled",
        "_state",
        "_streams",
        "_terms",
        "_transport",
        "edge",
        "out",
        "surplus",
    )

    _transport: asyncio.Transport
    _state: State
    out: Outbox

    def __init__(self, listener: Listener, host: str, *, secure: bool) -> None:
        edge = self.edge = listener.edge
        self._listener = listener
        self._host = unmapped(host)
        self._secure = secure
        self._go_by(edge.terms)
        self._frames = Frames()
        self._patience = Patience(edge.clock.now)
        self._resets = Resets(edge.clock.now)
        self._streams: dict[int, Stream] = {}
        """Those of which something may still come or go."""
        self._block = 0
        """Bytes of the header block that is being received."""
        self._block_open = False
        self._greeted = False
        """Its preface has come."""
        self._settled = False
        """And its first SETTINGS."""
        self._going = False
        """It was told that this connection will end, or has said so itself."""
        self._last_said = False
        """And that no further stream will be looked at."""
        self._client_leaves = False
        self._closing = False
        self.surplus = False
        """There was no room for it when it came."""

    def _go_by(self, terms: Terms) -> None:
        self._terms = terms
        self._peer = Peer(self._host, terms.trusts, secure=self._secure)
        # The line `connection: close` is ours.
        self._heads = Requests(trusted=self._peer.trusted, max_fields=terms.max_fields + 1)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        edge = self.edge
        edge.clock.read()
        edge.connections.add(self)
        edge.tally.event("http2-connection")
        self._state = State(self._terms.max_head)
        self.out = Outbox(self, self._listener, self._state, self._patience, self._transport)
        if not self._listener.admit(self):
            self.abort()
            return
        self._listener.http2_heading.begin(self, edge.clock.now)
        self.out.flush()

    def data_received(self, data: bytes) -> None:
        self.edge.clock.read()
        if self._closing:
            return
        self.out.held_up = True
        any_frame = False
        try:
            self._frames.feed(data)
            while not self._closing:
                frame = self._frames.take()
                if not frame:
                    break
                any_frame = True
                self._receive(frame)
        except FrameError as error:
            self._fail(error.code, "http2-error")
        except ProtocolError:
            # h2 has said it to the client already.
            self.edge.tally.event("http2-error")
            self._end()
        finally:
            self.out.held_up = False
        if not self._closing:
            self._wait_for_rest(any_frame)
            self.out.pump()

    def eof_received(self) -> bool:
        """Who sends no more cannot acknowledge what it receives either: it is gone."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.edge.clock.read()
        self._closing = self.out.shut = True
        self._lose_streams()
        self._end_timeouts()
        self._listener.http2_slow.end(self)
        self._listener.http2_lingering.end(self)
        self.edge.connections.discard(self)

    def pause_writing(self) -> None:
        self.edge.clock.read()
        self.out.paused = True
        self._listener.http2_slow.begin(self, self.edge.clock.now)
        if not self._closing:
            pause_reading(self._transport, self._secure)

    def resume_writing(self) -> None:
        self.out.paused = False
        if not self._closing:
            self._listener.http2_slow.end(self)
            self.edge.clock.read()
            resume_reading(self._transport, self._secure)
            self.out.pump()

    # Timeouts

    def head_expired(self) -> None:
        """What the connection begins with, or a header block, was begun and not finished in time."""
        self._fail(ErrorCodes.NO_ERROR, "http2-timeout")

    def idle_expired(self) -> None:
        """No request came for long, or the gateway ends: what is still on its way to the client goes out."""
        if self._closing:
            return
        if self._streams:
            self._going = self._last_said = True
            self.out.goaway(ErrorCodes.NO_ERROR, self._state.highest_inbound_stream_id)
        else:
            self._close(ErrorCodes.NO_ERROR)

    def leave(self) -> None:
        """This worker ends: who waits for an answer is told so, or sees that there will be no more of it."""
        for stream in list(self._streams.values()):
            stream.leave()
        self.idle_expired()

    def abort(self) -> None:
        self._transport.abort()

    def lingered(self) -> None:
        """The client has had time to end the connection from its side. It gets more while it has not all that it asked for."""
        if self._listener.http2_slow.running(self) and untaken(self._transport):
            self._listener.http2_lingering.begin(self, self.edge.clock.now)
        else:
            self._transport.abort()

    def drain(self) -> None:
        """The gateway will end: the client is asked to send its further requests elsewhere. What it has sent is still answered, and also
        what it sends before it hears of this (RFC 9113, 6.8)."""
        if not self._going and not self._closing:
            self._going = True
            self.out.goaway(ErrorCodes.NO_ERROR, MAX_STREAM_ID)
            self._rest()

    # What a stream asks of its connection

    def settle(self, stream: Stream) -> None:
        """It has sent all. If the client has not, nobody wants the rest of it (RFC 9113, 8.1)."""
        if not stream.ended:
            self.out.reset(stream.number, ErrorCodes.NO_ERROR)
        self._forget(stream)

    def break_off(self, stream: Stream) -> None:
        """The client must see that what it has is not whole (edge.md 45)."""
        self.out.reset(stream.number, ErrorCodes.INTERNAL_ERROR)
        self._forget(stream)

    # Receiving

    def _receive(self, frame: bytes) -> None:
        state = self._state
        if not self._greeted:
            self._greeted = True
            state.receive_data(frame)
            return
        size = len(frame) - frames.HEADER
        kind, flags = frame[3], frame[4]
        number = int.from_bytes(frame[5:9]) & MAX_STREAM_ID
        if not self._settled:
            # RFC 9113, 3.4.
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise FrameError(ErrorCodes.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._settled = True
            self._rest()
        if kind == frames.HEADERS or kind == frames.CONTINUATION:
            # CVE-2024-27316: before its end nobody sees it, but it takes memory.
            self._block += size
            self._block_open = not flags & frames.END_HEADERS
            if self._block > 2 * self._terms.max_head:
                self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-flood")
                return
            if not self._block_open:
                self._block = 0
        if self._is_nothing(kind, flags, number, size) and not self._patience.take(self.edge.clock.now):
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-flood")
            return
        if kind == frames.GOAWAY and number == 0 and size >= 8 and not self._block_open:
            # For h2 this is the end. But a client that says that it will go still wants what it has asked for.
            self._left_by_client(int.from_bytes(frame[13:17]))
            return
        if kind == frames.RST_STREAM and number > state.highest_inbound_stream_id:
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "a stream is reset that was not opened")  # RFC 9113, 6.4
        if kind == frames.DATA:
            stream = self._streams.get(number)
            padding = 1 + frame[9] if flags & frames.PADDED and size else 0
            if stream is not None and not stream.expects(size - padding, ended=flags & frames.END_STREAM != 0):
                self._malformed(number)  # h2 hears of the frame all the same: it counts for the connection's window
        for event in state.receive_data(frame):
            self._happened(event)
            if self._closing:
                return

    def _is_nothing(self, kind: int, flags: int, number: int, size: int) -> bool:
        """Is it a frame that carries no part of a request?"""
        if kind == frames.DATA:
            return (size < TINY and not flags & frames.END_STREAM) or number not in self._streams
        return kind != frames.HEADERS

    def _happened(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            size = event.flow_controlled_length
            if stream is None:
                self._state.acknowledge_received_data(size, event.stream_id)
            else:
                stream.receive(event.data, size, ended=event.stream_ended is not None)
        elif isinstance(event, RequestReceived | TrailersReceived):
            extra = len(event.headers) - self._terms.max_fields - CRUMBS
            if extra > 0 and not self._patience.take(self.edge.clock.now, extra):
                self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-flood")
            elif isinstance(event, RequestReceived):
                self._request(event)
            else:
                self._trailers(event)
        elif isinstance(event, WindowUpdated):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self.out.offer(stream)
        elif isinstance(event, StreamReset):
            # By the client; or by h2 for what the client did.
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self._lose(stream)
                self._count_reset()
        elif isinstance(event, RemoteSettingsChanged):
            self._state.bound_table()
            for stream in self._streams.values():
                self.out.offer(stream)  # all windows may have grown

    def _request(self, event: RequestReceived) -> None:
        number = event.stream_id
        ended = event.stream_ended is not None
        edge, listener = self.edge, self._listener
        full = self._last_said or len(self._streams) >= MAX_STREAMS
        if full or (self._streams and not listener.admit_stream()):
            # Whoever is told this may send the request again (RFC 9113, 8.7).
            edge.tally.event("http2-refused-stream" if full else "http2-stream-over-limit")
            self.out.reset(number, ErrorCodes.REFUSED_STREAM)
            if not self._patience.take(edge.clock.now):
                self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-flood")
            return
        try:
            asked = request(event.headers, ended=ended)
        except MalformedError:
            self._malformed(number)
            return
        if self._streams:
            listener.further += 1
        else:
            listener.http2_idle.end(self)
            listener.http2_leaving.end(self)
        if self._terms is not edge.terms:
            self._go_by(edge.terms)  # the configuration was reloaded
        stream = self._streams[number] = Stream(self, number, asked, ended=ended)
        edge.tally.event("http2-request")
        self._patience.give(Patience.A_REQUEST)
        downstream = Downstream(listener)
        downstream.carry(cast("asyncio.Transport", stream), self._peer, self._heads)
        downstream.surplus = self.surplus
        stream.begin(downstream, asked.head)
        self.surplus = downstream.surplus
        if edge.draining or self.surplus:
            self.drain()  # it came while the gateway ends already, or has no room; no more of them

    def _trailers(self, event: TrailersReceived) -> None:
        """They are judged, and dropped as in HTTP/1 (edge.md 11)."""
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        try:
            for name, value in event.headers:
                check(name, value)
        except MalformedError:
            self._malformed(event.stream_id)
            return
        if stream.expects(0, ended=True):
            stream.receive(b"", 0, ended=True)
        else:
            self._malformed(event.stream_id)

    def _malformed(self, number: int) -> None:
        """RFC 9113, 8.1.1: an error of the stream, not of the connection."""
        self.edge.tally.event("http2-malformed")
        stream = self._streams.get(number)
        self.out.reset(number, ErrorCodes.PROTOCOL_ERROR)
        if stream is not None:
            self._lose(stream)
        self._count_reset()

    def _lose(self, stream: Stream) -> None:
        stream.lost()
        self._forget(stream)

    def _count_reset(self) -> None:
        if not self._resets.add(self.edge.clock.now):
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-rapid-reset")

    def _left_by_client(self, code: int) -> None:
        self._client_leaves = self._going = True
        if code != ErrorCodes.NO_ERROR:
            self._close(ErrorCodes.NO_ERROR)
        else:
            self._rest()

    def _wait_for_rest(self, any_frame: bool) -> None:
        """What was begun has to be finished in time. A header block has one time for all of it; every other frame one of its own."""
        heading = self._listener.http2_heading
        if not self._settled:
            return  # it runs since the connection was made
        if self._block_open:
            if not heading.running(self):
                heading.begin(self, self.edge.clock.now)
        elif self._frames.partial != 1:
            heading.end(self)
        elif any_frame or not heading.running(self):
            heading.begin(self, self.edge.clock.now)

    def _forget(self, stream: Stream) -> None:
        """Nothing more comes or goes there."""
        if self._streams.pop(stream.number, None) is None:
            return
        if self._streams:
            self._listener.further -= 1
        self.out.forget(stream)
        stream.acknowledge()
        if not self._streams:
            self._rest()
        self.out.flush()

    # Ending

    def _rest(self) -> None:
        """Nothing is under way, perhaps."""
        if self._streams or self._closing:
            return
        listener, now = self._listener, self.edge.clock.now
        if self._client_leaves or self._last_said:
            self._close(ErrorCodes.NO_ERROR)
        elif self._going:
            listener.http2_leaving.begin(self, now)
        elif self._settled:
            listener.http2_idle.begin(self, now)

    def _fail(self, code: int, event: str) -> None:
        """The client has done what is not put up with."""
        if not self._closing:
            self.edge.tally.event(event)
            self._close(code)
            self._listener.http2_slow.end(self)  # nor waited for

    def _close(self, code: int) -> None:
        self.out.goaway(code, self._state.highest_inbound_stream_id)
        self._end()

    def _end(self) -> None:
        """The last word is said. What was written goes out, and what still comes is not looked at."""
        if self._closing:
            return
        self._closing = True
        self.out.shut_down()
        self._lose_streams()
        self._end_timeouts()
        listener, now = self._listener, self.edge.clock.now
        if self.out.paused:
            resume_reading(self._transport, self._secure)  # else the client's end would not be seen
        else:
            listener.http2_slow.begin(self, now)
        listener.http2_lingering.begin(self, now)
        # Over TLS this says so, and reads on until the client says so too; otherwise closing would throw away what it has not read yet.
        if self._secure:
            self._transport.close()
        else:
            self._transport.write_eof()

    def _lose_streams(self) -> None:
        streams = list(self._streams.values())
        if streams:
            self._listener.further -= len(streams) - 1
        self._streams.clear()
        for stream in streams:
            self.out.forget(stream)
            stream.lost()

    def _end_timeouts(self) -> None:
        listener = self._listener
        for kind in (listener.http2_heading, listener.http2_idle, listener.http2_leaving):
            kind.end(self)
