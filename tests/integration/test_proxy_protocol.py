"""The PROXY protocol on a real gateway: who is believed, who must speak it, and what upstreams and the log are told."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from gateway.net.proxy_protocol import SIGNATURE
from tests.support.gateway import Client, Gateway, Upstream, gateway, ok

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
V1 = b"PROXY TCP4 9.9.9.9 127.0.0.1 40000 8080\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + socket.inet_aton("9.9.9.9") + socket.inet_aton("127.0.0.1") + b"\x1f\x90\x1f\x91"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
TOML = """
[gateway]
proxy_protocol = true
trusted_proxies = {trusted}
access_log = "{folder}/access.log"
[gateway.limits]
header_timeout = "1s"
[upstreams]
legacy = "http://127.0.0.1:{legacy}"
"""


async def ended(client: Client) -> bytes:
    async with asyncio.timeout(5):
        try:
            return await client.reader.read()
        except ConnectionResetError:
            return b""


async def counted(running: Gateway, event: str) -> bool:
    for _ in range(60):
        if f'banyan_events_total{{event="{event}"}}' in await asyncio.to_thread(running.metrics):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_from_a_trusted_balancer_it_is_read_and_required(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    try:
        async with gateway(tmp_path, TOML.format(trusted='["127.0.0.0/8"]', folder=tmp_path, legacy=legacy.port)) as running:
            for preface in (V1, V2):
                assert (await running.request(preface + GET)).status == 200
                client = await running.connect()
                for position in range(len(preface) + len(GET)):  # byte by byte, and then a second request without it
                    await client.send((preface + GET)[position : position + 1])
                assert (await client.response()).status == 200
                assert (await client.request(GET)).status == 200
            assert {tuple(each.header("X-Forwarded-For")) for each in legacy.requests} == {("9.9.9.9",)}
            assert len(legacy.requests) == 6
            # What the client itself says is not believed, although its balancer is.
            await running.request(V1 + GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nX-Request-ID: forged\r\n\r\n")
            assert legacy.requests[-1].header("X-Forwarded-For") == ["9.9.9.9"]
            assert legacy.requests[-1].header("X-Request-ID") != ["forged"]
            # A balancer that asks for itself is who it is.
            assert (await running.request(LOCAL + GET)).status == 200
            assert legacy.requests[-1].header("X-Forwarded-For") == ["127.0.0.1"]
            # And so is one that does not say for whom; but what comes from there may be anybody's.
            unix = SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)
            for nothing in (LOCAL, b"PROXY UNKNOWN\r\n", unix):
                await running.request(nothing + GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n")
                assert legacy.requests[-1].header("X-Forwarded-For") == ["127.0.0.1"]
                assert legacy.requests[-1].header("X-Forwarded-Proto") == ["http"]
            await running.request(b"PROXY TCP6 ::ffff:9.9.9.9 ::1 1 2\r\n" + GET)
            assert legacy.requests[-1].header("X-Forwarded-For") == ["9.9.9.9"]
            seen = len(legacy.requests)
            for wrong in (GET, b"PROXY TCP4 9.9.9.9\r\n" + GET, SIGNATURE + b"\x21\x41\x00\x00" + GET):
                client = await running.connect()
                await client.send(wrong)
                assert await ended(client) == b""
            slow = await running.connect()
            await slow.send(V1[:10])
            assert await ended(slow) == b"", "a header that does not come is waited for as long as a request's head"
            assert len(legacy.requests) == seen
            assert await counted(running, "proxy-protocol-refused")
    finally:
        await legacy.stop()
    clients = {json.loads(line)["client"] for line in (tmp_path / "access.log").read_text().splitlines()}
    assert clients == {"9.9.9.9", "127.0.0.1"}


async def test_from_anybody_else_it_is_no_request(tmp_path: Path) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    try:
        async with gateway(tmp_path, TOML.format(trusted='["10.0.0.0/8"]', folder=tmp_path, legacy=legacy.port)) as running:
            assert (await running.request(GET)).status == 200
            answer = await running.request(V1 + GET)
            assert (answer.status, answer.header("Banyan-Error")) == (400, "framing")
            assert len(legacy.requests) == 1
    finally:
        await legacy.stop()


@pytest.mark.parametrize("engine", ["edge", "mitmproxy"])
@pytest.mark.parametrize(("trusted", "expected"), [('["unix"]', ["9.9.9.9"]), ("[]", [])])
async def test_over_a_unix_socket(tmp_path: Path, engine: str, trusted: str, expected: list[str]) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    toml = TOML.format(trusted=trusted, folder=tmp_path, legacy=legacy.port).replace("proxy_protocol = true\n", "")
    path = tmp_path / "edge"
    try:
        async with gateway(tmp_path, toml, engine=engine, also=f"unix:{path}"):
            client = Client(*await asyncio.open_unix_connection(path))
            answer = await client.request(GET[:-2] + b"X-Forwarded-For: 9.9.9.9\r\n\r\n")
            client.close()
            assert answer.status == 200
            assert legacy.requests[0].header("X-Forwarded-For") == expected
    finally:
        await legacy.stop()


@pytest.mark.parametrize("engine", ["edge", "mitmproxy"])
async def test_an_ipv4_client_of_an_ipv6_socket_is_ipv4(tmp_path: Path, engine: str) -> None:
    legacy = Upstream(ok)
    await legacy.start()
    toml = TOML.format(trusted='["127.0.0.0/8"]', folder=tmp_path, legacy=legacy.port).replace("proxy_protocol = true\n", "")
    try:
        async with gateway(tmp_path, toml, engine=engine, listen='"[::]:0"') as running:
            assert (await running.request(GET[:-2] + b"X-Forwarded-For: 9.9.9.9\r\n\r\n")).status == 200
            said = b",".join(value.encode() for value in legacy.requests[0].header("X-Forwarded-For"))
            assert said.replace(b" ", b"") == b"9.9.9.9,127.0.0.1"
    finally:
        await legacy.stop()
