"""Passwords that are looked at at once, bounded: each takes 0.4 s of CPU, and a thread with a connection to the database for as long.

Anybody can have one looked at, without a login: a hundred at once would be the hundred connections that a PostgreSQL has for everybody. So
a few are looked at, some more wait, and whoever comes beyond them is told to come again. Who waits holds neither thread nor connection:
his form has been read by then (console.bodies), and nothing has been asked of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction, markcoroutinefunction
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

AT_ONCE: Final = 4
"""Looked at. More would be no quicker: they share the machine's cores."""
WAITING: Final = 40
"""That wait, beside those: about as many as are looked at within WAIT_SECONDS on two cores."""
WAIT_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 5
_VIEWS: Final = ("login", "password")
"""By their names in console.urls."""


class Passwords:
    """A middleware. It bounds under ASGI alone: a WSGI server has as many threads as it was given."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self._get_response = get_response
        self._turns = iscoroutinefunction(get_response)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        if self._turns:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._turns and request.method == "POST" and request.path in [reverse(name) for name in _VIEWS]:
            return self._in_turn(request)
        return self._get_response(request)

    async def _in_turn(self, request: HttpRequest) -> HttpResponseBase:
        if not await self._let_in():
            return _crowded(request)
        looking = asyncio.create_task(self._look(request), name="a password is looked at")
        try:
            return await asyncio.shield(looking)
        except asyncio.CancelledError:
            # The client has left. The request's own thread is at work, and to end it asgiref would wait for that on the event loop, where
            # all the others are served: two who come and leave would hold up everybody.
            await asyncio.wait([looking])
            raise

    async def _look(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = self._get_response(request)
            assert isinstance(response, Awaitable)  # noqa: S101 - where it is not, this is not called
            return await response
        finally:
            self._room.release()

    async def _let_in(self) -> bool:
        if self._waiting >= WAITING:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await self._room.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1


def _crowded(request: HttpRequest) -> HttpResponse:
    with translation.override(translation.get_language_from_request(request)):
        text = _("Too many people are logging in at this moment. Try again in a few seconds.")
    response = HttpResponse(f"{text}\n", status=503, content_type="text/plain; charset=utf-8")
    response["Retry-After"] = str(RETRY_SECONDS)
    return response
