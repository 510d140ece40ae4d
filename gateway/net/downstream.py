"""One client connection: cuts the byte stream into requests, one at a time, and writes the answers in their order.

Invariant: the next request's head is not looked at before the last answer is complete. Pipelined bytes wait, unparsed and bounded; past the
bound the socket is not read. So no answer can meet another request, and a bad request after N good ones is answered after theirs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from gateway.access import line
from gateway.net import proxy_protocol
from gateway.net.answers import problem
from gateway.net.chunked import ChunkedReader, ChunkError, TrailerError
from gateway.net.head import HeadError, RequestHead
from gateway.net.peer import Peer, nobody
from gateway.net.recurring import Requests
from gateway.net.relay import Relay
from gateway.net.transports import pause_reading, reset_at_close, resume_reading, untaken
from gateway.net.upstream import HIGH_WATER
from gateway.policy.forwarded import unmapped
from gateway.policy.problems import Problem
from gateway.telemetry import GATEWAY

if TYPE_CHECKING:
    from gateway.net.deadlines import Timeouts
    from gateway.net.listener import Listener
    from gateway.net.terms import Terms
    from gateway.net.tunnel import Tunnel

MAX_PIPELINED: Final = 64 * 1024
"""Bytes read ahead of the request that is being answered."""


class Downstream:
    """See the module's docstring. An asyncio.Protocol in all but name: compiled classes have no interpreted bases."""

    __slots__ = (
        "_anybody",
        "_buffer",
        "_chunks",
        "_half_closed",
        "_head_begun",
        "_heads",
        "_left",
        "_lingering",
        "_listener",
        "_preface",
        "_reading_paused",
        "_relay",
        "_secure",
        "_transport",
        "_tunnel",
        "_waiting",
        "chunking",
        "closing_after",
        "edge",
        "handshake",
        "peer",
        "surplus",
        "terms",
    )

    peer: Peer
    terms: Terms
    _heads: Requests
    _transport: asyncio.Transport

    def __init__(self, listener: Listener, *, secure: bool = False) -> None:
        self._listener = listener
        self._secure = secure
        """Over TLS."""
        self.handshake = 0
        """The listener's number for it."""
        self.edge = listener.edge
        self.terms = listener.edge.terms
        self.chunking = False
        """The answer that is being written goes out in chunks."""
        self.closing_after = False
        """The connection ends with the answer that is being written."""
        self.surplus = False
        """There was no room for it when it came."""
        self._buffer = b""
        self._relay: Relay | None = None
        self._chunks: ChunkedReader | None = None
        self._left = 0
        """Bytes of the request's body still to come, where Content-Length says so."""
        self._waiting = listener.heading
        self._head_begun = False
        """Something has come of the next head, an empty line before it included: its time runs, and does not begin again."""
        self._half_closed = False
        self._preface: bytes | None = None
        """What has come of a PROXY header that has to come first."""
        self._anybody = False
        """Its balancer has not said whom it has it from."""
        self._tunnel: Tunnel | None = None
        self._lingering = False
        self._reading_paused = False

    # What a relay asks of its client

    def begin_tunnel(self, tunnel: Tunnel) -> None:
        """From now on what the client sends is another protocol's, and what it sent already too."""
        self._tunnel = tunnel
        self.tunnel_active()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            tunnel.from_client(data)
        self.resume_reading()
        if self._half_closed:
            tunnel.client_ended()

    def tunnel_active(self) -> None:
        """Something has passed, this way or that."""
        self._listener.tunnels.begin(self, self.edge.clock.now)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_reading(self) -> None:
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            pause_reading(self._transport, self._secure)
            self._listener.stalled.end(self)  # it is not the client who stalls

    def resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            resume_reading(self._transport, self._secure)
            if self._left or self._chunks is not None:
                self._listener.stalled.begin(self, self.edge.clock.now)

    def keeps_alive(self, head: RequestHead) -> bool:
        """May another request follow this one?"""
        if self._half_closed and not self._buffer:
            return False  # nothing more can come; what was pipelined before is still answered
        return head.keep_alive and not self.edge.draining

    def request_done(self, close: bool) -> None:
        """The answer is written whole. `close`: nothing may follow it."""
        self._relay = None
        self.chunking = False
        if close:
            self._close()
            return
        self._wait(self._listener.idle)
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_head(data)
        if not self._answering():
            self.resume_reading()

    def _answering(self) -> bool:
        # A method, because the type checker, and the compiled code that believes it, takes `self._relay` for None after it was set so,
        # whatever was called in between.
        return self._relay is not None

    def abort(self) -> None:
        """Cuts the connection off: the client must see that what it has is not whole.

        With a reset, because where an answer ends with its connection (HTTP/1.0) an orderly end would make it look whole (edge.md 45).
        """
        # A TLS transport is closing as soon as its end was begun, and has its socket until it is lost.
        if self._secure or not self._transport.is_closing():
            reset_at_close(self._transport)
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        if self._secure:
            self._listener.handshakes.done(self.handshake)
            if self._listener.began_http2(transport):
                return
        peer = transport.get_extra_info("peername")
        self._is_from(peer[0] if isinstance(peer, tuple) else "unix")
        if self.peer.trusted and self.terms.proxy_protocol:
            self._preface = b""
        self.edge.connections.add(self)
        self.edge.clock.read()
        if not self._listener.admit(self):
            self.abort()
            return
        self._wait(self._listener.heading)

    def carry(self, transport: asyncio.Transport, peer: Peer, heads: Requests) -> None:
        """In place of connection_made, where only one request comes: a stream of an HTTP/2 connection. Its head comes whole."""
        self._transport = transport
        self.peer = peer
        self._heads = heads

    def _is_from(self, host: str) -> None:
        terms = self.terms = self.edge.terms
        self.peer = Peer(unmapped(host), nobody if self._anybody else terms.trusts, secure=self._secure)
        self._heads = Requests(trusted=self.peer.trusted, max_fields=terms.max_fields)

    def _read_preface(self, data: bytes) -> bytes:
        """Takes the PROXY header off the connection's beginning. What follows it, b'' if it is not whole or not one."""
        try:
            found = proxy_protocol.read(data)
        except proxy_protocol.ProxyError:
            self.edge.tally.event("proxy-protocol-refused")
            self._transport.abort()
            return b""
        if found is None:
            self._preface = data
            return b""
        self._preface = None
        address, size = found
        self._anybody = address is None
        self._is_from(self.peer.host if address is None else address)
        return data[size:]

    def data_received(self, data: bytes) -> None:
        self.edge.clock.read()
        if self._preface is not None:
            data = self._read_preface(self._preface + data)
            if not data:
                return
        if self._lingering:
            return
        if self._relay is None:
            self._read_head(self._buffer + data if self._buffer else data)
        elif self._tunnel is not None:
            self._tunnel.from_client(data)
        elif self._left or self._chunks is not None:
            self._read_body(data)
        else:
            self._keep(data)

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is still answered (edge.md 38)."""
        self._half_closed = True
        tunnel = None if self._lingering else self._tunnel
        if tunnel is not None:
            tunnel.client_ended()
        if self._secure:
            # uvloop answers the end of a TLS connection with its own at once: there is none that is half closed. An answer that is not
            # whole must not look so: before that end is sent, the connection is cut off.
            if self._relay is not None and not self._lingering:
                self.abort()
            return False
        if tunnel is not None:
            return True
        if self._relay is None or self._lingering:
            return False
        # An unfinished body cannot become whole any more.
        return not (self._left or self._chunks is not None)

    def connection_lost(self, error: Exception | None) -> None:
        self.edge.clock.read()
        listener = self._listener
        for kind in (self._waiting, listener.stalled, listener.slow, listener.lingering, listener.tunnels):
            kind.end(self)
        self.edge.connections.discard(self)
        self._tunnel = None
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.cancel()

    def pause_writing(self) -> None:
        self.edge.clock.read()
        self._listener.slow.begin(self, self.edge.clock.now)
        if self._relay is not None and self._relay.connection is not None:
            self._relay.connection.pause(True)

    def resume_writing(self) -> None:
        if not self._lingering:
            self._listener.slow.end(self)
        if self._relay is not None and self._relay.connection is not None:
            self._relay.connection.pause(False)

    def drain(self) -> None:
        """The gateway will end. The next answer says so."""

    # Timeouts

    def idle_expired(self) -> None:
        """Nothing came after the last answer (edge.md 34)."""
        self._leave()

    def leave(self) -> None:
        """This worker ends: whoever waits for an answer is told so, or sees that there will be no more of it."""
        if self._relay is None or self._tunnel is not None or self._lingering:
            self._transport.close()
        else:
            self._relay.give_up()

    def head_expired(self) -> None:
        """A head was begun and not finished in time; a connection on which nothing came at all is closed silently."""
        if self._buffer:
            self._refuse(Problem.REQUEST_TIMEOUT, "The request's head did not arrive in time.", self._buffer)
        else:
            self._leave()

    def body_stalled(self) -> None:
        """No more of the body came in time (edge.md 32)."""
        self._fail(Problem.REQUEST_TIMEOUT, "The request's body stopped arriving.")

    # Reading

    def _read_head(self, data: bytes) -> None:
        # RFC 9112, 2.2: empty lines before a request are ignored (old clients send one after a body), however many come at once.
        if data.startswith(b"\r\n"):
            at = 2
            while data.startswith(b"\r\n", at):
                at += 2
            data = data[at:]
        if self.terms is not self.edge.terms:
            self._is_from(self.peer.host)  # the next request goes by other terms
        limit = self.terms.max_head
        try:
            head = self._heads.read(data, limit)
        except HeadError as error:
            self._refuse(error.problem, error.detail, data)
            return
        if head is None:
            self._wait_for_head(data, limit)
            return
        if self.surplus and self._too_many(data):
            return
        if head.length > self.terms.max_body:
            self._refuse(Problem.BODY_TOO_LARGE, f"The body is longer than {self.terms.max_body} bytes.", data)
            return
        self._waiting.end(self)
        self._head_begun = False
        self._buffer = b""
        if head.underscored:
            self.edge.tally.event("underscored-header", head.underscored)
        relay = self._relay = Relay(self, head)
        rest = data[head.size :]
        if head.length:
            if head.chunked:
                self._chunks = ChunkedReader()
            else:
                self._left = head.length
            # First what came of the body: if its framing is wrong, not even the head goes on (edge.md 8).
            self._read_body(rest)
            if self._half_closed and (self._left or self._chunks is not None):
                self._relay = None
                relay.cancel()
                self._transport.close()
            elif not relay.done:
                relay.start()
        else:
            self._buffer = rest
            relay.start()

    def _too_many(self, data: bytes) -> bool:
        """Is there still no room for it? Then it is told so."""
        self.surplus = self._listener.taken > self._listener.share
        if self.surplus:
            self._refuse(Problem.CONNECTIONS, "The gateway has as many connections as it may have. Try again.", data)
        return self.surplus

    def _wait_for_head(self, data: bytes, limit: int) -> None:
        if len(data) >= limit:
            line_ended = b"\r\n" in data[:limit]
            kind = Problem.HEAD_TOO_LARGE if line_ended else Problem.TARGET_TOO_LONG
            self._refuse(kind, f"The request's head is longer than {limit} bytes.", data)
            return
        # A bare LF or CR can never become valid: it is refused now, not when the time is up.
        ends = data.count(b"\r\n")
        if data.count(b"\n") != ends or data.count(b"\r", 0, len(data) - 1) != ends:
            self._refuse(Problem.FRAMING, "A line of the head does not end in CRLF.", data)
            return
        if self._half_closed:
            self._transport.close()  # the rest of it cannot come any more
            return
        if data and not self._head_begun:
            self._head_begun = True
            self._waiting.end(self)
            self._wait(self._listener.heading)
        self._buffer = data

    def _wait(self, kind: Timeouts[Downstream]) -> None:
        """Nothing is being answered: either the next request's head is awaited, or the rest of it."""
        self._waiting = kind
        kind.begin(self, self.edge.clock.now)

    def _read_body(self, data: bytes) -> None:
        relay = self._relay
        if relay is None:
            return  # it was answered while its head was being read, and the rest of it is not wanted
        chunks = self._chunks
        if chunks is not None:
            try:
                body = chunks.feed(data)
            except TrailerError:
                self._fail(Problem.HEAD_TOO_LARGE, "The trailers are too large.")
                return
            except ChunkError as error:
                self._fail(Problem.FRAMING, f"The chunked body is not valid: {error}.")
                return
            last = chunks.done
            if last:
                self._chunks = None
                surplus = chunks.surplus
            self._left -= len(body)  # negative: counts what a chunked body has brought so far
            if -self._left > self.terms.max_body:
                self._fail(Problem.BODY_TOO_LARGE, f"The body is longer than {self.terms.max_body} bytes.")
                return
            if last:
                self._left = 0
        else:
            size = len(data)
            last = size >= self._left
            body, surplus = (data[: self._left], data[self._left :]) if size > self._left else (data, b"")
            self._left -= len(body)
        if last:
            self._listener.stalled.end(self)
            if surplus:
                self._keep(surplus)
        else:
            self._listener.stalled.begin(self, self.edge.clock.now)
        if body or last:
            relay.body(body, last)

    def _keep(self, data: bytes) -> None:
        """Pipelined bytes wait for their turn."""
        self._buffer += data
        if len(self._buffer) > MAX_PIPELINED:
            self.pause_reading()

    # Ending

    def _refuse(self, kind: Problem, detail: str, data: bytes) -> None:
        """No relay is there yet: the gateway answers what `data` began with, and the connection ends."""
        edge = self.edge
        edge.tally.problem(kind.value)
        edge.tally.route("").finish(GATEWAY, kind.status, 0.0)
        edge.ids.begin()
        request_id = edge.ids.request_id()
        if edge.access.enabled:
            edge.access.write(
                line(edge.clock.wall(), request_id, self.peer.host, "", b"", kind.status, 0, 0.0, "", GATEWAY, "", kind.value, False)
            )
        self.write(problem(kind, detail, request_id.decode(), close=True, head_only=data.startswith(b"HEAD ")))
        self._close()

    def _fail(self, kind: Problem, detail: str) -> None:
        """The request's body went wrong. Nothing that would make it look whole is sent on (edge.md 9)."""
        relay = self._relay
        self._chunks = None
        self._left = 0
        if relay is None:
            return
        if relay.status:
            relay.cancel()
            self._relay = None
            self.abort()
        else:
            relay.body_complete = False
            relay.answer(kind, detail, close=True)

    def _close(self) -> None:
        """Ends after what was written. A client that still sends must not lose the answer to a reset (edge.md 39, RFC 9112, 9.6)."""
        self._lingering = True
        self._tunnel = None
        self._listener.tunnels.end(self)
        self._buffer = b""
        self._chunks = None
        self._left = 0
        if self._half_closed:
            self._transport.close()
            return
        self.resume_reading()
        self._listener.slow.begin(self, self.edge.clock.now)
        self._leave()

    def _leave(self) -> None:
        """Ends the connection from this side, and gives the other one time to do the same."""
        if self._secure:
            self._transport.close()  # says so, and reads what still comes, unseen, until the client says so too
        elif self._lingering:
            self._transport.write_eof()
        else:
            self._transport.close()
            return
        self._listener.lingering.begin(self, self.edge.clock.now)

    def lingered(self) -> None:
        """The client has had its time. As long as it does not have all that was written it gets more, up to a slow reader's."""
        if self._listener.slow.running(self) and untaken(self._transport):
            self._listener.lingering.begin(self, self.edge.clock.now)
        else:
            self._transport.abort()
