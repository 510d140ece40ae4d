"""routes.*.rate_limit: how often a route may be asked for."""

from __future__ import annotations

from math import ceil
from typing import Final, Literal

from pydantic import Field

from gateway.settings.section import Section

FASTEST: Final = 1_000_000
"""A second. More than a gateway can relay is no limit."""
LONGEST: Final = 86_400
"""Seconds between two requests. Whoever waits longer has not met a rate limit, but a quota."""


class RateLimit(Section):
    """Over all workers of this gateway; several gateways count each for itself. Beyond it: 429, with Retry-After."""

    per: Literal["client", "user", "route"] = "client"
    """Whose requests are counted together. client: an address, of IPv6 a /64; user: whoever is logged in, else the address; route: all."""
    rate: float = Field(ge=1 / LONGEST, le=FASTEST)
    """Requests a second in the long run."""
    burst: int | None = Field(default=None, ge=1, le=FASTEST)
    """Requests at once, after a while without any; by default those of one second."""

    @property
    def most_at_once(self) -> int:
        """`burst`, or its default."""
        return self.burst if self.burst is not None else max(1, ceil(self.rate))
