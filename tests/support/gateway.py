"""A real gateway in a process of its own, and an upstream whose every byte the test decides and sees."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from demo.processes import Running, python, start

Handler = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as an upstream received it."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    def header(self, name: str) -> list[str]:
        """Every value of a field."""
        return [
            value.strip().decode("latin-1")
            for key, _, value in (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
            if key.decode("latin-1").lower() == name.lower()
        ]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", status: str = "200 OK", extra: bytes = b"") -> None:
        await self.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + extra + b"\r\n" + body)

    def reset(self) -> None:
        """RST, as a process that dies sends it."""
        _reset(self.writer)


@dataclass
class Upstream:
    """Answers with `handler`; `requests` is what it got, `raw` every byte."""

    handler: Handler
    requests: list[Exchange] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    open: int = 0
    """Connections that are."""
    _server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        # A queue for a crowd: whom it has no place for tries again after a second, which is a connect timeout.
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**20, backlog=1024, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def start_on(self, path: Path) -> None:
        """On a unix socket instead."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=2**20)

    async def stop(self) -> None:
        if self._server is not None:
            # What was accepted becomes the server's in the loop's next turn, and of a server that is closed by then nobody ends it.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._server.close()
            if isinstance(self._server, asyncio.Server):  # uvloop's knows no abort_clients, and waits for nobody
                self._server.abort_clients()
            await self._server.wait_closed()
            self._server = None

    async def forget(self) -> None:
        """As new, on the same port."""
        await self.stop()
        self.handler = ok
        self.requests.clear()
        self.raw.clear()
        self.connections = 0
        await self.start(self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.raw += head
                body = b""
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                exchange = Exchange(head, body, reader, writer)
                if length and b"\r\nExpect:" not in head:
                    exchange.body = await reader.readexactly(int(length[1]))
                    self.raw += exchange.body
                elif b"\r\nTransfer-Encoding: chunked" in head:
                    exchange.body = await self._chunks(reader)
                self.requests.append(exchange)
                await self.handler(exchange)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self.open -= 1
            writer.close()

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            self.raw += line
            data = await reader.readexactly(int(line, 16) + 2)
            self.raw += data
            if int(line, 16) == 0:
                return body
            body += data[:-2]


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


class Held:
    """An upstream's handler that answers when it may."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await self.go.wait()
        await exchange.answer()


async def ok(exchange: Exchange) -> None:
    await exchange.answer()


@dataclass
class Gateway:
    """A running `banyan run`."""

    process: Running
    port: int
    admin: int
    folder: Path
    clients: list[Client] = field(default_factory=list)
    """Closed with the gateway."""

    @property
    def flags(self) -> Path:
        return self.folder / "flags.json"

    def set_flags(self, **flags: bool | int) -> None:
        write_flags(self.flags, flags)

    def get(self, path: str) -> Any:
        """The admin port's JSON."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as response:
            return orjson.loads(response.read())

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as response:
            return response.read().decode()

    async def current(self, **flags: bool | int) -> None:
        """Sets flags and waits until every worker decides by them."""
        wanted = {name.replace("__", "."): bool(value) for name, value in flags.items()}
        self.set_flags(**wanted)
        await self.decided(**wanted)

    async def decided(self, **wanted: bool) -> None:
        """Waits until every worker decides by flags that say so."""
        for _ in range(100):
            state = await asyncio.to_thread(self.get, "/flags")
            if {name: state["flags"].get(name, False) for name in wanted} == wanted and all(state["workers"].values()):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the flags did not arrive: {state}")

    async def connect(self, tls: ssl.SSLContext | None = None, name: str = "shop.test") -> Client:
        """`name`: whom a client over TLS wants to speak to."""
        server_name = name if tls is not None else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22, ssl=tls, server_hostname=server_name)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def request(self, raw: bytes, tls: ssl.SSLContext | None = None, name: str = "shop.test") -> Response:
        """One request on a connection of its own."""
        client = await self.connect(tls, name)
        try:
            return await client.request(raw)
        finally:
            client.close()

    def workers(self) -> list[int]:
        """The edge workers' process ids."""
        return self.children("banyan: worker")

    def children(self, what: str) -> list[int]:
        """The process ids of the supervisor's children with this in their command lines."""
        found = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                if what in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(int(pid))
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has just ended
        return found


