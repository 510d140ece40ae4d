"""A key server over real sockets: it says what the test wants, as badly as the test wants."""

# ruff: noqa: ASYNC110 - what a server was asked has no event to wait for
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support.gateway import Exchange, Upstream
from tests.support.tokens import jwk

SECRET_QUERY = "?key=a-secret-in-the-query"


class KeyServer:
    """Answers with `keys` as `mode` says: ok, 500, garbage, html, hang, held (until `go`), drip, drip-head, oversized, endless, redirect,
    gzip, cut, reset, or a document of its own."""

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk("RS256", kid="a")]
        self.mode: str | bytes = "ok"
        self.asked = 0
        """Questions so far."""
        self.go = asyncio.Event()
        self.targets: set[bytes] = set()
        self._upstream = Upstream(self._answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._upstream.port}/jwks"

    def has(self, **numbers: int) -> None:
        """From now on it has these keys: kid and number."""
        self.keys = [jwk("RS256", number, kid=kid) for kid, number in numbers.items()]

    async def start(self, port: int = 0) -> None:
        await self._upstream.start(port)

    async def stop(self) -> int:
        """Away, with its port free. Returns that."""
        await self._upstream.stop()
        return self._upstream.port

    async def asked_again(self, times: int = 1) -> None:
        """Waits until it was asked that many more times."""
        before = self.asked
        async with asyncio.timeout(20):
            while self.asked < before + times:
                await asyncio.sleep(0.02)

    async def _answer(self, exchange: Exchange) -> None:
        self.asked += 1
        self.targets.add(exchange.line.split(b" ")[1])
        mode, body = self.mode, json.dumps({"keys": self.keys}).encode()
        json_type = b"Content-Type: application/json\r\n"
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        with suppress(ConnectionError):
            if isinstance(mode, bytes):
                await exchange.answer(mode, extra=json_type)
            elif mode == "ok":
                await exchange.answer(body, extra=json_type)
            elif mode == "500":
                await exchange.answer(body, "500 Internal Server Error", json_type)
            elif mode == "garbage":
                await exchange.send(b"\x00\xff" * 500)
                exchange.writer.close()
            elif mode == "html":
                await exchange.answer(b"<!doctype html><title>Sign in</title>", extra=b"Content-Type: text/html\r\n")
            elif mode == "held":
                await self.go.wait()
                await exchange.answer(json.dumps({"keys": self.keys}).encode(), extra=json_type)
            elif mode == "hang":
                await asyncio.sleep(60)
            elif mode in ("drip", "drip-head"):
                await exchange.send(chunked if mode == "drip" else b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not exchange.writer.is_closing():
                    await exchange.send(b"1\r\n \r\n" if mode == "drip" else b"x")
                    await asyncio.sleep(0.05)
            elif mode == "oversized":
                await exchange.answer(body + b" " * 300_000, extra=json_type)
            elif mode == "endless":
                await exchange.send(chunked)
                while not exchange.writer.is_closing():
                    await exchange.send(b"2000\r\n" + b" " * 8192 + b"\r\n")
            elif mode == "redirect":
                await exchange.answer(b"", "302 Found", b"Location: /elsewhere\r\n")
            elif mode == "gzip":
                await exchange.answer(body, extra=b"Content-Encoding: gzip\r\n")
            elif mode == "cut":
                await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + body)
                exchange.writer.close()
            elif mode == "reset":
                exchange.reset()
            else:
                raise AssertionError(mode)


@asynccontextmanager
async def key_server() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
