"""What a request needs of the configuration: the terms that it began under, and under which it ends, whatever is reloaded meanwhile.

The same cut as the edge's (gateway/net/terms.py): what a worker needs for its life is `Shared`.
"""

from __future__ import annotations

import os
from ipaddress import ip_address

from gateway.access import Mask
from gateway.identity.callers import Callers, ended
from gateway.identity.checked import Checker, checker
from gateway.identity.rules import rules, sessions
from gateway.identity.stamp import Stamps
from gateway.identity.stamping import stamps
from gateway.identity.visitors import Visitors
from gateway.limiting import limits_of
from gateway.mitm.client import Client
from gateway.mitm.fields import Fields, field_lines, find, lines
from gateway.mitm.upstream_tls import UpstreamsTls
from gateway.policy.decision import Policy
from gateway.policy.properties import Headers
from gateway.set_cookie import NAME, without_value
from gateway.settings import Config
from gateway.tls import client_context, material

CREDENTIALS = ("authorization", "cookie", "set-cookie", "proxy-authorization")
"""Never captured, whatever the configuration says; but of set-cookie all that is not a value."""
CONNECTIONS = 256
"""To one upstream, from one worker, for requests that serve clients."""


class Terms:
    """See the module's docstring. `before`: those that these replace; the clients of unchanged upstreams, with their idle connections, and
    what is known about callers are carried over."""

    def __init__(self, config: Config, policy: Policy, before: Terms | None = None) -> None:
        self.config = config
        self.policy = policy
        self.mask = Mask(*config.shadow.secrets)
        self.flag_headers = Headers(config.flags.headers)
        self.in_flight = 0
        """Requests that go by these terms."""
        self.mirroring = 0
        """Mirrored ones."""
        self.clients: dict[str, Client] = {}
        self.shadow_clients: dict[str, Client] = {}
        """The shadow asks through clients of its own: what it breaks or fills up, the client's requests never meet (edge.md 55)."""
        self.upstreams_tls = UpstreamsTls(config)
        self.upstream_files = {name: material(upstream, config) for name, upstream in config.upstreams.items()}
        shadow = config.shadow
        for name, upstream in config.upstreams.items():
            unchanged = before is not None and before.config.upstreams.get(name) == upstream
            same = before if unchanged and before is not None and before.upstream_files[name] == self.upstream_files[name] else None
            self.clients[name] = (
                same.clients[name] if same is not None else _client(config, name, upstream.response_timeout, connections=CONNECTIONS)
            )
            old = same.config.shadow if same is not None else None
            self.shadow_clients[name] = (
                same.shadow_clients[name]
                if same is not None and old is not None and (old.timeout, old.concurrency) == (shadow.timeout, shadow.concurrency)
                else _client(config, name, shadow.timeout, connections=shadow.concurrency)
            )
        self.rules = rules(config)
        """What routes need to know of their callers."""
        self.limits = limits_of(config)
        """How often routes may be asked for."""
        self.checker: Checker | None = checker(config, before.checker if before is not None else None)
        self.stamps: Stamps | None = stamps(config, before.stamps if before is not None else None)
        self.callers: Callers | None = None
        if config.identity.source == "introspection":
            same_legacy = before is not None and before.clients["legacy"] is self.clients["legacy"]
            kept = before if same_legacy and before is not None and before.config.identity.lookup == config.identity.lookup else None
            self.callers = kept.callers if kept is not None else Callers(config.identity)
        self._sessions = sessions(self.rules)
        visitor = config.identity.visitor
        self.visitors = Visitors(visitor, os.urandom) if visitor is not None else None
        self._uncaptured = (
            *(name.encode() for name in CREDENTIALS),
            *(name.lower().encode() for name in config.shadow.redact if not name.startswith("$")),
        )

    def ended(self, request: Fields, answer: Fields) -> list[bytes]:
        """The keys of the cookies among a request's fields that legacy's answer, with these, takes out of use."""
        if self.callers is None or find(answer, b"set-cookie") is None:
            return []
        asked, answered = field_lines(request), field_lines(answer)
        return [key for credential in self._sessions if (key := ended(credential, asked, answered)) is not None]

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
        kept = ((name, value, name.lower()) for name, value in fields)
        return lines(
            tuple(
                (name, without_value(value) if key == NAME else value)
                for name, value, key in kept
                if key == NAME or key not in self._uncaptured
            )
        )

    @property
    def over(self) -> bool:
        """Nothing goes by these terms any more."""
        return self.in_flight == 0 and self.mirroring == 0

    async def close(self, others: list[Terms]) -> None:
        """Lets go of what none of `others` uses."""
        used = {id(client) for other in others for client in (*other.clients.values(), *other.shadow_clients.values())}
        for client in (*self.clients.values(), *self.shadow_clients.values()):
            if id(client) not in used:
                await client.close()


def _client(config: Config, name: str, response_timeout: float, *, connections: int) -> Client:
    upstream = config.upstreams[name]
    return Client(
        upstream.address,
        connect_timeout=upstream.connect_timeout,
        response_timeout=response_timeout,
        connections=connections,
        tls=client_context(upstream, name, config),
        server_name=upstream.server_name,
    )
