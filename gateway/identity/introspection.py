"""Who is calling, asked of legacy itself: its real middleware reads the session, so the edge needs no key that could forge one.

This is the edge engine's way of asking, through the pool that also carries the clients' requests; what is remembered and who waits is in
callers.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from gateway.identity.caller import Caller, unsaid
from gateway.identity.callers import MAX_ANSWER, Callers, Question, renewals, understand
from gateway.identity.credential import Credential
from gateway.net.head import ResponseHead
from gateway.net.pool import Pool
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure
from gateway.settings import Identity

TIMEOUT: Final = unsaid("timeout")
TOO_LONG: Final = unsaid("too-long")
CLOSING: Final = unsaid("closing")


class Introspection:
    """The questions under way."""

    def __init__(self, pool: Pool, settings: Identity, callers: Callers | None = None) -> None:
        """`callers`: what is known already."""
        self._pool = pool
        self._settings = settings
        self.callers = callers or Callers(settings)
        self._asking: set[_Asking] = set()
        self.claims = settings.claims

    def recall(self, credential: Credential, fields: bytes) -> Caller | None:
        """The caller, if he is remembered, or nobody. None: `lookup` says."""
        return self.callers.recall(credential, fields, self._pool.clock.now)

    def lookup(self, credential: Credential, fields: bytes, then: Callable[[Caller], None]) -> Caller | None:
        """The caller, or None: then `then` is called once it is known."""
        found = self.callers.lookup(credential, fields, then, time.monotonic())
        if isinstance(found, Question):
            asking = _Asking(self, found)
            self._asking.add(asking)
            asking.ask(self._pool, self._request(found), self._settings.timeout)
            return found.meanwhile
        return found

    def close(self) -> None:
        """Whoever still waits is told that nobody can say."""
        for asking in list(self._asking):
            asking.answered(CLOSING)

    def learned(self, asking: _Asking, question: Question, caller: Caller, *, known: bool, lifetime: float | None) -> None:
        self._asking.discard(asking)
        self.callers.learned(question, caller, time.monotonic(), known=known, lifetime=lifetime)

    def _request(self, question: Question) -> bytes:
        place = self._pool.places[0]
        host = self._settings.host or f"{place.host}:{place.port}"
        begin = f"GET {self._settings.path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
        # Django that redirects to https (SECURE_SSL_REDIRECT) would redirect this too.
        begin += "X-Forwarded-Proto: https\r\nVia: 1.1 banyan"
        return begin.encode() + b"".join(b"\r\n%b: %b" % field for field in question.fields) + b"\r\n\r\n"


class _Asking(Sink):
    """One call to legacy. It is the Sink of its connection."""

    def __init__(self, owner: Introspection, question: Question) -> None:
        self._owner = owner
        self._question = question
        self._status = 0
        self._renewals: tuple[bytes, ...] = ()
        self._body = b""
        self._request = b""
        self._pool: Pool | None = None
        self._connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._done = False

    def ask(self, pool: Pool, request: bytes, timeout: float) -> None:
        self._request = request
        self._pool = pool
        self._timeout = pool.loop.call_later(timeout, self.answered, TIMEOUT)
        connection = pool.acquire(repeatable=True)
        if connection is None:
            self._connecting = pool.connect(self._connected)
        else:
            self._connected(connection)

    def answered(self, caller: Caller, *, known: bool = False, lifetime: float | None = None) -> None:
        if self._done:
            return
        self._done = True
        if self._timeout is not None:
            self._timeout.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abandon()
        self._owner.learned(self, self._question, caller, known=known, lifetime=lifetime)

    def _connected(self, result: UpstreamConnection | Failure) -> None:
        self._connecting = None
        if isinstance(result, Failure):
            self.answered(unsaid(result.code))
        elif self._done:
            result.abandon()
        else:
            self._connection = result
            result.begin(self, self._request, head_only=False, whole=True)

    # Sink

    def on_interim(self, head: ResponseHead) -> None:
        """Says nothing about the caller."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        self._status = head.status
        self._renewals = renewals(head.fields, self._question.credential.cookie)
        self.on_data(data, complete)

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: none is asked for."""

    def on_data(self, data: bytes, complete: bool) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER:
            self.answered(TOO_LONG)
        elif complete:
            self._connection = None
            caller, known, lifetime = understand(self._status, self._body, self._owner.claims, self._renewals, wall=time.time())
            self.answered(caller, known=known, lifetime=lifetime)

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._connection = None
        if stale and self._pool is not None and not self._done:
            self._connecting = self._pool.connect(self._connected)
        else:
            self.answered(unsaid(failure.code))

    def on_upstream_paused(self, paused: bool) -> None:
        """A request without a body cannot fill anything up."""
