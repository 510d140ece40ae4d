"""A real WebSocket server: Starlette on uvicorn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket


@contextmanager
def websocket_server() -> Iterator[int]:
    """Says at /ws what it hears, in capitals. Its port."""

    async def talk(socket: WebSocket) -> None:
        await socket.accept(subprotocol="chat")
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[WebSocketRoute("/ws", talk)]), port=0, ws="wsproto", log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, name="websocket server")
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
