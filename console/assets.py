"""Static files by WhiteNoise, in a form that suits ASGI.

WhiteNoise answers with an open file, which Django under ASGI reads in one piece with a warning. The console's few files are small, so
they are answered as bytes.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]  # it ships no types
from whitenoise.responders import StaticFile  # type: ignore[import-untyped]  # as above


class Assets(WhiteNoiseMiddleware):  # type: ignore[misc]  # as above
    """WhiteNoise's middleware with whole answers."""

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
