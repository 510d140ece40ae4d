"""An answer as it goes to the client: the upstream's head with what the gateway adds, framed as this client can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.identity.visitors import NOT_RENEWED, NOT_SET, private
from gateway.net.chunked import LAST, chunk
from gateway.net.head import ResponseHead
from gateway.policy.decision import LEGACY

if TYPE_CHECKING:
    from gateway.net.relay import Relay


def reply(relay: Relay, head: ResponseHead, data: bytes, complete: bool) -> bytes:
    """The head, and what there is of the body. Tells the client's connection how the rest is framed, and whether it ends with it."""
    client, request = relay.client, relay.head
    close = not client.keeps_alive(request) or not relay.body_complete
    extra = b""
    if relay.terms.ending or relay.caller is not None:
        extra = _sessions(relay, head)
    visitors = relay.terms.visitors
    if relay.visitor and visitors is not None:
        cookie = visitors.set_cookie(relay.visitor, head.fields, secure=client.peer.by_https(request))
        if cookie:
            extra += b"\r\nSet-Cookie: " + cookie
        else:
            relay.edge.tally.event(NOT_SET)
    if (head.chunked and head.status != 204) or (head.length < 0 and not complete):
        if request.http11:
            extra += b"\r\nTransfer-Encoding: chunked"
            client.chunking = True
        else:
            close = True  # HTTP/1.0 knows no other end than the connection's
    if relay.terms.expose or client.peer.trusted:
        extra += debug(relay)
    if close:
        client.closing_after = True
        extra += b"\r\nConnection: close"
    elif not request.http11:
        extra += b"\r\nConnection: keep-alive"
    if client.chunking:
        if request.method == "HEAD" or head.status in (204, 304):
            client.chunking = False
            data = b""
        else:
            data = (chunk(data) if data else b"") + (LAST if complete else b"")
    return b"%b%b%b\r\n\r\n%b" % (head.line, head.fields, extra, data)


def debug(relay: Relay) -> bytes:
    """Banyan-Route and Server-Timing: a field each, with its CRLF before it."""
    decision, serve = relay.decision, relay.serve
    if decision is None or serve is None:
        return b""
    reason = f"fallback-{relay.fell_back}" if relay.fell_back else decision.reason.value
    elapsed = 1000 * (relay.edge.clock.now - relay.started_at)
    timing = f"\r\nServer-Timing: upstream;desc={serve.upstream};dur={elapsed:.1f}"
    return f"\r\nBanyan-Route: {decision.route or '-'}; served-by={serve.side}; reason={reason}{timing}".encode()


def _sessions(relay: Relay, head: ResponseHead) -> bytes:
    """What the answer with this head does to sessions: legacy may end one; and one that it renewed when it was asked is told of, in fields
    with their CRLF before them."""
    serve, caller = relay.serve, relay.caller
    assert serve is not None  # noqa: S101 - it has answered
    if serve.upstream == LEGACY:
        for name in relay.terms.ending:
            if head.fields.find(name) >= 0:
                for key in relay.terms.ended(relay.head.fields, head.fields):
                    relay.edge.end(key)
                    if relay.edge.ended is not None:
                        relay.edge.ended(key)
                break
    elif caller is not None and caller.cookies:
        if private(head.fields):
            return b"".join([b"\r\nSet-Cookie: " + cookie for cookie in caller.cookies])
        relay.edge.tally.event(NOT_RENEWED)
    return b""
