"""What supervisor and workers say to each other, over one inherited socket pair each.

A worker that sees the end of this channel has lost its supervisor and drains: it never outlives it.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgspec

from gateway.telemetry import Stats

_LENGTH = struct.Struct(">I")


class Configure(msgspec.Struct, tag="configure"):
    """First message to a worker: the file as the supervisor validated it. A later one: a reload."""

    path: str
    text: str
    shipper: str
    """The shipper's socket path; '' when there is none."""
    number: int = 0
    """Counts the configurations of this supervisor."""
    files: dict[str, bytes] = {}
    """What files that the configuration names for upstreams' TLS held when it was found good."""
    exporter: str = ""
    """The socket path of who sends spans; '' where nothing is traced."""

    def __repr__(self) -> str:
        return f"Configure({self.path!r}, {self.number})"  # neither secrets nor keys are printed


class Certificates(msgspec.Struct, tag="certificates"):
    """What clients are shown from now on: (certificate with its chain, key) as PEM, the first where no name fits."""

    pairs: list[tuple[bytes, bytes]]

    def __repr__(self) -> str:
        return f"Certificates({len(self.pairs)})"  # keys are never printed


class FlagState(msgspec.Struct, tag="flags"):
    """A new snapshot (flags/snapshot.py)."""

    revision: str
    features: bytes
    source: str
    fetched_at: float
    error: str


class Overrides(msgspec.Struct, tag="overrides"):
    """What overrides the flags from now on, in the place of what did before (flags/overrides.py)."""

    number: int
    """Counts them in this supervisor's life."""
    answers: dict[str, bool]


class Drain(msgspec.Struct, tag="drain"):
    """Stop accepting, finish what is in flight within `seconds`, exit."""

    seconds: float


class Refuse(msgspec.Struct, tag="refuse"):
    """From now on every answer ends its connection: the load balancer is moving clients elsewhere."""


class CredentialEnded(msgspec.Struct, tag="credential-ended"):
    """Legacy has ended a cookie: what is remembered by it counts no more. From the worker that saw it, and then to all others."""

    key: bytes
    """Credential.cookie_key: nothing that could be used to log in."""


class Keys(msgspec.Struct, tag="keys"):
    """The public keys of a key server, in the place of those of before (gateway/jwks.py); and the answer to Missing."""

    origin: str
    """Names where they are from, and says nothing of it (gateway/settings/jwt.py)."""
    keys: bytes
    """gateway/identity/keyring.py, dumped."""
    quiet_until: float
    """Unix time before which no key is asked for because it is missing."""


ToWorker = Configure | Certificates | FlagState | Overrides | Drain | Refuse | CredentialEnded | Keys


class Ready(msgspec.Struct, tag="ready"):
    """The worker accepts connections and decides by `revision`."""

    revision: str
    number: int = 0
    """Of its configuration."""
    overrides: int = 0
    """The number of those in force."""


class Configured(msgspec.Struct, tag="configured"):
    """From now on, requests begin under this configuration."""

    number: int
    error: str = ""
    """Why not; '' if they do."""


class Applied(msgspec.Struct, tag="applied"):
    """The worker now decides by this revision of the flags, and these overrides."""

    revision: str
    overrides: int = 0


class Report(msgspec.Struct, tag="report"):
    """About once a second."""

    stats: Stats

    def __repr__(self) -> str:
        return "Report()"  # paths are never printed: secrets stand in some


class Missing(msgspec.Struct, tag="missing"):
    """A token names a key that is not known. Which is not said: a client has written it. Keys is the answer."""

    origin: str


ToSupervisor = Ready | Configured | Applied | Report | CredentialEnded | Missing

_encoder = msgspec.msgpack.Encoder()


class Channel[Received]:
    """One end. `kind` is the union of what the other end sends, `Received` the same for the type checker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(kind)

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Queues `message`. What the other end does not read piles up here, so both ends must keep reading."""
        payload = _encoder.encode(message)
        self._writer.write(_LENGTH.pack(len(payload)) + payload)

    async def receive(self) -> Received | None:
        """The next message, or None at the end of the channel."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def flush(self) -> None:
        """Waits until what was sent is out."""
        try:
            await self._writer.drain()
        except ConnectionError:
            pass  # the other end is gone; receive() says so too

    def close(self) -> None:
        self._writer.close()
