"""How the upstreams of banyan.toml are asked: over the edge's own connections, with the fields that the gateway adds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.rules import rules
from gateway.identity.stamping import stamps
from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.lines import REQUEST, RESPONSE
from gateway.net.outgoing import request_head
from gateway.net.pool import Pool
from gateway.net.question import Question
from gateway.policy.admission import Standing
from gateway.policy.decision import LEGACY, Target
from gateway.settings import Config
from gateway.tls import client_context
from gateway.trace import Ids
from shadow.replay.plan import Wanted

SHADOW: Final = b"\r\nBanyan-Shadow: 1"
LEAST_OVERALL: Final = 30.0
"""Seconds that all of an answer may take; twice the upstream's response_timeout, where that is more."""

NOBODY: Final = b"127.0.0.1"
"""Whom a request is from of which the recording does not say it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How it is asked."""

    reference: str = LEGACY
    """RECORDED or legacy."""
    other: str = "candidate"
    """candidate or legacy."""
    rate: float = 50.0
    """Pairs a second; 0: as fast as answers come."""
    speed: float = 0.0
    """Times as fast as it was recorded; 0: the times in the recording do not matter."""
    concurrency: int = 16
    """Pairs under way at once."""
    noise: float = 0.1
    """Share of the pairs for which legacy is asked a second time, whatever is found; 0: it is not asked again after a difference either."""
    users: tuple[str, ...] = ()
    """Who calls, in turn; nobody, if empty."""
    https: bool = False
    """Upstreams are told that clients came over it."""


class Asker:
    """The connections of one replay."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config, options: Options) -> None:
        """
        Raises:
            gateway.tls.TlsError: an upstream's files cannot be used.
            gateway.identity.stamping.StampKeyError: the stamps' key cannot be used.
        """
        self._loop = loop
        self._config = config
        self._options = options
        self._run = os.urandom(3).hex()
        self._ids = Ids()
        self._stamps = stamps(config)
        self._stamped = rules(config)
        self._callers = [Caller(user, standing=Standing.KNOWN) for user in options.users] or [ANONYMOUS]
        self._deadlines = Deadlines(loop, Clock())
        needed = {LEGACY} | {route.candidate for route in config.routes if not route.split}
        overall = max(LEAST_OVERALL, *(2 * config.upstreams[name].response_timeout for name in needed))
        self._overall = self._deadlines.add(overall, Question.timed_out)
        self._pools = {name: self._pool(name) for name in sorted(needed)}
        self._legacy = Target(LEGACY)
        for lines in (REQUEST, RESPONSE):
            lines.keep_secret(name.lower().encode() for name in config.shadow.redact if not name.startswith("$"))

    def start(self) -> None:
        """From now on timeouts pass."""
        self._deadlines.start()

    def close(self) -> None:
        """Nobody is asked any more."""
        for pool in self._pools.values():
            pool.end()
        self._deadlines.stop()

    def names(self, wanted: Wanted) -> tuple[bytes, bytes]:
        """A request's id, by which its entry is found, and its trace."""
        self._ids.begin()
        return f"replay-{self._run}-{wanted.entry.where}".encode(), self._ids.traceparent()

    def other(self, wanted: Wanted) -> Target:
        """Who is compared with the reference."""
        return self._legacy if self._options.other == LEGACY else wanted.rules.candidate

    def question(self, wanted: Wanted, target: Target, request_id: bytes, trace: bytes, done: Callable[[Question], None]) -> Question:
        """One side's."""
        head, name = wanted.head, target.upstream
        entry = wanted.entry
        client = _address(entry.client)
        proto = b"https" if self._options.https else b"http"
        forwarding = b"\r\nX-Forwarded-For: %s\r\nX-Forwarded-Proto: %s\r\nX-Forwarded-Host: %s" % (client, proto, head.host)
        stamp = b""
        if self._stamps is not None and wanted.route in self._stamped:
            caller = self._callers[entry.where % len(self._callers)]
            stamp = self._stamps.field(caller, name, time.time())
        data = request_head(head, target, forwarding, request_id, trace, stamp, extra=SHADOW) + wanted.body
        pool = self._pools[name]
        return Question(
            pool,
            name,
            data,
            limit=wanted.rules.shadow.capture,
            head_only=head.method == "HEAD",
            repeatable=wanted.repeatable,
            overall=self._overall,
            done=done,
        )

    def _pool(self, name: str) -> Pool:
        upstream = self._config.upstreams[name]
        return Pool(
            self._loop,
            self._deadlines,
            name,
            upstream.places,
            connect_timeout=upstream.connect_timeout,
            response_timeout=upstream.response_timeout,
            tls=client_context(upstream, name, self._config),
            server_name=upstream.tls.server_name,
        )


def _address(client: str | None) -> bytes:
    """Whom upstreams are told that the request is from. An address with a scope (RFC 4007) is none: that means something to one host
    alone, and anything may stand in it, a line's end too."""
    if client is None or "%" in client:
        return NOBODY
    try:
        return str(ip_address(client)).encode()
    except ValueError:
        return NOBODY
