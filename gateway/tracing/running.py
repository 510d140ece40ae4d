"""The supervisor's part in tracing: the exporter's process, begun anew where its settings change, and its figures.

The gateway does without it: while it is away spans are dropped, and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from gateway.children import Child
from gateway.settings import Config
from gateway.settings.tracing import Tracing
from gateway.tracing.status import Figures, read

_log = logging.getLogger("banyan.supervisor")

NAME: Final = "exporter"
END_SECONDS: Final = 2.5
"""Of what a gateway keeps for its end, which is 3 s (gateway/supervisor.py): a receiver that hangs must not hold it up."""


class Exporting:
    """`command` starts the exporter on a socket's path; `restarts` counts the ends of children; `keep` keeps a task."""

    def __init__(
        self,
        command: Callable[[str], list[str]],
        restarts: dict[str, int],
        keep: Callable[[Coroutine[object, object, object], str], object],
    ) -> None:
        self._command = command
        self._restarts = restarts
        self._keep = keep
        self._runtime = Path()
        self._child: Child | None = None
        self._settings = Tracing()
        self._number = 0

    @property
    def socket(self) -> str:
        """Where the exporter listens; '' where nothing is traced."""
        return str(self._runtime / f"{NAME}-{self._number}") if self._child is not None else ""

    @property
    def active(self) -> bool:
        return self._child is not None

    def begin(self, runtime: Path, config: Config) -> None:
        """At the gateway's start. `runtime`: the folder for sockets."""
        self._runtime = runtime
        self.adopt(config)

    def adopt(self, config: Config) -> Child | None:
        """Starts another exporter where the settings want one. The one before, to be stopped once no worker hands it anything any more."""
        settings = config.tracing.model_copy(update={"sample": 0.0})  # which is the workers' matter
        if settings == self._settings or not (settings.endpoint or self._settings.endpoint):
            return None
        self._settings = settings
        before, self._child = self._child, None
        if settings.endpoint:
            self._number += 1
            path = str(self._runtime / f"{NAME}-{self._number}")
            self._child = Child(NAME, self._command(path), self._ended)
            self._keep(self._child.run(), f"{NAME} {self._number}")
        return before

    def figures(self) -> Figures:
        """What the exporter says of itself."""
        return (read(Path(self.socket)) if self.active else None) or Figures()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(END_SECONDS)

    def _ended(self, name: str, status: int) -> None:
        """Unlike another child's, its end is never the gateway's."""
        self._restarts[name] = self._restarts.get(name, 0) + 1
        _log.error("the %s of spans ended with status %d; starting it again", name, status)
