"""Static files by WhiteNoise, in a form that suits ASGI.

WhiteNoise answers with an open file, which Django under ASGI reads in one piece with a warning. The console's few files are small, so
they are answered as bytes.

WhiteNoise's own middleware is for threads alone, and no such one may be in the console's chain: Django would run it in a thread that waits
for the event loop, and when a client leaves, make the event loop wait for that thread. Nobody would be answered any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction, markcoroutinefunction

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it ships no types
from whitenoise.responders import StaticFile  # type: ignore[import-untyped]  # as above


class Assets(WhiteNoiseMiddleware):  # type: ignore[misc]  # as above
    """WhiteNoise's middleware with whole answers, async where the next one is."""

    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self._answer(request) if iscoroutinefunction(self) else super().__call__(request)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        static_file = self.files.get(request.path_info)
        return self.serve(static_file, request) if static_file is not None else await self.get_response(request)

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(found.status))
        del response["Content-Type"]  # the list has it, where the answer has a body
        for name, value in found.headers:
            response[name] = value
        return response
