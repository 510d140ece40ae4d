"""Who answers a request of a split route that is sticky by a header field, keeps a ledger, or has its providers stand in for each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.identity.caller import explained
from gateway.net.fields import values
from gateway.net.payment import Payment
from gateway.policy.admission import Need, Standing, refusal
from gateway.policy.decision import Decision, SplitClaim
from gateway.policy.failover import SAFE
from gateway.policy.problems import Problem

if TYPE_CHECKING:
    from flags.snapshot import Context
    from gateway.net.relay import Relay

# draft-ietf-httpapi-idempotency-key-header: a string of its client's making. As it came it is a key, quotes and all.
_KEY: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def choose(relay: Relay, claim: SplitClaim, context: Context) -> Decision | None:
    """Who answers; None: the gateway has, since its key is not one. What has to be watched over is watched over from here."""
    head, rules = relay.head, claim.rules
    by = ""
    if claim.field:
        found = values(head.fields, claim.field.encode())
        writes = rules.ledger and head.method not in SAFE
        if writes and (len(found) > 1 or (found and _KEY.fullmatch(found[0]) is None)):
            relay.answer(Problem.KEY, "The Idempotency-Key is one field of 1 to 255 visible characters.")
            return None
        if writes and not found and rules.require_key:
            relay.answer(Problem.KEY, "This route executes nothing that has no Idempotency-Key.")
            return None
        if writes and found and _unsure(relay, claim):
            return None
        by = found[0].decode("latin-1") if found else ""
    decision = relay.terms.policy.decide(claim, context, by)
    if claim.careful:
        relay.payment = Payment(relay, claim, context, by)
    return decision


def _unsure(relay: Relay, claim: SplitClaim) -> bool:
    """Whether it is in doubt whose key that is; then it is answered. Taken for anybody's, the key of a user would be as new, and what he
    repeats while nobody can say who he is would be executed again."""
    caller = relay.caller
    if caller is None or caller.standing in (Standing.KNOWN, Standing.NOBODY):
        return False
    kind = refusal(Need.REQUIRED, caller.standing, relay.head.method)
    rule = relay.terms.rules.get(claim.route)
    assert kind is not None  # noqa: S101 - it is neither known nor nobody, and writes
    relay.answer(kind, explained(caller), challenge=rule.challenge if rule is not None else b"")
    return True
