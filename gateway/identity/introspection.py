"""Who is calling, asked of legacy itself: its real middleware reads the session, so the edge needs no key that could forge one.

Asked once per credential, however many requests wait for the answer, and remembered by the SHA-256 of the credential: the cache holds
nothing that could be used to log in. Here the answer only feeds the flags, so when legacy cannot say, the caller is anonymous.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable

import orjson

from gateway.net.head import ResponseHead
from gateway.net.pool import Pool
from gateway.net.upstream import UpstreamConnection
from gateway.policy.failover import Failure
from gateway.settings import Identity

User = tuple[str | None, str | None]
"""(user id, session id), each None where there is none."""

ANONYMOUS: User = (None, None)
MAX_ANSWER = 64 * 1024


class Introspection:
    """The cache, and the questions under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, settings: Identity) -> None:
        self._loop = loop
        self._pool = pool
        self._settings = settings
        self._cookie = re.compile(rb"(?:\r\n(?i:cookie):[^\r]*?[ ;:])" + re.escape(settings.cookie.encode()) + rb"=([^;\r\s]*)")
        self._known: dict[bytes, tuple[User, float]] = {}
        self._asking: dict[bytes, _Question] = {}

    def lookup(self, fields: bytes, then: Callable[[User], None]) -> User | None:
        """The caller, or None: then `then` is called once it is known."""
        found = self._cookie.search(fields)
        if found is None or not found[1]:
            return ANONYMOUS
        credential = found[1]
        key = hashlib.sha256(credential).digest()
        known = self._known.get(key)
        if known is not None:
            if known[1] > time.monotonic():
                return known[0]
            del self._known[key]
        question = self._asking.get(key)
        if question is None:
            question = self._asking[key] = _Question(self, key)
            question.waiting.append(then)
            question.ask(self._pool, self._request(credential), self._settings.timeout)
        else:
            question.waiting.append(then)
        return None

    async def close(self) -> None:
        for question in list(self._asking.values()):
            question.answered(ANONYMOUS, known=False)

    def learned(self, key: bytes, user: User, *, known: bool) -> None:
        """A question was answered; `known`: by legacy, and so worth remembering."""
        self._asking.pop(key, None)
        if not known:
            return
        if len(self._known) >= self._settings.entries:
            del self._known[next(iter(self._known))]  # the oldest: entries live for seconds, so order of age is good enough
        seconds = self._settings.negative_cache if user[0] is None else self._settings.cache
        self._known[key] = (user, time.monotonic() + seconds)

    def _request(self, credential: bytes) -> bytes:
        settings = self._settings
        host, port = self._pool.address
        return (
            f"GET {settings.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nVia: 1.1 banyan\r\n"
            f"Cookie: {settings.cookie}=".encode()
            + credential
            + b"\r\n\r\n"
        )


class _Question:
    """One call to legacy. It is the Sink of its connection."""

    def __init__(self, owner: Introspection, key: bytes) -> None:
        self.waiting: list[Callable[[User], None]] = []
        self._owner = owner
        self._key = key
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

    def answered(self, user: User, *, known: bool = False) -> None:
        if self._done:
            return
        self._done = True
        if self._timeout is not None:
            self._timeout.cancel()
        if self._connection is not None:
            self._connection.abandon()
        self._owner.learned(self._key, user, known=known)
        for then in self.waiting:
            then(user)

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

    def on_data(self, data: bytes, complete: bool) -> None:
        self._body += data
        if complete:
            self._connection = None
            self._understand()
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

    def _understand(self) -> None:
        if self._status != 200:
            self.answered(ANONYMOUS)
            return
        try:
            document = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            self.answered(ANONYMOUS)
            return
        if not isinstance(document, dict):
            self.answered(ANONYMOUS)
            return
        user, session = document.get("user_id"), document.get("session_id")
        if not document.get("authenticated"):
            user = None
        self.answered((None if user is None else str(user), None if session is None else str(session)), known=True)
