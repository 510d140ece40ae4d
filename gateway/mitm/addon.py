"""The policy as a mitmproxy addon: the moments of a request are mitmproxy's hooks.

- `requestheaders`: deciding.py. From here mitmproxy could carry the request alone, and where legacy serves it does: streaming, by its own
  connection (connecting.py).
- `request`, the body is whole: where the candidate serves, it is asked here, by a client of ours. A flow whose upstream has failed cannot
  be given another one, so an answer that legacy may have to replace must not be mitmproxy's to fetch. When the policy says legacy, the
  flow's request is made over for legacy, and mitmproxy goes on with it.
- `responseheaders`, `response`: legacy's answer passes through a tap that counts and captures; nothing is kept.
- `error`: the end of a flow that got no answer. What the client is told instead goes out by layer.py.

A body over the replay buffer is streamed by mitmproxy to whoever serves, candidate or legacy: it could not be sent twice anyway. So is an
Upgrade; what follows it is upgraded.py's.

The flow's request and response are replaced, never changed in place: mitmproxy's own connections keep the originals, and by those they know
whether they stay open.
"""

from __future__ import annotations

import asyncio
import logging

from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy.context import Context as HandlerContext
from mitmproxy.proxy.layer import NextLayer
from mitmproxy.proxy.layers.quic import ClientQuicLayer

from gateway.mitm.client import Reply
from gateway.mitm.connecting import Connecting
from gateway.mitm.deciding import Deciding, direct, spoken
from gateway.mitm.fields import clean_response, find, sound, switches
from gateway.mitm.layer import GatewayHttpLayer
from gateway.mitm.notes import Notes
from gateway.mitm.outgoing import Outgoing
from gateway.mitm.relay import Relay, response
from gateway.mitm.shared import Shared
from gateway.mitm.upgraded import Upgraded
from gateway.policy.decision import Decision, Policy, Target
from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure
from gateway.policy.problems import Problem

_log = logging.getLogger("banyan.worker")

MAX_HELD = 4 * 1024 * 1024
"""Bytes of a candidate's answer that are held until it is whole."""


