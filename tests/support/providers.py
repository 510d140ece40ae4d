"""A shop with two payment providers behind a gateway: what tests of split routes have in common."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.gateway import Exchange, Gateway, Response, Upstream, gateway

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
psp-a = "http://127.0.0.1:{a}"
psp-b = "http://127.0.0.1:{b}"
[identity]
source = "introspection"
path = "/who"
visitor = {{ key = "a key for tests alone" }}
[[routes]]
name = "payments"
match = "/payments/*"
split = {{ psp-a = 70, psp-b = 30 }}
[[routes]]
name = "dice"
match = "/dice"
split = {{ psp-a = 70, psp-b = 30 }}
sticky = "random"
"""


class Shop:
    """A gateway before legacy, which knows the users, and two providers, each of which answers with its name."""

    def __init__(self, started: Gateway, legacy: Upstream, providers: dict[str, Upstream]) -> None:
        self.gateway = started
        self.legacy = legacy
        self.providers = providers
        self._handlers = [(upstream, upstream.handler) for upstream in (legacy, *providers.values())]

    async def forget(self) -> None:
        """As new for the next test, but for what the gateway has counted."""
        for client in self.gateway.clients:
            client.close()
        self.gateway.clients.clear()
        for upstream, handler in self._handlers:
            await upstream.forget()
            upstream.handler = handler
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.gateway.admin}", timeout=10) as client:
            for flag in (await client.get("/flags")).json()["overrides"]:
                done = await client.request("DELETE", f"/flags/overrides/{flag}", json={"by": "ana", "why": "over"})
                done.raise_for_status()
        await self._put([])

    async def pay(self, user: str = "", path: str = "/payments/3", method: str = "POST", head: str = "") -> Response:
        cookie = f"Cookie: sessionid={user}\r\n" if user else ""
        return await self.gateway.request(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{cookie}{head}Content-Length: 4\r\n\r\nbody".encode())

    async def provider(self, user: str) -> str:
        answer = await self.pay(user)
        assert answer.status == 200
        return answer.body.decode()

    async def flag(self, *, enabled: bool = True, **weights: int) -> None:
        """The flag payments.split with these variants, and every worker decides by it."""
        variants = [{"name": name.replace("_", "-"), "weight": weight, "stickiness": "default"} for name, weight in weights.items()]
        feature = {"name": "payments.split", "enabled": enabled, "strategies": [{"name": "default", "variants": variants}]}
        await self._put([feature])

    async def _put(self, features: list[dict[str, Any]]) -> None:
        before = await asyncio.to_thread(self.gateway.get, "/flags")
        temporary = self.gateway.flags.with_suffix(".new")
        text = json.dumps({"version": 1, "features": features})
        if self.gateway.flags.read_text() == text:
            return  # which would be no change
        temporary.write_text(text)
        temporary.replace(self.gateway.flags)
        async with asyncio.timeout(5):
            while True:
                state = await asyncio.to_thread(self.gateway.get, "/flags")
                if state["revision"] != before["revision"] and all(state["workers"].values()):
                    return
                await asyncio.sleep(0.02)


async def who(exchange: Exchange) -> None:
    user = exchange.header("Cookie")[0].partition("sessionid=")[2].partition(";")[0]
    await exchange.answer(json.dumps({"authenticated": True, "user_id": user, "session_id": f"s-{user}"}).encode())


def named(name: str) -> Upstream:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(name.encode(), extra=b"Cache-Control: private\r\n")

    return Upstream(answer)


@asynccontextmanager
async def shop(folder: Path, engine: str) -> AsyncIterator[Shop]:
    legacy, providers = Upstream(who), {name: named(name) for name in ("psp-a", "psp-b")}
    every = [legacy, *providers.values()]
    for upstream in every:
        await upstream.start()
    try:
        toml = TOML.format(folder=folder, legacy=legacy.port, a=providers["psp-a"].port, b=providers["psp-b"].port)
        async with gateway(folder, toml, engine=engine) as started:
            yield Shop(started, legacy, providers)
    finally:
        for upstream in every:
            await upstream.stop()
