"""Keeps what the gateway tells of its endpoints, so that there is more than the hour that it remembers itself.

A thread beside the one that watches flags (console.watch): whatever the database makes of a minute's figures keeps no change of a flag
waiting. What could not be kept is asked for again, for as long as the gateway has it.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from django.db import Error as DatabaseError
from django.db import connection

from console.admin_port import AdminPort, GatewayError
from console.told import Told
from gateway.config import Config
from shadow import endpoint_store, store

INTERVAL: Final = 5.0
"""Seconds between two looks."""
UPKEEP_SECONDS: Final = 300.0


class EndpointWatch:
    """The thread. `error` may be read from any other."""

    def __init__(self, config: Config, address: str) -> None:
        """`address`: the admin port's."""
        self.error = "it has not been asked yet"
        """Why there is nothing new; "" when all is well."""
        self._retention = config.shadow.retention
        self._port = AdminPort(address)
        self._gateway = ""
        self._after = 0
        """The newest minute that is over and kept."""
        self._next_upkeep = 0.0
        self._told = Told()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="endpoint-watch", daemon=True)

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
            connection.close()

    def _once(self) -> None:
        """One look. Nothing that happens in it may end the thread."""
        try:
            self._collect()
            if time.monotonic() >= self._next_upkeep:
                endpoint_store.upkeep(self._retention)
                self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
        except GatewayError as error:
            self.error = str(error)
            if error.kind not in ("away", "unknown", "status 404"):  # the flags' watch tells of these; and a gateway of before has none
                self._told.once(f"gateway {error.kind}", f"the gateway's endpoints can't be read: {error}")
        except DatabaseError as error:
            store.renew_connection()
            self.error = "the database can't be written"
            self._told.once(
                "database", f"figures of endpoints can't be kept ({str(error).strip().partition('\n')[0]}); they are asked for again"
            )
        except Exception as error:
            self.error = "an error of Banyan's own: the console's log has it"
            self._told.failed("keeping figures of endpoints", error)
        else:
            self.error = ""
            self._told.well("", "figures of endpoints are kept again")

    def _collect(self) -> None:
        told = self._port.minutes(self._after)
        if told.gateway != self._gateway:  # its first, or it was started anew
            if self._after:
                told = self._port.minutes(0)
            self._gateway, self._after = told.gateway, 0
        endpoint_store.record(told.gateway, told.minutes, now=time.time())
        self._after = max((minute.at for minute in told.minutes if minute.complete), default=self._after)
