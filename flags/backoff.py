"""How long to leave a failing Unleash alone: longer each time, never in step with other gateways, and never for minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 30.0
"""Seconds. What a flip may wait after Unleash is well again."""


def wait(failures: int, refresh: float, asked: float, random: Callable[[], float]) -> float:
    """Seconds until the next poll after the last `failures` (at least 1) polls failed, where `refresh` is the usual interval.

    From `refresh` on it doubles up to `LONGEST`, or up to `refresh` where that is longer. Of each such time at least the half is waited;
    the rest is left to `random`, which returns numbers from 0 to 1. `asked` is what Unleash asked for (`retry_after`): it is kept to within
    the bound.
    """
    bound = max(LONGEST, refresh)
    longest = min(bound, refresh * 2.0 ** min(failures, 30))
    shortest = max(refresh, longest / 2, min(asked, bound))
    longest = min(bound, max(longest, 1.5 * shortest if asked > refresh else 0.0))
    return shortest + (longest - shortest) * random()


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """The seconds that a Retry-After field means (RFC 9110 §10.2.3: seconds or a date); 0 where there is none or it is malformed."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
