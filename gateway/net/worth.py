"""What an upstream's addresses are worth: made of the configuration, and told to the supervisor once a second."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Final

from gateway.net.deadlines import Deadlines
from gateway.net.health import Health
from gateway.net.place import ERRORS, NO_ERRORS
from gateway.net.pool import Pool
from gateway.policy.breaker import STATES, Breaker
from gateway.policy.budget import LEAST, Budget
from gateway.policy.decision import LEGACY
from gateway.settings import Upstream
from gateway.settings.health import ERRORS as SHARE
from gateway.settings.health import ERRORS_OF_LEGACY
from gateway.telemetry import AddressStats, UpstreamStats

LEASE_MARGIN: Final = 1.0
"""Seconds beyond its timeouts, for which a probe is waited for that nobody tells anything of."""


def pool_of(
    loop: asyncio.AbstractEventLoop, deadlines: Deadlines, name: str, upstream: Upstream, tls: ssl.SSLContext | None, *, workers: int
) -> Pool:
    """The pool for the clients' requests. (The shadow's have none of this: what is asked beside shows how a candidate fails.) `workers`:
    of the gateway, among whom what holds for all of it is shared out."""
    pool = Pool(
        loop,
        deadlines,
        name,
        upstream.places,
        connect_timeout=upstream.connect_timeout,
        response_timeout=upstream.response_timeout,
        tls=tls,
        server_name=upstream.tls.server_name,
        breaker=lambda: breaker_of(name, upstream),
        errors=NO_ERRORS if name == LEGACY else ERRORS,
        budget=Budget(LEAST / workers),
        idempotent=upstream.idempotent,
    )
    if upstream.health is not None:
        health = Health(pool, upstream.health)
        health.start()
        pool.ends.append(health.end)
    return pool


def breaker_of(name: str, upstream: Upstream) -> Breaker:
    """An address's."""
    settings = upstream.breaker
    if settings is None:
        return Breaker()
    errors = settings.errors
    if errors is None:
        errors = ERRORS_OF_LEGACY if name == LEGACY else SHARE
    lease = upstream.connect_timeout + upstream.response_timeout + LEASE_MARGIN
    return Breaker(errors=errors, window=settings.window, minimum=settings.minimum, open_seconds=settings.open, lease=lease)


def report(pools: Iterable[Pool]) -> dict[str, UpstreamStats]:
    """How all of them are now, and what was counted since the last time."""
    found: dict[str, UpstreamStats] = {}
    for pool in pools:
        now = pool.clock.now
        stats = found[pool.name] = UpstreamStats()
        for place in pool.places:
            breaker, outlier = place.breaker, place.outlier
            failures, place.failures = place.failures, {}
            opened, breaker.opened = breaker.opened, 0
            ejections, outlier.ejections = outlier.ejections, 0
            stats.addresses[place.name] = AddressStats(
                breaker=STATES[breaker.state],
                left_out=outlier.out(now),
                unwell=place.unwell,
                pending=place.pending,
                idle=len(place.idle),
                requests=breaker.requests,
                errors=breaker.failures,
                opened=opened,
                ejections=ejections,
                failures=failures,
            )
        budget = pool.budget
        if budget.taken or budget.refused:
            stats.repeated, budget.taken = budget.taken, 0
            stats.not_repeated, budget.refused = budget.refused, 0
    return found
