"""What a worker hands to the exporter of each sampled request, and how it travels between them.

All of it is bounded: names of the configuration, ids, codes. Of the request's target, its fields and its body there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shadow.exchange import LENGTH, MAX_RECORD


class Call(msgspec.Struct, array_like=True, gc=False):
    """A request was sent to an upstream, or was to be."""

    span: bytes
    """Its id, 16 hexadecimal digits; upstreams were told it as their parent."""
    began: float
    """Unix times, in seconds."""
    ended: float
    upstream: str
    side: str
    address: str
    """host:port or unix:path; '' where no connection was had."""
    status: int
    """Of its answer; 0: there was none."""
    failure: str
    """'', or why there was no good answer: refused, timeout, status-500 …"""


class Request(msgspec.Struct, array_like=True, gc=False, tag="request"):
    """A sampled request that has ended."""

    trace: bytes
    """32 hexadecimal digits."""
    span: bytes
    parent: bytes
    """The span that a trusted proxy has told us; b'': the trace begins here."""
    began: float
    ended: float
    request_id: str
    method: str
    scheme: str
    route: str
    """'' of one that no route matched, as `pattern`, the route's `match`."""
    pattern: str
    side: str
    """Who answered: legacy, candidate or gateway."""
    upstream: str
    reason: str
    """Of the decision; '' where there was none."""
    fell_back: str
    """Why another took the place of whom the decision had chosen."""
    problem: str
    """The gateway's own answer, by its code."""
    failure: str
    """Why the answer did not come to its end."""
    status: int
    """0: it did not."""
    shadow: bool
    calls: list[Call]


class Beside(msgspec.Struct, array_like=True, gc=False, tag="beside"):
    """What came of a mirrored request, which may be known after the request's own end."""

    trace: bytes
    parent: bytes
    method: str
    route: str
    pattern: str
    noise: bool
    """It went to the side that serves, a second time."""
    call: Call


Record = Request | Beside

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """One record; whoever sends it puts its length before it (gateway/shipping.py)."""
    return _encoder.encode(record)


def spans(record: Record) -> int:
    """How many spans it will be."""
    return 1 + len(record.calls) if isinstance(record, Request) else 1


class FrameError(ValueError):
    """The byte stream is not a sequence of records."""


class Frames:
    """Cuts a byte stream into records."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
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
                    yield _decoder.decode(payload)
                except msgspec.MsgspecError as error:
                    raise FrameError(str(error)) from error
        finally:
            del self._buffer[:start]
