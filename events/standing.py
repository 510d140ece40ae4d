"""How a relay or a consumer stands, for people: GET /standing where its metrics are, as JSON. The console shows it (console/eventwatch.py).

Beside the figures of its metrics it says what is the trouble, which events are parked and why, and by what command they are tried again. A
reason may hold words of the event's: whoever can read this port can read those.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from events.envelope import PARTITIONS, EnvelopeError, decoded
from events.inbox import Delivery, Parked

MOST_PARKED: Final = 50
"""Of those that are told of, the first ones; their number is told whole."""


@dataclass(slots=True)
class RelayStanding:
    """Written by the relay, read by whoever asks. Moments are Unix seconds."""

    store: str
    """Without what it takes to get in."""
    nats: bool = False
    held: int = 0
    backlog: int | None = None
    """None: not known, since the outbox can't be read."""
    oldest: float | None = None
    """When the first of them was written."""
    trouble: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "relays": [
                {
                    "store": self.store,
                    "nats": self.nats,
                    "partitions": self.held,
                    "of": PARTITIONS,
                    "backlog": self.backlog,
                    "oldest": self.oldest,
                    "trouble": self.trouble,
                }
            ]
        }


@dataclass(slots=True)
class PartitionStanding:
    """Of one partition of a consumer."""

    lag: int | None = None
    """None: NATS is away, or was not heard of yet, or the last try failed."""
    waiting: Delivery | None = None
    """The first one in hand that is not applied."""
    last: float | None = None
    trouble: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"lag": self.lag, "oldest": self.oldest(), "last": self.last, "trouble": self.trouble}

    def oldest(self) -> float | None:
        """When the first event was written that is not applied; None where there is none, or it can't be read."""
        waiting = self.waiting
        if waiting is None:
            return None
        try:
            return decoded(waiting.body).time.timestamp()
        except EnvelopeError:
            return None

    def age(self) -> float:
        """The same in seconds; 0: there is none."""
        oldest = self.oldest()
        return max(time.time() - oldest, 0.0) if oldest is not None else 0.0


@dataclass(slots=True)
class ConsumerStanding:
    """Of a consumer. `redrive`: the command that tries one parked event again, by its id."""

    name: str
    store: str
    nats: bool = False
    partitions: list[PartitionStanding] = field(default_factory=lambda: [PartitionStanding() for _ in range(PARTITIONS)])
    parked: int | None = None
    """None: its store has not been asked yet, or could not be."""
    first_parked: Sequence[Parked] = ()
    redrive: Callable[[str], str] = lambda event: ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        seen: set[str] = set()
        told = []
        for one in self.first_parked:
            first = one.key not in seen  # those behind it come with it
            seen.add(one.key)
            told.append(
                {
                    "event": one.event_id,
                    "key": one.key,
                    "reason": one.reason,
                    "tries": one.tries,
                    "at": one.parked_at / 1000,
                    "redrive": self.redrive(one.event_id) if first else "",
                }
            )
        return {
            "consumers": [
                {
                    "name": self.name,
                    "store": self.store,
                    "nats": self.nats,
                    "partitions": [one.plain() for one in self.partitions],
                    "parked": self.parked,
                    "first_parked": told,
                }
            ]
        }


def service_command(name: str) -> Callable[[str], str]:
    """How a service's parked events are tried again."""
    return lambda event: f"python -m services.{name} redrive --event {shlex.quote(event)}"
