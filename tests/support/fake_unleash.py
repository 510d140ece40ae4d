"""A server that speaks Unleash's client API, and misbehaves in every way that somebody may have met."""

# ruff: noqa: ASYNC110 - what a server in a thread has done has no event to wait for
from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flags.decisions import Decisions
from flags.snapshot import Context, Snapshot
from flags.unleash import UnleashSource

ON = b'{"version":2,"features":[{"name":"f","enabled":true,"strategies":[]}]}'
OFF = b'{"version":2,"features":[{"name":"f","enabled":false,"strategies":[]}]}'
TOKEN = "default:development.an-entirely-secret-token"
HTML = b"<!doctype html><title>Sign in</title>"


class FakeUnleash(ThreadingHTTPServer):
    """Answers registrations and polls as `mode` says, and usage too unless `usage_mode` says otherwise."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = "ok"
        self.usage_mode = ""
        self.refuse_registration = False
        self.forgetful = 0.0
        """For how long after a flag was first served its usage is dropped with 202, as the real one's list of flags may have it."""
        self.features = ON
        self.served: dict[str, float] = {}
        self.etag = ""
        """In place of one that tells one document from another."""
        self.etag_of_304 = ""
        self.asked_with: list[str | None] = []
        """The ETag that each poll came with, while all is well."""
        self.polls: list[int] = []
        """The statuses of the polls that were answered; 0 for what is no answer."""
        self.polled_at: list[float] = []
        """time.monotonic() of when each was asked for."""
        self.paths: set[str] = set()
        self.headers: dict[str, str] = {}
        """Sent along with every answer to a poll."""
        self.registered: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.authorization: set[str | None] = set()
        self.hold = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-unleash")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"

    def stop(self) -> None:
        self.hold.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is what some of the tests are about."""

    async def polled(self, times: int) -> None:
        """Waits until it has answered that many more polls."""
        before = len(self.polls)
        async with asyncio.timeout(8):
            while len(self.polls) < before + times:
                await asyncio.sleep(0.01)

    def counted(self, name: str) -> tuple[int, int]:
        toggles = [metrics["bucket"]["toggles"][name] for metrics in self.metrics if name in metrics["bucket"]["toggles"]]
        return sum(t["yes"] for t in toggles), sum(t["no"] for t in toggles)

    def take(self, metrics: dict[str, Any]) -> None:
        toggles = metrics["bucket"]["toggles"]
        for name in list(toggles):
            if time.monotonic() - self.served.get(name, 0.0) < self.forgetful:
                del toggles[name]
        self.metrics.append(metrics)


class _Handler(BaseHTTPRequestHandler):
    server: FakeUnleash

    def do_GET(self) -> None:
        server, mode = self.server, self.server.mode
        server.authorization.add(self.headers["Authorization"])
        server.paths.add(self.path)
        server.polled_at.append(time.monotonic())
        if mode in FAULTS:
            self.close_connection = True
            try:
                FAULTS[mode](self)
            finally:
                server.polls.append(0)
        elif mode == "html":
            self._answer(200, HTML, "text/html", etag='"html"')
        elif mode == "truncated-json":
            self._answer(200, ON[:-9], etag='"bad"')
        elif mode == "wrong-json":
            self._answer(200, b'{"features":{"f":true}}', etag='"bad"')
        elif mode == "always-304":
            self._answer(304, b"")
        elif mode == "502":
            self._answer(502, b"<html><h1>Bad Gateway</h1></html>" * 1000, "text/html")
        elif mode == "empty":
            self._answer(200, b"")
        elif mode == "no-etag":
            self._answer(200, server.features)
        elif mode != "ok":
            self._answer(int(mode), b'{"name":"Error"}')
        else:
            for feature in json.loads(server.features)["features"]:
                server.served.setdefault(str(feature.get("name")), time.monotonic())
            etag = server.etag or f'"{hash(server.features)}"'
            server.asked_with.append(self.headers["If-None-Match"])
            if self.headers["If-None-Match"] == etag:
                self._answer(304, b"", etag=server.etag_of_304 or etag)
            else:
                self._answer(200, server.features, etag=etag)

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = server.mode
        if self.path.endswith("/metrics"):
            mode = server.usage_mode or mode
            if mode in {"ok", "late"}:
                server.take(body)
            else:
                server.refused.append(body)
        else:
            server.registered.append(body)
            if server.refuse_registration:
                mode = "503"
        if mode == "cut":
            self.close_connection = True
        elif mode == "late":
            server.hold.wait(10)
        elif mode == "302":
            self._answer(302, b"")
        else:
            self._answer(202 if mode == "ok" else 503, b"")

    def _answer(self, status: int, body: bytes, kind: str = "application/json", etag: str | None = None) -> None:
        if self.command == "GET":
            self.server.polls.append(status)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if etag:
            self.send_header("ETag", etag)
        for name, value in self.server.headers.items() if self.command == "GET" else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Silent."""


