"""How long a request may still take, as a trusted peer says it (Banyan-Timeout-Ms), and as the upstream is told.

Whoever waits for the gateway may have waited for others before; work for somebody who has left is the most useless there is, and in an
overload it is most of it. What is told are milliseconds that are left, not a time of day: clocks differ (as gRPC's grpc-timeout).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.policy.failover import problem_of
from gateway.policy.failure import Failure

if TYPE_CHECKING:
    from gateway.net.outbound import Outbound

NAME: Final = b"\r\nBanyan-Timeout-Ms: "
LATE: Final = "The time that the request may take was over before there was an answer."


def field(seconds: float) -> bytes:
    """With its CRLF before it. At least a millisecond: with 0 some would take it for no limit."""
    return NAME + b"%d" % max(1, int(seconds * 1000))


def begin(relay: Outbound) -> bool:
    """The request says how long it may take. Whether that is over already; then it is answered."""
    seconds = relay.head.patience / 1000
    if not seconds:
        relay.answer(Failure.UNSENT.problem, LATE)
        return True
    relay.deadline = relay.started_at + seconds
    relay.timer = relay.edge.loop.call_later(seconds, _over, relay)
    return False


def told(relay: Outbound, seconds: float) -> bytes:
    """The field for an upstream that has `seconds` by the configuration, where the request has a deadline."""
    return field(min(seconds, relay.deadline - relay.edge.clock.now))


def _over(relay: Outbound) -> None:
    relay.timer = None
    relay.edge.clock.read()
    if relay.done or relay.started:
        return  # the head is out in time; whoever has it waits for the rest as long as he likes
    failure = Failure.DEADLINE if relay.sends else Failure.UNSENT
    relay.unanswered()
    relay.answer(problem_of(failure, relay.head.method), LATE)
