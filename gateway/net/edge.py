"""What all connections of one worker share for its life: clock, timeouts, counts, and the terms that its next request will go by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.access import AccessLog
from gateway.ledger.desk import Desk
from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.mirror import Beside
from gateway.net.terms import Terms
from gateway.net.traced import Tracer
from gateway.net.worth import report
from gateway.policy.decision import Policy
from gateway.sampling import Sample
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.tally import Tally
from gateway.telemetry import TurnstileStats, UpstreamStats
from gateway.trace import Ids

if TYPE_CHECKING:
    from gateway.net.downstream import Downstream
    from gateway.net.http2 import Http2


class Edge:
    """One worker's engine, without its listeners."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        policy: Policy,
        *,
        access: AccessLog,
        shipper: ShipperLink | None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.loop = loop
        self.access = access
        self.shipper = shipper
        self.chance = chance
        self.tally = Tally()
        self.sample = Sample()
        self.clock = Clock()
        self.deadlines = Deadlines(loop, self.clock)
        self.connections: set[Downstream | Http2] = set()
        self.mirrors: dict[str, Beside] = {}
        """Mirrored requests under way, by route."""
        self.draining = False
        self.terms = Terms(loop, self.deadlines, config, policy)
        self.retired: list[Terms] = []
        """Terms of before, by which requests still go."""
        self.deadlines.watch(self._sweep)
        self.ids = Ids()
        self.ledger: Desk | None = None
        """Where routes keep one."""
        self._open_ledger(config)
        self.tracer: Tracer | None = None
        """Where there is `[tracing]`."""
        self.ended: Callable[[bytes], None] | None = None
        """Told of the key of each cookie that legacy ended: the other workers know it too."""

    @property
    def in_flight(self) -> int:
        """Requests being answered."""
        return self.terms.in_flight + sum(terms.in_flight for terms in self.retired)

    def reconfigure(self, config: Config, policy: Policy) -> None:
        """From now on requests begin under other terms. Those in flight end under their own."""
        before = self.terms
        terms = Terms(self.loop, self.deadlines, config, policy, before)
        try:
            self._open_ledger(config)
        except BaseException:
            terms.end([before, *self.retired])
            raise
        self.terms = terms
        self.retired.append(before)

    def _open_ledger(self, config: Config) -> None:
        """Once there was a route that keeps one, it stays: keys may be under way."""
        if self.ledger is not None:
            self.ledger.configure(config.ledger)
        elif config.ledgered:
            self.ledger = Desk(self.loop, config.ledger, config.folder)

    def end(self, key: bytes) -> None:
        """Legacy has ended the cookie with this key, here or before another worker."""
        for terms in (self.terms, *self.retired):
            if terms.identity is not None:
                terms.identity.callers.drop(key)

    def upstreams(self) -> dict[str, UpstreamStats]:
        """How the upstreams are. Of one that a reload has replaced nothing is told any more."""
        return report(self.terms.pools.values())

    def questions(self) -> dict[str, int]:
        """What came of the questions who is calling, since the last time."""
        found: dict[str, int] = {}
        for terms in (self.terms, *self.retired):
            if terms.identity is not None:
                callers = terms.identity.callers
                outcomes, callers.outcomes = callers.outcomes, {}
                for outcome, count in outcomes.items():
                    found[outcome] = found.get(outcome, 0) + count
        return found

    def turnstiles(self) -> dict[str, TurnstileStats]:
        """What came of the upstreams' limits, since the last time, and how they are."""
        found: dict[str, TurnstileStats] = {}
        for terms in (*self.retired, self.terms):
            for name, turnstile in terms.turnstiles.items():
                shed, turnstile.shed = turnstile.shed, {}
                waited, turnstile.waited = turnstile.waited, 0
                known = found.get(name)
                if known is not None:  # the same one, unless its limit was away in between
                    waited += known.waited
                    for key, count in known.shed.items():
                        shed[key] = shed.get(key, 0) + count
                inside, waiting = turnstile.inside, len(turnstile.room)
                found[name] = TurnstileStats(waited, shed, turnstile.limit, inside, waiting, turnstile.base, turnstile.latency)
        return found

    def _sweep(self, now: float) -> None:
        if self.retired:
            for terms in [each for each in self.retired if each.over]:
                self.retired.remove(terms)
                terms.end([self.terms, *self.retired])

    def close(self) -> None:
        """Ends what is left: connections, pools, timers."""
        for connection in list(self.connections):
            connection.abort()
        for terms in (self.terms, *self.retired):
            for mirror in terms.mirroring.items():
                mirror.stop()
        self.deadlines.stop()
        while self.retired:
            self.retired.pop().end([self.terms, *self.retired])
        self.terms.end([])
