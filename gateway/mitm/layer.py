"""mitmproxy's HTTP layer, with the gateway's answers where mitmproxy would send a page of its own. The `next_layer` hook puts it in place.

- mitmproxy reports that an upstream failed (or that a request was killed) by the `error` hook, whose flow is then beyond an addon's reach:
  the client gets an HTML page, or nothing. But the error still passes through this layer on its way to the client's connection. There it is
  met: if the addon has left an answer for this flow and nothing was sent yet, that goes out first.
- A head that mitmproxy cannot parse never becomes a flow. `_Server` answers it, and bounds what it may collect of one that does not end.
- mitmproxy stops at trailers ("not implemented yet"), and the client would wait for ever. A gateway may drop them (RFC 9110, 6.5.1).
- mitmproxy does not tell an addon whether an HTTP/2 request ends with its head. Here that is seen, and noted on the request: its body is
  empty.
- mitmproxy gives each request of an HTTP/2 connection an upstream connection of its own, and would let those of HTTP/3 share one.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import h11
from h2.errors import ErrorCodes
from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import GetHttpConnection, HttpLayer, HTTPMode, HttpStream
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Server, TBodyReader
from mitmproxy.proxy.layers.http._http2 import Http2Server
from mitmproxy.proxy.layers.http._http3 import Http3Server

from gateway.policy.problems import Problem

Refuse = Callable[[Context, Problem, str], http.Response]
"""Writes down that a head was refused before it was one, and gives the answer."""


class GatewayHttpLayer(HttpLayer):
    """See the module's docstring. `max_head`: bytes, as configured now."""

    def __init__(
        self,
        context: Context,
        *,
        max_head: Callable[[], int],
        refuse: Refuse,
        answers: MutableMapping[http.HTTPFlow, http.Response],
    ) -> None:
        super().__init__(context, HTTPMode.transparent)
        self._answers = answers
        self._closed: set[Connection] = set()
        """Of upstreams' connections, those of whose end has been heard."""
        # HttpLayer takes what is here already for the client's connection, and makes one of its own otherwise.
        if context.client.alpn != b"h2" and context.client.transport_protocol == "tcp":
            self.connections[context.client] = _Server(context.fork(), max_head, refuse)

    def event_to_child(self, child: layer.Layer | HttpStream, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestTrailers):
            return
        if isinstance(event, RequestHeaders) and event.end_stream and not event.request.is_http11 and not event.request.is_http10:
            event.request.data.content = b""
        if isinstance(event, ResponseProtocolError) and isinstance(child, Http1Server | Http2Server | Http3Server):
            stream = self.streams.get(event.stream_id)
            answer = self._answers.pop(stream.flow, None) if stream is not None and hasattr(stream, "flow") else None
            if stream is not None and answer is not None and self._open(child, event.stream_id):
                yield from super().event_to_child(child, ResponseHeaders(event.stream_id, answer))
                if answer.raw_content and stream.flow.request.method != "HEAD":
                    yield from super().event_to_child(child, ResponseData(event.stream_id, answer.raw_content))
                if not isinstance(child, Http1Server):
                    yield from super().event_to_child(child, ResponseEndOfMessage(event.stream_id))
                    if isinstance(child, Http2Server):
                        yield from self._take_no_more(child, event.stream_id)
                    self.streams.pop(event.stream_id, None)
                    return
        yield from super().event_to_child(child, event)

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from super()._handle_event(event)
        if isinstance(event, events.ConnectionClosed) and event.connection is not self.context.client:
            self._closed.add(event.connection)

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> layer.CommandGenerator[None]:
        self._let_go()
        yield from super().get_connection(event, reuse=reuse and self.context.client.transport_protocol == "tcp")

    def _let_go(self) -> None:
        """Forgets connections that are over. mitmproxy keeps them for as long as the client stays, in HTTP/2 one for each request; and one
        that could not be opened would be the answer to every request after it."""
        used = {stream.context.server for stream in self.streams.values()}
        for connection in list(self.connections):
            over = connection.error is not None or (connection in self._closed and connection.state is ConnectionState.CLOSED)
            if (
                over
                and connection is not self.context.client
                and connection not in used
                and connection not in self.waiting_for_establishment
            ):
                del self.connections[connection]
                self._closed.discard(connection)

    def _open(self, child: Http1Server | Http2Server | Http3Server, stream_id: int) -> bool:
        """May an answer's head still be sent?"""
        if isinstance(child, Http3Server):
            return not child.h3_conn.has_sent_headers(stream_id)
        if isinstance(child, Http2Server):
            stream = child.h2_conn.streams.get(stream_id)
            return child.is_open_for_us(stream_id) and stream is not None and not stream.state_machine.headers_sent
        return child.response is None and bool(self.context.client.state & ConnectionState.CAN_WRITE)

    def _take_no_more(self, child: Http2Server, stream_id: int) -> layer.CommandGenerator[None]:
        """The answer is whole before the request is: the rest of that is not wanted (RFC 9113, 8.1)."""
        if not child.is_closed(stream_id):
            child.h2_conn.reset_stream(stream_id, ErrorCodes.NO_ERROR)
            yield commands.SendData(self.context.client, child.h2_conn.data_to_send())
        child.streams.pop(stream_id, None)


class _Server(Http1Server):
    """The client's side of the connection."""

    def __init__(self, context: Context, max_head: Callable[[], int], refuse: Refuse) -> None:
        super().__init__(context)
        self._max_head = max_head
        self._refuse = refuse

    def read_headers(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        for command in super().read_headers(event):
            # The only bytes that reading sends are mitmproxy's page for a head that it cannot parse: answers go by `send`.
            if isinstance(command, commands.SendData):
                answer = self._refuse(self.context, Problem.FRAMING, "The request's head is not valid.")
                yield commands.SendData(self.conn, http1.assemble_response(answer))  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            else:
                yield command
        if self.state == self.read_headers and self.request is None and len(self.buf) > (limit := self._max_head()):
            answer = self._refuse(self.context, Problem.HEAD_TOO_LARGE, f"The request's head is longer than {limit} bytes.")
            yield commands.SendData(self.conn, http1.assemble_response(answer))  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            yield commands.CloseConnection(self.conn)
            self.state = self.done

    def read_body(self, event: events.Event) -> layer.CommandGenerator[None]:
        if not isinstance(self.body_reader, _WithoutTrailers):
            self.body_reader = _WithoutTrailers(self.body_reader)  # type: ignore[assignment] # mitmproxy lists its three, not what they have in common
        yield from super().read_body(event)


class _WithoutTrailers:
    """A body's reader whose last event has no trailers."""

    def __init__(self, reader: TBodyReader) -> None:
        self._reader = reader

    def __call__(self, buffer: Any) -> object:
        event = self._reader(buffer)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event

    def read_eof(self) -> object:
        return self._reader.read_eof()
