"""What a request needs of the configuration: the terms that it began under, and under which it ends, whatever is reloaded meanwhile.

What a worker needs for its life (its connections, counts, clock, timer) is the Edge's. A reload makes new Terms and puts them in the Edge's
place for them; a connection notices at its next request. The old ones are kept as long as a request goes by them, a tunnel for example.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from flags.snapshot import Context
from gateway.access import Mask
from gateway.domains.crossings import Crossings, crossings
from gateway.identity.caller import Caller
from gateway.identity.callers import ended
from gateway.identity.checked import Checker, check, checker
from gateway.identity.introspection import Introspection
from gateway.identity.rules import Rule, rules, sessions
from gateway.identity.stamp import Stamps
from gateway.identity.stamping import stamps
from gateway.identity.visitors import Visitors
from gateway.limiting import limits_of
from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.head import RequestHead
from gateway.net.lines import REQUEST, RESPONSE
from gateway.net.mirror import Mirror
from gateway.net.peer import Peer
from gateway.net.pool import Pool
from gateway.net.turnstile import Turnstile
from gateway.net.worth import pool_of
from gateway.policy.decision import Policy
from gateway.policy.properties import Headers, context
from gateway.policy.waiting import PRIORITIES
from gateway.settings import Config, Upstream
from gateway.tls import client_context, material

CONTEXTS: Final = 10_000
"""That are remembered. A client may choose what stands in them: each holds a value's `LONGEST` (gateway/policy/properties.py) at most."""
NONE_READ: Final[tuple[str | None, ...]] = ()


class Terms:
    """See the module's docstring. `before`: those that these replace. The pools of unchanged upstreams, with idle connections, and what
    is known about callers are carried over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, config: Config, policy: Policy, before: Terms | None = None
    ) -> None:
        self.config = config
        self.policy = policy
        # These as attributes of a compiled class: pydantic's cost a look into two dictionaries each.
        limits = config.gateway.limits
        self.max_head = limits.header_bytes
        self.max_fields = limits.headers
        self.max_body = limits.body_bytes
        self.replay_buffer = config.gateway.replay_buffer
        self.expose = config.gateway.expose_decision
        self.flag_headers = Headers(config.flags.headers)
        self.proxy_protocol = config.gateway.proxy_protocol
        self.most_mirrors = config.shadow.concurrency
        self.shadow = config.shadow
        self.mask = Mask(*config.shadow.secrets)
        self.in_flight = 0
        """Requests that go by these terms."""
        # What can fail comes first: a pool has timeouts and tasks from its beginning on, and of one that is not used nobody would end them.
        # A kept connection remembers its last answer's head, and which of its lines were secret.
        same_secrets = before is not None and before.shadow.secrets == config.shadow.secrets
        kept = before if same_secrets else None
        self.upstream_files = {name: material(upstream, config) for name, upstream in config.upstreams.items()}
        unchanged: set[str] = set()
        contexts: dict[str, ssl.SSLContext | None] = {}
        for name, upstream in config.upstreams.items():
            # Limits are changed in place (`turnstiles`, below): breakers and connections are those of before.
            same = kept is not None and _but_limits(kept.config.upstreams.get(name)) == _but_limits(upstream)
            if kept is not None and same and kept.upstream_files[name] == self.upstream_files[name]:
                unchanged.add(name)
            if name not in unchanged or kept is None or kept.shadow.timeout != config.shadow.timeout:
                contexts[name] = client_context(upstream, name, config)
        self.rules = rules(config)
        """What routes need to know of their callers."""
        self.limits = limits_of(config)
        """How often routes may be asked for."""
        self.checker: Checker | None = checker(config, before.checker if before is not None else None)
        self.stamps: Stamps | None = stamps(config, before.stamps if before is not None else None)
        self.crossings: Crossings | None = crossings(config, before.crossings if before is not None else None)
        """Of calls between domains, where somebody looks."""
        visitor = config.identity.visitor
        self.visitors = Visitors(visitor, os.urandom) if visitor is not None else None
        self._deadlines = deadlines
        self.mirroring = deadlines.add(config.shadow.timeout, Mirror.timed_out)
        self.pools: dict[str, Pool] = {}
        self.shadow_pools: dict[str, Pool] = {}
        """The shadow asks through pools of its own: what it breaks or fills up, the client's requests never meet (edge.md 55)."""
        for name, upstream in config.upstreams.items():
            pool = kept.pools[name] if kept is not None and name in unchanged else None
            self.pools[name] = pool or pool_of(loop, deadlines, name, upstream, contexts[name], workers=config.gateway.processes)
            if kept is not None and name not in contexts:
                self.shadow_pools[name] = kept.shadow_pools[name]
            else:
                self.shadow_pools[name] = _pool(loop, deadlines, f"{name} (shadow)", upstream, config.shadow.timeout, contexts[name])
        self.identity: Introspection | None = None
        if config.identity.source == "introspection":
            legacy = self.pools["legacy"]
            if kept is not None and kept.config.identity.lookup == config.identity.lookup and kept.pools["legacy"] is legacy:
                self.identity = kept.identity
            else:
                # Whom the same legacy knew, asked over other connections: an outage may be the reason for this very reload.
                asked = before.identity if before is not None and _same_legacy(before.config, config) else None
                self.identity = Introspection(legacy, config.identity, asked.callers if asked is not None else None)
        # A session is legacy's to end, by an answer that sets its cookie anew or clears it, whether a route matches or not.
        self._sessions = sessions(self.rules)
        self.ending = tuple({each.cookie.encode() + b"=" for each in self._sessions}) if self.identity is not None else ()
        self._contexts: dict[tuple[int, str, str, str, tuple[str | None, ...]], tuple[Caller, Context]] = {}
        self._trusted = config.gateway.trusted_proxies
        self._trust: dict[str, bool] = {}
        self.priorities = {route.name: PRIORITIES.index(route.priority) for route in config.routes if route.priority != "normal"}
        """Who is let in before others, and who after them."""
        # All edges of a process share what lines are known; a worker has one edge. What is under way by other secrets is not handed over.
        if not same_secrets:
            for lines in (REQUEST, RESPONSE):
                lines.keep_secret(name.lower().encode() for name in config.shadow.redact if not name.startswith("$"))
        # Last, when nothing can fail any more: those of before are changed in place.
        self.turnstiles: dict[str, Turnstile] = turnstiles(loop, deadlines.clock, config, before)
        """Of the upstreams that have a limit."""

    def recall(self, rule: Rule, fields: bytes) -> Caller | None:
        """The caller whose request has these field lines, if he is remembered, or nobody. None: `who` says."""
        return self.identity.recall(rule.credential, fields) if self.identity is not None else None

    def who(self, rule: Rule, fields: bytes, then: Callable[[Caller], None], wall: Callable[[], float]) -> Caller | None:
        """The caller whose request has these field lines; None: somebody is asked, and `then` is called with him. `wall`: Unix time."""
        if self.checker is not None:
            return check(self.checker, rule.credential, fields, then, wall)
        assert self.identity is not None  # noqa: S101 - there are no rules without a source
        return self.identity.lookup(rule.credential, fields, then)

    def context(self, peer: Peer, head: RequestHead, route: str, address: str, caller: Caller) -> Context:
        """Whom and what the flags are asked about. Of users, and where header fields are read, it is remembered here: where requests of
        several take turns on one connection, as they do behind a load balancer, it would be made anew each time (3 µs of 19 for users, 8 of
        20 for header fields: `python -m bench.engine identity header`)."""
        headers = self.flag_headers
        if not headers.any and caller.user_id is None:
            return peer.context(head, route, address, caller)
        values = headers.values(head.fields) if headers.any else NONE_READ
        # By identity: who is remembered is the same object each time, and as long as he stands here, no other has his id.
        key = (id(caller), route, head.method, address, values)
        known = self._contexts.get(key)
        if known is None:
            user, session, claims, told = caller.user_id, caller.session_id, caller.claims, headers.named(values)
            known = (caller, context(route, head.method, address, user, session, claims, told, caller.fleeting))
            if not caller.fleeting:  # he never comes again as the same object
                if len(self._contexts) >= CONTEXTS:
                    self._contexts.clear()
                self._contexts[key] = known
        return known[1]

    def ended(self, request: bytes, answer: bytes) -> list[bytes]:
        """The keys of the credentials among a request's field lines that legacy's answer, with these, takes out of use."""
        return [key for credential in self._sessions if (key := ended(credential, request, answer)) is not None]

    def trusts(self, host: str) -> bool:
        """May this peer say who its client is?"""
        if not self._trusted:
            return False
        if host == "unix":
            return "unix" in self._trusted
        known = self._trust.get(host)
        if known is None:
            try:
                address = ip_address(host)
            except ValueError:
                return False
            known = any(address in network for network in self._trusted if network != "unix")
            if len(self._trust) < 10_000:
                self._trust[host] = known
        return known

    @property
    def over(self) -> bool:
        """Nothing goes by these terms any more."""
        return self.in_flight == 0 and len(self.mirroring) == 0

    def end(self, others: list[Terms]) -> None:
        """Lets go of what none of `others` uses."""
        self._deadlines.remove(self.mirroring)
        if self.identity is not None and not any(other.identity is self.identity for other in others):
            self.identity.close()
        used = {id(pool) for other in others for pool in (*other.pools.values(), *other.shadow_pools.values())}
        for pool in (*self.pools.values(), *self.shadow_pools.values()):
            if id(pool) not in used:
                pool.end()


