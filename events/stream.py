"""The stream in NATS JetStream: one for all stores, a subject for each store and partition.

events.<store>.<partition>.<what>.<happened>, as in events.shop.2.review.written. It keeps what was consumed, so that somebody new can begin
from the beginning; refuses what it has no room for, so that outboxes fill and nothing is lost; and forgets after days.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from events.address import addresses
from events.envelope import Event
from shadow.broker import Broker, Place

STREAM: Final = "BANYAN_EVENTS"
SUBJECTS: Final = "events.>"
DUPLICATE_SECONDS: Final = 600.0
"""How long it knows an event's id: a relay that died before it could note what it had published is back by then."""
KEEP_SECONDS: Final = 7 * 86400.0
MOST_BYTES: Final = 4 * 1024**3
END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Where it is, and its limits when it is made. Seconds and bytes."""

    servers: tuple[str, ...]
    credentials: str = ""
    """A file, as `nsc` makes it: who we are to NATS."""
    ca: str = ""
    """A file: who signs for NATS, where the servers are tls://."""
    name: str = STREAM
    keep: float = KEEP_SECONDS
    max_bytes: int = MOST_BYTES
    replicas: int = 1

    def broker(self, name: str) -> Broker:
        """A connection to it, not begun yet."""
        place = Place(self.servers, self.name, self.max_bytes, self.replicas, 30.0, ca=self.ca, credentials=self.credentials)
        return Broker(place, name)


def stream_at(servers: str, replicas: int = 1) -> Stream:
    """The stream at `servers`, as `addresses` reads them. BANYAN_EVENTS_CREDENTIALS and BANYAN_EVENTS_CA name the files beside them.

    Raises:
        AddressError: see there.
    """
    return Stream(
        addresses(servers), os.environ.get("BANYAN_EVENTS_CREDENTIALS", ""), os.environ.get("BANYAN_EVENTS_CA", ""), replicas=replicas
    )


def subject(event: Event) -> str:
    """Where `event` is published."""
    what = event.type.removeprefix(f"{event.source}.")
    return f"events.{event.source}.{event.partition}.{what}"


def of_partition(store: str, partition: int) -> str:
    """What a consumer of one partition listens to."""
    return f"events.{store}.{partition}.>"


async def ensure(stream: JetStreamContext, wanted: Stream) -> None:
    """Makes it where it is missing. One that is there is left as whoever runs NATS has it.

    Raises:
        nats.errors.Error: NATS did not let us.
    """
    config = api.StreamConfig(
        name=wanted.name,
        description="Banyan: what changed in the stores",
        subjects=[SUBJECTS],
        retention=api.RetentionPolicy.LIMITS,
        discard=api.DiscardPolicy.NEW,
        max_bytes=wanted.max_bytes,
        max_age=wanted.keep,
        storage=api.StorageType.FILE,
        num_replicas=wanted.replicas,
        duplicate_window=min(DUPLICATE_SECONDS, wanted.keep),
    )
    try:
        await stream.stream_info(wanted.name)
    except NotFoundError:
        await stream.add_stream(config)


def identity(info: api.StreamInfo) -> str:
    """Tells the stream from another of its name, made when the first was lost: the numbers of one say nothing of the other."""
    return info.created.isoformat() if info.created is not None else ""


async def end(wanted: Stream) -> tuple[str, int]:
    """(which stream it is, the number of its last message; 0: there is none)

    Raises:
        nats.errors.Error, OSError: NATS can't be asked.
    """
    broker = wanted.broker("banyan")
    broker.start(lambda stream: ensure(stream, wanted))
    try:
        async with asyncio.timeout(END_SECONDS):
            await broker.usable.wait()
            info = await broker.stream.stream_info(wanted.name)
            return identity(info), int(info.state.last_seq)
    finally:
        await broker.close()
