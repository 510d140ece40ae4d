"""A gateway and an Envoy that has its exported routes, before the same upstreams."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from demo.processes import python
from tests.support.envoy import binary, envoy
from tests.support.gateway import Client, Exchange, Gateway, Response, Upstream, gateway

NAMES = ("legacy", "new", "psp-a", "psp-b")
TOML = """
[gateway]
access_log = ""
trusted_proxies = [{trusted}]
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
psp-a = "http://127.0.0.1:{psp-a}"
psp-b = "http://127.0.0.1:{psp-b}"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "new"
rewrite = "/reviews/*"
fallback = false
[[routes]]
name = "summary"
match = "/api/v1/reviews/summary"
candidate = "new"
[[routes]]
name = "write"
match = "/api/v1/reviews/{{id}}"
methods = ["POST", "PUT"]
candidate = "new"
fallback = false
[[routes]]
name = "photo"
match = "/api/v1/items/{{id}}/photos/{{photo}}"
methods = ["GET", "HEAD"]
candidate = "new"
rewrite = "/of/{{photo}}/{{id}}"
host = "photos.internal"
fallback = false
[[routes]]
name = "quarter"
match = "/api/v1/quarter/*"
candidate = "new"
rewrite = "/q/*"
fallback = false
[[routes]]
name = "copied"
match = "/api/v1/copied/*"
candidate = "new"
fallback = false
[[routes]]
name = "half"
match = "/api/v1/half/{{id}}"
candidate = "new"
fallback = false
[[routes]]
name = "payments"
match = "/api/v1/payments/*"
split = {{ psp-a = 70, psp-b = 30 }}
sticky = "random"
"""
HANDED = ["reviews", "write", "photo", "quarter", "copied", "half", "payments"]


def rollout(share: int, stickiness: str = "random") -> dict[str, Any]:
    return {"name": "flexibleRollout", "parameters": {"rollout": str(share), "stickiness": stickiness, "groupId": "g"}}


FLAGS = {
    "reviews": rollout(100),
    "write": rollout(100, "default"),
    "photo": {"name": "default"},
    "quarter": rollout(25),
    "copied.shadow": rollout(100),
    "half.shadow": rollout(50),
    "summary": rollout(50, "userId"),
}

TOLD = ["Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "X_Odd", "Accept", "tracestate"]
TOLD += ["Banyan-Identity", "Banyan-Shadow", "Banyan-Timeout-Ms"]
"""What an upstream is told, and answers with."""


def answering(name: str) -> Callable[[Exchange], Any]:
    """An upstream that says who it is, and what it was asked."""

    async def handler(exchange: Exchange) -> None:
        method, target, _ = exchange.line.decode("latin-1").split(" ")
        if exchange.header("Upgrade"):
            await exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            await exchange.send(f"{name} {await exchange.reader.readexactly(4)!r}".encode())
            exchange.writer.close()
            return
        fields = {field: exchange.header(field) for field in TOLD}
        said = {
            "name": name,
            "method": method,
            "target": target,
            "body": exchange.body.decode("latin-1"),
            "fields": fields,
            "via": exchange.header("Via"),
            "ids": exchange.header("X-Request-ID"),
            "trace": exchange.header("traceparent"),
        }
        body = orjson.dumps(said)
        # As the gateway does not, no proxy may believe what an upstream says in Banyan's name.
        extra = b"Server: upstream\r\nX-Answer: 1\r\nBanyan-Error: forged\r\n"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n".encode()
        await exchange.send(head + extra + b"\r\n" + (b"" if method == "HEAD" else body))

    return handler


@dataclass
class Pair:
    """Both before the same upstreams."""

    gateway: Gateway
    upstreams: dict[str, Upstream]
    envoy: int

    async def ask(self, port: int, raw: bytes) -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        try:
            return await client.request(raw)
        finally:
            client.close()

    async def both(self, raw: bytes) -> tuple[Response, Response]:
        return await self.ask(self.gateway.port, raw), await self.ask(self.envoy, raw)


def export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python("-m", "gateway.cli", "export", "envoy", "--config", str(folder / "banyan.toml"), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@asynccontextmanager
async def beside(
    folder: Path, upstreams: dict[str, Upstream], toml: str, flags: Mapping[str, dict[str, Any]], *arguments: str
) -> AsyncIterator[tuple[Pair, dict[str, Any]]]:
    """A gateway of `toml` with `flags` (the one strategy of each) and an Envoy with what `banyan export envoy` says of it; and that."""
    binary()
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(gateway(folder, toml))
        features = [{"name": name, "enabled": True, "strategies": [strategy]} for name, strategy in flags.items()]
        running.flags.write_text(json.dumps({"version": 1, "features": features}))
        await running.decided(**dict.fromkeys(flags, True))
        where = ["--gateway", f"127.0.0.1:{running.port}", "--listen", "127.0.0.1:0"]
        done = await asyncio.to_thread(export, folder, "--json", *where, *arguments)
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        port = await stack.enter_async_context(envoy(folder, told["documents"][0]))
        yield Pair(running, upstreams, port), told


@asynccontextmanager
async def serving(**upstreams: Upstream) -> AsyncIterator[dict[str, Upstream]]:
    """Starts them."""
    async with AsyncExitStack() as stack:
        for each in upstreams.values():
            await each.start()
            stack.push_async_callback(each.stop)
        yield upstreams


@asynccontextmanager
async def pair(folder: Path, trusted: str = "") -> AsyncIterator[Pair]:
    """All of TOML. `trusted`: the gateway's trusted proxies."""
    async with serving(**{name: Upstream(answering(name)) for name in NAMES}) as upstreams:
        toml = TOML.format(**{name: each.port for name, each in upstreams.items()}, trusted=trusted)
        async with beside(folder, upstreams, toml, FLAGS) as (found, told):
            assert sorted(each["route"] for each in told["handed"]) == sorted(HANDED)
            (refused,) = told["refused"]
            assert (refused["route"], {each["code"] for each in refused["reasons"]}) == ("summary", {"flag-stickiness"})
            yield found


def request(line: str, *fields: str, body: str = "") -> bytes:
    lines = ["Host: shop.test", *fields] if not any(field.lower().startswith("host:") for field in fields) else list(fields)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return f"{line} HTTP/1.1\r\n{''.join(f'{each}\r\n' for each in lines)}\r\n{body}".encode("latin-1")
