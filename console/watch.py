"""Looks at each running gateway once a second, for all pages together, and keeps every change of a flag that it tells of.

One thread for each asks, whatever is asked of the console: pages read what it found last and wait for nobody. What the database or the
gateway does to it is told once for each cause and tried again a second later; a change is asked for until it is stored. Who made a change
is asked of Unleash, in a thread of its own (console.authors): an Unleash that keeps somebody waiting keeps no state from being shown.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db import Error as DatabaseError
from django.db import connection

from console.admin_port import AdminPort, FlagsNow, GatewayError
from console.authors import Authors
from console.chronicle import Chronicle
from console.endpointwatch import EndpointWatch
from console.eventwatch import EventLook, EventWatches
from console.told import Told
from gateway.config import Config
from shadow import flag_changes, store

INTERVAL: Final = 1.0
"""Seconds between two looks."""
PURGE_SECONDS: Final = 600.0
_CONFIRMATIONS: Final = 600
_SAME_SECONDS: Final = 0.1
"""A confirmation this close to a change is the one that brought it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of the gateway. Moments are Unix seconds."""

    address: str
    """Of its admin port."""
    now: FlagsNow | None = None
    """Its last answer; None before the first."""
    at: float = 0.0
    """When that was."""
    error: str = ""
    """Why it gave none at the last look; "" when all is well."""

    @property
    def confirmed(self) -> float | None:
        """When the source last confirmed this state."""
        if self.now is None or self.now.staleness_seconds is None:
            return None
        return self.at - self.now.staleness_seconds


class Watch:
    """The thread. `start` and `stop` it; `look` is what it found last, and may be read from any thread."""

    def __init__(self, config: Config, *, address: str = "", first: bool = True) -> None:
        """`address` is the admin port's, where it is not the one that the configuration says. The `first` of several sees to what is to be
        done once: judging gates, and removing what is too old."""
        self._config = config
        self._port = AdminPort(address or config.gateway.admin)
        self.look = Look(self._port.address, error="it has not been asked yet")
        self._gateway = ""
        self._number = 0
        self._confirmed: deque[float] = deque(maxlen=_CONFIRMATIONS)
        self._told = Told()
        self._next_purge = 0.0
        self._authors = Authors(config)
        self._chronicle = Chronicle(config, self._port.address, once=first)
        self.endpoints = EndpointWatch(config, self._port.address)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flag-watch", daemon=True)

    def start(self) -> None:
        """Begins with a look at once."""
        self._thread.start()
        self._authors.start()
        self._chronicle.start()
        self.endpoints.start()

    def stop(self, seconds: float = 10.0) -> bool:
        """Ends after the looks that are being taken, and what is being asked of Unleash. Whether all ended within `seconds`."""
        until = time.monotonic() + seconds
        self.end()
        self._thread.join(seconds)
        ended = [each.ended(until - time.monotonic()) for each in (self._authors, self._chronicle, self.endpoints)]
        return all(ended) and not self._thread.is_alive()

    def end(self) -> None:
        """Nothing more is looked at."""
        self._ending.set()
        self._authors.end()
        self._chronicle.end()
        self.endpoints.end()

    def _run(self) -> None:
        try:
            while True:
                began = time.monotonic()
                self._once()
                if self._ending.wait(max(0.1, INTERVAL - (time.monotonic() - began))):
                    return
        finally:
            self._port.close()
            connection.close()

    def _once(self) -> None:
        """One look. Nothing that happens in it may end the thread."""
        try:
            now = self._port.flags()
        except GatewayError as error:
            self.look = Look(self._port.address, self.look.now, self.look.at, str(error))
            self._told.once(f"gateway {error.kind}", f"the gateway's admin port at {self._port.address} tells nothing: {error}")
            return
        except Exception as error:
            self._told.failed("asking the gateway", error)
            return
        self._told.well("asking the gateway")
        self._told.well("gateway ", f"the gateway's admin port at {self._port.address} answers again")
        try:
            self.look = look = Look(self._port.address, now, time.time())
            if look.confirmed is not None:
                self._confirmed.append(look.confirmed)
            self._collect(now.source)
            self._purge()
        except GatewayError as error:
            self._told.once(f"changes {error.kind}", f"the gateway's record of changes can't be read: {error}")
        except DatabaseError as error:
            store.renew_connection()
            self._told.once(
                "database", f"changes of flags can't be kept ({str(error).strip().partition('\n')[0]}); they are asked for again"
            )
        except Exception as error:
            self._told.failed("keeping changes of flags", error)
        else:
            self._told.well("", "changes of flags are kept again")

    def _collect(self, source: str) -> None:
        """Stores what the gateway has that is not stored."""
        told = self._port.changes(self._number)
        if told.gateway != self._gateway:  # its first, or it was started anew and counts from 1 again
            number = flag_changes.last(told.gateway)
            if number != self._number:
                told = self._port.changes(number)
            self._gateway, self._number = told.gateway, number
        if not told.changes or told.changes[-1].number <= self._number:
            return
        before = time.time() - self._config.shadow.retention
        changes = sorted((change for change in told.changes if change.number > self._number), key=lambda change: change.number)
        rows = flag_changes.record(told.gateway, self._number, changes, source=source, confirmed=self._confirmed_before, before=before)
        self._number = changes[-1].number
        self._authors.add(rows)

    def _confirmed_before(self, at: float) -> float | None:
        """When the source last confirmed the state before a change of the moment `at`; None where that was not seen."""
        return max((moment for moment in self._confirmed if moment < at - _SAME_SECONDS), default=None)

    def _purge(self) -> None:
        if time.monotonic() >= self._next_purge:
            flag_changes.purge(time.time() - self._config.shadow.retention)
            self._next_purge = time.monotonic() + PURGE_SECONDS


class Watches:
    """One for each gateway."""

    def __init__(self, config: Config, addresses: Sequence[str] = ()) -> None:
        """`addresses`: admin ports, where they are not those of the configuration."""
        chosen = list(addresses) or config.console.gateways or [config.gateway.admin]
        self.each = [Watch(config, address=address, first=not number) for number, address in enumerate(chosen)]
        self.events = EventWatches(config)

    def start(self) -> None:
        """Begins with a look at each at once."""
        for watch in self.each:
            watch.start()
        self.events.start()

    def stop(self, seconds: float = 10.0) -> bool:
        """As Watch.stop, of all together."""
        until = time.monotonic() + seconds
        for watch in self.each:
            watch.end()
        self.events.end()
        ended = [watch.stop(max(0.0, until - time.monotonic())) for watch in self.each]
        return self.events.ended(until - time.monotonic()) and all(ended)


_watches: Watches | None = None


def run(config: Config, addresses: Sequence[str] = ()) -> Watches:
    """Starts the watches of this process."""
    global _watches  # noqa: PLW0603 - as there is one set of gateways, and Django's views have no other place to look
    _watches = Watches(config, addresses)
    _watches.start()
    return _watches


def looks() -> tuple[Look, ...]:
    """What was found last of each gateway; none where nobody watches."""
    return tuple(watch.look for watch in _watches.each) if _watches is not None else ()


def event_looks() -> tuple[EventLook, ...]:
    """What was found last of each relay and follower; none where nobody watches."""
    return tuple(watch.look for watch in _watches.events.each) if _watches is not None else ()


def running() -> bool:
    """Whether anybody watches in this process."""
    return _watches is not None


def latest() -> Look | None:
    """What pages go by: what was found of the first gateway that answers, or else of the first. None where nobody watches."""
    found = looks()
    return next((look for look in found if not look.error), found[0]) if found else None


def endpoint_trouble() -> str | None:
    """Why there is nothing new of endpoints, of each gateway that tells none; "" where all is well, None where nobody watches."""
    if _watches is None:
        return None
    wrong = [(watch.look.address, watch.endpoints.error) for watch in _watches.each if watch.endpoints.error]
    if len(_watches.each) == 1:
        return wrong[0][1] if wrong else ""
    return "; ".join(f"{address}: {error}" for address, error in wrong)
