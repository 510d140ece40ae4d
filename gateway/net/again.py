"""A request is sent to another address of the same upstream, after one has failed it.

A connection that cannot be opened is the pool's matter: nothing was sent, and it goes on to the next address by itself. Here the request
was sent, so only one goes again that cannot be executed twice by that, and at most twice in all, a fallback included (edge.md 46).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.policy.failover import may_repeat
from gateway.policy.failure import Failure

if TYPE_CHECKING:
    from gateway.net.relay import Relay
    from gateway.net.upstream import UpstreamConnection

MOST: Final = 3
"""Times that a request is sent."""
KEY: Final = b"\r\nidempotency-key:"


def elsewhere(relay: Relay, connection: UpstreamConnection | None, failure: Failure) -> bool:
    """Whether it is sent to another address. Then that is begun. `connection`: the one that has failed."""
    serve = relay.serve
    if connection is None or serve is None or not failure.sent:
        return False
    pool = relay.terms.pools[serve.upstream]
    if len(pool.places) == 1 or relay.sends >= MOST - relay.replaceable:
        return False
    keyed = pool.idempotent and relay.head.fields.lower().find(KEY) >= 0
    if not may_repeat(relay.head.method, replayable=relay.whole, keyed=keyed):
        return False
    if not pool.may_repeat():
        return False
    relay.send_elsewhere(serve, connection.home)
    return True
