"""An HTTP/2 client made of h2's own client side, on a real socket: it reads when the test says so, and can send what no client would."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

Fields = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What came on one stream."""

    fields: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    acknowledge: bool = True
    """Whether data that comes is acknowledged, so that more may."""

    @property
    def status(self) -> int:
        return int(dict(self.fields)[b":status"]) if self.fields else 0

    def header(self, name: str) -> str | None:
        return next((value.decode("latin-1") for key, value in self.fields if key == name.encode()), None)

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


def get(path: str = "/x", method: str = "GET", authority: str = "a", *fields: tuple[str, str]) -> Fields:
    head = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *fields]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head]


class Client:
    """`acknowledge`: whether what streams receive is acknowledged at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, acknowledge: bool = True) -> None:
        self.reader = reader
        self.writer = writer
        # It may break every rule itself.
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=True
            )
        )
        self.answers: dict[int, Answer] = {}
        self.goaway: list[tuple[int, int]] = []
        """(code, last stream) of each GOAWAY."""
        self.closed = False
        self.events: list[Event] = []
        self._acknowledge = acknowledge
        self._cut = b""

    @classmethod
    async def connect(
        cls, port: int, tls: ssl.SSLContext | None = None, *, acknowledge: bool = True, window: int = 0, server_name: str = "localhost"
    ) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=server_name if tls else None)
        client = cls(reader, writer, acknowledge=acknowledge)
        if window:
            client.h2.local_settings.update({4: window})
            client.h2.local_settings.acknowledge()
        client.h2.initiate_connection()
        await client.flush()
        return client

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        try:
            await self.writer.drain()
        except ConnectionError:
            self.closed = True

    async def raw(self, data: bytes) -> None:
        """Frames that h2 would not send."""
        self.writer.write(self.h2.data_to_send() + data)
        try:
            await self.writer.drain()
        except ConnectionError:
            self.closed = True

    async def send(self, fields: Iterable[tuple[bytes, bytes]], body: bytes = b"", *, end: bool = True) -> int:
        """A request; its number. The body goes out as far as windows allow at once."""
        number = self.h2.get_next_available_stream_id()
        self.answers[number] = Answer(acknowledge=self._acknowledge)
        self.h2.send_headers(number, list(fields), end_stream=end and not body)
        if body:
            await self.flush()
            await self.upload(number, body, end=end)
        await self.flush()
        return number

    async def upload(self, number: int, body: bytes, *, end: bool = True) -> None:
        """Sends all of it, as fast as the gateway lets it."""
        at = 0
        while at < len(body):
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room <= 0:
                await self.flush()
                await self.read()
                if self.closed or self.answers[number].over:
                    return
                continue
            piece = body[at : at + room]
            at += len(piece)
            self.h2.send_data(number, piece, end_stream=end and at == len(body))
            await self.flush()

    async def read(self, seconds: float = 15) -> bool:
        """What comes next. False: the connection has ended."""
        async with asyncio.timeout(seconds):
            try:
                data = await self.reader.read(2**18)
            except (ConnectionError, ssl.SSLError):
                data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(self._without_goaway(data)):
            self._happened(event)
        await self.flush()
        return True

    def _without_goaway(self, data: bytes) -> bytes:
        """For h2 it would be the end, but there may be answers after it."""
        self._cut += data
        kept = bytearray()
        while len(self._cut) >= 9 and len(self._cut) >= (size := 9 + int.from_bytes(self._cut[:3])):
            frame, self._cut = self._cut[:size], self._cut[size:]
            if frame[3] == 7:
                self.goaway.append((int.from_bytes(frame[13:17]), int.from_bytes(frame[9:13])))
            else:
                kept += frame
        return bytes(kept)

    def _happened(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ResponseReceived):
            self.answers[event.stream_id].fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, InformationalResponseReceived):
            self.answers[event.stream_id].interim.append([(bytes(name), bytes(value)) for name, value in event.headers])
        elif isinstance(event, DataReceived):
            answer = self.answers[event.stream_id]
            answer.body += event.data
            if answer.acknowledge and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.answers[event.stream_id].ended = True
        elif isinstance(event, StreamReset) and self.answers[event.stream_id].reset is None:
            self.answers[event.stream_id].reset = int(event.error_code)

    async def until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        """Reads until it holds, or the connection has ended."""
        async with asyncio.timeout(seconds):
            while not condition() and await self.read():
                pass

    async def answer(self, number: int, seconds: float = 15) -> Answer:
        """The whole of it."""
        await self.until(lambda: self.answers[number].over, seconds)
        return self.answers[number]

    async def request(self, fields: Iterable[tuple[bytes, bytes]], body: bytes = b"", *, end: bool = True) -> Answer:
        return await self.answer(await self.send(fields, body, end=end))

    async def end(self) -> None:
        """Reads until the gateway has ended the connection, and does the same."""
        await self.until(lambda: False)
        self.close()

    def reset(self, number: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(number, code)

    def close(self) -> None:
        self.writer.transport.abort()


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    """A frame, whether it can be one or not."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", number) + payload
