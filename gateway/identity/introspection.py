"""Who is calling, asked of legacy itself: its real middleware reads the session, so the edge needs no key that could forge one.

This is the edge engine's way of asking, through the pool that also carries the clients' requests; what is remembered and who waits is in
callers.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.callers import MAX_ANSWER, Callers, Question, understand
from gateway.net.head import ResponseHead
from gateway.net.pool import Pool
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure
from gateway.settings import Identity


class Introspection:
    """The questions under way."""

    def __init__(self, pool: Pool, settings: Identity) -> None:
        self._pool = pool
        self._settings = settings
        self._callers = Callers(settings)
        self._asking: set[_Asking] = set()
        self.claims = settings.claims

    def lookup(self, fields: bytes, then: Callable[[Caller], None]) -> Caller | None:
        """The caller, or None: then `then` is called once it is known."""
        found = self._callers.lookup(fields, then, time.monotonic())
        if isinstance(found, Question):
            asking = _Asking(self, found)
            self._asking.add(asking)
            asking.ask(self._pool, self._request(found), self._settings.timeout)
            return None
        return found

    def close(self) -> None:
        """Whoever still waits is told that the caller is anonymous."""
        for asking in list(self._asking):
            asking.answered(ANONYMOUS)

    def learned(self, asking: _Asking, question: Question, caller: Caller, *, known: bool) -> None:
        self._asking.discard(asking)
        self._callers.learned(question, caller, time.monotonic(), known=known)

    def _request(self, question: Question) -> bytes:
        place = self._pool.places[0]
        host, port = place.host, place.port
        return (
            f"GET {self._settings.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nVia: 1.1 banyan\r\nCookie: ".encode()
            + self._callers.cookie(question)
            + b"\r\n\r\n"
        )


class _Asking(Sink):
    """One call to legacy. It is the Sink of its connection."""

    def __init__(self, owner: Introspection, question: Question) -> None:
        self._owner = owner
        self._question = question
        self._status = 0
        self._body = b""
        self._request = b""
        self._pool: Pool | None = None
        self._connection: UpstreamConnection | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._done = False

    def ask(self, pool: Pool, request: bytes, timeout: float) -> None:
        self._request = request
        self._pool = pool
        self._timeout = pool.loop.call_later(timeout, self.answered, ANONYMOUS)
        connection = pool.acquire(repeatable=True)
        if connection is None:
            pool.connect(self._connected)
        else:
            self._connected(connection)

    def answered(self, caller: Caller, *, known: bool = False) -> None:
        if self._done:
            return
        self._done = True
        if self._timeout is not None:
            self._timeout.cancel()
        if self._connection is not None:
            self._connection.abandon()
        self._owner.learned(self, self._question, caller, known=known)

    def _connected(self, result: UpstreamConnection | Failure) -> None:
        if isinstance(result, Failure):
            self.answered(ANONYMOUS)
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
        self.on_data(data, complete)

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: none is asked for."""

    def on_data(self, data: bytes, complete: bool) -> None:
        self._body += data
        if complete:
            self._connection = None
            caller, known = understand(self._status, self._body, self._owner.claims)
            self.answered(caller, known=known)
        elif len(self._body) > MAX_ANSWER:
            self.answered(ANONYMOUS)

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._connection = None
        if stale and self._pool is not None:
            self._pool.connect(self._connected)
        else:
            self.answered(ANONYMOUS)

    def on_upstream_paused(self, paused: bool) -> None:
        """A request without a body cannot fill anything up."""
