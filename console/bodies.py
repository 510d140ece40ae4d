"""Bodies of requests, bounded: what people send to the console are forms.

Under ASGI Django writes the whole body to a file before it asks who sends it, and of one in parts (multipart/form-data) no setting bounds
that. So anybody could fill the disk without a login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

MOST: Final = 4 * 1024 * 1024
"""Bytes. The longest form, of 500 signatures, has some 50 kB; beyond 2.5 MB of fields Django itself says 400."""

type Message = Mapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Bodies:
    """An ASGI application in front of another: a body longer than MOST is answered 413, and the rest of it is not read."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > MOST:
            await _refuse(send)
            return
        read, over = 0, False

        async def bounded() -> Message:
            nonlocal read, over
            message = await receive()
            read += len(message.get("body", b""))
            over = read > MOST
            return {"type": "http.disconnect"} if over else message

        await self._application(scope, bounded, send)
        if over:  # the other took its client for gone
            await _refuse(send)


async def _refuse(send: Send) -> None:
    text = b"The request is too long.\n"
    fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": fields})
    await send({"type": "http.response.body", "body": text})
