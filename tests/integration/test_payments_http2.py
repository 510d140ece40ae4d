"""Payments over HTTP/2: what holds over HTTP/1.1 holds where many requests share a connection, and one of them leaves alone."""

# ruff: noqa: ASYNC110 - what the gateway has done has no event to wait for
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.gateway import Exchange, Held
from tests.support.http2 import Answer, Client, Fields, get
from tests.support.payments import Till, till

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[tuple[Till, Authority]]:
    authority = Authority(folder)
    authority.issue("shop", "shop.test")
    tls = 'http2 = true\ntls = { certificate = "shop.pem", key = "shop.key" }\n'
    async with till(folder, edit=lambda toml: toml.replace("[gateway]\n", f"[gateway]\n{tls}", 1)) as shop:
        yield shop, authority


@asynccontextmanager
async def connected(shop: Till, authority: Authority) -> AsyncIterator[Client]:
    context = authority.client()
    context.set_alpn_protocols(["h2"])
    client = await Client.connect(shop.gateway.port, context, server_name="shop.test")
    try:
        yield client
    finally:
        client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Till, Authority]]:
    async with secured(tmp_path_factory.mktemp("secured")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def shop(shared: tuple[Till, Authority]) -> AsyncIterator[Till]:
    """The one of this module."""
    yield shared[0]
    await shared[0].forget()


@pytest_asyncio.fixture(loop_scope="module")
async def client(shop: Till, shared: tuple[Till, Authority]) -> AsyncIterator[Client]:
    async with connected(*shared) as client:
        yield client


def asked(method: str, key: str, body: bytes = b"pay") -> Fields:
    return get("/payments/1", method, "a", ("idempotency-key", key), ("content-length", str(len(body))))


async def pay(client: Client, method: str, key: str, body: bytes = b"pay") -> Answer:
    return await client.request(asked(method, key, body), body)


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_it_is_executed_once(shop: Till, client: Client, method: str) -> None:
    key = shop.key_of("psp-a")
    first = await pay(client, method, key)
    assert (first.status, bytes(first.body), first.header("banyan-replayed")) == (201, b"psp-a 1", None)
    again = await pay(client, method, key)
    assert (again.status, bytes(again.body), again.header("banyan-replayed")) == (201, b"psp-a 1", "true")
    other = await pay(client, method, key, b"pay more")
    assert (other.status, other.header("banyan-error")) == (422, "key-reused")
    without = await client.request(get("/payments/1", method, "a", ("content-length", "3")), b"pay")
    assert (without.status, without.header("banyan-error")) == (400, "idempotency-key")
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_twins_on_one_connection(shop: Till, client: Client, method: str) -> None:
    held = shop.providers["psp-a"].handler = Held()
    key = shop.key_of("psp-a")
    numbers = [await client.send(asked(method, key), b"pay") for _ in range(8)]
    answers = client.answers
    await client.until(lambda: sum(answers[number].over for number in numbers) == 7)
    assert {answers[number].header("banyan-error") for number in numbers if answers[number].over} == {"key-running"}
    held.go.set()
    await client.until(lambda: all(answers[number].over for number in numbers))
    assert sorted(answers[number].status for number in numbers) == [200] + [409] * 7
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}


async def test_a_put_that_was_sent_and_not_answered_goes_to_nobody_else(shop: Till, client: Client) -> None:
    """HTTP calls it idempotent; at one server it is."""

    async def dies(exchange: Exchange) -> None:
        exchange.reset()

    shop.providers["psp-a"].handler = dies
    key = shop.key_of("psp-a")
    answer = await pay(client, "PUT", key)
    assert (answer.status, answer.header("banyan-error")) == (502, "outcome-unknown")
    again = await pay(client, "PUT", key)
    assert (again.status, again.header("banyan-error")) == (409, "in-doubt")
    found = await shop.doubt()
    assert (found.method, found.key, found.reason) == ("PUT", key, "reset")
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_stream_that_is_reset_does_not_end_its_payment(tmp_path: Path, method: str) -> None:
    async with secured(tmp_path) as started, connected(*started) as client:
        shop = started[0]
        held = shop.providers["psp-a"].handler = Held()
        key = shop.key_of("psp-a")
        number = await client.send(asked(method, key), b"pay")
        while not shop.providers["psp-a"].requests:
            await asyncio.sleep(0.01)
        client.reset(number)
        await client.flush()
        await shop.counted(client_gone=1)
        assert (await pay(client, method, key)).header("banyan-error") == "key-running"
        held.go.set()
        async with asyncio.timeout(10):
            while (again := await pay(client, method, key)).status == 409:
                await asyncio.sleep(0.05)
        assert (again.status, bytes(again.body), again.header("banyan-replayed")) == (200, b"ok", "true")
        assert shop.charged() == {"psp-a": 1, "psp-b": 0}


async def test_a_put_whose_body_never_ends_is_sent_to_nobody(shop: Till, client: Client) -> None:
    key = shop.key_of("psp-a")
    number = await client.send(get("/payments/1", "PUT", "a", ("idempotency-key", key)), b"pa", end=False)
    await asyncio.sleep(0.3)
    client.reset(number)
    await client.flush()
    answer = await pay(client, "PUT", key)
    assert (answer.status, answer.header("banyan-replayed")) == (201, None)
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}
