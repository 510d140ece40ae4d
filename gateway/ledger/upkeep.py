"""What one thread of each worker sees to beside the questions: who has died, what may be forgotten, and whether the clock was set.

Ages in the ledger are by its database's clock: this machine's, or PostgreSQL's. A clock that is set makes the living look dead, and what is
young look old. So it is held against a clock that nobody sets (time.monotonic) at each look, before anything follows from it; and that it
was set is written down in the ledger, since it holds for all who share it, and for who comes after them. That clock stands still while the
machine is suspended, and so did all who live on it: nobody is taken for dead then, but what is old is old.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from gateway.ledger import book
from gateway.ledger.database import Connection
from gateway.settings.ledger import Ledger

_log = logging.getLogger("banyan.ledger")

REAP_SECONDS: Final = 2.0
PURGE_SECONDS: Final = 60.0
JUMP_SECONDS: Final = 2.0
"""Where the clock was set by more than this since the last look, nobody is taken for dead at this look, and nothing is forgotten that may
be younger than it looks (book.purge)."""


class Upkeep:
    """Of one worker's thread."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._purged = 0.0
        self._offset: float | None = None
        """The database's clock less the monotonic one, at the last look."""
        self._suspended = 0.0
        """As of `suspended`, at that look."""

    def due(self, now: float) -> bool:
        """Is it time to look again? `now`: monotonic."""
        return now - self._looked >= REAP_SECONDS

    def look(self, database: Connection, settings: Ledger, live: Callable[[], None]) -> dict[str, int]:
        """Sees to all of it. `live` gives this worker's sign of life, if it has anything under way. Returns what is in doubt, by route.

        Raises:
            AwayError: the database does not do it now.
        """
        now = self._looked = time.monotonic()
        there, jumped = self._clock(database)
        if jumped:
            live()  # who has died is found out at the next look
        else:
            lost = book.reap(database, there)
            if lost:
                _log.warning("%d payments were under way in a worker that is dead: they are in doubt", lost)
        if now - self._purged > PURGE_SECONDS:
            self._purged = now
            book.purge(database, there, keep=settings.keep, settled=settings.settled, most=settings.total_bytes)
        return book.counts(database)

    def _clock(self, database: Connection) -> tuple[float, bool]:
        """The ledger's clock, and whether it has jumped since the last look. What follows goes by this time alone: by one that is read
        later it would forget at once what a clock that was set in between makes look old."""
        began, slept = time.monotonic(), suspended()
        there = database.now()
        ended = time.monotonic()
        # It was read at some moment between the two: only what that cannot explain is the clock's doing.
        before, offset, unsure = self._offset, there - (began + ended) / 2, ended - began
        jump = 0.0 if before is None else offset - before
        jumped = abs(jump) > JUMP_SECONDS + unsure
        if jumped and abs(jump - (slept - self._suspended)) > JUMP_SECONDS + unsure:
            book.clock_was_set(database)  # first: where that cannot be written, it is found out again at the next look
            _log.warning("the ledger's clock was set: who has died is found out at the next look, and nothing is forgotten for a while")
        if jumped or before is None or unsure < JUMP_SECONDS:
            self._offset, self._suspended = offset, slept
        return there, jumped


def suspended() -> float:
    """Seconds for which this machine was suspended since it was started: time.monotonic() has not counted them. 0: none, or not told."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.clock_gettime(time.CLOCK_MONOTONIC)
