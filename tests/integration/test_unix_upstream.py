"""An upstream behind a unix socket, as gunicorn and uvicorn serve them: asked, kept alive, missed and found again like any other."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from demo.processes import python
from tests.support.gateway import Exchange, Upstream, gateway, ok

TOML = """
[gateway]
expose_decision = true
[upstreams]
legacy = "unix:{folder}/legacy"
new = "unix:{folder}/new"
[identity]
source = "introspection"
path = "/who"
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "new"
"""
GET = b"GET /reviews/1 HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid=x\r\n\r\n"


async def test_it_is_an_upstream_like_any_other(tmp_path: Path) -> None:
    async def shop(exchange: Exchange) -> None:
        if b"/who" in exchange.line:
            await exchange.answer(b'{"user": "7"}', extra=b"Content-Type: application/json\r\n")
        else:
            await exchange.answer(b"shop")

    legacy, new = Upstream(shop), Upstream(ok)
    await legacy.start_on(tmp_path / "legacy")
    await new.start_on(tmp_path / "new")
    try:
        async with gateway(tmp_path, TOML.format(folder=tmp_path), reviews=True) as running:
            client = await running.connect()
            for _ in range(3):
                answer = await client.request(GET)
                assert (answer.status, answer.body) == (200, b"ok")
                assert answer.header("Banyan-Route") == "reviews; served-by=candidate; reason=flag"
            assert new.connections == 1
            assert new.requests[0].header("Host") == ["shop.test"]
            asked = [each for each in legacy.requests if b"/who" in each.line]
            assert [each.header("Host") for each in asked] == [["localhost:80"]]
            await new.stop()
            (tmp_path / "new").unlink(missing_ok=True)
            answer = await client.request(GET)
            assert (answer.body, answer.header("Banyan-Route")) == (b"shop", "reviews; served-by=legacy; reason=fallback-refused")
            await new.start_on(tmp_path / "new")
            assert (await client.request(GET)).body == b"ok"
    finally:
        await legacy.stop()
        await new.stop()


async def test_a_socket_that_is_not_there_is_said_at_start(tmp_path: Path) -> None:
    async with gateway(tmp_path, f'[upstreams]\nlegacy = "unix:{tmp_path}/legacy"\n') as running:
        assert (await running.request(GET)).status == 502
        log = running.process.log.read_text()
    assert f"legacy at unix:{tmp_path}/legacy cannot be reached (No such file or directory)" in log


async def test_the_mitmproxy_engine_says_that_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    for toml, said in (
        (f'[upstreams]\nlegacy = "unix:{tmp_path}/legacy"\n', "upstreams.legacy.url: the mitmproxy engine reaches no unix sockets"),
        ('[gateway]\nproxy_protocol = true\n[upstreams]\nlegacy = "http://a:1"\n', "gateway.proxy_protocol: the mitmproxy engine does not"),
    ):
        path.write_text(toml)
        command = python("-m", "gateway.cli", "run", "--config", str(path), "--engine", "mitmproxy")
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"banyan: {path}: {said}"), ended.stderr
