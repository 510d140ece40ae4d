"""An upstream that keeps every byte it gets, and reads them with h11: a second, strict opinion on what the gateway wrote."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

import h11

_TURNS = 6
"""Turns of the event loop between two pieces: some 0.2 ms, in which the gateway mostly takes the piece. A timer waits for 1 ms or more."""


@dataclass(frozen=True)
class Script:
    """What is answered, byte for byte."""

    answer: bytes = b""
    """Empty: 200, with the request's method, target and body as the body."""
    early: bool = False
    """At the request's head already, not at its end."""
    step: int = 0
    """Bytes written at once; 0: all."""
    hold: bool = False
    """Only the head, and the rest when the test has set `go`: so that it cannot come to the gateway together with the head."""
    end: str = ""
    """What follows: "close", "reset", "silence" (it takes no further request), or "": the next request."""


@dataclass
class Received:
    """One request, as h11 reads it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    connection: int
    """The number of the connection that it came over, from 1."""
    body: bytes = b""
    complete: bool = False

    @property
    def line(self) -> bytes:
        return self.method + b" " + self.target

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields with this lower-case name."""
        return [value for key, value in self.fields if key == name]


@dataclass
class Recorder:
    """Answers as `script` says: once, and as a good upstream from then on."""

    script: Script | None = None
    requests: list[Received] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    """Every byte, over all connections."""
    opened: int = 0
    faults: list[str] = field(default_factory=list)
    """What h11 refused, and what came in a request's wake."""
    port: int = 0
    connections: set[Connection] = field(default_factory=set)
    """Those that are open."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """The script is through."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def forget(self) -> None:
        """What was recorded. Connections stay open, so that the gateway's pool stays warm."""
        self.script = None
        self.answered.clear()
        self.go.clear()
        self.requests.clear()
        self.raw.clear()
        self.faults.clear()


class Connection(asyncio.Protocol):
    """One connection from the gateway."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._parser = _parser()
        self._request: Received | None = None
        self._script = Script()
        self._answering: asyncio.Task[None] | None = None
        self._deaf = False
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.recorder.opened += 1
        self.number = self.recorder.opened
        self.recorder.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.cancel()
        self.recorder.connections.discard(self)
        if self._answering is not None:
            self.recorder.answered.set()

    def data_received(self, data: bytes) -> None:
        self.recorder.raw += data
        if self._deaf:
            return  # another protocol's, or nobody's
        try:
            self._parser.receive_data(data)
            while self._step():
                pass
        except h11.RemoteProtocolError as error:
            self.recorder.faults.append(f"h11: {error}")
            self.transport.abort()

    def _step(self) -> bool:
        event = self._parser.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return False
        recorder = self.recorder
        if isinstance(event, h11.Request):
            self._script = recorder.script or Script()
            recorder.script = None
            self._request = Received(event.method, event.target, list(event.headers), self.number)
            recorder.requests.append(self._request)
            if self._script.early:
                self._answer()
        elif isinstance(event, h11.Data):
            assert self._request is not None
            self._request.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert self._request is not None
            self._request.complete = True
            if event.headers:
                recorder.faults.append(f"trailers: {event.headers!r}")
            rest = self._parser.trailing_data[0]
            if rest:
                # The gateway sends the next request when this one is answered, so whatever is here already was smuggled along.
                recorder.faults.append(f"after the request: {rest[:100]!r}")
                return False
            self._parser = _parser()
            if not self._script.early:
                self._answer()
        return True

    def _answer(self) -> None:
        script, request = self._script, self._request
        assert request is not None
        if script.end:
            self._deaf = True
        data = script.answer or plain(request)
        if not script.step and not script.hold:
            self.transport.write(data)
            self._end()
            return
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answering = asyncio.create_task(self._in_pieces(data), name="answer in pieces")

    async def _in_pieces(self, data: bytes) -> None:
        script = self._script
        head, rest = data, b""
        if script.hold:
            end = data.index(b"\r\n\r\n") + 4
            head, rest = data[:end], data[end:]
        for part in (head, rest):
            for piece in pieces(part, script.step or len(data)):
                self.transport.write(piece)
                await pause()
            if script.hold:
                await self.recorder.go.wait()
        self._end()

    def _end(self) -> None:
        self.recorder.answered.set()
        if self._script.end == "close":
            self.transport.close()
        elif self._script.end == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.transport.abort()


async def pause() -> None:
    """Between two pieces."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def plain(request: Received) -> bytes:
    """The answer of a good upstream: it says what it was asked."""
    body = request.line + b" " + request.body
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + (b"" if request.method == b"HEAD" else body)


def pieces(data: bytes, step: int) -> list[bytes]:
    """`data` cut up. Only its first and last 200 bytes go in steps that small: what is between is filling."""
    if len(data) <= 600 or step >= len(data):
        return [data[at : at + step] for at in range(0, len(data), step)]
    middle = data[200:-200]
    return [*pieces(data[:200], step), *(middle[at : at + 4096] for at in range(0, len(middle), 4096)), *pieces(data[-200:], step)]


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
