"""What a mesh cannot do in the gateway's place, each by a name: why a route is not handed over, and what would be lost if it were.

Some of it a person may give up, by its name. What the gateway answers otherwise to some callers than to others, what keeps anybody out, and
what keeps anything from being done twice cannot be given up: such a route stays with the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flags.settled import Unsettled
from gateway.settings import Config, Route

_FLAG: Final = "the mesh asks no flag: everybody would get what the flag gives to some"

GIVEN_UP: Final = {
    "fallback": "legacy answers in the place of a candidate that fails",
    "failover": "another provider is asked where one fails",
    "rate-limit": "whoever asks too often is told 429",
    "guard": "the flag is turned off by itself where the candidate does worse",
    "comparison": "both answers are compared, by rules, and the gate is kept",
    "concurrency": "an upstream gets no more requests at once than it is good for, critical ones first",
    "breaker": "an upstream that fails is not asked for a while, as configured",
    "health": "upstreams are asked how they are, as configured",
    "impressions": "each decision of the flag is written down",
    "domain-report": "calls against the order of domains are counted",
    "encoded-paths": "a path that is encoded, but can mean nothing else, reaches the candidate",
    "untidy-paths": "a path that could mean another reaches legacy as it came",
}
"""What a person may do without, and what the gateway does there."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One reason why a route is not handed over."""

    code: str
    why: str
    """What the gateway does, or what the mesh cannot say."""
    lost: str
    """What would become of it."""

    @property
    def optional(self) -> bool:
        """It may be given up."""
        return self.code in GIVEN_UP


def of_flag(flag: str, reasons: list[Unsettled]) -> Iterator[Loss]:
    """Why the flag is not settled."""
    for reason in reasons:
        yield Loss(f"flag-{reason.kind}", f"the flag {flag} {reason.why}", _FLAG)


def of_route(config: Config, route: Route, *, candidate_serves: bool) -> Iterator[Loss]:
    """What the gateway does for its requests, whoever answers them."""
    identity = config.identity
    if route.identity == "required":
        yield Loss("identity", 'identity = "required": nobody gets through who is not logged in', "the mesh lets everybody in")
    if identity.stamp is not None and route.identity != "ignored":
        lost = "upstreams get no Banyan-Identity, and take every caller for nobody"
        yield Loss("stamp", "upstreams are told who calls, signed with a key that the gateway alone has", lost)
    if config.domains is not None and config.domains.enforce == "block":
        yield Loss("domains", "calls against the order of domains are refused", "they would get through")
    elif config.domains is not None and config.domains.enforce == "report":
        yield Loss("domain-report", "calls against the order of domains are counted", "nobody would see them")
    if (limit := route.rate_limit) is not None:
        why = f"{limit.rate:g} requests a second for each {limit.per}, over all workers of a gateway"
        yield Loss("rate-limit", why, "nobody is told to come later; the mesh's own limits count each proxy, and know no user")
    if route.guard is not None:
        yield Loss("guard", "the flag is turned off where the candidate does worse than legacy", "nobody watches, and no flag is read")
    if candidate_serves and route.fallback:
        lost = "a candidate that fails is an error to its caller"
        yield Loss("fallback", "where the candidate fails legacy answers, if nothing can be done twice", lost)
    if route.ledgered:
        yield Loss("ledger", "what is written is kept in the ledger, by its Idempotency-Key", "a payment could be made twice")
    elif route.failover == "safe":
        yield Loss("failover", 'failover = "safe": another provider is asked where nothing was sent', "the caller gets an error")


def of_upstream(config: Config, name: str) -> Iterator[Loss]:
    """What the gateway does before it sends anything to the upstream."""
    upstream = config.upstreams[name]
    if upstream.concurrency is not None:
        lost = "it gets all that comes; the mesh's circuit breaker refuses beyond a fixed number, without a queue or priorities"
        yield Loss("concurrency", f"{name} gets no more requests at once than its `concurrency` lets in", lost)
    if upstream.breaker is not None and "breaker" in upstream.model_fields_set:
        lost = "the mesh's outlier detection takes addresses out by rules of its own"
        yield Loss("breaker", f"{name} is not asked for a while where it fails, by the `breaker` of its own", lost)
