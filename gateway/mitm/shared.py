"""What all flows of one worker share: policy, clients, counts, and the few numbers that the configuration fixes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from ipaddress import ip_address

from gateway.access import AccessLog
from gateway.mitm.client import Client
from gateway.mitm.fields import Fields, lines, without
from gateway.policy.decision import Policy
from gateway.settings import Config
from gateway.shipping import ShipperLink
from gateway.tally import Tally
from gateway.trace import Ids

CREDENTIALS = ("authorization", "cookie", "set-cookie", "proxy-authorization")
"""Never captured, whatever the configuration says."""
CONNECTIONS = 256
"""To one upstream, from one worker, for requests that serve clients."""


class Shared:
    """See the module's docstring."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        access: AccessLog,
        shipper: ShipperLink | None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.config = config
        self.policy = policy
        self.access = access
        self.shipper = shipper
        self.chance = chance
        self.tally = Tally()
        self.in_flight = 0
        self.draining = False
        self.mirrors: dict[str, int] = {}
        """Mirrored requests under way, by route."""
        self.clients = {
            name: Client(
                upstream.address,
                connect_timeout=upstream.connect_timeout,
                response_timeout=upstream.response_timeout,
                connections=CONNECTIONS,
            )
            for name, upstream in config.upstreams.items()
        }
        # The shadow asks through clients of its own: what it breaks or fills up, the client's requests never meet (edge.md 55).
        self.shadow_clients = {
            name: Client(
                upstream.address,
                connect_timeout=upstream.connect_timeout,
                response_timeout=config.shadow.timeout,
                connections=config.shadow.concurrency,
            )
            for name, upstream in config.upstreams.items()
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._uncaptured = (
            *(name.encode() for name in CREDENTIALS),
            *(name.lower().encode() for name in config.shadow.redact if not name.startswith("$")),
        )
        self.ids = Ids()

    def trusts(self, host: str) -> bool:
        """May this peer say who its client is?"""
        trusted = self.config.gateway.trusted_proxies
        if host == "unix":
            return "unix" in trusted
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in trusted if network != "unix")

    def captured(self, fields: Fields) -> bytes:
        """A head's fields as an exchange carries them: no credentials, each line ended by CRLF."""
        return lines(without(fields, *self._uncaptured))

    def keep(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """A task that is kept until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        if not task.done():  # mitmproxy runs tasks eagerly: it may have ended already
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def now() -> float:
        """A monotonic clock in seconds: for durations."""
        return time.monotonic()

    @staticmethod
    def wall() -> float:
        """Unix time in seconds: for people."""
        return time.time()

    async def close(self) -> None:
        """Ends what is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in (*self.clients.values(), *self.shadow_clients.values()):
            await client.close()
