"""An HTTP/3 client made of aioquic's own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset

from tests.support.http2 import Answer


class Client(QuicConnectionProtocol):
    """One connection, with any number of requests at once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.h3 = H3Connection(self._quic)
        self.answers: dict[int, Answer] = {}
        self._changed = asyncio.Event()
        self.ended = False

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = event.error_code
        self.ended = self.ended or isinstance(event, ConnectionTerminated)
        for told in self.h3.handle_event(event):
            if isinstance(told, HeadersReceived):
                self.answers[told.stream_id].fields = list(told.headers)
                self.answers[told.stream_id].ended = told.stream_ended
            elif isinstance(told, DataReceived):
                self.answers[told.stream_id].body += told.data
                self.answers[told.stream_id].ended = told.stream_ended
        self._changed.set()

    def send(self, fields: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> int:
        """A request; its number."""
        number = self._quic.get_next_available_stream_id()
        self.answers[number] = Answer()
        self.h3.send_headers(number, list(fields), end_stream=not body)
        if body:
            self.h3.send_data(number, body, end_stream=True)
        self.transmit()
        return number

    def reset(self, number: int) -> None:
        """Takes a request back."""
        self._quic.reset_stream(number, 0x10C)
        self._quic.stop_stream(number, 0x10C)
        self.transmit()

    async def answer(self, number: int, seconds: float = 15) -> Answer:
        """The whole of it."""
        async with asyncio.timeout(seconds):
            while not (self.answers[number].over or self.ended):
                self._changed.clear()
                await self._changed.wait()
        return self.answers[number]

    async def request(self, fields: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> Answer:
        return await self.answer(self.send(fields, body))


@asynccontextmanager
async def client(port: int, authority: Path, name: str = "shop.test") -> AsyncIterator[Client]:
    """Connected to 127.0.0.1, and believing this authority alone."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, verify_mode=ssl.CERT_REQUIRED)
    configuration.load_verify_locations(str(authority))
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as connected:
        assert isinstance(connected, Client)
        yield connected
