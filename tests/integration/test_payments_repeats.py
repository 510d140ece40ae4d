"""What was sent once already, and a second try that is refused: that says nothing of the first, and closes nothing."""

# ruff: noqa: ASYNC110 - what the ledger has written has no event to wait for
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Upstream, gateway, ok
from tests.support.payments import Till, request, till

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Till]:
    async with till(tmp_path_factory.mktemp("shop"), idempotent=True) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def shop(shared_shop: Till) -> AsyncIterator[Till]:
    """Whose psp-a knows keys; the one of this module."""
    yield shared_shop
    await shared_shop.forget()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Till]:
    def hasty(toml: str) -> str:
        return toml.replace('response_timeout = "20s"', 'response_timeout = "500ms"')

    async with till(tmp_path_factory.mktemp("hasty"), idempotent=True, edit=hasty) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(shared_hasty: Till) -> AsyncIterator[Till]:
    """Likewise, and both have half a second."""
    yield shared_hasty
    await shared_hasty.forget()


@pytest.mark.parametrize(
    "status",
    [
        "409 Conflict",
        "429 Too Many Requests",
        "401 Unauthorized",
        "404 Not Found",
        "421 Misdirected Request",
        "302 Found",
        "400 Bad Request",
    ],
)
async def test_a_repeat_that_is_refused_leaves_the_doubt(hasty: Till, status: str) -> None:
    """The provider is still at the first try when the second comes, says so, and charges."""

    provider = hasty.providers["psp-a"]

    async def busy(exchange: Exchange) -> None:
        if len(provider.requests) == 1:
            await asyncio.sleep(60)
        else:
            await exchange.answer(b"still at it", status)

    provider.handler = busy
    key = hasty.key_of("psp-a")
    lost = await hasty.pay(key)
    assert (lost.status, lost.header("Banyan-Error")) == (502, "outcome-unknown")
    found = await hasty.doubt()
    assert (found.key, found.reason, found.attempts) == (key, f"status-{status[:3]}", 2)
    again = await hasty.pay(key)
    assert (again.status, again.header("Banyan-Error")) == (502, "outcome-unknown"), "asked once more, refused once more"
    assert (await hasty.doubt()).key == key
    provider.handler = ok
    healed = await hasty.pay(key)
    assert (healed.status, hasty.doubts()) == (200, [])
    assert hasty.charged()["psp-b"] == 0


@pytest.mark.parametrize("status", ["402 Payment Required", "422 Unprocessable Content"])
async def test_a_repeat_whose_payment_is_refused_is_answered(shop: Till, status: str) -> None:
    provider = shop.providers["psp-a"]

    async def declines(exchange: Exchange) -> None:
        if len(provider.requests) == 1:
            exchange.reset()
        else:
            await exchange.answer(b"no", status)

    provider.handler = declines
    key = shop.key_of("psp-a")
    for replayed in (None, "true"):
        told = await shop.pay(key)
        assert (told.status, told.body, told.header("Banyan-Replayed")) == (int(status[:3]), b"no", replayed)
    assert shop.doubts() == []
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", ["404 Not Found", "400 Bad Request", "302 Found"])
async def test_a_first_try_is_answered_by_whatever_it_is_told(shop: Till, status: str) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(b"no", status)

    shop.providers["psp-a"].handler = refuses
    key = shop.key_of("psp-a")
    for replayed in (None, "true"):
        told = await shop.pay(key)
        assert (told.status, told.header("Banyan-Replayed")) == (int(status[:3]), replayed)
    assert shop.doubts() == []
    assert len(shop.providers["psp-a"].requests) == 1


async def test_a_first_try_that_is_told_to_wait_gets_its_key_back(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        provider = shop.providers["psp-a"]
        charge = provider.handler

        async def crowded(exchange: Exchange) -> None:
            await exchange.answer(b"wait", "429 Too Many Requests", b"Retry-After: 1\r\n")

        provider.handler = crowded
        key = shop.key_of("psp-a")
        told = await shop.pay(key)
        assert (told.status, told.header("Banyan-Error"), told.header("Retry-After")) == (429, None, "1")
        provider.handler = charge
        async with asyncio.timeout(10):
            while (answer := await shop.pay(key)).header("Banyan-Error") == "key-running":
                await asyncio.sleep(0.05)
        assert (answer.status, answer.header("Banyan-Replayed")) == (201, None)


@pytest.mark.parametrize("path", ["/payments/1", "/carts/1"])
async def test_what_may_have_been_read_before_a_connection_died_goes_to_no_other_provider(tmp_path: Path, path: str) -> None:
    """PUT on a kept connection: the provider executes it and dies; nobody listens there any more."""
    async with till(tmp_path) as shop:
        provider = shop.providers["psp-a"]
        client = await shop.gateway.connect()
        key = shop.key_of("psp-a")
        head = "X-Cart: 1\r\n"
        warm = await client.request(request(shop.key_of("psp-a", 1), path=path, method="PUT", head=head))
        assert warm.status == 201
        first = "psp-a" if len(provider.requests) else "psp-b"
        provider = shop.providers[first]

        async def dies(exchange: Exchange) -> None:
            exchange.reset()
            await provider.stop()

        provider.handler = dies
        before = {name: len(each.requests) for name, each in shop.providers.items()}
        lost = await client.request(request(key if first == "psp-a" else shop.key_of("psp-b"), path=path, method="PUT", head=head))
        assert (lost.status, lost.header("Banyan-Error")) == (502, "outcome-unknown")
        other = "psp-b" if first == "psp-a" else "psp-a"
        assert len(shop.providers[other].requests) == before[other], "it may have been executed"
        assert len(provider.requests) == before[first] + 1


async def test_what_may_have_been_read_at_one_address_is_not_executed_by_legacy_too(tmp_path: Path) -> None:
    """A POST with a key, to a candidate with two addresses that knows keys: one resets, and the other is closed."""

    async def reads_and_dies(exchange: Exchange) -> None:
        exchange.reset()

    legacy, new, gone = Upstream(ok), Upstream(reads_and_dies), Upstream(ok)
    for upstream in (legacy, new, gone):
        await upstream.start()
    await gone.stop()
    toml = f"""
[upstreams]
legacy = "http://127.0.0.1:{legacy.port}"
[upstreams.new]
urls = ["http://127.0.0.1:{new.port}", "http://127.0.0.1:{gone.port}"]
idempotent = true
breaker = false
[[routes]]
name = "r"
match = "/a"
candidate = "new"
"""
    raw = b"POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k1\r\nContent-Length: 2\r\n\r\nhi"
    try:
        async with gateway(tmp_path, toml, r=True) as running:
            await running.decided(r=True)
            for _ in range(4):
                answer = await running.request(raw)
                assert (answer.status, answer.header("Banyan-Error")) == (502, "outcome-unknown")
            assert len(new.requests) == 4
            assert not legacy.requests, "no other upstream knows its keys"
    finally:
        for upstream in (legacy, new):
            await upstream.stop()
