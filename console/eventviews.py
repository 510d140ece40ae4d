"""The page of the data that moves: what waits in the outboxes, how far each consumer is behind, and what is parked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from console import configured, live, watch
from console.eventport import ConsumerNow, ParkedNow, PartitionNow, RelayNow
from console.eventwatch import EventLook
from gateway.config import ConfigError

_UNASKED: Final = "it has not been asked yet"
_UNKNOWN: Final = "it is not known until the console is started again"
_MOST: Final = 64
"""Relays, consumers, partitions of one and parked events of one that are shown. There are fewer, unless somebody else answers there."""


@dataclass(frozen=True, slots=True)
class RelayLine:
    """A relay, and what is known of the process that it is."""

    look: EventLook
    relay: RelayNow


@dataclass(frozen=True, slots=True)
class ConsumerLine:
    """A consumer, and what is known of the process that it is."""

    look: EventLook
    consumer: ConsumerNow

    @property
    def partitions(self) -> list[tuple[int, PartitionNow]]:
        """The first ones, with their numbers."""
        return list(enumerate(self.consumer.partitions[:_MOST]))

    @property
    def more_partitions(self) -> int:
        """Those beyond."""
        return max(0, len(self.consumer.partitions) - _MOST)

    @property
    def parked(self) -> list[ParkedNow]:
        """The first ones of those that it names."""
        return self.consumer.first_parked[:_MOST]

    @property
    def more(self) -> int:
        """Parked events beyond those."""
        return max(0, (self.consumer.parked or 0) - len(self.parked))


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Every relay and consumer that was ever heard of, as it was then, and every address from which nothing has come."""
    found = {look.address: look for look in watch.event_looks()}
    lacking = _UNKNOWN if watch.running() else _UNASKED  # who is asked was settled when the watches were started, as it is of gateways
    looks = [found.get(address, EventLook(address, error=lacking)) for address in addresses()]
    relays = [RelayLine(look, relay) for look in looks if look.now for relay in look.now.relays]
    consumers = [ConsumerLine(look, consumer) for look in looks if look.now for consumer in look.now.consumers]
    context: dict[str, Any] = {
        "configured": bool(looks),
        "silent": [look for look in looks if look.error],
        "relays": relays[:_MOST],
        "more_relays": max(0, len(relays) - _MOST),
        "consumers": consumers[:_MOST],
        "more_consumers": max(0, len(consumers) - _MOST),
    }
    if live.asked(request):
        return live.part(request, "console/event_parts.html", context, None)
    return render(request, "console/events.html", context)


def addresses() -> list[str]:
    """`[console] events` as banyan.toml says now."""
    try:
        config = configured.configuration()
    except (ConfigError, OSError):  # the pages that show routes say so
        config = None
    return config.console.events if config is not None else []


def context(_request: HttpRequest) -> dict[str, Any]:
    """For templates: whether there is a page of events to be led to."""
    return {"moves": bool(addresses())}
