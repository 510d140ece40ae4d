"""The demo's hand on the flags, in the file or in the real Unleash, and the moment from which the gateway decides by them."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from flags.admin import UnleashAdmin, set_flag

STICKINESS: Final = "userId"
"""By user alone: somebody whom legacy could not name in time is legacy's, and not a matter of chance."""
ARRIVAL_SECONDS: Final = 15.0


class SteeringError(RuntimeError):
    """A flag that was set did not reach the gateway."""


class Flags(Protocol):
    """Where the flags live."""

    def set(self, name: str, enabled: bool, rollout: int) -> None: ...


@dataclass(frozen=True, slots=True)
class FileFlags:
    """In the file that [flags] path names."""

    path: Path

    def set(self, name: str, enabled: bool, rollout: int) -> None:
        set_flag(self.path, name, enabled, rollout, STICKINESS)


@dataclass(frozen=True, slots=True)
class UnleashFlags:
    """In Unleash, through its Admin API: what a click in its UI does."""

    admin: UnleashAdmin

    def set(self, name: str, enabled: bool, rollout: int) -> None:
        self.admin.ensure_flag(name)
        self.admin.set(name, enabled, rollout, STICKINESS)


class Steering:
    """Sets flags and waits until every worker of the gateway has them."""

    def __init__(self, flags: Flags) -> None:
        self.admin_port = 0
        """The gateway's, once it runs."""
        self._flags = flags
        self._states: dict[str, tuple[bool, int]] = {}

    def prepare(self, name: str) -> None:
        """Makes a flag, off, before the gateway runs."""
        self._flags.set(name, False, 100)
        self._states[name] = (False, 100)

    def turn(self, name: str, enabled: bool, rollout: int = 100) -> float:
        """Sets a flag; back when every worker decides by it. Returns the time (time.monotonic()) just before it was set.

        Raises:
            SteeringError: it did not arrive.
            flags.admin.AdminError: it could not be set.
        """
        began = time.monotonic()
        if self._states.get(name) == (enabled, rollout):
            return began
        before = self.ask("/flags")["revision"]
        began = time.monotonic()
        self._flags.set(name, enabled, rollout)
        self._states[name] = (enabled, rollout)
        while True:
            state = self.ask("/flags")
            if state["revision"] != before and state["flags"].get(name) is enabled and all(state["workers"].values()):
                return began
            if time.monotonic() > began + ARRIVAL_SECONDS:
                raise SteeringError(f"the flag {name} was set, and the gateway does not have it after {ARRIVAL_SECONDS:g} s: {state}")
            time.sleep(0.05)

    def ask(self, path: str) -> Any:
        """The JSON of the gateway's admin port.

        Raises:
            SteeringError: it gives none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SteeringError(f"the admin port's {path} can't be read: {error}") from error
        finally:
            connection.close()
