"""Where mitmproxy would answer a failure with a page of its own, this layer sends the gateway's answer instead.

mitmproxy reports that an upstream failed (or that a request was killed) to addons by the `error` hook, whose flow is then beyond their
reach: the client gets an HTML page, or nothing. But the error still passes through the HTTP layer on its way to the client's connection.
There it is met: if the addon has left an answer in the flow's metadata and nothing was sent yet, that goes out first. What follows,
closing the connection, is mitmproxy's own. A `next_layer` hook, which is public, puts this layer in place.
"""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode, HttpStream
from mitmproxy.proxy.layers.http._events import ResponseData, ResponseHeaders, ResponseProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Server

ANSWER = "banyan.answer"
"""The key in a flow's metadata."""


class GatewayHttpLayer(HttpLayer):
    """See the module's docstring."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, HTTPMode.transparent)

    def event_to_child(self, child: layer.Layer | HttpStream, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, ResponseProtocolError) and isinstance(child, Http1Server) and child.response is None:
            stream = self.streams.get(event.stream_id)
            answer = stream.flow.metadata.pop(ANSWER, None) if stream is not None else None
            if stream is not None and isinstance(answer, http.Response):
                yield from super().event_to_child(child, ResponseHeaders(event.stream_id, answer))
                if answer.raw_content and stream.flow.request.method != "HEAD":
                    yield from super().event_to_child(child, ResponseData(event.stream_id, answer.raw_content))
        yield from super().event_to_child(child, event)
