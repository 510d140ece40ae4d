"""What all connections of one worker share: policy, pools, timeouts, counts, and the few numbers that the configuration fixes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.access import AccessLog
from gateway.identity.introspection import Introspection
from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.lines import REQUEST, RESPONSE
from gateway.net.mirror import Mirror
from gateway.net.pool import Pool
from gateway.policy.decision import Policy
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.tally import Tally
from gateway.trace import Ids

if TYPE_CHECKING:
    from gateway.net.downstream import Downstream


class Edge:
    """One worker's engine, without its listeners."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        policy: Policy,
        *,
        access: AccessLog,
        shipper: ShipperLink | None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.loop = loop
        self.config = config
        self.policy = policy
        self.access = access
        self.shipper = shipper
        self.chance = chance
        self.limits = config.gateway.limits
        # These as attributes of a compiled class: pydantic's cost a look into two dictionaries each.
        self.max_head = self.limits.header_bytes
        self.max_fields = self.limits.headers
        self.max_body = self.limits.body_bytes
        self.replay_buffer = config.gateway.replay_buffer
        self.expose = config.gateway.expose_decision
        self.trusted = config.gateway.trusted_proxies
        self.proxy_protocol = config.gateway.proxy_protocol
        self.shadow = config.shadow
        self.tally = Tally()
        self.clock = Clock()
        self.deadlines = Deadlines(loop, self.clock)
        self.connections: set[Downstream] = set()
        self.in_flight = 0
        self.mirroring = self.deadlines.add(config.shadow.timeout, Mirror.timed_out)
        self.mirrors: dict[str, int] = {}
        """Mirrored requests under way, by route."""
        self.draining = False
        self.pools = {
            name: Pool(
                loop,
                self.deadlines,
                name,
                upstream.places,
                connect_timeout=upstream.connect_timeout,
                response_timeout=upstream.response_timeout,
            )
            for name, upstream in config.upstreams.items()
        }
        # The shadow asks through pools of its own: what it breaks or fills up, the client's requests never meet (edge.md 55).
        self.shadow_pools = {
            name: Pool(
                loop,
                self.deadlines,
                f"{name} (shadow)",
                upstream.places,
                connect_timeout=upstream.connect_timeout,
                response_timeout=config.shadow.timeout,
            )
            for name, upstream in config.upstreams.items()
        }
        self.identity = Introspection(self.pools["legacy"], config.identity) if config.identity.source == "introspection" else None
        # All edges of a process share what lines are known; a worker has one edge.
        for lines in (REQUEST, RESPONSE):
            lines.keep_secret(name.lower().encode() for name in config.shadow.redact if not name.startswith("$"))
        self.ids = Ids()
        self._trust: dict[str, bool] = {}

    def trusts(self, host: str) -> bool:
        """May this peer say who its client is?"""
        if not self.trusted:
            return False
        if host == "unix":
            return "unix" in self.trusted
        known = self._trust.get(host)
        if known is None:
            try:
                address = ip_address(host)
            except ValueError:
                return False
            known = any(address in network for network in self.trusted if network != "unix")
            if len(self._trust) < 10_000:
                self._trust[host] = known
        return known

    async def close(self) -> None:
        """Ends what is left: connections, pools, timers."""
        for connection in list(self.connections):
            connection.abort()
        self.deadlines.stop()
        if self.identity is not None:
            await self.identity.close()
        for pool in (*self.pools.values(), *self.shadow_pools.values()):
            await pool.close()
