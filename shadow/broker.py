"""NATS as Banyan uses it: one connection that is made again for ever, one stream that whoever comes first makes.

The stream is a work queue: what is acknowledged is gone. It refuses what it has no room for (discard = new) instead of discarding what
is old, and it lets nothing age away: JetStream itself never loses an exchange that nobody has counted.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from shadow.nkeys import NKey, from_credentials, from_seed

_log = logging.getLogger("banyan.shadow")

CONNECT_SECONDS = 5
"""For one try."""
RETRY_SECONDS = (0.25, 5.0)
PING_SECONDS = 5
"""Two that are not answered, and the connection is taken for dead."""
DUPLICATE_SECONDS = 600.0
"""How long the stream remembers messages by their ids."""
CALL_SECONDS = 5.0
CONSUMER = "shadow"
MAX_ACK_PENDING = 4096
"""Packs in the hands of all shadow workers together."""

TROUBLE = (nats.errors.Error, OSError, TimeoutError, asyncio.IncompleteReadError)
"""What a broker that is away, busy or unwilling raises."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where NATS is, who may use it, and the stream's limits."""

    servers: tuple[str, ...]
    stream: str
    max_bytes: int
    replicas: int
    ack_wait: float
    """Seconds."""
    user: str = ""
    password: str = ""
    token: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    credentials: str = ""
    nkey: str = ""
    """These five are files."""

    @property
    def subject(self) -> str:
        return f"{self.stream}.packs"

    def __repr__(self) -> str:
        return f"Place({', '.join(self.servers)}, {self.stream})"  # credentials are never printed


class Broker:
    """One connection."""

    def __init__(self, place: Place, name: str) -> None:
        """`name`: how NATS' own monitoring shows this client."""
        self.place = place
        self.usable = asyncio.Event()
        """The connection is there, and so is the stream."""
        self._name = name
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = asyncio.Event()
        self._told = False
        """That it is away was said already."""

    @property
    def stream(self) -> JetStreamContext:
        assert self._client is not None  # noqa: S101 - asked only once `usable` was set
        return self._client.jetstream(timeout=CALL_SECONDS)

    @property
    def client(self) -> Client:
        """For what JetStream's own calls do not offer. It is another one after each loss."""
        assert self._client is not None  # noqa: S101 - as above
        return self._client

    @property
    def max_payload(self) -> int:
        """Bytes of one message, headers included."""
        assert self._client is not None  # noqa: S101 - as above
        return self._client.max_payload

    async def answer(self, subject: str, what: bytes) -> None:
        """Publishes to what nobody answers.

        Raises:
            nats.errors.Error, TimeoutError: it did not go out.
        """
        assert self._client is not None  # noqa: S101 - as above
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.publish(subject, what)
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            raise TimeoutError from error

    def start(self, prepare: Callable[[JetStreamContext], Awaitable[None]]) -> None:
        """Begins to connect. `prepare` is called on each new connection, before it counts as usable."""
        self._task = asyncio.get_running_loop().create_task(self._stay(prepare), name="broker")

    def doubt(self) -> None:
        """Something got no answer: whether the connection lives is to be found out before it is used again."""
        self.usable.clear()
        self._trouble.set()

    async def close(self) -> None:
        self.usable.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._drop()

    async def _stay(self, prepare: Callable[[JetStreamContext], Awaitable[None]]) -> None:
        wait, longest = RETRY_SECONDS
        while True:
            self._trouble.clear()
            try:
                if self._client is None or not self._client.is_connected:
                    await self._drop()
                    self._client = await self._connect()
                await self._client.flush(CONNECT_SECONDS)
                await prepare(self.stream)
            except (Exception, asyncio.CancelledError) as error:  # whatever it is, there is no other way to NATS than to try again
                if being_cancelled():
                    raise
                self._away(error)
                await self._drop()
                await asyncio.sleep(wait)
                wait = min(wait * 2, longest)
                continue
            if self._told:
                _log.warning("NATS can be used again")
            self._told = False
            wait = RETRY_SECONDS[0]
            self.usable.set()
            await self._trouble.wait()
            self.usable.clear()

    async def _connect(self) -> Client:
        client = Client()
        place = self.place
        key = _key(place)
        if key is not None and not key.jwt:
            client._public_nkey = key.public  # noqa: SLF001 - nats-py sets it from a seed alone, by a package that is not needed otherwise
        # Made anew here after each loss, and not by the client: what waits in its buffers then would go out behind our back.
        async with asyncio.timeout(CONNECT_SECONDS * len(place.servers)):
            try:
                await client.connect(
                    servers=list(place.servers),
                    name=self._name,
                    allow_reconnect=False,
                    connect_timeout=CONNECT_SECONDS,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=2,
                    user=place.user or None,
                    password=place.password or None,
                    token=place.token or None,
                    signature_cb=key.sign if key is not None else None,
                    user_jwt_cb=key.token if key is not None and key.jwt else None,
                    tls=_context(place),
                    error_cb=self._error,
                    disconnected_cb=self._lost,
                    closed_cb=self._lost,
                )
            except BaseException:
                await _end(client)
                raise
        return client

    async def _lost(self) -> None:
        self.doubt()

    async def _error(self, error: Exception) -> None:
        """The client's own report. What comes of it is told where it is felt."""
        _log.debug("NATS: %s", type(error).__name__)

    def _away(self, error: BaseException) -> None:
        if not self._told:
            _log.error("NATS can't be used (%s); trying on: %s", ", ".join(self.place.servers), reason(error))
        self._told = True

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await _end(client)


