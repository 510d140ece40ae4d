"""Connections to one upstream, kept between requests.

Taking one is synchronous: an idle connection, the one used last, or None. Only opening a new one waits. So a request on a warm gateway goes
from the client's socket to the upstream's in one callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from gateway.net.deadlines import Deadlines
from gateway.net.upstream import UpstreamConnection
from gateway.policy.failure import Failure

MAX_IDLE: Final = 256
"""Idle connections kept for one upstream by one worker."""
IDLE_SECONDS: Final = 4.0
"""Shorter than what servers allow (uvicorn and Node.js 5 s, gunicorn 2 s by default), so that it is mostly us who close."""
FRESH_SECONDS: Final = 1.0
"""A request that cannot be repeated only takes a connection used within this time: a server may be closing an older one right now."""
STREAM_SECONDS: Final = 60.0
"""Silence in the middle of a response's body, after which it is given up."""


class Pool:
    """See the module's docstring. `socket`: the path of a unix socket, in place of `address`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        name: str,
        address: tuple[str, int],
        *,
        socket: str = "",
        connect_timeout: float,
        response_timeout: float,
    ) -> None:
        self.loop = loop
        self.clock = deadlines.clock
        self.name = name
        self.answering = deadlines.add(response_timeout, UpstreamConnection.timed_out)
        self.streaming = deadlines.add(STREAM_SECONDS, UpstreamConnection.timed_out)
        deadlines.watch(self.tick)
        self.address = address
        self._socket = socket
        self._connect_timeout = connect_timeout
        self._idle: dict[UpstreamConnection, float] = {}
        """With the time of their return, in its order: the last is taken first, so that a quiet gateway lets the others go."""
        self._connecting: set[asyncio.Task[None]] = set()
        self.opened = 0
        """Connections opened so far."""

    @property
    def idle(self) -> int:
        return len(self._idle)

    def acquire(self, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection, or None. `repeatable`: the request could be sent once more, should the connection turn out to be dead."""
        idle = self._idle
        while idle:
            connection, since = idle.popitem()
            if not repeatable and self.clock.now - since > FRESH_SECONDS:
                idle[connection] = since
                return None
            if not connection.transport.is_closing():
                return connection
        return None

    def connect(self, ready: Callable[[UpstreamConnection | Failure], None]) -> asyncio.Task[None]:
        """Opens a connection and hands it to `ready`, or says why not. Cancelling the task means that `ready` is never called."""
        task = self.loop.create_task(self._connect(ready), name=f"connect {self.name}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection whose exchange has ended well."""
        if len(self._idle) >= MAX_IDLE:
            connection.abandon()
            return
        self._idle[connection] = self.clock.now

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        self._idle.pop(connection, None)

    def tick(self, now: float) -> None:
        """Lets go of what has been idle too long."""
        due = now - IDLE_SECONDS
        while self._idle:
            connection, since = next(iter(self._idle.items()))
            if since > due:
                break
            connection.abandon()

    async def close(self) -> None:
        """Ends everything."""
        for connection in list(self._idle):
            connection.abandon()
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    async def _connect(self, ready: Callable[[UpstreamConnection | Failure], None]) -> None:
        result: UpstreamConnection | Failure
        try:
            async with asyncio.timeout(self._connect_timeout):
                # A Protocol in all but name.
                make: Callable[[], asyncio.BaseProtocol] = lambda: UpstreamConnection(self)  # type: ignore[assignment,return-value] # noqa: E731
                if self._socket:
                    _, made = await self.loop.create_unix_connection(make, self._socket)
                else:
                    _, made = await self.loop.create_connection(make, *self.address)
            result = cast("UpstreamConnection", made)
            self.opened += 1
        except TimeoutError:
            result = Failure.CONNECT_TIMEOUT
        except OSError:
            result = Failure.REFUSED
        self.clock.read()
        ready(result)
