"""upstreams.*.concurrency: how many requests an upstream is sent at once, and what becomes of those beyond."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from gateway.settings.section import Section
from gateway.units import Timeout

MOST: Final = 100_000
"""Requests at once. More than a gateway can hold is no limit."""


def _limit(value: object) -> object:
    # bool is an int to Python, and `limit = true` is no number of requests.
    if value == "adaptive" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST):
        return value
    raise ValueError(f'write limit = "adaptive", or a whole number of requests from 1 to {MOST}, not {value!r}')


class Concurrency(Section):
    """Over all workers of this gateway, each of which has its share, rounded down and at least 1. Several gateways count each for itself. A
    request that finds no place waits, and is answered 503 with Retry-After where that is in vain."""

    limit: Annotated[Literal["adaptive"] | int, BeforeValidator(_limit)] = "adaptive"
    """Requests under way at once: a number, or "adaptive": what the upstream's latency shows it to be good for."""
    min: int = Field(default=4, ge=1, le=MOST)
    """Of an adaptive limit: it is never less. With as few requests the upstream has to be as fast as it can."""
    max: int = Field(default=256, ge=1, le=MOST)
    """Of an adaptive limit: it is never more."""
    queue: int = Field(default=64, ge=0, le=MOST)
    """Requests that may wait for a place: critical routes' first, and no client's before all others'. 0: none waits."""
    queue_timeout: Timeout = 0.5
    """How long one may wait."""

    @model_validator(mode="after")
    def _bounded(self) -> Concurrency:
        if self.limit != "adaptive" and self.model_fields_set & {"min", "max"}:
            raise ValueError('min and max are the bounds of limit = "adaptive"; with a number remove them')
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is more than max = {self.max}")
        return self

    def share(self, number: int, workers: int) -> int:
        """One worker's part of `number`."""
        return max(1, number // workers) if number else 0
