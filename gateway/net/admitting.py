"""A request at an upstream's turnstile: let in, made to wait, or told to come again.

Whoever was let in holds its place until its answer is complete, its upstream has failed it, or its client is gone; a payment goes on
without its client, and holds it until it has ended (gateway/net/payment.py). Where the answer is an event stream, or another protocol after
a 101, only until that begins: those go on for hours, and cost an upstream that serves them well next to nothing; the clients' connections
bound them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.limiting import network
from gateway.net.head import ResponseHead
from gateway.net.turnstile import Turnstile, Waiting
from gateway.policy.problems import Problem
from gateway.policy.waiting import DISPLACED, FULL, NORMAL

if TYPE_CHECKING:
    from gateway.net.outbound import Outbound

SHED: Final = "More requests came than can be served. Try again after as many seconds as Retry-After says."
"""The detail of the answer."""
RETRY_SECONDS: Final = 5
"""Retry-After is from 1 to this, by chance: whoever was shed together does not come back together."""
NO_ROOM: Final = "no-room"
"""Why legacy answers in the place of a candidate that has no room."""


def admitted(relay: Outbound, turnstile: Turnstile) -> bool:
    """Whether it is let in now. If not, it waits and `Outbound.let_in` follows, or it has been answered, or has gone elsewhere."""
    if turnstile.enter():
        relay.turnstile = turnstile
        return True
    waiting = Waiting(relay, priority(relay), client(relay), relay.edge.clock.now)
    relay.waiting = waiting
    relay.turnstile = turnstile
    refused = turnstile.wait(waiting)
    if refused is not None:
        refused.relay.turned_away(turnstile, FULL if refused is waiting else DISPLACED)
    return False


def shed(relay: Outbound, turnstile: Turnstile, why: str) -> None:
    """It has waited in vain, or could not even wait. Where it was for a candidate, legacy answers if it has room; it takes no seat there,
    which is for those who were legacy's from the beginning."""
    decision = relay.decision
    relay.waiting = relay.turnstile = None
    if decision is not None and decision.fallback is not None and not relay.fell_back:
        other = relay.terms.turnstiles.get(decision.fallback.upstream)
        if other is None or other.enter():
            relay.turnstile = other
            relay.take_over(decision.fallback, NO_ROOM)
            return
    turnstile.refused(priority(relay), why)
    relay.asked_at = relay.edge.clock.now  # nobody was
    relay.answer(Problem.SHED, SHED, retry=1 + int(relay.edge.chance() * RETRY_SECONDS))


def give_back(relay: Outbound) -> None:
    """It needs its place, or its seat, no more."""
    turnstile, waiting = relay.turnstile, relay.waiting
    relay.turnstile = relay.waiting = None
    if turnstile is None:
        return
    if waiting is not None:
        turnstile.give_up(waiting)
    else:
        turnstile.leave()


def stream(head: ResponseHead) -> bool:
    """Is the answer an event stream (HTML, 9.2)?"""
    return head.length < 0 and head.fields.lower().find(b"text/event-stream") >= 0


def priority(relay: Outbound) -> int:
    """Of its route."""
    decision = relay.decision
    return relay.terms.priorities.get(decision.route, NORMAL) if decision is not None else NORMAL


def client(relay: Outbound) -> str:
    """Whom it is from, as fairness counts: a user, else an address."""
    caller = relay.caller
    if caller is not None and caller.user_id is not None:
        return "\0" + caller.user_id
    return network(relay.address)
