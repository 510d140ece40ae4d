"""The policy as a mitmproxy addon: the moments of a request are mitmproxy's hooks.

- `requestheaders`: the head is checked and cleaned, the caller looked up, and it is decided who serves. The flow's request becomes what
  that upstream gets. From here mitmproxy could carry the request alone, and where legacy serves it does: streaming, by its own connection.
- `request`, the body is whole: where the candidate serves, it is asked here, by a client of ours. A flow whose upstream has failed cannot
  be given another one, so an answer that legacy may have to replace must not be mitmproxy's to fetch. When the policy says legacy, the
  flow's request is made over for legacy, and mitmproxy goes on with it.
- `responseheaders`, `response`: legacy's answer passes through a tap that counts and captures; nothing is kept.
- `error`: the end of a flow that got no answer. What the client is told instead goes out by layer.py.

A body over the replay buffer is streamed by mitmproxy to whoever serves, candidate or legacy: it could not be sent twice anyway.

The flow's request and response are replaced, never changed in place: mitmproxy's own connections keep the originals, and by those they know
whether they stay open.
"""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.proxy.context import Context as HandlerContext
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tls import TlsData

from gateway.identity.caller import ANONYMOUS, Caller, explained
from gateway.limiting import TOO_MANY, RouteLimit
from gateway.mitm.client import Reply
from gateway.mitm.fields import Head, RefusedError, clean_request, clean_response, field_lines, find
from gateway.mitm.identity import Introspection, checked
from gateway.mitm.layer import ANSWER, GatewayHttpLayer
from gateway.mitm.outgoing import Outgoing, forwarding
from gateway.mitm.relay import Relay, response
from gateway.mitm.shadow import prepare
from gateway.mitm.shared import Shared
from gateway.policy.admission import refusal
from gateway.policy.decision import Decision, Policy, Target
from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure
from gateway.policy.forwarded import client
from gateway.policy.problems import Problem
from gateway.policy.properties import context

_log = logging.getLogger("banyan.worker")

RELAY = "banyan.relay"
"""The key in a flow's metadata."""
MAX_HELD = 4 * 1024 * 1024
"""Bytes of a candidate's answer that are held until it is whole."""


