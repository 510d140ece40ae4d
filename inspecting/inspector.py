"""Who looks at what passes: keeps a bounded number of flows, and marks them as more becomes known of them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from mitmproxy import connection, http
from mitmproxy.addons.view import View
from mitmproxy.websocket import WebSocketMessage

from gateway.access import Mask
from gateway.config import Config
from gateway.identity.stamp import FIELD
from gateway.mitm.relay import Relay
from gateway.mitm.terms import CREDENTIALS
from inspecting import marks, shown
from inspecting.told import Told
from inspecting.verdicts import NOT_HERE, Verdicts
from shadow.exchange import Exchange
from shadow.logs import about

_log = logging.getLogger("banyan.inspect")

MAX_BYTES = 256 * 1024 * 1024
"""That all kept flows may hold together, whatever their number."""


MAX_SAME = 8
"""Flows of one request: itself, and what was asked beside it. A proxy that is trusted may give many the same id."""


def _told_only[S: Inspector, **P](method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Whoever looks must not be what a request fails of."""

    @wraps(method)
    def safe(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            _log.exception("a request cannot be shown", extra=about(_about_whom(args)))

    return safe


def _about_whom(args: tuple[object, ...]) -> str:
    """The request's id, where one of these knows it."""
    for each in args:
        if isinstance(each, Relay):
            return each.request_id.decode("latin-1")
        if isinstance(each, Exchange):
            return each.request_id
    return ""


class Inspector:
    """A gateway.mitm.watch.Watch. `view` is mitmweb's."""

    def __init__(self, view: View, told: Told, config: Config) -> None:
        self.body = told.body
        self._view = view
        self._told = told
        self._kept: OrderedDict[str, tuple[http.HTTPFlow, int, str]] = OrderedDict()
        """Everything that is shown, the oldest first, with its weight, and the id of the real flow."""
        self._bytes = 0
        self._by_flow: dict[str, http.HTTPFlow] = {}
        """What is shown of each real flow that is under way, by that one's id."""
        self._by_request: dict[str, tuple[http.HTTPFlow, ...]] = {}
        """What is shown of a request, and of what was asked beside it."""
        self._verdicts = Verdicts(config, self.judged)
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        shadow = config.shadow
        self._config = config
        self._verdicts.reconfigure(config)
        names = [*CREDENTIALS, FIELD.decode().lower(), *(name.lower() for name in shadow.redact if not name.startswith("$"))]
        mask = Mask(*shadow.secrets)
        self._veil = shown.Bare() if self._told.credentials else shown.Veil((name.encode() for name in names), mask.presentable)

    def close(self) -> None:
        self._verdicts.close(2.0)

    # Of the engine

    @_told_only
    def begun(self, flow: http.HTTPFlow, relay: Relay) -> None:
        seen = shown.begin(flow, relay, self._veil)
        self._by_flow[flow.id] = seen
        self._keep(seen, relay.request_id.decode("latin-1"), flow.id)

    @_told_only
    def message(self, flow: http.HTTPFlow, message: WebSocketMessage) -> None:
        seen = self._by_flow.get(flow.id)
        if seen is not None and seen.id in self._kept:
            if seen.response is None and flow.response is not None:
                shown.answer(seen, flow.response, None, self._veil, 0)
            shown.message(seen, message, self.body)
            self._changed(seen)

    @_told_only
    def over(self, flow: http.HTTPFlow, relay: Relay) -> None:
        seen = self._by_flow.pop(flow.id, None)
        if seen is not None and seen.id in self._kept:
            shown.end(seen, flow, relay, self._veil, self.body)
            self._changed(seen)

    @_told_only
    def paired(self, exchange: Exchange) -> None:
        upstream = self._config.upstreams.get(exchange.shadow.upstream)
        place = upstream.address if upstream is not None else (exchange.shadow.upstream, 0)
        about = self._by_request.get(exchange.request_id, ())
        client = about[0].client_conn if about else connection.Client(peername=("", 0), sockname=("", 0), timestamp_start=exchange.at)
        self._keep(shown.beside(exchange, place, client, self._veil, self.body), exchange.request_id)
        if exchange.kind == "pair" and not self._verdicts.offer(exchange):
            self.judged(exchange, NOT_HERE, "too much at once")

    @_told_only
    def judged(self, exchange: Exchange, verdict: str, difference: str) -> None:
        """What comparing came to."""
        for seen in self._by_request.get(exchange.request_id, ()):
            if seen.id in self._kept and seen.metadata.get(marks.SHADOWED) != marks.NOISE:
                shown.judge(seen, verdict, difference)
                self._changed(seen)

    # Inside

    def _keep(self, seen: http.HTTPFlow, request_id: str, real: str = "") -> None:
        if request_id:
            self._by_request[request_id] = (*self._by_request.get(request_id, ())[1 - MAX_SAME :], seen)
        self._weigh(seen, real)
        self._view.add([seen])
        self._make_room()

    def _changed(self, seen: http.HTTPFlow) -> None:
        self._weigh(seen)
        self._view.update([seen])
        self._make_room()

    def _weigh(self, seen: http.HTTPFlow, real: str = "") -> None:
        size = shown.weight(seen)
        _, before, real = self._kept.get(seen.id, (seen, 0, real))
        self._kept[seen.id] = seen, size, real
        self._bytes += size - before

    def _make_room(self) -> None:
        while len(self._kept) > self._told.keep or (self._bytes > MAX_BYTES and len(self._kept) > 1):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (seen, size, real) = self._kept.popitem(last=False)
        self._bytes -= size
        self._by_flow.pop(real, None)  # it may be under way still: an upgraded connection is for as long as its client stays
        self._view.remove([seen])
        shown.empty(seen)
        request_id = seen.metadata.get(marks.REQUEST, "")
        left = tuple(each for each in self._by_request.get(request_id, ()) if each is not seen)
        if left:
            self._by_request[request_id] = left
        else:
            self._by_request.pop(request_id, None)