async def _end(client: Client) -> None:
    """Closes it; a server that takes nothing any more is not waited for."""
    transport = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 - its close() waits for what the server has to read
    try:
        async with asyncio.timeout(1):
            await client.close()
    except (*TROUBLE, asyncio.CancelledError):
        if being_cancelled():
            raise
    finally:
        if transport is not None:
            transport.transport.abort()


def being_cancelled() -> bool:
    """Whether this task was told to end. nats-py cancels what others wait for when a connection closes, which is no reason to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _key(place: Place) -> NKey | None:
    """With which this client says who it is, as its file has it now."""
    if place.credentials:
        return from_credentials(Path(place.credentials))
    return from_seed(Path(place.nkey)) if place.nkey else None


def _context(place: Place) -> ssl.SSLContext | None:
    if not any(url.startswith("tls://") for url in place.servers):
        return None
    from gateway.tls import system_authorities  # imported where it is used: few say tls://

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # as for upstreams (gateway/tls.py says why)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(*((place.ca,) if place.ca else system_authorities()))
    if place.certificate:
        context.load_cert_chain(place.certificate, place.key or None, password="")  # none: else it would ask whoever sits there
    return context


def reason(error: BaseException) -> str:
    """In one line, and without an address that may hold more than one should read."""
    if isinstance(error, NoRespondersError | ServiceUnavailableError):
        return "it has no JetStream, or that has no leader now"
    if isinstance(error, APIError):
        return str(error.description or error.code)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__ if isinstance(error, TimeoutError) or not str(error) else str(error)


async def glance(place: Place, name: str) -> api.StreamState | None:
    """What is in the stream, by a connection that is made for this alone and makes nothing; None: there is no such stream.

    Raises:
        one of TROUBLE: NATS cannot be used, or does not let us.
        shadow.nkeys.NKeyError: the file that says who we are cannot be used.
    """
    broker = Broker(place, name)
    client = await broker._connect()  # noqa: SLF001 - this module's own
    try:
        return (await client.jetstream(timeout=CALL_SECONDS).stream_info(place.stream)).state
    except NotFoundError:
        return None
    finally:
        await _end(client)


async def ensure_stream(stream: JetStreamContext, place: Place) -> None:
    """Makes the stream, or brings its limits up to date.

    Raises:
        nats.errors.Error: NATS did not let us.
    """
    wanted = api.StreamConfig(
        name=place.stream,
        description="Banyan: redacted exchanges on their way to shadow workers",
        subjects=[place.subject],
        retention=api.RetentionPolicy.WORK_QUEUE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=place.max_bytes,
        max_age=0,
        storage=api.StorageType.FILE,
        num_replicas=place.replicas,
        duplicate_window=DUPLICATE_SECONDS,
    )
    try:
        found = (await stream.stream_info(place.stream)).config
    except NotFoundError:
        await stream.add_stream(wanted)
        return
    ours = ("subjects", "retention", "discard", "max_bytes", "max_age", "num_replicas", "duplicate_window")
    if any((getattr(found, name) or 0) != (getattr(wanted, name) or 0) for name in ours):
        await stream.update_stream(wanted)


async def ensure_consumer(stream: JetStreamContext, place: Place) -> None:
    """Makes the one consumer that all shadow workers share, or brings it up to date.

    Raises:
        nats.errors.Error: NATS did not let us.
    """
    try:
        info = (await stream.consumer_info(place.stream, CONSUMER)).config
        if info is not None and info.ack_wait == place.ack_wait and info.max_ack_pending == MAX_ACK_PENDING and info.max_deliver == -1:
            return  # somebody has it ready, and we may have no right to make one
    except NotFoundError:
        pass
    await stream.add_consumer(
        place.stream,
        api.ConsumerConfig(
            durable_name=CONSUMER,
            description="Banyan: all shadow workers",
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=place.ack_wait,
            max_deliver=-1,  # a worker counts what comes too often, by its headers: NATS would only fall silent about it
            max_ack_pending=MAX_ACK_PENDING,
        ),
    )