def _but_limits(upstream: Upstream | None) -> Upstream | None:
    return upstream.model_copy(update={"concurrency": None}) if upstream is not None else None


def _same_legacy(before: Config, config: Config) -> bool:
    return before.identity.lookup == config.identity.lookup and before.upstreams["legacy"] == config.upstreams["legacy"]


def turnstiles(loop: asyncio.AbstractEventLoop, clock: Clock, config: Config, before: Terms | None) -> dict[str, Turnstile]:
    """By upstream. Those who are inside one of before are inside the one that takes its place: it is the same."""
    found: dict[str, Turnstile] = {}
    workers = config.gateway.processes
    for name, upstream in config.upstreams.items():
        settings = upstream.concurrency
        if settings is None:
            continue
        old = before.turnstiles.get(name) if before is not None else None
        turnstile = found[name] = old or Turnstile(loop, clock, name)
        turnstile.configure(
            adaptive=settings.limit == "adaptive",
            floor=settings.share(settings.min, workers),
            limit=settings.share(settings.max if settings.limit == "adaptive" else settings.limit, workers),
            seats=settings.share(settings.queue, workers),
            timeout=settings.queue_timeout,
            same=before is not None and old is not None and before.config.upstreams[name].places == upstream.places,
        )
    return found


def _pool(
    loop: asyncio.AbstractEventLoop,
    deadlines: Deadlines,
    name: str,
    upstream: Upstream,
    response_timeout: float,
    tls: ssl.SSLContext | None,
) -> Pool:
    return Pool(
        loop,
        deadlines,
        name,
        upstream.places,
        connect_timeout=upstream.connect_timeout,
        response_timeout=response_timeout,
        tls=tls,
        server_name=upstream.tls.server_name,
    )
