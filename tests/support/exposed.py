"""Everything of Banyan that Prometheus may ask, started for real, and what each says."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import sqlite3
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from demo.postgres import RunningPostgres, start_postgres
from demo.processes import Running, python, start
from events.inbox import SCHEMA
from events.outbox.rows import SQLITE_TABLE
from tests.support.gateway import Gateway, Upstream, gateway, ok
from tests.support.key_server import KeyServer, key_server
from tests.support.nats import Nats, start_nats
from tests.support.payments import charging, request
from tests.support.stamp_keys import SECRET
from tests.support.tokens import AUDIENCE, ISSUER

TOML = """
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
psp-a = "http://127.0.0.1:{psp}"
psp-b = "http://127.0.0.1:{psp}"
[upstreams.new]
url = "http://127.0.0.1:{new}"
concurrency = {{ limit = 50 }}
[identity]
source = "jwt"
stamp = {{ key = "{secret}" }}
[identity.jwt]
issuer = "{issuer}"
audience = "{audience}"
algorithms = ["RS256"]
jwks_url = "{keys}"
[domains]
order = ["users", "items", "reviews"]
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
identity = "optional"
[routes.guard]
window = "20s"
[[routes]]
name = "payments"
match = "/payments/*"
split = {{ psp-a = 50, psp-b = 50 }}
sticky = "idempotency-key"
[tracing]
endpoint = "http://127.0.0.1:1/v1/traces"
sample = 1.0
timeout = "1s"
[ledger]
database = "{ledger}"
[shadow]
sink = "jetstream"
nats = "{nats}"
database = "sqlite:///var/banyan.sqlite3"
"""
HTTP = "HTTP/1.1\r\nHost: shop.test\r\n"


@dataclass(frozen=True)
class Exposed:
    """One metric, by the name that expressions call it by."""

    kind: str
    """counter, gauge or histogram; of a histogram's samples, its own."""
    labels: frozenset[str] | None
    """Of its samples; None: there are none yet."""


def exposed(text: str) -> dict[str, Exposed]:
    """What an answer to GET /metrics has in it."""
    found: dict[str, Exposed] = {}
    for family in text_string_to_metric_families(text):
        names = {"counter": [f"{family.name}_total"], "histogram": [f"{family.name}_{part}" for part in ("bucket", "sum", "count")]}
        for name in names.get(family.type, [family.name]):
            labels = [frozenset(sample.labels) for sample in family.samples if sample.name == name]
            assert len(set(labels)) <= 1, f"{name} has now these labels, now others"
            found[name] = Exposed(family.type, labels[0] if labels else None)
    return found


async def scraped(folder: Path) -> dict[str, str]:
    """Process → its metrics, after something of everything has happened that a moment can bring about."""
    found: dict[str, str] = {}
    postgres = await asyncio.to_thread(start_postgres, folder)
    nats = await asyncio.to_thread(start_nats, folder / "nats")
    try:
        async with _upstreams() as (legacy, new, psp), key_server() as keys:
            toml = _toml(legacy, new, psp, keys, nats, postgres)
            async with gateway(folder, toml, reviews=True, reviews__shadow=True) as running:
                await _ask(running, new)
                with _others(folder, nats) as addresses:
                    for name, address in addresses.items():
                        found[name] = await asyncio.to_thread(_get, address)
                found["gateway"] = await _counted(running)
    finally:
        await asyncio.to_thread(nats.stop)
        await asyncio.to_thread(postgres.stop)
    return found


def _toml(legacy: Upstream, new: Upstream, psp: Upstream, keys: KeyServer, nats: Nats, postgres: RunningPostgres) -> str:
    ports = {"legacy": legacy.port, "new": new.port, "psp": psp.port}
    addresses = {"keys": keys.url, "nats": nats.url, "ledger": postgres.url}
    return TOML.format(**ports, **addresses, secret=SECRET, issuer=ISSUER, audience=AUDIENCE)


