"""What a copy of a store holds already, so that the events which follow it leave no gap and count nothing twice.

Copy and position are read in one snapshot. Of PostgreSQL it is the snapshot itself, `xmin:xmax:running`: an event is in the copy if its
transaction was over by then (as pg_visible_in_snapshot says of it). Of SQLite it is the last number that the outbox has given: it has one
writer, so that numbers are given in the order of the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from events.envelope import Event

POSTGRES_QUERY: Final = "SELECT 'snapshot:' || pg_current_snapshot()::text"
SQLITE_QUERY: Final = "SELECT 'number:' || COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'outbox_event'), 0)"


class PositionError(ValueError):
    """A text that is no position."""


@dataclass(frozen=True, slots=True)
class Position:
    """See the module's docstring. The empty one, NOTHING, covers nothing."""

    number: int = 0
    xmin: int = 0
    xmax: int = 0
    running: frozenset[int] = frozenset()

    def covers(self, event: Event) -> bool:
        """Whether the copy has what `event` tells."""
        if event.transaction is None:
            return event.sequence <= self.number
        if event.transaction >= self.xmax:
            return False
        return event.transaction < self.xmin or event.transaction not in self.running


NOTHING: Final = Position()


def read(text: str) -> Position:
    """What one of the two queries has given.

    Raises:
        PositionError: it is something else.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "number":
            return Position(number=int(rest))
        if kind == "snapshot":
            xmin, xmax, running = rest.split(":")
            return Position(0, int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())
    except ValueError:
        pass
    raise PositionError(f"no position: {text!r}")
