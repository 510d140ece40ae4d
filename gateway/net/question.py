"""One request whose whole answer is wanted, and no client's: so `banyan replay` asks, over the same connections as the shadow, with the
same framing and timeouts (gateway/net/mirror.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.net.deadlines import Timeouts
from gateway.net.fields import captured
from gateway.net.head import ResponseHead
from gateway.net.pool import Pool
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure


class Question(Sink):
    """`data`: the request, head and body. `limit`: bytes of an answer's body; a longer one is not kept, and not read to its end. `overall`:
    how long all of it may take. `done` is called once, from the loop."""

    __slots__ = (
        "_connecting",
        "_connection",
        "_data",
        "_done",
        "_head_only",
        "_limit",
        "_over",
        "_overall",
        "_parts",
        "_pool",
        "_repeatable",
        "_size",
        "began",
        "body",
        "elapsed",
        "error",
        "fields",
        "skipped",
        "status",
        "upstream",
    )

    def __init__(
        self,
        pool: Pool,
        upstream: str,
        data: bytes,
        *,
        limit: int,
        head_only: bool,
        repeatable: bool,
        overall: Timeouts[Question],
        done: Callable[[Question], None],
    ) -> None:
        self.upstream = upstream
        self.status = 0
        """0: there was no answer, and `error` says why."""
        self.fields = b""
        """As they are captured: each line ended by CRLF, without secrets."""
        self.body = b""
        self.error = ""
        self.skipped = ""
        self.began = 0.0
        self.elapsed = 0.0
        self._pool = pool
        self._data = data
        self._limit = limit
        self._head_only = head_only
        self._repeatable = repeatable
        self._overall = overall
        self._done = done
        self._parts: list[bytes] = []
        self._size = 0
        self._over = False
        self._connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Asks."""
        pool = self._pool
        self.began = pool.clock.read()
        self._overall.begin(self, self.began)
        connection = pool.acquire(repeatable=self._repeatable)
        if connection is None:
            self._connecting = pool.connect(self._connected)
        else:
            self._begin(connection)

    def cancel(self) -> None:
        """Nobody waits for it any more, and nobody is told."""
        self._over = True
        self._let_go()

    def timed_out(self) -> None:
        """It took too long in all, however busily it went on."""
        self._let_go()
        self._fail(Failure.TIMEOUT.code)

    def _let_go(self) -> None:
        self._overall.end(self)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def _connected(self, result: UpstreamConnection | Failure) -> None:
        self._connecting = None
        if isinstance(result, UpstreamConnection):
            if self._over:
                result.abandon()
            else:
                self._begin(result)
        else:
            self._fail(result.code)

    def _begin(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.begin(self, self._data, head_only=self._head_only, whole=True)

    def _fail(self, code: str) -> None:
        if not self._over:
            self.status = 0
            self.fields = b""
            self.error = code
            self._finish()

    def _finish(self) -> None:
        self._over = True
        self._connection = None
        self._overall.end(self)
        self.elapsed = self._pool.clock.now - self.began
        if not self.error and not self.skipped:
            self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._done(self)

    def _skip(self, why: str, complete: bool) -> None:
        """Its body is not compared, so it is not read."""
        self.skipped = why
        if self._connection is not None and not complete:  # else it is the pool's again
            self._connection.abandon()
        self._finish()

    # Sink

    def on_interim(self, head: ResponseHead) -> None:
        """1xx says nothing that is compared."""

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: none is asked for."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        self.status = head.status
        self.fields = captured(head)
        if not complete and head.length < 0 and head.fields.lower().find(b"text/event-stream") >= 0:
            self._skip("event_stream", complete)
        elif not self._head_only and head.length > self._limit:
            self._skip("too_large", complete)
        else:
            self.on_data(data, complete)

    def on_data(self, data: bytes, complete: bool) -> None:
        if data:
            self._size += len(data)
            if self._size > self._limit:
                self._skip("too_large", complete)
                return
            self._parts.append(data)
        if complete:
            self._finish()

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._connection = None
        if stale and self._repeatable:
            # It lay in the pool too long, and the next one is fresh.
            self._connecting = self._pool.connect(self._connected)
            return
        self._fail(failure.code)

    def on_upstream_paused(self, paused: bool) -> None:
        """The body is in memory already: nobody has to be paused."""
