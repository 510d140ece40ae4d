"""Once more, where the database gave a transaction up for another's sake: a deadlock, or a snapshot that others wrote into.

Bounded: each try holds a thread, a connection and, while it lasts, rows that others want. Who loses every time is told so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from django.db import OperationalError, connection

ATTEMPTS: Final = 3
PAUSE_SECONDS: Final = 0.05
"""At most, before the second try; twice that before the third. By chance, so that two that met do not meet again."""
_PASSING: Final = frozenset({"40001", "40P01"})
"""SQLSTATE of serialization_failure and deadlock_detected: nothing was written, and the same may succeed at once. SQLite has neither."""


class BusyError(Exception):
    """The database gave way to others every time that it was tried: nothing was written."""

    def __init__(self) -> None:
        super().__init__("Too many orders at this moment. Please try again.")


def again[T](write: Callable[[], T]) -> T:
    """What `write` returns, which must be one whole transaction: within another one there is nothing that could be tried again.

    Raises:
        BusyError: it was given up every time.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, PAUSE_SECONDS * 2 ** (attempt - 1)))  # noqa: S311 - nothing secret hangs on it
        try:
            return write()
        except OperationalError as error:
            if connection.in_atomic_block or not passing(error):
                raise
            last = error
    raise BusyError from last


def passing(error: OperationalError) -> bool:
    """Whether the same transaction may succeed if it is tried again."""
    return getattr(error.__cause__, "sqlstate", None) in _PASSING
