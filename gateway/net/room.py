"""How many clients one worker takes (edge.md 36).

Accepting goes on when there are too many: a connection that nobody accepts looks like a machine that hangs, to clients, to load balancers
and to whoever is woken by it. So one that is more than the share
- takes the place of the connection that has been idle longest, as nginx does: most of a crowd are kept alive and ask nothing;
- or, where none is idle, is answered 503 with Retry-After as soon as it has asked, told apart and counted like everything that the gateway
  answers itself;
- or, where already an eighth more than the share wait for that, is reset at once: nothing here grows without
  bound. TLS handshakes that are not done count there too (gateway/net/handshakes.py).

A connection has one request in flight, and so at most one upstream's connection beside its own: share() counts on it. Where HTTP/2 has more
of them in one connection, each further one takes the place of a connection; where there is none, its stream is refused.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from gateway.settings import Gateway

IDLE_ENOUGH: Final = 1.0
"""Seconds: a connection whose last answer is younger may have its next request on the way."""
FILES_FOR_ELSE: Final = 128
"""Open files that are not clients' and their upstreams': listeners, logs, the shadow, connections being made."""

_log = logging.getLogger("banyan.worker")


def share(gateway: Gateway) -> int:
    """The connections that one worker takes: its part of the limit, or what its open files suffice for. Who has set a limit is told so."""
    wanted = -(-gateway.limits.connections // gateway.processes)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = max(1, (files - FILES_FOR_ELSE) // 2)
    if wanted > possible and "connections" in gateway.limits.model_fields_set:
        _log.warning(
            "gateway.limits.connections: %d for each worker may need %d open files, and it may have %d: it takes %d (see ulimit -Hn)",
            wanted,
            wanted * 2 + FILES_FOR_ELSE,
            files,
            possible,
        )
    return min(wanted, possible)


def beyond(share: int) -> int:
    """So many connections are the most that are even told why they are not served."""
    return share + max(16, share // 8)
