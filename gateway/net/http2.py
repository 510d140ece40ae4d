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

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamReset, TrailersReceived, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame
from mypy_extensions import mypyc_attr

from gateway.net import http2_frames as frames
from gateway.net.downstream import Downstream
from gateway.net.http2_fields import MalformedError, check, request
from gateway.net.http2_frames import FrameError, Frames, Patience, Resets
from gateway.net.http2_stream import PIECE, Stream
from gateway.net.peer import Peer
from gateway.net.recurring import Requests
from gateway.net.transports import pause_reading, resume_reading, untaken
from gateway.net.upstream import HIGH_WATER

if TYPE_CHECKING:
    from gateway.net.listener import Listener
    from gateway.net.terms import Terms

MAX_STREAMS: Final = 100
"""At once; what is opened beyond is refused. RFC 9113, 6.5.2 recommends no fewer; nginx: 128, Envoy and HAProxy: 100."""
WINDOW: Final = 65_535
"""Bytes of a request's body that are on their way or wait for the upstream, for each stream."""
TABLE: Final = 4096
"""Bytes of what is remembered of fields for compression. A client may offer more memory than that, but not of ours; and a longer table
takes longer to look through."""
TINY: Final = 128
"""Bytes. A DATA frame with less in it costs some patience, if it is not the last."""
MAX_STREAM_ID: Final = 2**31 - 1

