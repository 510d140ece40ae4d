"""A gateway that is looked into, and what its page says."""

from __future__ import annotations

import asyncio
import io
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway import Exchange, Gateway, Upstream, gateway, ok

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, which mitmproxy uses in its old words
    from mitmproxy.http import HTTPFlow
    from mitmproxy.io import FlowReader

TOML = """
[gateway]
expose_decision = true
access_log = "{folder}/access.log"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
new = "http://127.0.0.1:{new}"
[shadow]
redact = ["x-secret", "$..password"]
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
[routes.shadow.compare]
ignore = ["$.at"]
"""


class Inspected:
    """A running `banyan inspect` between two upstreams of ours."""

    def __init__(self, gateway: Gateway, legacy: Upstream, new: Upstream) -> None:
        self.gateway = gateway
        self.legacy = legacy
        self.new = new
        found = re.search(r"look inside at (http://127\.0\.0\.1:(\d+)/)\?token=([0-9a-f]+)", gateway.process.log.read_text())
        assert found, gateway.process.tail()
        self.page, self.port, self.password = found[1], int(found[2]), found[3]

    def ask(self, path: str, *, method: str = "GET", password: str | None = None, data: bytes | None = None) -> tuple[int, bytes]:
        """Of the page's server."""
        token = self.password if password is None else password
        request = urllib.request.Request(self.page + path.removeprefix("/"), method=method, data=data)  # noqa: S310 - the page is http
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def flows(self) -> list[dict[str, Any]]:
        """As the page gets them."""
        status, body = self.ask("/flows")
        assert status == 200
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def filtered(self, text: str) -> list[HTTPFlow]:
        """Those that mitmproxy's filter lets through, as a flow file has them."""
        status, body = self.ask("/flows/dump?filter=" + urllib.parse.quote(text))
        assert status == 200, body
        return [flow for flow in FlowReader(io.BytesIO(body)).stream() if isinstance(flow, HTTPFlow)]

    async def until(self, text: str, count: int = 1) -> list[HTTPFlow]:
        """Waits until so many are found by a filter."""
        for _ in range(100):
            found = await asyncio.to_thread(self.filtered, text)
            if len(found) == count:
                return found
            await asyncio.sleep(0.05)
        every = await asyncio.to_thread(self.flows)
        raise AssertionError(f"{text}: {len(found)} flows, not {count}, of {[(each['marked'], each['comment']) for each in every]}")

    async def get(self, path: str, *lines: str) -> Any:
        head = "".join(f"{line}\r\n" for line in lines)
        return await self.gateway.request(f"GET {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())

    def resident(self) -> int:
        """Bytes of the one worker."""
        (pid,) = self.gateway.workers()
        status = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])


@asynccontextmanager
async def inspected(folder: Path, options: Sequence[str] = (), toml: str = TOML, **flags: bool | int) -> AsyncIterator[Inspected]:
    legacy, new = Upstream(ok), Upstream(ok)
    await legacy.start()
    await new.start()
    try:
        text = toml.format(folder=folder, legacy=legacy.port, new=new.port)
        async with gateway(folder, text, inspect=options, **flags) as started:
            for _ in range(50):
                if "look inside" in started.process.log.read_text():
                    break
                await asyncio.sleep(0.1)
            yield Inspected(started, legacy, new)
    finally:
        await legacy.stop()
        await new.stop()


def says(document: object) -> Any:
    """A handler that answers with this JSON."""

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(json.dumps(document).encode(), extra=b"Content-Type: application/json\r\n")

    return answer
