"""Before anything of a payment is sent: its body is gathered, its key is claimed, and who does not get it is told why.

What follows once it is sent is the Payment's (gateway/net/payment.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.ledger import sealing
from gateway.ledger.entries import Claim, Outcome
from gateway.net.chunked import unframed
from gateway.net.kept import TOLD, given_again
from gateway.policy.decision import Decision, Reason, Target
from gateway.policy.payments import Verdict
from gateway.policy.problems import Problem

if TYPE_CHECKING:
    from gateway.net.relay import Relay

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def gathers(relay: Relay) -> bool:
    """Whether the body has to be whole first: its digest is part of the claim. False, too, where the request was refused for it."""
    head = relay.head
    if head.upgrade:
        relay.answer(Problem.FRAMING, "What is written down in the ledger cannot be upgraded.")
        return False
    if head.length > relay.terms.replay_buffer or (head.chunked and len(relay.gathered()) > relay.terms.replay_buffer):
        too_long(relay)
        return False
    if head.expect and not relay.body_complete:
        relay.client.write(CONTINUE)
    return not relay.body_complete


def too_long(relay: Relay) -> None:
    """The body cannot be held whole."""
    most = relay.terms.replay_buffer
    relay.answer(Problem.BODY_TOO_LARGE, f"What is written down in the ledger is held whole first, up to {most} bytes.", close=True)


def wanted(relay: Relay, decision: Decision, by: str, token: str) -> tuple[Claim, bytes]:
    """The claim of a request whose body is whole, and what the request alone knows (sealing.secret). `by`: the key that its client gave;
    "": none, and it is claimed by one that is made up, which nobody can ask by."""
    head, caller = relay.head, relay.caller
    body = relay.gathered()
    if head.chunked:
        body = unframed(body)
    keyed = by != ""
    whose = sealing.scope(caller.user_id if caller is not None else None) if keyed else "-"
    key = by or token
    known = sealing.secret(whose, key, head.method, head.target, body)
    upstreams = relay.terms.config.upstreams
    claim = Claim(
        decision.route,
        whose,
        key,
        keyed,
        sealing.digest(known),
        decision.serve.upstream,
        head.method,
        relay.terms.mask.presentable(head.target).decode("latin-1"),
        len(body),
        relay.request_id.decode("latin-1"),
        token,
        frozenset([name for name, upstream in upstreams.items() if upstream.idempotent]) if keyed else frozenset(),
    )
    return claim, known


def turned_down(relay: Relay, outcome: Outcome, known: bytes) -> None:
    """It has not got its key: it is told why, or given the answer of before, which `known` opens."""
    found = given_again(sealing.opened(known, outcome.answer)) if outcome.verdict is Verdict.REPLAY else None
    decision = relay.decision
    if found is None or decision is None:
        kind, detail = TOLD[Verdict.NOT_KEPT if outcome.verdict is Verdict.REPLAY else outcome.verdict]
        relay.answer(kind, detail)
        return
    target = Target(outcome.provider)
    relay.decision = Decision(decision.route, target, None, None, Reason.REPLAYED)
    relay.replay(target, *found)
