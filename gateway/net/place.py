"""One address of an upstream: how it is with the connections to it, and what it is worth to be asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.policy.breaker import CLOSED, Breaker
from gateway.policy.ejection import Outlier

if TYPE_CHECKING:
    from gateway.net.upstream import UpstreamConnection

_log = logging.getLogger("banyan.worker")

AVOID_SECONDS: Final = 5.0
"""After a connection could not be opened, how long the others are preferred. Envoy's outlier detection begins with 30 s, HAProxy's checks
with 2."""
GATEWAY_ERRORS: Final = frozenset((502, 503, 504))
"""Answers that say: somebody behind me does not answer. Of one address among several, a reason to ask another."""
ERRORS: Final = GATEWAY_ERRORS | {500}
"""Answers that count as errors to a breaker, where somebody answers in the upstream's place."""
NO_ERRORS: Final = frozenset[int]()
"""Whatever is answered, is an answer."""

FINE: Final = 0
AVOIDED: Final = 1
SUSPECT: Final = 2
"""Left out, or found unwell: asked only where nobody else is left."""
BARRED: Final = 3
"""Its breaker lets nothing through."""


class Place:
    """`socket`: the path of a unix socket; '' where `host` and `port` are asked. `breaker`: by default one that does not open. `errors`:
    the statuses that count as errors to it. `upstream`: whose address it is, for the log."""

    __slots__ = (
        "breaker",
        "complained_at",
        "complaint",
        "errors",
        "failed_at",
        "failures",
        "host",
        "idle",
        "name",
        "outlier",
        "port",
        "siblings",
        "socket",
        "total",
        "unwell",
        "upstream",
        "wellness",
    )

    def __init__(
        self,
        host: str,
        port: int,
        socket: str,
        *,
        upstream: str = "",
        breaker: Breaker | None = None,
        errors: frozenset[int] = NO_ERRORS,
    ) -> None:
        self.host = host
        self.port = port
        self.socket = socket
        self.upstream = upstream
        self.name = f"unix:{socket}" if socket else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.idle: list[UpstreamConnection] = []
        """In the order of their return: the last is taken first, so that a quiet gateway lets the others go."""
        self.total = 0
        """Connections that are open or being opened."""
        self.failed_at = -AVOID_SECONDS
        """When one could last not be opened."""
        self.complaint = ""
        """What was last said about TLS with it, and when."""
        self.complained_at = 0.0
        self.breaker = breaker if breaker is not None else Breaker()
        self.errors = errors
        self.outlier = Outlier()
        self.unwell = False
        """The last checks have failed (gateway/net/health.py)."""
        self.wellness = 0
        """Checks in a row with the same outcome; below 0: bad ones."""
        self.siblings: list[Place] = [self]
        """All addresses of the upstream."""
        self.failures: dict[str, int] = {}
        """By what happened: since they were last reported."""

    @property
    def pending(self) -> int:
        """Requests under way, those that wait for their connection included."""
        return self.total - len(self.idle)

    # What came of requests

    def answered(self, status: int, epoch: int, now: float) -> None:
        """A request had its answer's head. All bookkeeping of a good one, from the breaker's epoch on its way out to the end of this, takes
        some 15 ns compiled (a loop of three million, less the same loop without it)."""
        breaker = self.breaker
        if status < 500:
            if epoch == breaker.epoch and breaker.state == CLOSED:  # as `succeeded`, which nearly always says so
                breaker.good += 1
            elif breaker.succeeded(epoch):
                _log.warning("upstream %s at %s answers again: it is asked again", self.upstream, self.name)
            return
        if status in self.errors:
            self._failed(f"status-{status}", epoch, now, begun=False)
        elif breaker.succeeded(epoch):
            _log.warning("upstream %s at %s answers again: it is asked again", self.upstream, self.name)
        if status in GATEWAY_ERRORS:
            self._suspect(now)

    def failed(self, why: str, epoch: int, now: float, *, begun: bool = False) -> None:
        """A request had no answer; `begun`: it broke off. `why`: the failure's code."""
        self._failed(why, epoch, now, begun=begun)
        self._suspect(now)

    def checked(self, well: bool, *, rise: int, fall: int) -> None:
        """It was asked how it is."""
        self.wellness = max(1, self.wellness + 1) if well else min(-1, self.wellness - 1)
        if self.unwell and self.wellness >= rise:
            self.unwell = False
            _log.warning("upstream %s at %s is well again, by its health", self.upstream, self.name)
        elif not self.unwell and self.wellness <= -fall:
            self.unwell = True
            _log.warning("upstream %s at %s is not well, by its health: it is not asked while others are", self.upstream, self.name)

    def standing(self, now: float, whole: bool = True) -> int:
        """FINE, AVOIDED, SUSPECT or BARRED. `whole`: to a request whose body has come."""
        if not self.breaker.admits(now, whole):
            return BARRED
        if self.unwell or self.outlier.out(now):
            return SUSPECT
        return AVOIDED if now - self.failed_at < AVOID_SECONDS else FINE

    def _failed(self, why: str, epoch: int, now: float, *, begun: bool) -> None:
        self.failures[why] = self.failures.get(why, 0) + 1
        breaker = self.breaker
        requests, failures = breaker.requests + 1, breaker.failures + 1
        if breaker.failed(epoch, now, begun=begun):
            _log.warning(
                "upstream %s at %s is not asked for %.1f s: of %d requests %d failed, the last by %s",
                self.upstream,
                self.name,
                breaker.until - now,
                requests,
                failures,
                why,
            )

    def _suspect(self, now: float) -> None:
        siblings = self.siblings
        if len(siblings) == 1:
            return
        out = sum([1 for place in siblings if place is not self and place.outlier.out(now)])
        if self.outlier.failed(now, out, len(siblings)):
            _log.warning("upstream %s at %s is left out for %.0f s: it alone fails", self.upstream, self.name, self.outlier.until - now)


def choose(places: list[Place], now: float, turn: int, *, probing: bool = True, whole: bool = True) -> Place | None:
    """The one with the fewest requests pending among those that are best to ask, as far as is known; None: the breakers of all are open.
    `turn`: who is looked at first, so that equals are taken in turn. `probing`: an address whose breaker may be tried gets this request
    though others are fine: nobody would ever know that it is back. It may cost a second try, so for what cannot have one, and for what is
    still arriving, only where nobody better came for as long as the breaker was open. `whole`: the request's body has come."""
    best: Place | None = None
    best_standing = BARRED
    count = len(places)
    for number in range(count):
        place = places[(turn + number) % count]
        standing = place.standing(now, whole)
        if standing == BARRED:
            continue
        if place.breaker.state != CLOSED:
            if standing != SUSPECT and ((probing and whole) or place.breaker.overdue(now)):
                return place
            standing = SUSPECT
        if best is None or standing < best_standing or (standing == best_standing and place.pending < best.pending):
            best, best_standing = place, standing
    return best
