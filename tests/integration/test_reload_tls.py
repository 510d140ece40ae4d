"""What a reload does to TLS, towards clients and towards upstreams."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cli.run import ENGINES
from tests.integration.test_reload import World
from tests.support.certificates import Authority
from tests.support.gateway import Upstream, gateway, ok

GET = b"GET /orders HTTP/1.1\r\nHost: shop.test\r\n\r\n"
REVIEW = GET.replace(b"orders", b"reviews/1")
CERTIFIED = 'tls = {{ certificate = "{0}.pem", key = "{0}.key" }}'
ROUTE = '[[routes]]\nname = "reviews"\nmatch = "/reviews/*"\ncandidate = "new"\n'


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_another_certificate_by_a_reload(tmp_path: Path, engine: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", "shop.test")
    authority.issue("b", "shop.test")
    legacy = Upstream(ok)
    await legacy.start()
    toml = f'[gateway]\n{CERTIFIED.format("a")}\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
    try:
        async with gateway(tmp_path, toml, engine=engine) as running:
            world = World(running, legacy, legacy)
            kept = await running.connect(authority.client(), "shop.test")
            assert (await kept.request(GET)).status == 200
            before = kept.writer.get_extra_info("peercert")["serialNumber"]
            text = world.file.read_text()

            # One that does not fit: nothing changes.
            world.write(text.replace("a.key", "b.key"))
            status, answer = await world.post("/reload")
            assert status == 422
            assert "gateway.tls.key: " in answer["detail"]
            assert "is not the key of the certificate" in answer["detail"]
            # Whether TLS is spoken at all belongs to the listening sockets.
            world.write(text.replace(CERTIFIED.format("a"), ""))
            status, answer = await world.post("/reload")
            assert status == 422
            assert "gateway.tls (whether there is any): a reload cannot change it" in answer["detail"]
            client = await running.connect(authority.client(), "shop.test")
            assert client.writer.get_extra_info("peercert")["serialNumber"] == before

            await world.reload(text.replace(CERTIFIED.format("a"), CERTIFIED.format("b")))
            client = await running.connect(authority.client(), "shop.test")
            assert client.writer.get_extra_info("peercert")["serialNumber"] != before
            assert (await client.request(GET)).status == 200
            assert (await kept.request(GET)).status == 200
    finally:
        await legacy.stop()


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_an_upstreams_new_authority_counts_from_a_reload_on(tmp_path: Path, engine: str) -> None:
    """The file's name stays the same, and so does banyan.toml."""
    old, other = Authority(tmp_path, "old"), Authority(tmp_path, "other")
    believed = tmp_path / "believed.pem"
    believed.write_bytes(old.ca.read_bytes())
    legacy, new = Upstream(ok), Upstream(ok, tls=other.server("new", "127.0.0.1"))
    await legacy.start()
    await new.start()
    toml = (
        f'[gateway]\nexpose_decision = true\n[upstreams]\nlegacy = "http://127.0.0.1:{legacy.port}"\n'
        f'[upstreams.new]\nurl = "https://127.0.0.1:{new.port}"\ntls = {{ ca = "believed.pem" }}\n{ROUTE}'
    )
    try:
        async with gateway(tmp_path, toml, engine=engine, reviews=True) as running:
            world = World(running, legacy, new)
            client = await running.connect()
            served = "reviews; served-by={}; reason={}"
            assert (await client.request(REVIEW)).header("Banyan-Route") == served.format("legacy", "fallback-tls")
            believed.write_bytes(other.ca.read_bytes())
            assert (await client.request(REVIEW)).header("Banyan-Route") == served.format("legacy", "fallback-tls")
            await world.reload(world.file.read_text())
            assert (await client.request(REVIEW)).header("Banyan-Route") == served.format("candidate", "flag")
            believed.write_text("no certificate")
            status, answer = await world.post("/reload")
            assert status == 422
            assert "upstreams.new.tls.ca: " in answer["detail"]
            assert (await client.request(REVIEW)).header("Banyan-Route") == served.format("candidate", "flag")
            assert len(new.requests) == 2
            # With the same files the next reload keeps the connection.
            believed.write_bytes(other.ca.read_bytes())
            await world.reload(world.file.read_text())
            await asyncio.sleep(0.1)
            assert (await client.request(REVIEW)).header("Banyan-Route") == served.format("candidate", "flag")
            assert new.connections == 1
    finally:
        await legacy.stop()
        await new.stop()
