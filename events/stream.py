"""The stream in NATS JetStream: one for all stores, a subject for each store and partition.

events.<store>.<partition>.<what>.<happened>, as in events.shop.2.review.written. It keeps what was consumed, so that somebody new can begin
from the beginning; refuses what it has no room for, so that outboxes fill and nothing is lost; and forgets after days.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

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
    """Where it is, and its limits. Seconds and bytes."""

    servers: tuple[str, ...]
    name: str = STREAM
    keep: float = KEEP_SECONDS
    max_bytes: int = MOST_BYTES
    replicas: int = 1

    def broker(self, name: str) -> Broker:
        """A connection to it, not begun yet."""
        return Broker(Place(self.servers, self.name, self.max_bytes, self.replicas, 30.0), name)


def subject(event: Event) -> str:
    """Where `event` is published."""
    what = event.type.removeprefix(f"{event.source}.")
    return f"events.{event.source}.{event.partition}.{what}"


def of_partition(store: str, partition: int) -> str:
    """What a consumer of one partition listens to."""
    return f"events.{store}.{partition}.>"


async def ensure(stream: JetStreamContext, wanted: Stream) -> None:
    """Makes it, or brings its limits up to date. More room and more days are no loss, and less is what somebody asked for.

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
        found = (await stream.stream_info(wanted.name)).config
    except NotFoundError:
        await stream.add_stream(config)
        return
    ours = ("subjects", "discard", "max_bytes", "max_age", "num_replicas", "duplicate_window")
    if any((getattr(found, name) or 0) != (getattr(config, name) or 0) for name in ours):
        await stream.update_stream(config)


async def end(wanted: Stream) -> int:
    """The number of the last message; 0: there is none.

    Raises:
        nats.errors.Error, OSError: NATS can't be asked.
    """
    broker = wanted.broker("banyan")
    broker.start(lambda stream: ensure(stream, wanted))
    try:
        async with asyncio.timeout(END_SECONDS):
            await broker.usable.wait()
            return int((await broker.stream.stream_info(wanted.name)).state.last_seq)
    finally:
        await broker.close()