@dataclass
class Response:
    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*([^\r]*)\r$", self.head)
        return found[1].decode("latin-1") if found else None


@dataclass
class Client:
    """A raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(self, raw: bytes) -> Response:
        await self.send(raw)
        return await self.response(head_only=raw.startswith(b"HEAD"))

    async def response(self, *, head_only: bool = False) -> Response:
        async with asyncio.timeout(15):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ")[1])
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = b""
            if status < 200 or head_only or status in (204, 304):
                pass
            elif length:
                body = await self.reader.readexactly(int(length[1]))
            elif b"chunked" in head.lower():
                while True:
                    size = int(await self.reader.readuntil(b"\r\n"), 16)
                    data = await self.reader.readexactly(size + 2)
                    if not size:
                        break
                    body += data[:-2]
            else:
                body = await self.reader.read(-1)
            return Response(status, head, body)

    async def rest(self) -> bytes:
        """Everything until the end of the connection."""
        async with asyncio.timeout(15):
            return await self.reader.read(-1)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST: unlike a FIN, it cannot mean that the client still waits for its answer."""
        _reset(self.writer)


def write_flags(path: Path, flags: Mapping[str, bool | int]) -> None:
    """A flag file: True and False, or a percentage."""
    features = []
    for name, state in flags.items():
        rollout = 100 if isinstance(state, bool) else state
        strategy = {"name": "flexibleRollout", "parameters": {"rollout": str(rollout), "stickiness": "default", "groupId": name}}
        features.append({"name": name.replace("__", "."), "enabled": bool(state), "strategies": [strategy]})
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"version": 1, "features": features}))
    temporary.replace(path)


def listening(running: Running) -> bool:
    return "serving on" in running.tail()


@asynccontextmanager
async def gateway(
    folder: Path,
    toml: str,
    *,
    workers: int = 1,
    engine: str = "edge",
    also: str = "",
    listen: str = '"127.0.0.1:0"',
    inspect: Sequence[str] | None = None,
    **flags: bool | int,
) -> AsyncIterator[Gateway]:
    """`toml` is everything but [gateway] listen, admin and workers, and [flags]. `also`: another address to listen on.
    `inspect`: it is `banyan inspect`, with these options."""
    write_flags(folder / "flags.json", flags)
    config = folder / "banyan.toml"
    more = f', "{also}"' if also else ""
    head = f'listen = [{listen}{more}]\nadmin = "127.0.0.1:0"\nworkers = {workers}\n'
    toml = toml.replace("[gateway]\n", "[gateway]\n" + head) if "[gateway]\n" in toml else f"[gateway]\n{head}\n{toml}"
    config.write_text(toml)
    command = ["run", "--engine", engine] if inspect is None else ["inspect", "--port", "0", *inspect]
    process = await asyncio.to_thread(
        start,
        "gateway",
        python("-m", "gateway.cli", *command, "--config", str(config)),
        log_dir=folder / "log",
        ready=listening,
    )
    try:
        found = re.search(r"serving on \S+?:(\d+)\b.* admin on \S+?:(\d+)", process.log.read_text())
        assert found, process.tail()
        running = Gateway(process, int(found[1]), int(found[2]), folder)
        yield running
        for client in running.clients:
            client.close()
    finally:
        if process.alive():
            os.kill(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):  # a SIGTERM on its heels would be heard first, and have it accept for 5 s more
                await asyncio.to_thread(process.process.wait, 10)
        await asyncio.to_thread(process.stop)
