"""What a worker hands to the exporter of each sampled request, and how it travels between them.

All of it is bounded: names of the configuration, ids, codes. Of the request's target, its fields and its body there is nothing.
"""

from __future__ import annotations

import msgspec

from shadow.exchange import FramesOf


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


class Frames(FramesOf[Record]):
    """Cuts what comes from a worker into records; what it raises is shadow.exchange's."""

    def __init__(self) -> None:
        super().__init__(_decoder)
