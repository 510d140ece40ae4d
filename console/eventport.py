"""What the console asks of a relay or a follower of events: GET /standing where its metrics are (events/standing.py)."""

from __future__ import annotations

from typing import Final

import msgspec

from console.admin_port import AdminPort


class RelayNow(msgspec.Struct, frozen=True):
    """One relay. Moments are Unix seconds."""

    store: str
    nats: bool
    partitions: int
    of: int
    backlog: int | None = None
    """None: not known there."""
    oldest: float | None = None
    """When the first event was written that waits; None: nothing waits, or it is not known."""
    trouble: str = ""


class PartitionNow(msgspec.Struct, frozen=True):
    """One partition of a consumer."""

    lag: int | None = None
    """None: not known there."""
    oldest: float | None = None
    """When the first event was written that is in hand and not applied."""
    last: float | None = None
    """When the last one was written that is done with."""
    trouble: str = ""


class ParkedNow(msgspec.Struct, frozen=True):
    """An event that took no effect."""

    event: str
    key: str
    reason: str
    tries: int
    at: float
    redrive: str = ""
    """The command that tries it again, and what waits behind it; "": it waits behind another."""


class ConsumerNow(msgspec.Struct, frozen=True):
    """One consumer."""

    name: str
    store: str
    """Whose events they are."""
    nats: bool
    partitions: list[PartitionNow]
    parked: int | None = None
    """None: not known there."""
    first_parked: list[ParkedNow] = []


class Standing(msgspec.Struct, frozen=True):
    """GET /standing."""

    relays: list[RelayNow] = []
    consumers: list[ConsumerNow] = []


_STANDING: Final = msgspec.json.Decoder(Standing)  # here, as in console/admin_port.py


class EventPort(AdminPort):
    """The same kind of client, for another kind of port."""

    largest = 1024 * 1024
    """Fifty parked events with their reasons, which is what a consumer tells of at most, are less in every script."""

    def standing(self) -> Standing:
        """How it stands.

        Raises:
            console.admin_port.GatewayError: there is no answer, or none that can be read.
        """
        return self._get("/standing", _STANDING)
