"""Where the shipper hands on what it is given: compared in its own process (local), or sent to shadow workers (jetstream)."""

from __future__ import annotations

from typing import Protocol

import msgspec

from shadow.exchange import Record


class SinkError(Exception):
    """The sink can't be used as configured: what, where and what to do."""


class Status(msgspec.Struct):
    """What a sink says of itself, for whoever watches. The sums are since its process began."""

    waiting: int = 0
    """Exchanges that nobody has taken on yet."""
    waiting_bytes: int = 0
    shipped: int = 0
    """Exchanges that were taken on for good: written, or acknowledged by the broker."""
    connected: bool | None = None
    """To the broker; None: there is none."""
    repeated: int = 0
    """Messages that were sent again, because nothing was heard of them."""
    dropped: dict[str, dict[str, int]] = {}
    """Route → reason → exchanges."""
    stream_messages: int = 0
    """That nobody has acknowledged, a few seconds ago."""
    stream_bytes: int = 0
    stale: dict[str, int] = {}
    """Route → exchanges that were compared here and found stale."""

    def drop(self, route: str, reason: str, number: int = 1) -> None:
        reasons = self.dropped.setdefault(route, {})
        reasons[reason] = reasons.get(reason, 0) + number


class Sink(Protocol):
    """Takes records from the one reading thread, and never makes it wait."""

    def start(self) -> None: ...

    def offer(self, record: Record) -> None:
        """Takes a record, or counts its loss."""

    def count(self, route: str, at: float, name: str, number: int = 1) -> None:
        """Adds to a counter (shadow/counters.py)."""

    def status(self) -> Status: ...

    def stop(self, seconds: float) -> bool:
        """Finishes what is here, for at most about `seconds`. Whether nothing was lost."""
