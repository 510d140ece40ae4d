"""What the edge hands to the shipper, and how it looks on the local socket.

One record is a 4-byte big-endian length and a MessagePack value; the value is one of the tagged structs below. Bodies and heads
travel as the raw bytes that were on the wire (still compressed, still unparsed): the edge copies references and never looks inside.
Credential headers are already gone when a record is made; everything else that must be redacted goes in the shipper, before any disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

MAX_RECORD = 16 * 1024 * 1024
"""Bytes. A longer length prefix means that the stream is out of step: the connection is dropped, never resynchronised."""

LENGTH = struct.Struct(">I")

Side = Literal["legacy", "candidate"]


class Answer(msgspec.Struct, array_like=True, gc=False):
    """One upstream's answer to a request. `status` 0 means that it never answered; `error` then says why."""

    side: Side
    upstream: str
    status: int
    head: bytes
    """The response's header lines as received, without the status line, each ended by CRLF. Of Set-Cookie no values:
    gateway/set_cookie.py."""
    body: bytes
    """As received, with any chunked framing removed and Content-Encoding left on. Empty when `skipped` is set."""
    elapsed: float
    """Seconds from sending the request's first byte to the answer's last byte."""
    error: str = ""
    """'' or a short code: refused, timeout, reset, protocol, tls, overflow."""
    skipped: str = ""
    """'' or why the body is not here: too_large, upgrade, event_stream."""


class Exchange(msgspec.Struct, array_like=True, tag="exchange", gc=False):
    """One request with the two answers that it got. `served` went to the client, `shadow` went nowhere else."""

    route: str
    request_id: str
    at: float
    """Unix time in seconds when the request's head had arrived."""
    method: str
    target: str
    head: bytes
    """The request's header lines as received, each ended by CRLF, without Authorization, Cookie and the like."""
    body: bytes
    served: Answer
    shadow: Answer
    kind: Literal["pair", "noise"] = "pair"
    """pair: legacy against candidate. noise: legacy against legacy."""
    caller: Literal["", "user", "nobody"] = ""
    """Whether it was known who called, and never who. "": nobody was asked."""


def weight(exchange: Exchange) -> int:
    """About how many bytes of memory it holds."""
    return len(exchange.body) + sum(len(answer.body) + len(answer.head) for answer in (exchange.served, exchange.shadow)) + 500


class RouteCounts(msgspec.Struct, array_like=True):
    """What happened on one route since the last summary of this worker. Plain sums: adding them up is always right."""

    legacy: int = 0
    """Requests that it answered, to the end."""
    candidate: int = 0
    fallback: int = 0
    """Requests that the candidate failed and legacy answered; counted under `legacy` too."""
    eligible: int = 0
    """Requests that shadow mode was asked to compare."""
    captured: int = 0
    """Exchanges handed to the shipper."""
    skipped: dict[str, int] = {}
    """By reason: sampled_out, method, body_too_large, upgrade, client_gone …"""
    dropped: dict[str, int] = {}
    """By reason: queue_full, shipper_gone, concurrency …"""
    gateway: int = 0
    """Requests that the gateway itself answered, with an error."""
    unfinished: int = 0
    """Requests whose answer broke off, or whose client left before its end: in none of the three above."""
    # Workers of before these send none.
    latency: dict[str, dict[int, int]] = {}
    """By side, as shadow.latency.SIDES has them: bucket of shadow.latency.BUCKETS → answers. Also those that broke off."""
    errors: dict[str, int] = {}
    """By side: 5xx, no answer, or one that broke off."""
    unanswered: dict[str, int] = {}
    """By side: of `errors`, those that are in no bucket of `latency`, as somebody else answered the client, or nobody anything."""


class Summary(msgspec.Struct, array_like=True, tag="summary"):
    """One worker's counts over about a second."""

    at: float
    worker: str
    routes: dict[str, RouteCounts] = {}


Record = Exchange | Summary

ENCODER = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """One record as a frame, ready for the socket."""
    payload = ENCODER.encode(record)
    return LENGTH.pack(len(payload)) + payload


class FrameError(ValueError):
    """The byte stream is not a sequence of records."""


class FramesOf[Kind]:
    """Cuts a byte stream into records of one kind. Feed it what arrives; iterate over what is complete."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Kind]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Kind]:
        """Yields each record that `data` completes.

        Raises:
            FrameError: a length over MAX_RECORD, or a payload that is not a record.
        """
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= LENGTH.size:
                (length,) = LENGTH.unpack_from(self._buffer, start)
                if length > MAX_RECORD:
                    raise FrameError(f"record of {length} bytes, over {MAX_RECORD}")
                end = start + LENGTH.size + length
                if len(self._buffer) < end:
                    break
                payload = bytes(self._buffer[start + LENGTH.size : end])
                start = end
                try:
                    record = self._decoder.decode(payload)
                except msgspec.MsgspecError as error:
                    raise FrameError(str(error)) from error
                yield record
        finally:
            del self._buffer[:start]


class Frames(FramesOf[Record]):
    """What comes from a worker."""

    def __init__(self) -> None:
        super().__init__(_decoder)