_CONFIG: Final = H2Configuration(
    client_side=False,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # What goes out was valid HTTP/1 when it was taken apart.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


@mypyc_attr(native_class=False)  # h2's class is interpreted
class _Connection(H2Connection):
    """h2's, which remembers how streams ended: for 65,536 of them, which is 8 MB."""

    MAX_CLOSED_STREAMS = 1000


class Http2:
    """See the module's docstring. An asyncio.Protocol in all but name: compiled classes have no interpreted bases."""

    __slots__ = (
        "_block",
        "_block_open",
        "_busy",
        "_client_leaves",
        "_closing",
        "_frames",
        "_going",
        "_greeted",
        "_h2",
        "_heads",
        "_host",
        "_last_said",
        "_listener",
        "_patience",
        "_paused",
        "_peer",
        "_resets",
        "_secure",
        "_sending",
        "_settled",
        "_streams",
        "_terms",
        "_transport",
        "edge",
    )

    _transport: asyncio.Transport
    _h2: H2Connection

    def __init__(self, listener: Listener, host: str, *, secure: bool) -> None:
        edge = self.edge = listener.edge
        self._listener = listener
        self._host = host
        self._secure = secure
        self._go_by(edge.terms)
        self._frames = Frames()
        self._patience = Patience(edge.clock.now)
        self._resets = Resets(edge.clock.now)
        self._streams: dict[int, Stream] = {}
        """Those of which something may still come or go."""
        self._sending: dict[int, Stream] = {}
        """Those that have something to send and whose own window is open, in the order of their turns."""
        self._block = 0
        """Bytes of the header block that is being received."""
        self._block_open = False
        self._busy = False
        """What was received is being looked at: what is to be sent goes out after that, in one piece."""
        self._paused = False
        """The client takes nothing at all: nothing is sent and nothing read."""
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
        h2 = self._h2 = _Connection(_CONFIG)
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: self._terms.max_head,
            },
        )
        h2.initiate_connection()
        # A stream too many is refused here, by itself: h2 would end the connection.
        h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = MAX_STREAM_ID
        h2.local_settings.acknowledge()
        # Beyond what is announced a request is answered 431; beyond this it is not even unpacked.
        h2.decoder.max_header_list_size = 4 * self._terms.max_head
        # So wide that only the streams' own windows count: one whose upstream is slow must not stop the others.
        h2.increment_flow_control_window((MAX_STREAMS - 1) * WINDOW)
        self._listener.http2_heading.begin(self, edge.clock.now)
        self._flush()
        if edge.draining:
            self.drain()

    def data_received(self, data: bytes) -> None:
        self.edge.clock.read()
        if self._closing:
            return
        self._busy = True
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
            self._busy = False
        if not self._closing:
            self._wait_for_rest(any_frame)
            self._pump()
            self._flush()

    def eof_received(self) -> bool:
        """Who sends no more cannot acknowledge what it receives either: it is gone."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.edge.clock.read()
        self._closing = True
        self._lose_streams()
        self._end_timeouts()
        self._listener.http2_slow.end(self)
        self._listener.http2_lingering.end(self)
        self.edge.connections.discard(self)

    def pause_writing(self) -> None:
        self.edge.clock.read()
        self._paused = True
        self._listener.http2_slow.begin(self, self.edge.clock.now)
        if not self._closing:
            pause_reading(self._transport, self._secure)

    def resume_writing(self) -> None:
        self._paused = False
        if not self._closing:
            self._listener.http2_slow.end(self)
            self.edge.clock.read()
            resume_reading(self._transport, self._secure)
            self._pump()
            self._flush()

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
            self._goaway(ErrorCodes.NO_ERROR, self._h2.highest_inbound_stream_id)
        else:
            self._close(ErrorCodes.NO_ERROR)

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
            self._goaway(ErrorCodes.NO_ERROR, MAX_STREAM_ID)
            self._rest()

    # What a stream asks of its connection

    def send_head(self, stream: Stream, fields: list[tuple[bytes, bytes]], *, last: bool) -> None:
        if not self._closing:
            self._h2.send_headers(stream.number, fields, end_stream=last)

    def ready(self, stream: Stream) -> None:
        """It has something to send."""
        if self._closing:
            return
        if stream.waiting:
            self._sending[stream.number] = stream
        if not self._busy:
            self._pump()
            self._flush()

    def acknowledge(self, number: int, size: int) -> None:
        """So much of a body is dealt with: the client may send as much more."""
        if not self._closing:
            self._h2.acknowledge_received_data(size, number)
            self._flush()

    def settle(self, stream: Stream) -> None:
        """It has sent all. If the client has not, nobody wants the rest of it (RFC 9113, 8.1)."""
        if not stream.ended:
            self._reset(stream.number, ErrorCodes.NO_ERROR)
        self._forget(stream)

    def break_off(self, stream: Stream) -> None:
        """The client must see that what it has is not whole (edge.md 45)."""
        self._reset(stream.number, ErrorCodes.INTERNAL_ERROR)
        self._forget(stream)

    # Receiving

    def _receive(self, frame: bytes) -> None:
        h2 = self._h2
        if not self._greeted:
            self._greeted = True
            h2.receive_data(frame)
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
        if kind == frames.RST_STREAM and number > h2.highest_inbound_stream_id:
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "a stream is reset that was not opened")  # RFC 9113, 6.4
        if kind == frames.DATA:
            stream = self._streams.get(number)
            padding = 1 + frame[9] if flags & frames.PADDED and size else 0
            if stream is not None and not stream.expects(size - padding, ended=flags & frames.END_STREAM != 0):
                self._malformed(number)  # h2 hears of the frame all the same: it counts for the connection's window
        for event in h2.receive_data(frame):
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
                self._h2.acknowledge_received_data(size, event.stream_id)
            else:
                stream.receive(event.data, size, ended=event.stream_ended is not None)
        elif isinstance(event, RequestReceived):
            self._request(event)
        elif isinstance(event, TrailersReceived):
            self._trailers(event)
        elif isinstance(event, WindowUpdated):
            stream = self._streams.get(event.stream_id)
            if stream is not None and stream.waiting:
                self._sending[event.stream_id] = stream
        elif isinstance(event, StreamReset):
            # By the client; or by h2 for what the client did.
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                self._lose(stream)
                self._count_reset()
        elif isinstance(event, RemoteSettingsChanged):
            if self._h2.encoder.header_table_size > TABLE:
                self._h2.encoder.header_table_size = TABLE
            for number, stream in self._streams.items():
                if stream.waiting:
                    self._sending[number] = stream  # all windows may have grown

    def _request(self, event: RequestReceived) -> None:
        number = event.stream_id
        ended = event.stream_ended is not None
        edge, listener = self.edge, self._listener
        if self._last_said or len(self._streams) >= MAX_STREAMS:
            # Whoever is told this may send the request again (RFC 9113, 8.7).
            edge.tally.event("http2-refused-stream")
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            if not self._patience.take(edge.clock.now):
                self._fail(ErrorCodes.ENHANCE_YOUR_CALM, "http2-flood")
            return
        try:
            asked = request(event.headers, ended=ended)
        except MalformedError:
            self._malformed(number)
            return
        if not self._streams:
            listener.http2_idle.end(self)
            listener.http2_leaving.end(self)
        if self._terms is not edge.terms:
            self._go_by(edge.terms)  # the configuration was reloaded
        stream = self._streams[number] = Stream(self, number, asked, ended=ended)
        edge.tally.event("http2-request")
        self._patience.give(Patience.A_REQUEST)
        downstream = Downstream(listener)
        downstream.carry(cast("asyncio.Transport", stream), self._peer, self._heads)
        stream.begin(downstream, asked.head)

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
        self._reset(number, ErrorCodes.PROTOCOL_ERROR)
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

    # Sending

    def _pump(self) -> None:
        """Sends what the windows allow, a piece of each stream in turn."""
        h2, sending = self._h2, self._sending
        blocked, now = self._listener.http2_blocked, self.edge.clock.now
        written = 0
        while sending and not self._paused and not self._closing:
            number, stream = next(iter(sending.items()))
            del sending[number]
            if not stream.waiting:
                continue
            if not stream.held:
                h2.end_stream(number)
                self._sent(stream)
                continue
            window = h2.local_flow_control_window(number)
            if window <= 0:
                if not blocked.running(stream):
                    blocked.begin(stream, now)
                if h2.outbound_flow_control_window > 0:
                    continue  # until its own window opens
                for other in sending.values():
                    if other.held and not blocked.running(other):
                        blocked.begin(other, now)
                sending[number] = stream
                return
            data = stream.take(min(window, PIECE, h2.max_outbound_frame_size))
            last = stream.sent()
            h2.send_data(number, data, end_stream=last)
            self._patience.give(len(data) / Patience.BYTES)
            blocked.end(stream)
            if last:
                self._sent(stream)
            else:
                if stream.waiting:
                    sending[number] = stream
                stream.drained()
            written += len(data)
            if written > HIGH_WATER:
                self._flush()  # which may say that this is enough
                written = 0

    def _sent(self, stream: Stream) -> None:
        stream.sent()
        self._listener.http2_blocked.end(stream)
        if stream.closed:
            self.settle(stream)

    def _flush(self) -> None:
        if not self._busy:
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)

    def _reset(self, number: int, code: int) -> None:
        if not self._closing:
            self._h2.reset_stream(number, code)

    def _forget(self, stream: Stream) -> None:
        """Nothing more comes or goes there."""
        number = stream.number
        if self._streams.pop(number, None) is None:
            return
        self._sending.pop(number, None)
        self._listener.http2_blocked.end(stream)
        stream.acknowledge()
        if not self._streams:
            self._rest()
        self._flush()

    # Ending

    def _rest(self) -> None:
        """Nothing is under way, perhaps."""
        if self._streams or self._closing:
            return
        listener, now = self._listener, self.edge.clock.now
        if self._client_leaves or self._last_said:
            self._close(ErrorCodes.NO_ERROR)
        elif self._going or self.edge.draining:
            listener.http2_leaving.begin(self, now)
        elif self._settled:
            listener.http2_idle.begin(self, now)

    def _goaway(self, code: int, last: int) -> None:
        # Not with h2, which takes every GOAWAY for the last word.
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code)
        self._transport.write(self._h2.data_to_send() + frame.serialize())

    def _fail(self, code: int, event: str) -> None:
        """The client has done what is not put up with."""
        if not self._closing:
            self.edge.tally.event(event)
            self._close(code)
            self._listener.http2_slow.end(self)  # nor waited for

    def _close(self, code: int) -> None:
        self._goaway(code, self._h2.highest_inbound_stream_id)
        self._end()

    def _end(self) -> None:
        """The last word is said. What was written goes out, and what still comes is not looked at."""
        if self._closing:
            return
        self._closing = True
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
        self._lose_streams()
        self._end_timeouts()
        listener, now = self._listener, self.edge.clock.now
        if self._paused:
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
        self._streams.clear()
        self._sending.clear()
        for stream in streams:
            self._listener.http2_blocked.end(stream)
            stream.lost()

    def _end_timeouts(self) -> None:
        listener = self._listener
        for kind in (listener.http2_heading, listener.http2_idle, listener.http2_leaving):
            kind.end(self)
