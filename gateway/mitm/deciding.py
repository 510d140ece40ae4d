"""The first moment of a request: its head is checked and cleaned, the caller looked up, and it is decided who serves.

The flow's request becomes what that upstream gets. It is replaced, never changed in place: mitmproxy's own connections keep the originals,
and by those they know whether they stay open.
"""

from __future__ import annotations

import asyncio

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.server import ConnectionHandler

from gateway.identity.caller import ANONYMOUS, Caller, explained
from gateway.limiting import TOO_MANY, RouteLimit
from gateway.mitm.connecting import Connecting
from gateway.mitm.fields import Head, RefusedError, as_http1, clean_request, field_lines, find
from gateway.mitm.identity import Introspection, checked
from gateway.mitm.notes import Notes
from gateway.mitm.outgoing import Outgoing, forwarding
from gateway.mitm.relay import Relay
from gateway.mitm.shadow import prepare
from gateway.mitm.shared import Shared
from gateway.policy.admission import refusal
from gateway.policy.decision import Decision, Target
from gateway.policy.forwarded import client
from gateway.policy.problems import Problem
from gateway.policy.properties import context


class Deciding:
    """See the module's docstring."""

    def __init__(self, shared: Shared, server: Proxyserver, notes: Notes, connecting: Connecting) -> None:
        self._shared = shared
        self._server = server
        self._notes = notes
        self._connecting = connecting

    async def head(self, flow: http.HTTPFlow) -> None:
        """Decides about the request whose head is there."""
        shared = self._shared
        request, data = flow.request, flow.request.data
        # A request in clear text may say HTTP/2.0 of itself; its connection is not of that, and it is refused for its version.
        multiplexed = (request.is_http2 and flow.client_conn.alpn == b"h2") or request.is_http3
        secure = request.is_http3 or came_over_tls(self._server.connections.get(flow.client_conn.id))
        relay = Relay(shared, flow.client_conn, data.method, data.path, http11=request.is_http11, multiplexed=multiplexed, secure=secure)
        self._notes.relays[flow] = relay
        if multiplexed:
            shared.tally.event("http2-request" if request.is_http2 else "http3-request")
        if flow.error is not None:
            # mitmproxy found the head invalid and ends the flow by itself; `error` is next.
            kind = Problem.METHOD if request.method == "CONNECT" else Problem.FRAMING
            self._notes.answers[flow] = relay.own_answer(kind, "The request's head is not valid.", close=True)
            return
        try:
            head = self._clean(request, relay)
        except RefusedError as error:
            self._notes.answers[flow] = relay.own_answer(error.problem, error.detail, close=True)
            flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            return
        if head.underscored:
            shared.tally.event("underscored-header", head.underscored)
        relay.head = head
        if relay.trusted:
            relay.address = client(
                relay.host, [value for name, value in head.fields if name.lower() == b"x-forwarded-for"], relay.terms.trusts
            )
        shared.ids.begin()
        relay.request_id = head.request_id or shared.ids.request_id()
        trace = b"" if head.traceparent else shared.ids.traceparent()
        added = forwarding(head, relay.host, trusted=relay.trusted, secure=secure)
        relay.outgoing = Outgoing(head, relay.request_id, trace, added, relay.stamp)
        decision = await self._decide(flow, relay, head)
        if decision is None:
            return
        relay.decision = decision
        # `stream` was set by mitmproxy (option stream_large_bodies) for a declared length over the replay buffer.
        relay.capture = prepare(shared, relay.terms, decision, relay.outgoing, replayable=not request.stream, caller=relay.caller)
        relay.serve = decision.serve
        self._connecting.begin(flow, relay)
        direct(flow, relay, relay.outgoing, decision.serve)

    @staticmethod
    def _clean(request: http.Request, relay: Relay) -> Head:
        """Raises:
        RefusedError: the head breaks a rule.
        """
        data = request.data
        fields, authority, version = data.headers.fields, data.authority, data.http_version
        if relay.multiplexed:
            # Of a request that ends with its head, layer.py has said that its body is empty.
            fields, authority, version = as_http1(authority, fields, ended=data.content is not None), b"", b"HTTP/1.1"
        return clean_request(
            data.method,
            data.path,
            authority,
            version,
            fields,
            trusted=relay.trusted,
            limits=relay.terms.config.gateway.limits,
            multiplexed=relay.multiplexed,
        )

    async def _decide(self, flow: http.HTTPFlow, relay: Relay, head: Head) -> Decision | None:
        """None: the request is refused, and that is seen to."""
        shared, terms = self._shared, relay.terms
        found = terms.policy.find(head.method, head.target)
        if isinstance(found, Decision):
            return found
        relay.claimed = found.route
        lines = field_lines(head.fields)
        caller = ANONYMOUS
        limit = terms.limits.get(found.route)
        if limit is not None and limit.per != "user" and self._limited(flow, relay, head, limit, None):
            return None
        rule = terms.rules.get(found.route)
        if rule is not None:
            if terms.checker is not None:
                caller = await checked(terms.checker, rule.credential, lines, shared.wall)
            elif terms.callers is not None:
                caller = await Introspection(shared, terms, terms.callers).who(rule.credential, head.fields)
            relay.caller = caller
            shared.tally.caller(caller.standing)
            if limit is not None and limit.per == "user" and self._limited(flow, relay, head, limit, caller):
                return None
            refused = refusal(rule.need, caller.standing, head.method)
            if refused is not None:
                self._refuse(flow, relay, head, refused, explained(caller), challenge=rule.challenge)
                return None
        if terms.visitors is not None and caller.user_id is None and caller.session_id is None:
            known = terms.visitors.known(lines)
            if known is None and found.by_session(terms.policy.flags):
                known, relay.visitor = terms.visitors.new()
            caller = known or ANONYMOUS
        told = terms.flag_headers.read(lines)
        user, session, claims = caller.user_id, caller.session_id, caller.claims
        asked = context(found.route, head.method, relay.address, user, session, claims, told, caller.fleeting)
        by = find(head.fields, found.field.encode()) if found.field else None
        return terms.policy.decide(found, asked, by.decode("latin-1") if by is not None else "")

    def _limited(self, flow: http.HTTPFlow, relay: Relay, head: Head, limit: RouteLimit, caller: Caller | None) -> bool:
        """Whether that was one request too many; then it is answered."""
        wait = limit.wait(relay.address, caller)
        if wait:
            self._refuse(flow, relay, head, Problem.RATE_LIMITED, TOO_MANY, retry=wait)
        return wait > 0

    def _refuse(
        self, flow: http.HTTPFlow, relay: Relay, head: Head, kind: Problem, detail: str, *, challenge: bytes = b"", retry: int = 1
    ) -> None:
        """Refuses a request whose head alone is there."""
        has_body = head.chunked or head.length > 0
        answer = relay.own_answer(kind, detail, close=has_body, challenge=challenge, retry=retry)
        if has_body:
            # mitmproxy would wait for all of it first, and has no answer at all for one that it streams.
            self._notes.answers[flow] = answer
            flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        else:
            relay.answered = True
            flow.response = answer