class GatewayAddon:
    """See the module's docstring."""

    def __init__(self, shared: Shared, server: Proxyserver) -> None:
        self._shared = shared
        self._server = server
        self._notes = Notes()
        self.connecting = Connecting(server)
        self.upgraded = Upgraded(shared)
        self._deciding = Deciding(shared, server, self._notes, self.connecting)
        self.up = asyncio.Event()

    # mitmproxy's hooks

    def running(self) -> None:
        self.up.set()

    def next_layer(self, layer: NextLayer) -> None:
        context, quic = layer.context, None
        if context.client.transport_protocol == "udp":
            context.server.transport_protocol = "tcp"  # towards upstreams
            quic = ClientQuicLayer(context)
            self._shared.tally.event("http3-connection")
        elif spoken(self._server.connections.get(context.client.id)) == "h2":
            # TLS has ended before mitmproxy, and with it the choice of the protocol: mitmproxy is told what was chosen.
            context.client.alpn = b"h2"
            self._shared.tally.event("http2-connection")
        inner = GatewayHttpLayer(
            context,
            max_head=lambda: self._shared.terms.config.gateway.limits.header_bytes,
            refuse=self._refuse,
            answers=self._notes.answers,
        )
        if quic is not None:
            quic.child_layer = inner
        layer.layer = quic or inner

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """The head is there."""
        try:
            await self._deciding.head(flow)
        except Exception:
            # mitmproxy would log it, and send on what the client has sent: to legacy, whoever calls, and with every forged field.
            known = self._notes.relays.get(flow)
            request_id = known.request_id.decode("latin-1") if known is not None else ""
            _log.exception("a request could not be decided about", extra={"request_id": request_id})
            if flow.killable:
                flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        relay = self._notes.relays.get(flow)
        if relay is not None and self._shared.watch is not None:
            self._shared.watch.begun(flow, relay)

    async def request(self, flow: http.HTTPFlow) -> None:
        """The request is whole, or was streamed to its end."""
        relay = self._notes.relays.get(flow)
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
            held_back = relay.decision.serve.side == "candidate" and relay.decision.fallback is not None
            if held_back and relay.upgrades:
                await self._look_for_candidate(flow, relay, relay.decision, relay.outgoing)
            elif held_back:
                await self._ask_candidate(flow, relay, relay.decision, relay.outgoing, body)
            if relay.multiplexed and flow.response is None and relay.serve is not None:
                direct(flow, relay, relay.outgoing, relay.serve, body)  # framed by the length that is known now
        if flow.response is None:
            relay.asked = True
            self.connecting.await_answer(flow, relay)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The head of an answer that mitmproxy fetched (or of one that was made here)."""
        relay = self._notes.relays.get(flow)
        if relay is None or relay.answered or flow.response is None:
            return
        relay.disarm()
        data = flow.response.data
        good = sound(data.http_version, data.status_code, data.reason, data.headers.fields)
        if good and data.status_code == 101 and relay.head is not None:
            chosen = switches(data.headers.fields, relay.head.upgrade)
            if chosen:
                self._switch(flow, relay, chosen)
                return
        if not good or data.status_code < 200:
            # mitmproxy takes every 1xx for the whole answer.
            self._unanswered(flow, relay, Failure.BAD_ANSWER)
            flow.kill()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
            return
        relay.started = True
        relay.waited = self._shared.now() - relay.asked_at
        relay.status = data.status_code
        fields = clean_response(data.headers.fields)
        if relay.capture is not None:
            relay.capture.begin(data.status_code, fields)
        chunked = not relay.multiplexed and find(data.headers.fields, b"transfer-encoding") is not None
        framing = ((b"Transfer-Encoding", b"chunked"),) if chunked else ()
        flow.response = response(data.status_code, data.reason, (*relay.client_fields(fields), *framing), None)
        flow.response.stream = relay.tap

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer is whole."""
        relay = self._notes.relays.get(flow)
        if relay is None:
            return
        self._forget(flow, relay)
        if relay.upgraded:
            self.upgraded.begin(flow, relay)
            return
        relay.finish()
        self._over(flow, relay)

    def error(self, flow: http.HTTPFlow) -> None:
        """There will be no answer, or not the rest of it."""
        relay = self._notes.relays.get(flow)
        if relay is None or relay.done:
            return
        self._forget(flow, relay)
        if relay.problem is not None:
            relay.finish()
        elif not flow.client_conn.state & ConnectionState.CAN_READ or _reset(flow, relay):
            relay.client_gone()
        elif relay.started:
            relay.watched(failed=True)
            relay.failed(begun=True)
            relay.cut_off(f"cut-off-{_failure(flow, relay).code}")
        else:
            self._unanswered(flow, relay, _failure(flow, relay))
            relay.finish()
        self._over(flow, relay)

    # Inside

    def _refuse(self, context: HandlerContext, kind: Problem, detail: str) -> http.Response:
        """No flow came of what the client sent."""
        relay = Relay(self._shared, context.client, b"", b"", http11=True)
        answer = relay.own_answer(kind, detail, close=True)
        relay.finish()
        return answer

    def _unanswered(self, flow: http.HTTPFlow, relay: Relay, failure: Failure) -> None:
        """Whom mitmproxy asked has failed before its answer began: what the client is told."""
        kind = Problem.UNREACHABLE
        if relay.decision is not None:
            # Nobody else is asked any more: what could have gone elsewhere was asked by our own client.
            outcome = Policy.on_failure(relay.decision, failure, relay.method, replayable=False)
            kind = outcome if isinstance(outcome, Problem) else kind
        relay.watched(failed=True)
        relay.failed(begun=False)
        self._notes.answers[flow] = relay.own_answer(kind, _detail(relay, failure), close=True)

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
                direct(flow, relay, outgoing, other)
            return
        after = Policy.on_failure(decision, outcome, method, replayable=True)
        if isinstance(after, Target):
            relay.fall_back(after, outcome.code)
            direct(flow, relay, outgoing, after)
        else:
            relay.watched(failed=True)
            relay.failed(begun=False)
            relay.answered = True
            flow.response = relay.own_answer(after, _detail(relay, outcome), close=False)

    async def _look_for_candidate(self, flow: http.HTTPFlow, relay: Relay, decision: Decision, outgoing: Outgoing) -> None:
        """An Upgrade is mitmproxy's to send. Before that it is known whether the candidate is there at all; if not, legacy takes it."""
        failure = await relay.terms.clients[decision.serve.upstream].reach()
        if failure is not None:
            after = Policy.on_failure(decision, failure, relay.method, replayable=True)
            if isinstance(after, Target):
                relay.fall_back(after, failure.code)
                direct(flow, relay, outgoing, after)

    def _switch(self, flow: http.HTTPFlow, relay: Relay, protocol: bytes) -> None:
        """The upstream agrees to another protocol: the client's 101."""
        assert flow.response is not None  # noqa: S101 - this is its head
        data = flow.response.data
        relay.started = relay.upgraded = True
        relay.waited = self._shared.now() - relay.asked_at
        relay.status = data.status_code
        fields = (*relay.client_fields(clean_response(data.headers.fields)), (b"Connection", b"Upgrade"), (b"Upgrade", protocol))
        flow.response = response(data.status_code, data.reason, fields, None)

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

    def _forget(self, flow: http.HTTPFlow, relay: Relay) -> None:
        self.connecting.forget(flow, relay)
        self._notes.relays.pop(flow, None)

    def _over(self, flow: http.HTTPFlow, relay: Relay) -> None:
        if self._shared.watch is not None:
            self._shared.watch.over(flow, relay)


def _reset(flow: http.HTTPFlow, relay: Relay) -> bool:
    """Has the client taken this request back? Its connection goes on."""
    said = ("stream reset by client", "stream closed by client")
    return relay.multiplexed and flow.error is not None and flow.error.msg.startswith(said)


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
