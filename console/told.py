"""What goes wrong again and again is told once for each cause."""

from __future__ import annotations

import logging
from typing import Final

_log: Final = logging.getLogger("banyan.console")


class Told:
    """What one thread has told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def once(self, kind: str, message: str) -> None:
        """A warning; not again for the same `kind`."""
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("%s", message)

    def failed(self, what: str, error: Exception) -> None:
        """A mistake of ours, with its traceback."""
        kind = f"{what} {type(error).__name__}"
        if kind not in self._told:
            self._told.add(kind)
            _log.error("%s failed", what, exc_info=error)

    def well(self, kind: str, message: str = "") -> None:
        """Forgets what was told and begins with `kind`; the next time it is news again. `message` is told where there was something."""
        over = {told for told in self._told if told.startswith(kind)}
        if over:
            self._told -= over
            if message:
                _log.warning("%s", message)
