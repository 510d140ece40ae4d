"""Accepts clients that speak TLS, and keeps count of those whose handshake is not done (edge.md 36).

asyncio's own servers tell of a connection when its handshake is done, and nothing of one that fails; until then it takes a file and some
50 KiB that nobody knows of. So here the sockets are accepted by hand: whether there is room is asked before anything is made for a client,
and a handshake counts until it is done or has failed, and not a moment longer.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final, cast

from gateway.net import room
from gateway.net.downstream import Downstream
from gateway.net.transports import RESET

if TYPE_CHECKING:
    from gateway.net.listener import Listener

ACCEPTED: Final = 64
"""As many at once, before others have their turn."""
PAUSE: Final = 0.1
"""Seconds without accepting where the system has no more files or memory: asked at once it would say the same, and keep the core busy."""
OLD: Final = 1.0
"""Seconds: where there is no room, a handshake that has taken longer than this makes way for a new one. It needs two round trips."""
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Handshakes:
    """Those of one worker, on all its listening sockets. `seconds`: each has this long. `shutdown`: and this long to end TLS in order."""

    __slots__ = ("_listener", "_number", "_running", "_seconds", "_shutdown", "_sockets")

    def __init__(self, listener: Listener, seconds: float, shutdown: float) -> None:
        self._listener = listener
        self._seconds = seconds
        self._shutdown = shutdown
        self._number = 0
        self._running: dict[int, tuple[float, asyncio.Task[None]]] = {}
        """When it began, by number; the oldest first."""
        self._sockets: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._running)

    def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accepts clients here from now on."""
        sock.setblocking(False)
        sock.listen(backlog)
        self._sockets.append(sock)
        self._watch(sock)

    def stop_accepting(self) -> None:
        """What has begun goes on."""
        loop = self._listener.edge.loop
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            loop.remove_reader(sock)
            sock.close()

    async def end(self) -> None:
        """Whose handshake is not done by now is let go."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def done(self, number: int) -> None:
        """This one is a connection from now on."""
        self._running.pop(number, None)

    def _watch(self, sock: socket.socket) -> None:
        if sock in self._sockets:  # else it was closed meanwhile
            self._listener.edge.loop.add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        self._listener.edge.clock.read()
        for _ in range(ACCEPTED):
            try:
                client, _ = sock.accept()
            except (BlockingIOError, InterruptedError):
                return  # another worker was faster
            except ConnectionError:
                continue  # it is gone already
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                edge = self._listener.edge
                edge.tally.event("accept-paused")
                edge.loop.remove_reader(sock)
                edge.loop.call_later(PAUSE, self._watch, sock)
                return
            if self._room():
                self._begin(client)
            else:
                self._listener.edge.tally.event("connection-reset-over-limit")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()

    def _room(self) -> bool:
        """Is there room for one more, maybe after another has made way?"""
        edge = self._listener.edge
        if len(edge.connections) + len(self._running) < room.beyond(self._listener.share):
            return True
        for number, (began, task) in self._running.items():
            if began > edge.clock.now - OLD:
                return False
            self._failed(number)
            task.cancel()
            return True
        return False

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)
        self._number += 1
        number = self._number
        edge = self._listener.edge
        task = edge.loop.create_task(self._shake(client, number), name=f"TLS handshake {number}")
        self._running[number] = (edge.clock.now, task)

    async def _shake(self, client: socket.socket, number: int) -> None:
        made = Downstream(self._listener, secure=True)
        made.handshake = number
        connection = cast("asyncio.BaseProtocol", made)
        try:
            await self._listener.edge.loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=self._listener.front.context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=self._shutdown,
            )
        except OSError:
            pass  # what was said is no handshake, or too little came in time, or the client is gone
        finally:
            self._failed(number)

    def _failed(self, number: int) -> None:
        """If it was not done."""
        if self._running.pop(number, None) is not None:
            self._listener.edge.tally.event("tls-handshake-failed")
