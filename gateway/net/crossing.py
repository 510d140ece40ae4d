"""A request that a service has sent: from which domain it comes, to which it goes, and whether that is let through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domains.crossings import Crossings
from gateway.domains.passed_on import REFUSED
from gateway.policy.domains import Verdict
from gateway.policy.problems import Problem

if TYPE_CHECKING:
    from gateway.net.outbound import Outbound


def stopped(request: Outbound, crossings: Crossings, route: str) -> bool:
    """Whether it goes against the order, and is not let through; then it is answered. `request` has a stamp."""
    head, edge = request.head, request.edge
    found = crossings.crossing(head.stamp, route, head.target, edge.clock.wall())
    if found is None:
        edge.tally.event(REFUSED)
        return False
    request.crossing = found
    edge.tally.crossing(found.caller, found.domain, found.verdict)
    if not crossings.block or found.verdict is not Verdict.AGAINST:
        return False
    request.answer(Problem.DIRECTION, f"The domain {found.caller} may not call {found.domain}: it comes before it, or shares its place.")
    return True
