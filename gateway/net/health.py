"""Asks each address of an upstream how it is, beside the clients' requests (`[upstreams.NAME] health`).

Over a connection of its own each time: whether a new one can be had is half of what is asked. Nothing of it is counted by breakers, nor
kept in the pool.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from gateway.net.head import ResponseHead
from gateway.net.place import Place
from gateway.net.pool import Pool, exhausted
from gateway.net.upstream import Sink, UpstreamConnection
from gateway.policy.failure import Failure
from gateway.settings.health import Health as Settings

_log = logging.getLogger("banyan.worker")

FIELDS: Final = "User-Agent: banyan-health\r\nConnection: close\r\n\r\n"
SPREAD: Final = 0.1
"""Of the interval, so that not all workers ask at once."""


class Health:
    """All addresses of one pool, from `start` to `end`."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        pool = self._pool
        for place in pool.places:
            self._tasks.append(pool.loop.create_task(self._watch(place), name=f"health of {pool.name} at {place.name}"))

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _watch(self, place: Place) -> None:
        pool, settings = self._pool, self._settings
        # Not all at once, neither at the start nor after a reload.
        await asyncio.sleep(settings.interval * random.uniform(0, SPREAD))  # noqa: S311 - nothing to guess
        while True:
            try:
                well = await self._ask(place)
            except Exception:  # whatever it is, the next question is asked; and this one says nothing about the address
                _log.exception("upstream %s at %s could not be asked how it is", pool.name, place.name)
            else:
                if well is not None:
                    place.checked(well, rise=settings.rise, fall=settings.fall)
                    pool.unwell = all(each.unwell for each in pool.places)
            await asyncio.sleep(settings.interval * random.uniform(1 - SPREAD, 1 + SPREAD))  # noqa: S311

    async def _ask(self, place: Place) -> bool | None:
        """None: nothing is known, for want of something of this process's own."""
        settings = self._settings
        host = settings.host or place.name
        if place.socket and not settings.host:
            host = place.host
        request = f"GET {settings.path} HTTP/1.1\r\nHost: {host}\r\n" + FIELDS
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(settings.timeout):
                connection = await self._pool.open(place)
                answer = _Answer(self._pool.loop)
                connection.begin(answer, request.encode(), head_only=False, whole=True)
                return 200 <= await answer.status < 400
        except OSError as error:  # TimeoutError among them
            return None if exhausted(error) else False
        finally:
            if connection is not None:
                connection.abandon()


class _Answer(Sink):
    """Its status; 0: there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status: asyncio.Future[int] = loop.create_future()

    def on_interim(self, head: ResponseHead) -> None:
        """Says nothing yet."""

    def on_response(self, head: ResponseHead, data: bytes, complete: bool) -> None:
        self._told(head.status)

    def on_data(self, data: bytes, complete: bool) -> None:
        """What it says besides is for people."""

    def on_upgrade(self, head: ResponseHead, data: bytes) -> None:
        """Never: none is asked for."""

    def on_failure(self, failure: Failure, stale: bool) -> None:
        self._told(0)

    def on_upstream_paused(self, paused: bool) -> None:
        """A request without a body cannot fill anything up."""

    def _told(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)
