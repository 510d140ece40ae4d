"""What the addon and its layer know of a flow, kept beside it and not in its metadata: mitmproxy could not write such a flow to a file."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from mitmproxy import http

from gateway.mitm.relay import Relay


class Notes:
    """Gone with the flow that they are about."""

    def __init__(self) -> None:
        self.relays: WeakKeyDictionary[http.HTTPFlow, Relay] = WeakKeyDictionary()
        self.answers: WeakKeyDictionary[http.HTTPFlow, http.Response] = WeakKeyDictionary()
        """What the client is told in place of an upstream that failed, or because the request was killed: see layer.py."""
