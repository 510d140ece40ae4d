"""Asks the relays and followers of events how they stand, every two seconds, for all pages together: one thread for each, since one that is
away answers nobody for a second. Pages read what was found last and wait for nobody."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Final

from console.admin_port import GatewayError
from console.eventport import EventPort, Standing
from console.told import Told
from gateway.config import Config

INTERVAL: Final = 2.0
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class EventLook:
    """What is known of the process at `address`."""

    address: str
    now: Standing | None = None
    """Its last answer; None before the first."""
    at: float = 0.0
    """When that was, in Unix seconds."""
    error: str = ""
    """Why it gave none at the last look; "" when all is well."""


class EventWatch:
    """The thread of one address. `look` may be read from any other."""

    def __init__(self, address: str) -> None:
        self.look = EventLook(address, error="it has not been asked yet")
        self._port = EventPort(address)
        self._told = Told()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-watch", daemon=True)

    def start(self) -> None:
        """Begins with a look at once."""
        self._thread.start()

    def end(self) -> None:
        """Nothing more is asked."""
        self._ending.set()

    def ended(self, seconds: float) -> bool:
        """Whether the thread ended within `seconds`."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                self._once()
                if self._ending.wait(INTERVAL):
                    return
        finally:
            self._port.close()

    def _once(self) -> None:
        """One look. Nothing that happens in it may end the thread."""
        address = self.look.address
        try:
            now = self._port.standing()
        except GatewayError as error:
            self.look = replace(self.look, error=str(error))
            self._told.once(f"events {error.kind}", f"what moves events at {address} tells nothing: {error}")
        except Exception as error:
            self.look = replace(self.look, error="an error of Banyan's own: the console's log has it")
            self._told.failed("asking what moves events", error)
        else:
            self.look = EventLook(address, now, time.time())
            self._told.well("asking")
            self._told.well("events ", f"what moves events at {address} answers again")


class EventWatches:
    """One for each address of `[console] events`."""

    def __init__(self, config: Config) -> None:
        self.each = [EventWatch(address) for address in config.console.events]

    def start(self) -> None:
        """Begins with a look at each at once."""
        for watch in self.each:
            watch.start()

    def end(self) -> None:
        """Nothing more is asked."""
        for watch in self.each:
            watch.end()

    def ended(self, seconds: float) -> bool:
        """Whether all ended within `seconds`."""
        until = time.monotonic() + seconds
        return all(watch.ended(until - time.monotonic()) for watch in self.each)
