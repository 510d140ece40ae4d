"""What the ledger would have to do with a request that nobody sends: for explain. The ledger itself is not asked."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.decision import SplitClaim
from gateway.policy.failover import SAFE


def notes_on(claim: SplitClaim, method: str, by: str) -> Iterator[str]:
    """`by`: what stands in the field that the route is sticky by, if it is by one."""
    rules = claim.rules
    if rules.ledger and method in SAFE:
        yield f"a {method} executes nothing: it is not written down in the ledger"
    elif rules.ledger and by:
        yield (
            "the ledger is asked first: what was answered by this key is answered again; 409 where it is under way or in doubt, 422 where "
            "it came with another request"
        )
    elif rules.ledger and rules.require_key:
        yield "there is no Idempotency-Key, and the route requires one: the gateway itself would answer 400"
    elif rules.ledger:
        yield "there is no Idempotency-Key: it would be written down in the ledger, and a repeat would be another request"
    elif claim.field and not by:
        yield f"there is no {claim.field}, by which the route keeps its providers: it goes by the caller"