@asynccontextmanager
async def _upstreams() -> AsyncIterator[tuple[Upstream, Upstream, Upstream]]:
    made = (Upstream(ok), Upstream(ok), charging("psp"))
    for each in made:
        await each.start()
    try:
        yield made
    finally:
        for each in made:
            await each.stop()


async def _ask(running: Gateway, new: Upstream) -> None:
    """Both sides, a fallback, a comparison and one that cannot be, a payment, a call between domains, an override."""
    get = f"GET /api/v1/reviews/3 {HTTP}\r\n".encode()
    assert (await running.request(get)).status == 200
    (stamp,) = new.requests[-1].header("Banyan-Identity")
    assert (await running.request(f"GET /api/v1/users/7 {HTTP}Banyan-Identity: {stamp}\r\n\r\n".encode())).status == 200
    await running.request(f"POST /api/v1/reviews/3 {HTTP}Content-Length: 0\r\n\r\n".encode())
    await new.stop()
    assert (await running.request(get)).body == b"ok", "legacy answers in its place"
    assert (await running.request(request("key-1"))).status < 300
    assert (await running.request(b"GET / HTTP/1.1\r\n\r\n")).status == 400
    put = urllib.request.Request(
        f"http://127.0.0.1:{running.admin}/flags/overrides/reviews.shadow",
        b'{"enabled": false, "seconds": 60, "by": "t", "why": "t"}',
        method="PUT",
    )
    put.add_header("Content-Type", "application/json")
    await asyncio.to_thread(lambda: urllib.request.urlopen(put, timeout=10).close())  # noqa: S310 - our own gateway


async def _counted(running: Gateway) -> str:
    """Its metrics, once workers and shipper have reported."""
    wanted = ('served_by="gateway"', "banyan_domain_calls_total{", "banyan_payments_in_doubt{", "stream_messages ", "spans_dropped_total{")
    text = ""
    for _ in range(200):
        text = await asyncio.to_thread(running.metrics)
        if all(part in text for part in wanted):
            return text
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not count everything: {text}")


@contextmanager
def _others(folder: Path, nats: Nats) -> Iterator[dict[str, str]]:
    """A shadow worker, a relay and a follower; by name the address of each one's metrics."""
    store, service = folder / "store.sqlite3", folder / "reviews.sqlite3"
    for path, statements in ((store, [SQLITE_TABLE]), (service, SCHEMA)):
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
    running: list[Running] = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]  # for the shadow worker, which does not say which it was given

    def begin(name: str, *command: str, ready: str, env: dict[str, str] | None = None) -> str:
        shown: Callable[[Running], bool] = lambda one: ready in one.log.read_text()  # noqa: E731 - of its own type
        running.append(start(name, python(*command), log_dir=folder, ready=shown, env=env))
        said = re.search(r"metrics on (\S+)", running[-1].log.read_text())
        return said[1] if said else f"http://127.0.0.1:{port}/metrics"

    try:
        relaying = ("-m", "events", "relay", "--store", f"sqlite:///{store}", "--nats", nats.url, "--metrics", "127.0.0.1:0")
        relay = begin("relay", *relaying, ready="running")
        follow = ("-m", "services.reviews", "follow", "--nats", nats.url, "--metrics", "127.0.0.1:0")
        follower = begin("follower", *follow, ready="running", env={"BANYAN_REVIEWS_DB": str(service)})
        worker = begin(
            "shadow-worker",
            "-m", "gateway.cli", "shadow", "--config", str(folder / "banyan.toml"), "--metrics", f"127.0.0.1:{port}",
            ready="taking from",
        )  # fmt: skip
        yield {"relay": relay, "follower": follower, "shadow worker": worker}
    finally:
        for each in reversed(running):
            each.stop(20)


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - our own process
        text: str = answer.read().decode()
        return text


def everything() -> dict[str, dict[str, Exposed]]:
    """Process → name → what it is."""
    # A socket's path may have about 100 characters: pytest's own folders can be longer.
    folder = Path(tempfile.mkdtemp(prefix="banyan-"))
    try:
        return {name: exposed(text) for name, text in asyncio.run(scraped(folder)).items()}
    finally:
        shutil.rmtree(folder)
