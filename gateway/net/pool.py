"""Connections to one upstream, kept between requests, at one address or several.

Taking one is synchronous: an idle connection, the one used last, or None. Only opening a new one waits. So a request on a warm gateway goes
from the client's socket to the upstream's in one callback.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import ssl
from collections.abc import Callable
from math import ceil
from typing import Final, cast

from gateway.net import patience
from gateway.net.deadlines import Deadlines
from gateway.net.place import NO_ERRORS, Place, choose
from gateway.net.upstream import State, UpstreamConnection
from gateway.policy.breaker import CLOSED, Breaker
from gateway.policy.budget import Budget
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
MAX_TRIES: Final = 3
"""Addresses that one request tries to reach."""
STREAM_SECONDS: Final = 60.0
"""Silence in the middle of a response's body, after which it is given up."""
EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Why a connection cannot be opened that has nothing to do with where it was to lead."""
COMPLAIN_SECONDS: Final = 60.0
"""Between two times that the log says the same about TLS with an address."""


def exhausted(error: OSError) -> bool:
    """Is it this process that has no more files or ports, and not the address that cannot be reached? The resolver needs a file too, and
    does not say that it has none: a name then cannot be looked up for some reason or other (with glibc by EBUSY)."""
    if error.errno in EXHAUSTED:
        return True
    if isinstance(error, ConnectionError):
        return False
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as found:
        return found.errno in EXHAUSTED
    return False


class Pool:
    """See the module's docstring. `places`: (host, port, path of a unix socket in place of both, or ''). `server_name`: what the
    certificate must be for, if not the place's host. `breaker` makes an address's breaker; by default they do not open. `errors`: the
    statuses that count as errors to it. `budget`: how much may be sent to another address again. `idempotent`: see
    gateway/settings/upstreams.py."""

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
        breaker: Callable[[], Breaker] = Breaker,
        errors: frozenset[int] = NO_ERRORS,
        budget: Budget | None = None,
        idempotent: bool = False,
    ) -> None:
        self.loop = loop
        self.clock = deadlines.clock
        self._deadlines = deadlines
        self.name = name
        self.idempotent = idempotent
        self.told = patience.field(response_timeout)
        """How long it may take, as it is told with each request that says nothing else."""
        self.unwell = False
        """Its health says of every address that it is not well (gateway/net/health.py)."""
        self.budget = budget if budget is not None else Budget()
        self.answering = deadlines.add(response_timeout, UpstreamConnection.timed_out)
        self.streaming = deadlines.add(STREAM_SECONDS, UpstreamConnection.timed_out)
        deadlines.watch(self.tick)
        self.places = [Place(host, port, socket, upstream=name, breaker=breaker(), errors=errors) for host, port, socket in places]
        for place in self.places:
            place.siblings = self.places
        self.secure = tls is not None
        self._tls = tls
        self._server_name = server_name
        self._connect_timeout = connect_timeout
        self._connecting: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.opened = 0
        """Connections opened so far."""
        self.ends: list[Callable[[], None]] = []
        """What ends with it."""

    def acquire(self, *, repeatable: bool, whole: bool = True) -> UpstreamConnection | None:
        """An idle connection, or None. `repeatable`: the request could be sent once more, should the connection turn out to be dead.
        `whole`: its body has come."""
        place = self._choose(repeatable, whole)
        if place is None:
            return None
        idle = place.idle
        now = self.clock.now
        while idle:
            connection = idle.pop()
            if not repeatable and now - connection.since > FRESH_SECONDS:
                idle.append(connection)
                return None
            if not connection.transport.is_closing():
                breaker = place.breaker
                connection.epoch = breaker.epoch if breaker.state == CLOSED else breaker.enter(now, whole)
                return connection
        return None

    def connect(
        self,
        ready: Callable[[UpstreamConnection | Failure], None],
        *,
        repeatable: bool = False,
        whole: bool = True,
        tried: list[Place] | None = None,
    ) -> asyncio.Task[None]:
        """Opens a connection and hands it to `ready`, or says why not. Cancelling the task means that `ready` is never called. `tried`: the
        addresses that have failed this request, which are not asked again where there is another."""
        task = self.loop.create_task(self._connect(ready, repeatable, whole, tried), name=f"connect {self.name}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def refuse(self, ready: Callable[[UpstreamConnection | Failure], None], failure: Failure) -> asyncio.Task[None]:
        """As `connect`, for whom there will be no connection: from the loop too, so that nobody is told in the middle of his asking."""
        task = self.loop.create_task(self._refuse(ready, failure), name=f"refuse {self.name}")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    @property
    def barred(self) -> bool:
        """Is a request that could be answered elsewhere not going to be sent here?"""
        now = self.clock.now
        return self.unwell or all(not place.breaker.admits(now) for place in self.places)

    @property
    def retry_after(self) -> int:
        """Whole seconds until a breaker lets a request through; at least 1."""
        now = self.clock.now
        return max(1, ceil(min([place.breaker.until for place in self.places]) - now))

    def may_repeat(self) -> bool:
        """May one more request be sent to another address of this upstream? It is counted."""
        return self.budget.take(self.clock.now, sum([place.breaker.rate for place in self.places]))

    def add(self, connection: UpstreamConnection, place: Place) -> None:
        """A connection that was just opened. `place.total` counts it already."""
        connection.place = connection.home = place
        connection.until = self.clock.now + AGE_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - nothing to guess
        self.opened += 1

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection whose exchange has ended well."""
        place = connection.place
        if place is None or len(place.idle) >= MAX_IDLE or self.clock.now > connection.until:
            connection.abandon()
            return
        connection.since = self.clock.now
        place.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        place, connection.place = connection.place, None
        if place is not None:
            place.total -= 1
            if connection in place.idle:
                place.idle.remove(connection)

    def tick(self, now: float) -> None:
        """Lets go of what has been idle too long."""
        due = now - IDLE_SECONDS
        for place in self.places:
            place.breaker.tick(now)
            while place.idle and place.idle[0].since <= due:
                place.idle[0].abandon()

    def complain(self, error: OSError, place: Place) -> None:
        """There is no TLS with it: said once a minute, and when it is for another reason."""
        complaint = why(error)
        if complaint != place.complaint or self.clock.now - place.complained_at > COMPLAIN_SECONDS:
            place.complaint, place.complained_at = complaint, self.clock.now
            _log.warning("no TLS with upstream %s at %s:%d: %s", self.name, place.host, place.port, complaint)

    def end(self) -> None:
        """Nobody asks through it any more."""
        for end in self.ends:
            end()
        for place in self.places:
            for connection in place.idle.copy():
                connection.abandon()
        for task in list(self._connecting):
            task.cancel()
        self._deadlines.remove(self.answering)
        self._deadlines.remove(self.streaming)
        self._deadlines.unwatch(self.tick)

    def _choose(self, repeatable: bool, whole: bool) -> Place | None:
        places = self.places
        if len(places) == 1:
            place = places[0]
            return place if place.breaker.state == CLOSED or place.breaker.admits(self.clock.now, whole) else None
        self._turn += 1
        return choose(places, self.clock.now, self._turn, probing=repeatable, whole=whole)

    async def _connect(
        self, ready: Callable[[UpstreamConnection | Failure], None], repeatable: bool, whole: bool, tried: list[Place] | None
    ) -> None:
        self.clock.read()
        result: UpstreamConnection | Failure = Failure.BREAKER_OPEN
        left = [place for place in self.places if tried is None or place not in tried] or self.places.copy()
        timeouts = 0
        for number in range(MAX_TRIES):
            # Nothing was sent to one that cannot be reached: the next may be asked, whatever the request is.
            place = choose(left, self.clock.now, self._turn, probing=repeatable, whole=whole)
            if place is None or timeouts == MAX_TIMEOUTS or (number and not self.may_repeat()):
                break
            left.remove(place)
            place.total += 1
            epoch = place.breaker.enter(self.clock.now, whole)
            try:
                made = await self.open(place)
            except TimeoutError:
                result = Failure.CONNECT_TIMEOUT
                timeouts += 1
            except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
                result = Failure.TLS if self.secure else Failure.REFUSED
                if self.secure:
                    self.complain(error, place)
            except OSError as error:
                result = Failure.REFUSED
                if exhausted(error):  # of this process, which says nothing about the address
                    place.total -= 1
                    place.breaker.abandoned(epoch)
                    break
            except BaseException:
                place.total -= 1
                place.breaker.abandoned(epoch)
                raise
            else:
                result = made
                self.clock.read()
                made.epoch = epoch
                self.add(made, place)
                break
            now = self.clock.read()
            place.total -= 1
            place.failed_at = now
            place.failed(result.code, epoch, now)
        ready(result)

    async def _refuse(self, ready: Callable[[UpstreamConnection | Failure], None], failure: Failure) -> None:
        ready(failure)

    async def open(self, place: Place) -> UpstreamConnection:
        """A new connection, which is nobody's yet.

        Raises:
            OSError: there is none to be had; TimeoutError, not in time; ssl.SSLError, not securely.
        """
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
