"""One request on its way: what was decided about it, what became of it, and what is written down about it in the end.

Invariant: a flow is accounted for exactly once, whichever hook is its last, and the exchange for comparison ends in the same moment: handed
over, or counted as skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import orjson
from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.net.http import status_codes

from gateway.access import line
from gateway.identity.caller import Caller
from gateway.identity.stamp import OVERSIZED
from gateway.identity.visitors import NOT_RENEWED, NOT_SET, private
from gateway.mitm.fields import Fields, Head, field_lines, find
from gateway.mitm.outgoing import Outgoing
from gateway.mitm.shadow import Capture
from gateway.mitm.shared import Shared
from gateway.mitm.watch import Peek
from gateway.policy.decision import LEGACY, Decision, Target
from gateway.policy.failure import Failure
from gateway.policy.forwarded import unmapped
from gateway.policy.problems import Problem
from gateway.telemetry import GATEWAY

GONE_SECONDS: Final = 1.0
"""As gateway/net/relay.py has it, and says why."""


class Relay:
    """See the module's docstring."""

    def __init__(
        self, shared: Shared, client: Client, method: bytes, target: bytes, *, http11: bool, multiplexed: bool = False, secure: bool = False
    ) -> None:
        peer = client.peername
        self.shared = shared
        self.terms = shared.terms
        self.host = unmapped(peer[0]) if peer else "unix"
        self.address = self.host
        """The client's: the peer's, or whom a trusted proxy has the request from."""
        self.trusted = self.terms.trusts(self.host)
        self.secure = secure
        """Its client has come over TLS."""
        self.method = method.decode("latin-1")
        self.target = target
        """As it came, for the log, also when it is refused."""
        self.http11 = http11
        self.multiplexed = multiplexed
        """It is one of several on its connection, in HTTP/2 or 3."""
        self.started_at = shared.now()
        self.head: Head | None = None
        self.outgoing: Outgoing | None = None
        self.decision: Decision | None = None
        self.asked_at = self.started_at
        """When the request was whole, and somebody was asked."""
        self.waited = 0.0
        """Seconds from then to the answer's head."""
        self.serve: Target | None = None
        self.claimed = ""
        """The route that claims it, before it is decided who answers."""
        self.caller: Caller | None = None
        """Who is calling; None where that is nobody's matter."""
        self.visitor = b""
        """The cookie of a visitor who comes for the first time."""
        self.fell_back = ""
        self.problem: Problem | None = None
        """What the gateway itself answers."""
        self.own: http.Response | None = None
        """The same, as it is sent."""
        self.answered = False
        """The answer was made whole by the addon: mitmproxy asks nobody."""
        self.asked = False
        """The request is whole, and mitmproxy's to send."""
        self.started = False
        """A head of an upstream's answer is on its way to the client."""
        self.upgraded = False
        """What follows the answer's head is another protocol."""
        self.connection = ""
        """mitmproxy's id of the connection that it opened for this request, if it did."""
        self.timed_out: Failure | None = None
        self.tls_failed = False
        """mitmproxy was connected to the upstream, and did not come to speak TLS with it."""
        self.capture: Capture | None = None
        watch = shared.watch
        self.peeks = (Peek(watch.body), Peek(watch.body)) if watch is not None else None
        """The beginnings of request and answer, as far as they are streamed, where somebody looks."""
        self.request_id = b""
        self.sent = 0
        self.answer_lines = b""
        """The fields of an upstream's answer, each with its CRLF before it."""
        self.status = 0
        self.done = False
        self._timer: asyncio.TimerHandle | None = None
        self.terms.in_flight += 1

    @property
    def route(self) -> str:
        return self.decision.route if self.decision is not None else self.claimed

    @property
    def reason(self) -> str:
        if self.fell_back:
            return f"fallback-{self.fell_back}"
        if self.decision is not None:
            return self.decision.reason.value
        return self.problem.value if self.problem is not None else ""

    @property
    def upgrades(self) -> bool:
        """The client would rather speak another protocol."""
        return self.head is not None and bool(self.head.upgrade)

    # Answers

    def own_answer(self, kind: Problem, detail: str, *, close: bool, challenge: bytes = b"", retry: int = 1) -> http.Response:
        """The gateway's own answer: a problem document (RFC 9457). `detail` must not quote what the client sent. `challenge`: what
        WWW-Authenticate says, if anything; `retry`: what Retry-After does, in seconds."""
        self.problem = kind
        self.status = kind.status
        if not self.request_id:
            self.shared.ids.begin()
            self.request_id = self.shared.ids.request_id()
        document = {
            "type": f"urn:banyan:problem:{kind.value}",
            "title": kind.summary,
            "status": kind.status,
            "detail": detail,
            "request_id": self.request_id.decode("latin-1"),
        }
        body = orjson.dumps(document)
        fields: list[tuple[bytes, bytes]] = [
            (b"Content-Type", b"application/problem+json"),
            (b"Cache-Control", b"no-store"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Banyan-Error", kind.value.encode()),
        ]
        if kind is Problem.METHOD:
            fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
        if challenge and kind.status == 401:
            fields.append((b"WWW-Authenticate", challenge))
        if kind.status in (429, 503):
            fields.append((b"Retry-After", b"%d" % retry))
        if (close or self.closes()) and not self.multiplexed:
            fields.append((b"Connection", b"close"))
        reason = status_codes.RESPONSES.get(kind.status, "").encode()
        self.own = response(kind.status, reason, tuple(fields), b"" if self.method == "HEAD" else body)
        return self.own

    def closes(self) -> bool:
        """Does the client's connection end with this answer?"""
        return self.shared.draining or self.head is None or not self.head.keep_alive

    def client_fields(self, fields: Fields) -> Fields:
        """An upstream's fields as the client gets them."""
        out = list(fields)
        self.answer_lines = field_lines(fields)
        self._sessions(fields, out)
        visitors = self.terms.visitors
        if self.visitor and visitors is not None:
            told = self.trusted and self.head is not None and find(self.head.fields, b"x-forwarded-proto") == b"https"
            cookie = visitors.set_cookie(self.visitor, field_lines(fields), secure=self.secure or told)
            if cookie:
                out.append((b"Set-Cookie", cookie))
            else:
                self.shared.tally.event(NOT_SET)
        if (self.terms.config.gateway.expose_decision or self.trusted) and self.serve is not None:
            out.append((b"Banyan-Route", f"{self.route or '-'}; served-by={self.serve.side}; reason={self.reason}".encode()))
            elapsed = 1000 * (self.shared.now() - self.started_at)
            out.append((b"Server-Timing", f"upstream;desc={self.serve.upstream};dur={elapsed:.1f}".encode()))
        if self.multiplexed or self.upgraded:
            pass  # neither connection is to end, or to stay, by a field
        elif self.closes():
            out.append((b"Connection", b"close"))
        elif not self.http11:
            out.append((b"Connection", b"keep-alive"))
        return tuple(out)

    def _sessions(self, fields: Fields, out: list[tuple[bytes, bytes]]) -> None:
        """What an upstream's answer does to sessions: legacy may end one; and one that it renewed when it was asked is told of."""
        if self.serve is None or self.head is None:
            return
        if self.serve.upstream == LEGACY:
            for key in self.terms.ended(self.head.fields, fields):
                self.shared.end(key)
                if self.shared.ended is not None:
                    self.shared.ended(key)
        elif self.caller is not None and self.caller.cookies:
            if private(field_lines(fields)):
                out += [(b"Set-Cookie", cookie) for cookie in self.caller.cookies]
            else:
                self.shared.tally.event(NOT_RENEWED)

    def stamp(self, upstream: str) -> Fields:
        """Who calls, signed for this upstream; nothing where nobody has asked who calls."""
        stamps = self.terms.stamps
        if stamps is None or self.caller is None:
            return ()
        line = stamps.field(self.caller, upstream, self.shared.wall())
        if not line:
            self.shared.tally.event(OVERSIZED)
            return ()
        name, _, token = line.removeprefix(b"\r\n").partition(b": ")
        return ((name, token),)

    def tap(self, data: bytes) -> bytes:
        """Sees an answer's body pass."""
        self.sent += len(data)
        if self.peeks is not None:
            self.peeks[1].add(data)
        if self.capture is not None and data:
            self.capture.add(data)
        return data

    def fall_back(self, target: Target, why: str) -> None:
        """`target` takes the candidate's place."""
        self.watched(failed=True)
        self.fell_back = why
        self.waited = 0.0
        self.serve = target
        self.shared.tally.route(self.route).fell_back(why)

    def watched(self, *, failed: bool) -> None:
        """Tells the guard how the upstream did that was asked first. See gateway/net/relay.py."""
        decision, serve = self.decision, self.serve
        if decision is not None and decision.guarded and not self.fell_back and serve is not None:
            self.shared.tally.route(decision.route).watched(serve.side, failed, self.waited)

    def failed(self, *, begun: bool) -> None:
        """Counts that whoever was asked last failed, and that nobody takes its place."""
        if self.decision is not None and self.serve is not None:
            self.shared.tally.route(self.decision.route).failed(self.serve.side, begun=begun)

    # Timers

    def arm(self, seconds: float, failure: Failure, expired: Callable[[], None]) -> None:
        """Begins a timeout in place of the running one."""
        self.disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired, failure, expired)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self, failure: Failure, expired: Callable[[], None]) -> None:
        self._timer = None
        self.timed_out = failure
        expired()

    # Endings

    def finish(self) -> None:
        """The client has its answer."""
        if self.problem is not None:
            self.shared.tally.problem(self.problem.value)
            self._end(GATEWAY, self.status, "fallback" if self.fell_back else "unanswered")
        else:
            self.watched(failed=self.status >= 500)
            self._end(self._side(), self.status, "fallback" if self.fell_back else "")

    def cut_off(self, event: str) -> None:
        """The client's answer stopped in the middle."""
        self.shared.tally.event(event)
        self._end(self._side(), 0, "unanswered")

    def client_gone(self) -> None:
        waited = self.shared.now() - self.asked_at
        if waited >= GONE_SECONDS and not self.started and not self.answered:
            self.waited = waited
            self.watched(failed=False)
        self._end(self._side(), 0, "client_gone")

    def skip_shadow(self, reason: str) -> None:
        capture, self.capture = self.capture, None
        if capture is not None:
            capture.give_up(reason)

    def _side(self) -> str:
        return self.serve.side if self.serve is not None else GATEWAY

    def _end(self, side: str, status: int, skip: str) -> None:
        if self.done:
            return
        self.done = True
        self.disarm()
        shared = self.shared
        self.terms.in_flight -= 1
        seconds = shared.now() - self.started_at
        shared.tally.route(self.route).finish(side, status, seconds)
        if self.method and shared.sample.due():
            waited = self.waited or (shared.now() - self.asked_at if self.serve is not None else 0.0)
            shared.sample.take(self.method, self.target, self.route, side, status, waited, self.answer_lines)
        shadowed = self.capture is not None
        if skip:
            self.skip_shadow(skip)
        elif self.capture is not None:
            self.capture.finish()
        if shared.access.enabled:
            shared.access.write(
                line(
                    shared.wall(),
                    self.request_id,
                    self.address,
                    self.method,
                    self.terms.mask.presentable(self.target),
                    status,
                    self.sent,
                    seconds,
                    self.route,
                    side,
                    self.serve.upstream if self.serve is not None and side != GATEWAY else "",
                    self.reason,
                    shadowed,
                )
            )


def response(status: int, reason: bytes, fields: Fields, body: bytes | None) -> http.Response:
    """An answer as mitmproxy writes it to the client."""
    return http.Response(b"HTTP/1.1", status, reason, http.Headers(fields), body, None, 0.0, None)
