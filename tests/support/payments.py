"""A gateway before two payment providers, with a ledger: what tests of payments have in common."""

# ruff: noqa: ASYNC110 - what the gateway has done has no event to wait for
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from gateway.ledger import book
from gateway.ledger.database import Connection, connect
from gateway.ledger.entries import Doubt
from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
replay_buffer = "8KiB"
[gateway.limits]
drain_timeout = "5s"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
[upstreams.psp-a]
url = "http://127.0.0.1:{a}"
response_timeout = "20s"
idempotent = {idempotent}
[upstreams.psp-b]
url = "http://127.0.0.1:{b}"
response_timeout = "20s"
[ledger]
database = "{database}"
answer_bytes = "4KiB"
[[routes]]
name = "payments"
match = "/payments/*"
split = {{ psp-a = 50, psp-b = 50 }}
sticky = "idempotency-key"
failover = "safe"
require_key = true
[[routes]]
name = "refunds"
match = "/refunds"
split = {{ psp-a = 1, psp-b = 1 }}
sticky = "idempotency-key"
[[routes]]
name = "carts"
match = "/carts/*"
split = {{ psp-a = 1, psp-b = 1 }}
sticky = "header:X-Cart"
failover = "safe"
"""
SQLITE = "sqlite:///var/ledger.sqlite3"
KEYS = 12
"""That a test may have of each provider."""
TESTS = 40
"""That may share a gateway."""


class Till:
    """The gateway, legacy, and the two providers, each of which charges and answers with its name and how often it was asked."""

    def __init__(self, started: Gateway, providers: dict[str, Upstream], folder: Path, database: str) -> None:
        self.gateway = started
        self.providers = providers
        self._handlers = {name: upstream.handler for name, upstream in providers.items()}
        self._folder = folder
        self._database = database
        self._begun = 0
        """Tests that had it before this one."""

    async def forget(self) -> None:
        """As new for the next test, whose keys are others: but for what the gateway has counted, and what it remembers of the ledger."""
        for client in self.gateway.clients:
            client.close()
        self.gateway.clients.clear()
        for name, upstream in self.providers.items():
            await upstream.forget()
            upstream.handler = self._handlers[name]
        with self.ledger() as ledger:
            ledger.change("DELETE FROM ledger_entry")
        self._begun += 1

    async def pay(self, key: str = "", body: str = "pay", *, path: str = "/payments/1", method: str = "POST", head: str = "") -> Response:
        return await self.gateway.request(request(key, body, path=path, method=method, head=head))

    def charged(self) -> dict[str, int]:
        """Provider → how many requests that write it got."""
        return {name: sum(not each.line.startswith(b"GET") for each in upstream.requests) for name, upstream in self.providers.items()}

    def key_of(self, provider: str, number: int = 0) -> str:
        """A key that meets this provider first."""
        return keys_of(provider, count=TESTS * KEYS)[self._begun * KEYS + number]

    @contextmanager
    def ledger(self) -> Iterator[Connection]:
        made = connect(self._database, self._folder, timeout=5)
        try:
            yield made
        finally:
            made.close()

    def doubts(self) -> list[Doubt]:
        with self.ledger() as ledger:
            return book.doubts(ledger)

    async def doubt(self, seconds: float = 15.0) -> Doubt:
        """The one payment that is in doubt, or comes to be."""
        async with asyncio.timeout(seconds):
            while not (found := await asyncio.to_thread(self.doubts)):
                await asyncio.sleep(0.1)
        assert len(found) == 1
        return found[0]

    async def counted(self, **outcomes: int) -> None:
        """Waits until the metrics say so of the route payments."""
        async with asyncio.timeout(10):
            while True:
                text = await asyncio.to_thread(self.gateway.metrics)
                found = dict(re.findall(r'banyan_payments_total\{outcome="([^"]+)",route="payments"\} (\d+)\.0', text))
                if all(found.get(name.replace("_", "-")) == str(count) for name, count in outcomes.items()):
                    return
                await asyncio.sleep(0.1)


def request(key: str, body: str = "pay", *, path: str = "/payments/1", method: str = "POST", head: str = "") -> bytes:
    named = f"Idempotency-Key: {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{named}{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def keys_of(provider: str, route: str = "payments", count: int = KEYS) -> list[str]:
    """Keys that meet this provider first."""
    from flags.snapshot import Context
    from gateway.policy.splitter import KEY, Shares, known_by

    shares = Shares(route, {"psp-a": 50, "psp-b": 50})
    every = (f"key-{number}" for number in range(TESTS * KEYS * 4))
    return [key for key in every if shares.of(known_by(KEY, Context(), key)[1]) == provider][:count]


def multiply(ledger: Connection, count: int) -> int:
    """So many more like the one payment that is in doubt, each of a moment later. The number of the last."""
    same = "route, scope, keyed, digest, state, provider, refused, token, owner, method, target, size, request_id, began, changed, reason"
    ledger.change(
        f"INSERT INTO ledger_entry ({same}, key, doubted) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"  # noqa: S608 - this test's own
        f" SELECT {same}, key || '-' || i, doubted + i / 1000.0 FROM ledger_entry, n ORDER BY i"
    )
    (last,) = ledger.rows("SELECT max(number) FROM ledger_entry")[0]
    return int(last)


def charging(name: str) -> Upstream:
    """A provider that charges whatever comes."""
    upstream = Upstream(_nothing)

    async def charge(exchange: Exchange) -> None:
        body = f"{name} {len(upstream.requests)}".encode()
        await exchange.answer(body, "201 Created", b"X-Provider: %b\r\nSet-Cookie: secret=1\r\n" % name.encode())

    upstream.handler = charge
    return upstream


async def _nothing(_exchange: Exchange) -> None:
    """Is replaced at once."""


@asynccontextmanager
async def till(
    folder: Path,
    *,
    workers: int = 1,
    idempotent: bool = False,
    database: str = SQLITE,
    providers: dict[str, Upstream] | None = None,
    edit: Callable[[str], str] = str,
) -> AsyncIterator[Till]:
    """`providers`: those that several gateways share, started by the first. `edit`: changes banyan.toml before the start."""
    legacy = Upstream(_nothing)
    providers = providers or {name: charging(name) for name in ("psp-a", "psp-b")}
    every = [legacy, *(upstream for upstream in providers.values() if not upstream.port)]
    for upstream in every:
        await upstream.start()
    try:
        toml = TOML.format(
            folder=folder,
            legacy=legacy.port,
            a=providers["psp-a"].port,
            b=providers["psp-b"].port,
            idempotent=str(idempotent).lower(),
            database=database,
        )
        async with gateway(folder, edit(toml), workers=workers) as started:
            yield Till(started, providers, folder, database)
    finally:
        for upstream in every:
            await upstream.stop()