def _send(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(data)
    handler.wfile.flush()


def _hang(handler: _Handler) -> None:
    handler.server.hold.wait(10)


def _slowly(handler: _Handler, data: bytes) -> None:
    """A byte every 50 ms, well within every timeout of a single wait."""
    for byte in data:
        if handler.server.hold.wait(0.05):
            return
        _send(handler, bytes([byte]))


def _slow_head(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _slowly(handler, b"x" * 200)


def _slow_body(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    _slowly(handler, b" " * 200)


def _stall(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ON), ON[:20]))
    handler.server.hold.wait(10)


def _truncated(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(OFF) + 5, OFF))


def _truncated_chunked(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(OFF), OFF))


def _reset(handler: _Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def _reset_in_body(handler: _Handler) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ON), ON[:20])
    _send(handler, half)
    time.sleep(0.02)  # so that it is read before the reset
    _reset(handler)


def _closed(_handler: _Handler) -> None:
    """Nothing at all."""


def _declares_much(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b" " * 1000)


def _endless(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\n\r\n")
    piece = b" " * 1_000_000
    while not handler.server.hold.is_set():
        _send(handler, piece)


@cache
def bomb() -> bytes:
    """100 MB in 100 KB."""
    return gzip.compress(b" " * 100_000_000, 9)


def _bomb(handler: _Handler) -> None:
    packed = bomb()
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
    _send(handler, packed)


def _no_gzip(handler: _Handler) -> None:
    _send(handler, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(OFF), OFF))


def _no_http(handler: _Handler) -> None:
    _send(handler, b"SSH-2.0-OpenSSH_9.9\r\n")


FAULTS: dict[str, Callable[[_Handler], None]] = {
    "hang": _hang,
    "slow-head": _slow_head,
    "slow-body": _slow_body,
    "stall": _stall,
    "truncated": _truncated,
    "truncated-chunked": _truncated_chunked,
    "reset": _reset,
    "reset-in-body": _reset_in_body,
    "closed": _closed,
    "declares-much": _declares_much,
    "endless": _endless,
    "bomb": _bomb,
    "no-gzip": _no_gzip,
    "no-http": _no_http,
}
"""What is not an answer, or not the whole of one. The connection is closed after it."""


class Seen(list[Snapshot]):
    """What was published; `until` waits for a state."""

    async def until(self, wanted: Callable[[Snapshot], bool], within: float = 8.0) -> None:
        async with asyncio.timeout(within):
            while not (self and wanted(self[-1])):
                await asyncio.sleep(0.005)


def on(snapshot: Snapshot) -> bool:
    return Decisions.build(snapshot).enabled("f", Context())


@asynccontextmanager
async def started(source: UnleashSource, seen: Seen) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(seen.append), name="source")
    try:
        await seen.until(lambda snapshot: True)
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def running(url: str, backup: Path | None = None, **more: Any) -> AsyncIterator[tuple[UnleashSource, Seen]]:
    seen = Seen()
    source = UnleashSource(url, TOKEN, refresh=0.1, backup=backup, **more)
    async with started(source, seen):
        yield source, seen


async def arrived(server: FakeUnleash, name: str, counts: tuple[int, int]) -> None:
    """Waits until these counts, (yes, no), were taken."""
    async with asyncio.timeout(8):
        while server.counted(name) != counts:
            await asyncio.sleep(0.01)


async def refusals(server: FakeUnleash, number: int) -> None:
    """Waits until so many reports were refused."""
    async with asyncio.timeout(8):
        while len(server.refused) < number:
            await asyncio.sleep(0.01)