class GatewayAddon:
    """See the module's docstring."""

    def __init__(self, shared: Shared, server: Proxyserver) -> None:
        self._shared = shared
        self._server = server
        self._current: dict[str, Relay] = {}
        """What each client connection is busy with: in HTTP/1, one request at a time."""
        self.up = asyncio.Event()

    # mitmproxy's hooks

    def running(self) -> None:
        self.up.set()

    def next_layer(self, layer: NextLayer) -> None:
        layer.layer = GatewayHttpLayer(
            layer.context, max_head=lambda: self._shared.terms.config.gateway.limits.header_bytes, refuse=self._refuse
        )

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """The head is there."""
        try:
            await self._head(flow)
        except Exception:
            # mitmproxy would log it, and send on what the client has sent: to legacy, whoever calls, and with every forged field.
            _log.exception("a request could not be decided about")
            if flow.killable:
                flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part

    async def _head(self, flow: http.HTTPFlow) -> None:
        shared = self._shared
        request = flow.request
        relay = Relay(shared, flow.client_conn, request.data.method, request.data.path, http11=request.is_http11)
        flow.metadata[RELAY] = relay
        if flow.error is not None:
            # mitmproxy found the head invalid and ends the flow by itself; `error` is next.
            kind = Problem.METHOD if request.method == "CONNECT" else Problem.FRAMING
            flow.metadata[ANSWER] = relay.own_answer(kind, "The request's head is not valid.", close=True)
            return
        data = request.data
        try:
            head = clean_request(
                data.method,
                data.path,
                data.authority,
                data.http_version,
                data.headers.fields,
                trusted=relay.trusted,
                limits=relay.terms.config.gateway.limits,
            )
        except RefusedError as error:
            flow.metadata[ANSWER] = relay.own_answer(error.problem, error.detail, close=True)
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
        relay.secure = self._secure(flow)
        added = forwarding(head, relay.host, trusted=relay.trusted, secure=relay.secure)
        relay.outgoing = Outgoing(head, relay.request_id, trace, added, relay.stamp)
        terms = relay.terms
        found = terms.policy.find(head.method, head.target)
        if isinstance(found, Decision):
            decision = found
        else:
            relay.claimed = found.route
            lines = field_lines(head.fields)
            caller = ANONYMOUS
            limit = terms.limits.get(found.route)
            if limit is not None and limit.per != "user" and self._limited(flow, relay, head, limit, None):
                return
            rule = terms.rules.get(found.route)
            if rule is not None:
                if terms.checker is not None:
                    caller = await checked(terms.checker, rule.credential, lines, shared.wall)
                elif terms.callers is not None:
                    caller = await Introspection(shared, terms, terms.callers).who(rule.credential, head.fields)
                relay.caller = caller
                shared.tally.caller(caller.standing)
                if limit is not None and limit.per == "user" and self._limited(flow, relay, head, limit, caller):
                    return
                refused = refusal(rule.need, caller.standing, head.method)
                if refused is not None:
                    self._refuse_head(flow, relay, head, refused, explained(caller), challenge=rule.challenge)
                    return
            if terms.visitors is not None and caller.user_id is None and caller.session_id is None:
                known = terms.visitors.known(lines)
                if known is None and found.by_session(terms.policy.flags):
                    known, relay.visitor = terms.visitors.new()
                caller = known or ANONYMOUS
            told = terms.flag_headers.read(lines)
            user, session, claims = caller.user_id, caller.session_id, caller.claims
            asked = context(found.route, head.method, relay.address, user, session, claims, told, caller.fleeting)
            by = find(head.fields, found.field.encode()) if found.field else None
            decision = terms.policy.decide(found, asked, by.decode("latin-1") if by is not None else "")
        relay.decision = decision
        # `stream` was set by mitmproxy (option stream_large_bodies) for a declared length over the replay buffer.
        relay.capture = prepare(shared, terms, decision, relay.outgoing, replayable=not request.stream, caller=relay.caller)
        relay.serve = decision.serve
        self._current[flow.client_conn.id] = relay
        self._direct(flow, relay, relay.outgoing, decision.serve)

    def _limited(self, flow: http.HTTPFlow, relay: Relay, head: Head, limit: RouteLimit, caller: Caller | None) -> bool:
        """Whether that was one request too many; then it is answered."""
        wait = limit.wait(relay.address, caller)
        if wait:
            self._refuse_head(flow, relay, head, Problem.RATE_LIMITED, TOO_MANY, retry=wait)
        return wait > 0

    def _refuse_head(
        self, flow: http.HTTPFlow, relay: Relay, head: Head, kind: Problem, detail: str, *, challenge: bytes = b"", retry: int = 1
    ) -> None:
        """Refuses a request whose head alone is there."""
        has_body = head.chunked or head.length > 0
        answer = relay.own_answer(kind, detail, close=has_body, challenge=challenge, retry=retry)
        if has_body:
            # mitmproxy would wait for all of it first, and has no answer at all for one that it streams.
            flow.metadata[ANSWER] = answer
            flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        else:
            relay.answered = True
            flow.response = answer

    async def request(self, flow: http.HTTPFlow) -> None:
        """The request is whole, or was streamed to its end."""
        relay = _relay(flow)
        if relay is None or relay.decision is None or relay.outgoing is None:
            return
        relay.asked_at = self._shared.now()
        if flow.request.stream:
            relay.skip_shadow("body_too_large")
        else:
            body = flow.request.raw_content or b""
            if relay.capture is not None:
                if len(body) > relay.terms.config.gateway.replay_buffer:
                    relay.skip_shadow("body_too_large")  # it came in chunks, and did not say so before
                else:
                    relay.capture.mirror(body)
            # Without anybody who could answer in its place there is nothing to hold an answer back for: mitmproxy asks, and streams.
            if relay.decision.serve.side == "candidate" and relay.decision.fallback is not None:
                await self._ask_candidate(flow, relay, relay.decision, relay.outgoing, body)
        if flow.response is None:
            relay.asked = True
            self._await_answer(relay, flow.client_conn)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The head of an answer that mitmproxy fetched (or of one that was made here)."""
        relay = _relay(flow)
        if relay is None or relay.answered or flow.response is None:
            return
        relay.disarm()
        data = flow.response.data
        if data.status_code < 200:
            # mitmproxy takes every 1xx for the whole answer.
            flow.metadata[ANSWER] = relay.own_answer(Problem.BAD_ANSWER, _detail(relay, Failure.BAD_ANSWER), close=True)
            flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            return
        relay.started = True
        relay.waited = self._shared.now() - relay.asked_at
        relay.status = data.status_code
        fields = clean_response(data.headers.fields)
        if relay.capture is not None:
            relay.capture.begin(data.status_code, fields)
        framing = ((b"Transfer-Encoding", b"chunked"),) if find(data.headers.fields, b"transfer-encoding") is not None else ()
        flow.response = response(data.status_code, data.reason, (*relay.client_fields(fields), *framing), None)
        flow.response.stream = relay.tap

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer is whole."""
        relay = _relay(flow)
        if relay is not None:
            self._forget(flow)
            relay.finish()

    def error(self, flow: http.HTTPFlow) -> None:
        """There will be no answer, or not the rest of it."""
        relay = _relay(flow)
        if relay is None or relay.done:
            return
        self._forget(flow)
        if relay.problem is not None:
            relay.finish()
        elif not flow.client_conn.state & ConnectionState.CAN_READ:
            relay.client_gone()
        elif relay.started:
            relay.watched(failed=True)
            relay.failed(begun=True)
            relay.cut_off(f"cut-off-{_failure(flow, relay).code}")
        else:
            failure = _failure(flow, relay)
            kind = Problem.UNREACHABLE
            if relay.decision is not None:
                # Nobody else is asked any more: what could have gone elsewhere was asked by our own client.
                outcome = Policy.on_failure(relay.decision, failure, relay.method, replayable=False)
                kind = outcome if isinstance(outcome, Problem) else kind
            relay.watched(failed=True)
            relay.failed(begun=False)
            flow.metadata[ANSWER] = relay.own_answer(kind, _detail(relay, failure), close=True)
            relay.finish()

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """mitmproxy opens a connection, and would wait for as long as the kernel does."""
        relay = self._current.get(data.client.id)
        if relay is not None and relay.serve is not None:
            seconds = relay.terms.config.upstreams[relay.serve.upstream].connect_timeout
            relay.arm(seconds, Failure.CONNECT_TIMEOUT, lambda: self._drop_upstream(data.client))

    def tls_start_server(self, data: TlsData) -> None:
        """mitmproxy is connected, and this upstream is to prove who it is."""
        relay = self._current.get(data.context.client.id)
        if relay is not None and relay.serve is not None:
            relay.terms.upstreams_tls.begin(relay.serve.upstream, data)

    def tls_failed_server(self, data: TlsData) -> None:
        relay = self._current.get(data.context.client.id)
        if relay is not None:
            relay.tls_failed = True

    def server_connected(self, data: ServerConnectionHookData) -> None:
        relay = self._current.get(data.client.id)
        if relay is not None:
            relay.disarm()
            if relay.asked:
                self._await_answer(relay, data.client)

    def client_disconnected(self, client: Client) -> None:
        self._current.pop(client.id, None)

    # Inside

    def _refuse(self, context: HandlerContext, kind: Problem, detail: str) -> http.Response:
        """No flow came of what the client sent."""
        relay = Relay(self._shared, context.client, b"", b"", http11=True)
        answer = relay.own_answer(kind, detail, close=True)
        relay.finish()
        return answer

    async def _ask_candidate(self, flow: http.HTTPFlow, relay: Relay, decision: Decision, outgoing: Outgoing, body: bytes) -> None:
        method = relay.method
        client = relay.terms.clients[decision.serve.upstream]
        repeatable = may_repeat(method, replayable=True)
        outcome = await client.ask(outgoing.ask(decision.serve, body), limit=MAX_HELD, repeatable=repeatable)
        if isinstance(outcome, Reply) and outcome.skipped:
            if repeatable:
                return  # too large to hold, or without end: asked again, by mitmproxy, which streams
            outcome = Failure.BAD_ANSWER
        if isinstance(outcome, Reply):
            other = Policy.on_response(decision, method, outcome.status, replayable=True)
            if other is None:
                self._answer(flow, relay, outcome)
            else:
                relay.fall_back(other, f"status-{outcome.status}")
                self._direct(flow, relay, outgoing, other)
            return
        after = Policy.on_failure(decision, outcome, method, replayable=True)
        if isinstance(after, Target):
            relay.fall_back(after, outcome.code)
            self._direct(flow, relay, outgoing, after)
        else:
            relay.watched(failed=True)
            relay.failed(begun=False)
            relay.answered = True
            flow.response = relay.own_answer(after, _detail(relay, outcome), close=False)

    def _await_answer(self, relay: Relay, client: Client) -> None:
        """mitmproxy has sent the whole request, or will have as soon as it is connected."""
        if relay.serve is not None:
            seconds = relay.terms.config.upstreams[relay.serve.upstream].response_timeout
            relay.arm(seconds, Failure.TIMEOUT, lambda: self._drop_upstream(client))

    def _answer(self, flow: http.HTTPFlow, relay: Relay, reply: Reply) -> None:
        relay.answered = True
        relay.waited = reply.waited
        relay.status = reply.status
        relay.sent = len(reply.body)
        if relay.capture is not None:
            relay.capture.begin(reply.status, reply.fields)
            relay.capture.add(reply.body)
        fields = relay.client_fields(reply.fields)
        if relay.method != "HEAD" and reply.status not in (204, 304) and find(fields, b"content-length") is None:
            fields = (*fields, (b"Content-Length", b"%d" % len(reply.body)))
        flow.response = response(reply.status, reply.reason, fields, reply.body)

    def _direct(self, flow: http.HTTPFlow, relay: Relay, outgoing: Outgoing, target: Target) -> None:
        """Makes the flow's request what `target` gets."""
        old, head = flow.request, outgoing.head
        upstream = relay.terms.config.upstreams[target.upstream]
        host, port = upstream.address
        fields = outgoing.fields(target)
        if head.chunked:
            fields = (*fields, (b"Transfer-Encoding", b"chunked"))
        if head.expects and flow.request.data.content is None:
            fields = (*fields, (b"Expect", b"100-continue"))  # mitmproxy answers it and takes it out
        new = http.Request(
            host,
            port,
            old.data.method,
            b"https" if upstream.secure else b"http",
            b"",
            outgoing.target(target),
            old.data.http_version,
            http.Headers(fields),
            old.data.content,
            None,
            old.data.timestamp_start,
            old.data.timestamp_end,
        )
        new.stream = old.stream
        flow.request = new

    def _secure(self, flow: http.HTTPFlow) -> bool:
        """Has its client come over TLS? That ends before mitmproxy, which does not know of it."""
        handler = self._server.connections.get(flow.client_conn.id)
        writer = handler.transports[handler.client].writer if handler is not None else None
        return isinstance(writer, asyncio.StreamWriter) and writer.get_extra_info("ssl_object") is not None

    def _forget(self, flow: http.HTTPFlow) -> None:
        self._current.pop(flow.client_conn.id, None)
        flow.metadata.pop(RELAY, None)

    def _drop_upstream(self, client: Client) -> None:
        """Ends the waiting: mitmproxy sees its connection closed, and reports the flow to `error`."""
        handler = self._server.connections.get(client.id)
        if handler is not None:
            for connection, io in list(handler.transports.items()):
                if connection is not client and io.handler is not None:
                    io.handler.cancel("timeout")


def _relay(flow: http.HTTPFlow) -> Relay | None:
    relay = flow.metadata.get(RELAY)
    return relay if isinstance(relay, Relay) else None


def _detail(relay: Relay, failure: Failure) -> str:
    return f"{relay.serve.upstream if relay.serve is not None else 'upstream'}: {failure.code}"


def _failure(flow: http.HTTPFlow, relay: Relay) -> Failure:
    """What became of mitmproxy's own connection to the upstream."""
    if relay.timed_out is not None:
        return relay.timed_out
    if relay.tls_failed:
        return Failure.TLS
    if flow.server_conn.timestamp_tcp_setup is None:
        return Failure.REFUSED
    message = flow.error.msg if flow.error is not None else ""
    if message.startswith(("Cannot parse", "unexpected server response", "HTTP/1 protocol error", "Received ")):
        return Failure.BAD_ANSWER
    return Failure.RESET