def direct(flow: http.HTTPFlow, relay: Relay, outgoing: Outgoing, target: Target, body: bytes | None = None) -> None:
    """Makes the flow's request what `target` gets. `body`: that of an HTTP/2 or HTTP/3 request, once it is whole."""
    old, head = flow.request, outgoing.head
    upstream = relay.terms.config.upstreams[target.upstream]
    host, port = upstream.address
    fields = outgoing.fields(target)
    if body is not None:
        fields = (*fields, *outgoing.length(body))
    elif head.chunked:
        fields = (*fields, (b"Transfer-Encoding", b"chunked"))
    if head.upgrade:
        fields = (*fields, (b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade))
    if head.expects and flow.request.data.content is None:
        fields = (*fields, (b"Expect", b"100-continue"))  # mitmproxy answers it and takes it out
    new = http.Request(
        host,
        port,
        old.data.method,
        b"https" if upstream.secure else b"http",
        b"",
        outgoing.target(target),
        # Also that of HTTP/2 and 3: by that mitmproxy knows to use a connection of HTTP/1.1 for this request alone.
        old.data.http_version,
        http.Headers(fields),
        old.data.content,
        None,
        old.data.timestamp_start,
        old.data.timestamp_end,
    )
    new.stream = relay.peeks[0].add if old.stream and relay.peeks is not None else old.stream
    flow.request = new


def came_over_tls(handler: ConnectionHandler | None) -> bool:
    """Has its client come over TLS? That ends before mitmproxy, which does not know of it."""
    return spoken(handler) is not None


def spoken(handler: ConnectionHandler | None) -> str | None:
    """What was agreed on by ALPN with a client that has come over TLS: "" for nothing. None: it has not."""
    writer = handler.transports[handler.client].writer if handler is not None and handler.client in handler.transports else None
    tls = writer.get_extra_info("ssl_object") if isinstance(writer, asyncio.StreamWriter) else None
    return (tls.selected_alpn_protocol() or "") if tls is not None else None
