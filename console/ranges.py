"""The stretch of time that a page shows, as its address says: `?span=24h` for one that ends now, or `?since=…&until=…`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy

SPANS: Final = {
    "15m": (900.0, gettext_lazy("15 minutes")),
    "1h": (3600.0, gettext_lazy("hour")),
    "6h": (6 * 3600.0, gettext_lazy("6 hours")),
    "24h": (86400.0, gettext_lazy("24 hours")),
    "7d": (7 * 86400.0, gettext_lazy("7 days")),
    "all": (0.0, gettext_lazy("everything kept")),
}
DEFAULT: Final = "1h"
SHORTEST: Final = 60.0
"""Seconds."""
_LATEST: Final = 253_402_300_800.0
"""The year 10000."""


@dataclass(frozen=True, slots=True)
class Range:
    """Moments are Unix seconds."""

    since: float
    until: float
    span: str = ""
    """Of SPANS: it ends now, and goes on. "": it was given by both ends, or one."""
    live: bool = True
    """Whether it ends now."""

    @property
    def query(self) -> str:
        """For an address that shows the same."""
        if self.span:
            return urlencode({"span": self.span})
        ends = {"since": f"{self.since:.0f}"} | ({} if self.live else {"until": f"{self.until:.0f}"})
        return urlencode(ends)

    @property
    def ended(self) -> float | None:
        """`until`, for who counts up to it; None where it goes on."""
        return None if self.live else self.until


def of(query: Mapping[str, str], now: float) -> Range:
    """What the address asks for; what can't be read is taken to be not there."""
    since, until = moment(query.get("since", "")), moment(query.get("until", ""))
    if since is not None or until is not None:
        live = until is None or until >= now
        end = now if until is None or live else until
        begin = end - 3600.0 if since is None else since
        return Range(max(0.0, min(begin, end - SHORTEST)), end, "", live)
    span = query.get("span", DEFAULT)
    span = span if span in SPANS else DEFAULT
    length = SPANS[span][0]
    return Range(now - length if length else 0.0, now, span)


def moment(text: str) -> float | None:
    """Unix seconds, or a date and time of ISO 8601, in UTC where it does not say otherwise; None where it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
        seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return seconds if 0 <= seconds < _LATEST else None


def field(seconds: float) -> str:
    """As `<input type="datetime-local">` has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M")


def choices(chosen: Range, names: tuple[str, ...] = tuple(SPANS)) -> list[tuple[str, str, bool]]:
    """(span, label, whether it is the one)."""
    return [(key, str(SPANS[key][1]), key == chosen.span) for key in names]
