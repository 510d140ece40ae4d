"""Connections to one upstream, kept between requests, at one address or several.

Taking one is synchronous: an idle connection, the one used last, or None. Only opening a new one waits. So a request on a warm gateway goes
from the client's socket to the upstream's in one callback.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Final, cast

from gateway.net.deadlines import Deadlines
from gateway.net.place import Place, choose
from gateway.net.upstream import State, UpstreamConnection
from gateway.policy.failure import Failure
from gateway.tls import why

_log = logging.getLogger("banyan.worker")

MAX_IDLE: Final = 256
"""Idle connections kept for one address by one worker."""
IDLE_SECONDS: Final = 4.0
"""Shorter than what servers allow (uvicorn and Node.js 5 s, gunicorn 2 s by default), so that it is mostly us who close."""
FRESH_SECONDS: Final = 1.0
"""A request that cannot be repeated only takes a connection used within this time: a server may be closing an older one right now."""
AGE_SECONDS: Final = 60.0
"""No connection is used for longer, give or take a quarter, so that not all end at once: a name that has come to mean another address is
asked anew by then."""
MAX_TIMEOUTS: Final = 2
"""Addresses that may be waited for in vain before a request is told so."""
STREAM_SECONDS: Final = 60.0
"""Silence in the middle of a response's body, after which it is given up."""
COMPLAIN_SECONDS: Final = 60.0
"""Between two times that the log says the same about TLS with an address."""


class Pool:
    """See the module's docstring. `places`: (host, port, path of a unix socket in place of both, or ''). `server_name`: what the
    certificate must be for, if not the place's host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        name: str,
        places: list[tuple[str, int, str]],
        *,
        connect_timeout: float,
        response_timeout: float,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self.loop = loop
        self.clock = deadlines.clock
        self._deadlines = deadlines
        self.name = name
        self.answering = deadlines.add(response_timeout, UpstreamConnection.timed_out)
        self.streaming = deadlines.add(STREAM_SECONDS, UpstreamConnection.timed_out)
        deadlines.watch(self.tick)
        self.places = [Place(host, port, socket) for host, port, socket in places]
        self.secure = tls is not None
        self._tls = tls
        self._server_name = server_name
        self._connect_timeout = connect_timeout
        self._connecting: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.opened = 0
        """Connections opened so far."""

    def acquire(self, *, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection, or None. `repeatable`: the request could be sent once more, should the connection turn out to be dead."""
        idle = self._choose().idle
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

    def add(self, connection: UpstreamConnection, place: Place) -> None:
        """A connection that was just opened. `place.total` counts it already."""
        connection.place = place
        connection.until = self.clock.now + AGE_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - nothing to guess
        self.opened += 1

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection whose exchange has ended well."""
        place = connection.place
        if place is None or len(place.idle) >= MAX_IDLE or self.clock.now > connection.until:
            connection.abandon()
            return
        place.idle[connection] = self.clock.now

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        place, connection.place = connection.place, None
        if place is not None:
            place.total -= 1
            place.idle.pop(connection, None)

    def tick(self, now: float) -> None:
        """Lets go of what has been idle too long."""
        due = now - IDLE_SECONDS
        for place in self.places:
            while place.idle:
                connection, since = next(iter(place.idle.items()))
                if since > due:
                    break
                connection.abandon()

    def complain(self, error: OSError, place: Place) -> None:
        """There is no TLS with it: said once a minute, and when it is for another reason."""
        complaint = why(error)
        if complaint != place.complaint or self.clock.now - place.complained_at > COMPLAIN_SECONDS:
            place.complaint, place.complained_at = complaint, self.clock.now
            _log.warning("no TLS with upstream %s at %s:%d: %s", self.name, place.host, place.port, complaint)

    def end(self) -> None:
        """Nobody asks through it any more."""
        for place in self.places:
            for connection in list(place.idle):
                connection.abandon()
        for task in list(self._connecting):
            task.cancel()
        self._deadlines.remove(self.answering)
        self._deadlines.remove(self.streaming)
        self._deadlines.unwatch(self.tick)

    def _choose(self) -> Place:
        places = self.places
        if len(places) == 1:
            return places[0]
        self._turn += 1
        return choose(places, self.clock.now, self._turn)

    async def _connect(self, ready: Callable[[UpstreamConnection | Failure], None]) -> None:
        self.clock.read()
        result: UpstreamConnection | Failure = Failure.REFUSED
        left = self.places.copy()
        timeouts = 0
        while left and timeouts < MAX_TIMEOUTS:
            # Nothing was sent to one that cannot be reached: the next may be asked, whatever the request is.
            place = choose(left, self.clock.now, self._turn)
            left.remove(place)
            place.total += 1
            try:
                made = await self._open(place)
            except TimeoutError:
                result = Failure.CONNECT_TIMEOUT
                timeouts += 1
            except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
                result = Failure.TLS if self.secure else Failure.REFUSED
                if self.secure:
                    self.complain(error, place)
            except OSError:
                result = Failure.REFUSED
            except BaseException:
                place.total -= 1
                raise
            else:
                result = made
                self.clock.read()
                self.add(made, place)
                break
            self.clock.read()
            place.total -= 1
            place.failed_at = self.clock.now
        ready(result)

    async def _open(self, place: Place) -> UpstreamConnection:
        # A Protocol in all but name.
        make: Callable[[], asyncio.BaseProtocol] = lambda: UpstreamConnection(self)  # type: ignore[assignment,return-value] # noqa: E731
        async with asyncio.timeout(self._connect_timeout):
            if place.socket:
                _, made = await self.loop.create_unix_connection(make, place.socket)
            else:
                name = (self._server_name or place.host) if self.secure else None
                _, made = await self.loop.create_connection(make, place.host, place.port, ssl=self._tls, server_hostname=name)
        connection = cast("UpstreamConnection", made)
        if connection.state is State.GONE or connection.transport.is_closing():  # in the moment in which it was opened
            connection.abandon()
            raise connection.refusal or ConnectionResetError
        return connection
