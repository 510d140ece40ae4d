"""Payments through a split route with a ledger, over real sockets: no key is executed twice, whatever provider, client or worker does."""

# ruff: noqa: ASYNC110 - what the gateway has done has no event to wait for
from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.support.gateway import Exchange, Held, Upstream, ok
from tests.support.payments import Till, keys_of, request, till
from tests.support.tokens import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Till]:
    async with till(tmp_path_factory.mktemp("shop")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def shop(shared_shop: Till) -> AsyncIterator[Till]:
    """The one of this module, with nothing left of the test before: to start a gateway takes some two seconds of CPU."""
    yield shared_shop
    await shared_shop.forget()


@pytest_asyncio.fixture(loop_scope="module")
async def own_shop(tmp_path: Path) -> AsyncIterator[Till]:
    """For a test that reads what was counted, or looks at files."""
    async with till(tmp_path) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Till]:
    folder = tmp_path_factory.mktemp("hasty")
    async with till(folder, edit=lambda toml: toml.replace('response_timeout = "20s"', 'response_timeout = "1s"')) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(shared_hasty: Till) -> AsyncIterator[Till]:
    """Whose providers have a second."""
    yield shared_hasty
    await shared_hasty.forget()


def error(response: object) -> str | None:
    return response.header("Banyan-Error")  # type: ignore[attr-defined, no-any-return] # a Response


async def never(_exchange: Exchange) -> None:
    """Reads, and never answers."""
    await asyncio.sleep(60)


async def dies(exchange: Exchange) -> None:
    exchange.reset()


async def test_a_repeat_gets_the_same_answer_and_nothing_is_sent(own_shop: Till) -> None:
    key = own_shop.key_of("psp-a")
    first = await own_shop.pay(key)
    assert (first.status, first.body, first.header("X-Provider"), first.header("Banyan-Replayed")) == (201, b"psp-a 1", "psp-a", None)
    assert first.header("Set-Cookie") == "secret=1"
    again = await own_shop.pay(key)
    assert (again.status, again.body, again.header("X-Provider"), again.header("Banyan-Replayed")) == (201, b"psp-a 1", "psp-a", "true")
    assert again.header("Set-Cookie") is None  # it is nobody's to keep
    assert "reason=replayed" in (again.header("Banyan-Route") or "")
    assert own_shop.charged() == {"psp-a": 1, "psp-b": 0}
    assert own_shop.providers["psp-a"].requests[0].header("Idempotency-Key") == [key]
    await own_shop.counted(claimed=1, answered=1, replayed=1)


async def test_two_requests_one_after_the_other_on_one_connection(shop: Till) -> None:
    client = await shop.gateway.connect()
    bodies = [(await client.request(request(key))).body for key in (shop.key_of("psp-a"), shop.key_of("psp-b"), shop.key_of("psp-a"))]
    assert bodies == [b"psp-a 1", b"psp-b 1", b"psp-a 1"]


async def test_pipelined_twins_are_one_payment(shop: Till) -> None:
    client = await shop.gateway.connect()
    await client.send(request(shop.key_of("psp-a")) * 3)
    answers = [await client.response() for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(201, b"psp-a 1")] * 3
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}


async def test_another_request_with_the_same_key_is_refused(shop: Till) -> None:
    key = shop.key_of("psp-a")
    await shop.pay(key)
    for other in (shop.pay(key, "pay more"), shop.pay(key, path="/payments/2"), shop.pay(key, method="PUT")):
        answer = await other
        assert (answer.status, error(answer)) == (422, "key-reused")
    assert shop.charged() == {"psp-a": 1, "psp-b": 0}


async def test_a_twin_that_comes_meanwhile_is_told_so(shop: Till) -> None:
    held = shop.providers["psp-b"].handler = Held()
    key = shop.key_of("psp-b")
    first = asyncio.create_task(shop.pay(key))
    while not shop.providers["psp-b"].requests:
        await asyncio.sleep(0.01)
    twin = await shop.pay(key)
    assert (twin.status, error(twin)) == (409, "key-running")
    other = await shop.pay(key, "pay more")
    assert (other.status, error(other)) == (422, "key-reused")
    held.go.set()
    assert (await first).status == 200
    assert shop.charged() == {"psp-a": 0, "psp-b": 1}


async def test_keys_are_one_and_well_formed(shop: Till) -> None:
    refused = [
        await shop.pay(),
        await shop.pay("k" * 256),
        await shop.pay("k", head="Idempotency-Key: other\r\n"),
        await shop.pay("k\xe9"),
        await shop.pay(head="Idempotency-Key:\r\n"),
    ]
    assert [(answer.status, error(answer)) for answer in refused] == [(400, "idempotency-key")] * len(refused)
    assert shop.charged() == {"psp-a": 0, "psp-b": 0}
    assert (await shop.pay("k" * 255)).status == 201
    assert (await shop.pay(method="GET", body="")).status == 201  # what changes nothing needs no key, and is not written down
    assert (await shop.pay("some", method="GET", body="")).header("Banyan-Replayed") is None
    with shop.ledger() as ledger:
        assert ledger.rows("SELECT count(*) FROM ledger_entry") == [(1,)]


async def test_who_refuses_gets_nothing_and_the_other_is_asked(own_shop: Till) -> None:
    await own_shop.providers["psp-a"].stop()
    key = own_shop.key_of("psp-a")
    answer = await own_shop.pay(key)
    assert (answer.status, answer.body) == (201, b"psp-b 1")
    assert "reason=fallback-refused" in (answer.header("Banyan-Route") or "")
    await own_shop.providers["psp-a"].start(own_shop.providers["psp-a"].port)
    again = await own_shop.pay(key)
    assert (again.body, again.header("Banyan-Replayed")) == (b"psp-b 1", "true")
    assert own_shop.charged() == {"psp-a": 0, "psp-b": 1}
    await own_shop.counted(claimed=1, elsewhere=1, answered=1, replayed=1)


async def test_a_key_that_met_the_second_because_the_first_refused_never_meets_the_first(hasty: Till) -> None:
    await hasty.providers["psp-a"].stop()
    hasty.providers["psp-b"].handler = never
    key = hasty.key_of("psp-a")
    lost = await hasty.pay(key)
    assert (lost.status, error(lost)) == (504, "outcome-unknown-timeout")
    await hasty.providers["psp-a"].start(hasty.providers["psp-a"].port)
    again = await hasty.pay(key)
    assert (again.status, error(again)) == (409, "in-doubt")
    assert hasty.charged() == {"psp-a": 0, "psp-b": 1}
    found = await hasty.doubt()
    assert (found.provider, found.refused, found.reason, found.key) == ("psp-b", ("psp-a",), "timeout", key)


async def test_where_all_refuse_the_key_is_given_back(shop: Till) -> None:
    for provider in shop.providers.values():
        await provider.stop()
    key = shop.key_of("psp-a")
    answer = await shop.pay(key)
    assert (answer.status, error(answer)) == (502, "upstream-unreachable")
    for provider in shop.providers.values():
        await provider.start(provider.port)
    assert (await shop.pay(key)).body == b"psp-a 1"
    assert shop.doubts() == []


@pytest.mark.parametrize(
    ("fault", "status", "code", "reason", "provider_status"),
    [
        (never, 504, "outcome-unknown-timeout", "timeout", 0),
        (dies, 502, "outcome-unknown", "reset", 0),
        ("half", 502, "outcome-unknown", "reset", 201),
        ("garbage", 502, "outcome-unknown", "bad-answer", 0),
        ("503", 502, "outcome-unknown", "status-503", 503),
        ("half a 500", 502, "outcome-unknown", "status-500", 500),
    ],
)
async def test_what_was_sent_and_not_answered_is_in_doubt(
    hasty: Till, fault: object, status: int, code: str, reason: str, provider_status: int
) -> None:
    raw = {
        "half": b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhalf",
        "garbage": b"what\r\n\r\n",
        "503": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        "half a 500": b"HTTP/1.1 500 Broken\r\nContent-Length: 10\r\n\r\n",
    }

    async def answer(exchange: Exchange) -> None:
        await exchange.send(raw[str(fault)])
        if str(fault) == "half":
            exchange.reset()
        elif "half" in str(fault):
            await never(exchange)

    hasty.providers["psp-a"].handler = answer if isinstance(fault, str) else fault  # type: ignore[assignment] # a handler
    key = hasty.key_of("psp-a")
    lost = await hasty.pay(key, head="X-Extra: 1\r\n")
    assert (lost.status, error(lost)) == (status, code)
    assert "not known" in orjson.loads(lost.body)["detail"]
    again = await hasty.pay(key)
    assert (again.status, error(again)) == (409, "in-doubt")
    assert hasty.charged() == {"psp-a": 1, "psp-b": 0}
    found = await hasty.doubt()
    assert (found.reason, found.status, found.provider, found.key, found.method, found.target) == (
        reason,
        provider_status,
        "psp-a",
        key,
        "POST",
        "/payments/1",
    )
    assert found.request_id == hasty.providers["psp-a"].requests[0].header("X-Request-ID")[0]
    assert (found.size, found.attempts, found.refused) == (3, 1, ())
    client = await hasty.gateway.connect()
    assert (await client.request(request(hasty.key_of("psp-b")))).status == 201  # the gateway goes on


async def test_a_provider_that_knows_keys_is_asked_once_more(tmp_path: Path) -> None:
    async with till(tmp_path, idempotent=True) as shop:
        provider = shop.providers["psp-a"]
        charge = provider.handler

        async def second(exchange: Exchange) -> None:
            if len(provider.requests) < 2:
                exchange.reset()
            else:
                await charge(exchange)

        provider.handler = second
        answer = await shop.pay(shop.key_of("psp-a"))
        assert (answer.status, answer.body) == (201, b"psp-a 2")
        assert [each.header("Idempotency-Key") for each in provider.requests] == [[shop.key_of("psp-a")]] * 2
        assert shop.doubts() == []
        provider.handler = dies
        key = shop.key_of("psp-a", 1)
        lost = await shop.pay(key)
        assert (lost.status, error(lost)) == (502, "outcome-unknown")
        assert (len(provider.requests), (await shop.doubt()).attempts) == (4, 2)
        # The client's own repeat goes to the same provider, and to no other, even where that refuses.
        await provider.stop()
        again = await shop.pay(key)
        assert (again.status, error(again)) == (502, "outcome-unknown")
        assert shop.charged()["psp-b"] == 0
        await provider.start(provider.port)
        provider.handler = charge
        healed = await shop.pay(key)
        assert (healed.status, healed.body) == (201, b"psp-a 5")
        assert "reason=pinned" in (healed.header("Banyan-Route") or "")
        assert shop.doubts() == []
        assert (await shop.pay(key)).header("Banyan-Replayed") == "true"


async def test_a_provider_that_is_lost_for_one_that_knows_no_keys(tmp_path: Path) -> None:
    async with till(tmp_path, idempotent=True) as shop:
        shop.providers["psp-b"].handler = dies
        key = shop.key_of("psp-b")
        assert (await shop.pay(key)).status == 502
        assert (await shop.pay(key)).status == 409
        assert shop.charged() == {"psp-a": 0, "psp-b": 1}


async def test_without_a_ledger_nothing_is_sent(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        assert (await shop.pay(shop.key_of("psp-a"))).status == 201
        blocking = sqlite3.connect(tmp_path / "var" / "ledger.sqlite3", isolation_level=None)
        blocking.execute("BEGIN EXCLUSIVE")
        try:
            away = await shop.pay(shop.key_of("psp-a", 1))
            assert (away.status, error(away)) == (503, "ledger-unavailable")
            assert away.header("Retry-After") == "1"
            assert (await shop.pay(shop.key_of("psp-a"), method="GET", body="")).status == 201  # what changes nothing needs none
        finally:
            blocking.execute("ROLLBACK")
            blocking.close()
        assert shop.charged() == {"psp-a": 1, "psp-b": 0}
        async with asyncio.timeout(10):
            while (await shop.pay(shop.key_of("psp-a", 1))).status == 503:
                await asyncio.sleep(0.1)
        assert shop.charged() == {"psp-a": 2, "psp-b": 0}
        assert shop.doubts() == []


async def test_the_answer_of_a_request_that_was_under_way_when_the_ledger_went_is_given_and_written_later(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        provider, key = shop.providers["psp-a"], shop.key_of("psp-a")
        charge, going = provider.handler, asyncio.Event()

        async def late(exchange: Exchange) -> None:
            await going.wait()
            await charge(exchange)

        provider.handler = late
        first = asyncio.create_task(shop.pay(key))
        while not provider.requests:
            await asyncio.sleep(0.01)
        blocking = sqlite3.connect(tmp_path / "var" / "ledger.sqlite3", isolation_level=None)
        blocking.execute("BEGIN EXCLUSIVE")
        try:
            going.set()
            answer = await first
            assert (answer.status, answer.body) == (201, b"psp-a 1")
        finally:
            blocking.execute("ROLLBACK")
            blocking.close()
        async with asyncio.timeout(10):
            while (again := await shop.pay(key)).status != 201:
                assert error(again) in ("key-running", "ledger-unavailable")
                await asyncio.sleep(0.1)
        assert (again.body, again.header("Banyan-Replayed")) == (b"psp-a 1", "true")
        assert len(provider.requests) == 1


async def test_a_worker_that_is_killed_leaves_a_doubt_and_never_a_second_payment(tmp_path: Path) -> None:
    async with till(tmp_path, workers=2) as shop:
        held = shop.providers["psp-a"].handler = Held()
        key = shop.key_of("psp-a")
        client = await shop.gateway.connect()
        await client.send(request(key))
        while not shop.providers["psp-a"].requests:
            await asyncio.sleep(0.01)
        for worker in shop.gateway.workers():
            os.kill(worker, signal.SIGKILL)
        assert await client.rest() == b""
        held.go.set()
        answers = set()
        async with asyncio.timeout(30):
            while "in-doubt" not in answers:
                try:
                    again = await shop.pay(key)
                except OSError:
                    continue
                answers.add(error(again))
                await asyncio.sleep(0.2)
        assert answers <= {"key-running", "in-doubt", "ledger-unavailable"}
        assert (await shop.doubt()).reason == "worker-lost"
        assert shop.charged() == {"psp-a": 1, "psp-b": 0}


async def test_a_client_that_leaves_does_not_end_its_payment(own_shop: Till) -> None:
    held = own_shop.providers["psp-a"].handler = Held()
    key = own_shop.key_of("psp-a")
    client = await own_shop.gateway.connect()
    await client.send(request(key))
    while not own_shop.providers["psp-a"].requests:
        await asyncio.sleep(0.01)
    client.reset()
    await own_shop.counted(client_gone=1)
    assert (await own_shop.pay(key)).status == 409
    held.go.set()
    async with asyncio.timeout(10):
        while (again := await own_shop.pay(key)).status == 409:
            await asyncio.sleep(0.05)
    assert (again.status, again.body, again.header("Banyan-Replayed")) == (200, b"ok", "true")
    assert len(own_shop.providers["psp-a"].requests) == 1


async def test_a_payment_whose_client_left_keeps_its_place_until_it_ends(tmp_path: Path) -> None:
    """Its provider works on it as before: whoever leaves and comes again must not have it do more at once than it is good for."""
    limit = "concurrency = { limit = 2, queue = 0 }\nidempotent = false"
    async with till(tmp_path, edit=lambda toml: toml.replace("idempotent = false", limit)) as shop:
        held = shop.providers["psp-a"].handler = Held()
        keys = iter(keys_of("psp-a"))
        for count in (1, 2):
            client = await shop.gateway.connect()
            await client.send(request(next(keys)))
            while len(shop.providers["psp-a"].requests) < count:
                await asyncio.sleep(0.01)
            client.reset()
            await shop.counted(client_gone=count)
        beyond = [await shop.pay(next(keys)) for _ in range(3)]
        assert [(answer.status, error(answer)) for answer in beyond] == [(503, "shed")] * 3
        assert len(shop.providers["psp-a"].requests) == 2
        held.go.set()
        await shop.counted(answered=2)
        assert [(await shop.pay(next(keys))).status for _ in range(3)] == [200] * 3


async def test_a_payment_whose_client_left_and_whose_provider_dies_gives_its_place_back(tmp_path: Path) -> None:
    limit = "concurrency = { limit = 1, queue = 0 }\nidempotent = false"
    async with till(tmp_path, edit=lambda toml: toml.replace("idempotent = false", limit)) as shop:
        gone = asyncio.Event()

        async def fails(exchange: Exchange) -> None:
            await gone.wait()
            exchange.reset()

        shop.providers["psp-a"].handler = fails
        keys = iter(keys_of("psp-a"))
        client = await shop.gateway.connect()
        await client.send(request(next(keys)))
        while not shop.providers["psp-a"].requests:
            await asyncio.sleep(0.01)
        client.reset()
        await shop.counted(client_gone=1)
        assert error(await shop.pay(next(keys))) == "shed"
        gone.set()
        await shop.doubt()
        shop.providers["psp-a"].handler = ok
        assert [(await shop.pay(next(keys))).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked", "Content-Length: 30000"])
@pytest.mark.parametrize("before", [0, 5000])
async def test_a_payment_whose_client_left_and_whose_answer_does_not_end_is_in_doubt(tmp_path: Path, head: str, before: int) -> None:
    """A provider that trickles. `before`: so much of the answer comes while the client is there: none, or more than is kept."""

    def edited(toml: str) -> str:
        toml = toml.replace("idempotent = false", "concurrency = { limit = 1, queue = 0 }\nidempotent = false")
        return toml.replace('response_timeout = "20s"', 'response_timeout = "2s"')

    async with till(tmp_path, edit=edited) as shop:
        left = asyncio.Event()

        def part(size: int) -> bytes:
            return b"%x\r\n%b\r\n" % (size, b"x" * size) if "chunked" in head else b"x" * size

        async def trickles(exchange: Exchange) -> None:
            if before:
                await exchange.send(f"HTTP/1.1 201 Created\r\n{head}\r\n\r\n".encode() + part(before))
            await left.wait()
            if not before:
                await exchange.send(f"HTTP/1.1 201 Created\r\n{head}\r\n\r\n".encode())
            while True:
                await exchange.send(part(1))
                await asyncio.sleep(0.1)

        shop.providers["psp-a"].handler = trickles
        keys = iter(keys_of("psp-a"))
        client = await shop.gateway.connect()
        await client.send(request(next(keys)))
        if before:
            await client.reader.readuntil(b"xxx")
        while not shop.providers["psp-a"].requests:
            await asyncio.sleep(0.01)
        client.reset()
        await shop.counted(client_gone=1)
        left.set()
        found = await shop.doubt()
        assert (found.reason, found.status) == ("cut-off" if before or "Length" in head else "timeout", 201)
        shop.providers["psp-a"].handler = ok
        assert [(await shop.pay(next(keys))).status for _ in range(3)] == [200] * 3


async def test_a_client_that_leaves_and_a_provider_that_dies(own_shop: Till) -> None:
    gone = asyncio.Event()

    async def fails(exchange: Exchange) -> None:
        await gone.wait()
        exchange.reset()

    own_shop.providers["psp-a"].handler = fails
    client = await own_shop.gateway.connect()
    await client.send(request(own_shop.key_of("psp-a")))
    while not own_shop.providers["psp-a"].requests:
        await asyncio.sleep(0.01)
    client.reset()
    await own_shop.counted(client_gone=1)
    gone.set()
    assert (await own_shop.doubt()).reason == "reset"
    async with asyncio.timeout(10):
        while 'banyan_requests_in_flight{worker="0"} 0.0' not in await asyncio.to_thread(own_shop.gateway.metrics):
            await asyncio.sleep(0.1)


async def test_a_gateway_that_ends_waits_for_its_payments(tmp_path: Path) -> None:
    async with till(tmp_path) as shop:
        held = shop.providers["psp-a"].handler = Held()
        key = shop.key_of("psp-a")
        paying = asyncio.create_task(shop.pay(key))
        while not shop.providers["psp-a"].requests:
            await asyncio.sleep(0.01)
        os.kill(shop.gateway.process.pid, signal.SIGINT)
        await asyncio.sleep(0.3)
        held.go.set()
        assert (await paying).status == 200
        await asyncio.to_thread(shop.gateway.process.process.wait, 20)
        assert shop.doubts() == []
        with shop.ledger() as ledger:
            assert ledger.rows("SELECT state FROM ledger_entry") == [("answered",)]


async def test_a_long_answer_is_passed_on_and_not_kept(shop: Till) -> None:
    async def long(exchange: Exchange) -> None:
        await exchange.answer(b"x" * 20_000)

    async def chunked(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            await exchange.send(b"3e8\r\n" + b"y" * 1000 + b"\r\n")
        await exchange.send(b"0\r\n\r\n")

    for number, (handler, body) in enumerate(((long, b"x" * 20_000), (chunked, b"y" * 20_000))):
        shop.providers["psp-a"].handler = handler
        key = shop.key_of("psp-a", number)
        assert (await shop.pay(key)).body == body
        again = await shop.pay(key)
        assert (again.status, error(again)) == (409, "answered-before")
    assert shop.charged() == {"psp-a": 2, "psp-b": 0}


async def test_a_long_answer_that_breaks_off_is_in_doubt(shop: Till) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 201 Created\r\nContent-Length: 30000\r\n\r\n" + b"x" * 20_000)
        await asyncio.sleep(0.1)
        exchange.reset()

    shop.providers["psp-a"].handler = breaks
    client = await shop.gateway.connect()
    await client.send(request(shop.key_of("psp-a")))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.response()
    found = await shop.doubt()
    assert (found.reason, found.status) == ("cut-off", 201)


async def test_short_chunked_answers_are_kept(shop: Till) -> None:
    async def chunked(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        await asyncio.sleep(0.05)
        await exchange.send(b"2\r\ncd\r\n0\r\n\r\n")

    async def nothing(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 204 No Content\r\nX-Charge: 9\r\n\r\n")

    for number, (handler, status, body) in enumerate(((chunked, 200, b"abcd"), (nothing, 204, b""))):
        shop.providers["psp-a"].handler = handler
        key = shop.key_of("psp-a", number)
        first, again = await shop.pay(key), await shop.pay(key)
        assert [(each.status, each.body) for each in (first, again)] == [(status, body)] * 2
        assert again.header("Banyan-Replayed") == "true"


async def test_bodies_in_chunks_and_those_that_wait_for_100(shop: Till) -> None:
    key = shop.key_of("psp-a")
    client = await shop.gateway.connect()
    head = f"POST /payments/1 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\n".encode()
    await client.send(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\np\r\n")
    await asyncio.sleep(0.05)
    assert shop.providers["psp-a"].requests == []
    await client.send(b"2\r\nay\r\n0\r\n\r\n")
    assert (await client.response()).body == b"psp-a 1"
    assert shop.providers["psp-a"].requests[0].body == b"pay"
    assert (await shop.pay(key)).header("Banyan-Replayed") == "true"  # the same, however it was framed
    await client.send(head.replace(key.encode(), shop.key_of("psp-a", 1).encode()) + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.response()).status == 100
    await client.send(b"pay")
    assert (await client.response()).status == 201


async def test_what_cannot_be_held_whole_is_refused(shop: Till) -> None:
    long = await shop.pay("k", "x" * 9000)
    assert (long.status, error(long)) == (413, "body-too-large")
    client = await shop.gateway.connect()
    await client.send(b"POST /payments/1 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(10):
        await client.send(b"3e8\r\n" + b"y" * 1000 + b"\r\n")
    assert (await client.response()).status == 413
    assert shop.charged() == {"psp-a": 0, "psp-b": 0}


async def test_without_a_key_where_none_is_required(shop: Till) -> None:
    first, second = await shop.pay(path="/refunds"), await shop.pay(path="/refunds")
    assert (first.status, second.status) == (201, 201)
    assert sum(shop.charged().values()) == 2
    for provider in shop.providers.values():
        provider.handler = dies
    lost = await shop.pay(path="/refunds")
    assert (lost.status, error(lost)) == (502, "outcome-unknown")
    found = await shop.doubt()
    assert (found.key, found.route) == ("", "refunds")
    assert found.request_id == orjson.loads(lost.body)["request_id"]
    with shop.ledger() as ledger:
        assert ledger.rows("SELECT count(*) FROM ledger_entry") == [(1,)]


async def test_never_means_that_nobody_else_is_asked(shop: Till) -> None:
    key = keys_of("psp-a", "refunds")[0]
    await shop.providers["psp-a"].stop()
    refused = await shop.pay(key, path="/refunds")
    assert (refused.status, error(refused)) == (502, "upstream-unreachable")
    assert shop.charged() == {"psp-a": 0, "psp-b": 0}


async def test_a_field_keeps_its_provider_and_what_was_not_sent_goes_elsewhere(shop: Till) -> None:
    met = {cart: (await shop.pay(path="/carts/1", head=f"X-Cart: {cart}\r\n")).header("X-Provider") for cart in range(12)}
    assert set(met.values()) == {"psp-a", "psp-b"}
    again = {cart: (await shop.pay(path="/carts/1", head=f"X-Cart: {cart}\r\n")).header("X-Provider") for cart in range(12)}
    assert met == again
    cart = next(cart for cart, provider in met.items() if provider == "psp-a")
    head = f"X-Cart: {cart}\r\n"
    charge = shop.providers["psp-a"].handler
    shop.providers["psp-a"].handler = dies
    before = shop.charged()["psp-b"]
    assert (await shop.pay(path="/carts/1", head=head)).status == 502  # it was sent
    assert shop.charged()["psp-b"] == before
    assert (await shop.pay(path="/carts/1", head=head, method="GET", body="")).header("X-Provider") == "psp-b"  # changes nothing
    await shop.providers["psp-a"].stop()
    assert (await shop.pay(path="/carts/1", head=head)).header("X-Provider") == "psp-b"
    await shop.providers["psp-a"].start(shop.providers["psp-a"].port)
    shop.providers["psp-a"].handler = charge
    assert shop.doubts() == []


class Knows(Upstream):
    """Legacy, that is asked who calls; the providers are asked for what is paid."""

    def __init__(self) -> None:
        super().__init__(self._who)
        self.says = "200 OK"

    async def _who(self, exchange: Exchange) -> None:
        await exchange.answer(orjson.dumps({"authenticated": True, "user_id": 7}), self.says)


async def test_what_a_user_repeats_while_nobody_can_say_who_he_is_is_not_sent(tmp_path: Path) -> None:
    """Taken for anybody's, his key would be as new, and he would pay a second time."""
    knows = Knows()
    await knows.start()

    def identified(toml: str) -> str:
        return re.sub(r'legacy = ".*"', f'legacy = "http://127.0.0.1:{knows.port}"', toml) + (
            '[identity]\nsource = "introspection"\npath = "/who"\ncache = "100ms"\nnegative_cache = "100ms"\ngrace = "0s"\ntimeout = "1s"\n'
        )

    head = "Cookie: sessionid=alice\r\n"
    try:
        async with till(tmp_path, edit=identified) as shop:
            key = shop.key_of("psp-a")
            assert (await shop.pay(key, head=head)).status == 201
            await asyncio.sleep(0.2)  # he is not remembered any more
            knows.says = "500 No"
            again = await shop.pay(key, head=head)
            assert (again.status, error(again)) == (503, "identity-unavailable")
            assert (await shop.pay(key_of_nobody := shop.key_of("psp-a", 1))).status == 201, "whoever shows no credential is anybody"
            knows.says = "200 OK"
            async with asyncio.timeout(10):
                while (again := await shop.pay(key, head=head)).status == 503:
                    await asyncio.sleep(0.1)
            assert (again.status, again.header("Banyan-Replayed")) == (201, "true")
            assert shop.charged() == {"psp-a": 2, "psp-b": 0}
            assert key_of_nobody != key
    finally:
        await knows.stop()


async def test_a_credential_that_is_no_good_makes_no_new_key_of_a_users(tmp_path: Path) -> None:
    def identified(toml: str) -> str:
        key = f'keys = [{{ algorithm = "HS256", secret = "{SECRET}" }}]'
        return toml + f'[identity]\nsource = "jwt"\n[identity.jwt]\nalgorithms = ["HS256"]\n{key}\n'

    async with till(tmp_path, edit=identified) as shop:
        key = shop.key_of("psp-a")
        refused = await shop.pay(key, head="Authorization: Bearer no.token.atall\r\n")
        assert (refused.status, error(refused)) == (401, "unauthenticated")
        assert (refused.header("WWW-Authenticate") or "").startswith("Bearer")
        assert shop.charged() == {"psp-a": 0, "psp-b": 0}
        assert (await shop.pay(key)).status == 201


async def test_no_secret_reaches_the_ledger(own_shop: Till, tmp_path: Path) -> None:
    answer = await own_shop.pay(own_shop.key_of("psp-a"), "card=4111111111111111", path="/payments/1?token=hunter2&card=4111111111111111")
    assert answer.status == 201
    with own_shop.ledger() as ledger:
        assert ledger.rows("SELECT target FROM ledger_entry")[0][0] == "/payments/1?token=*&card=*"
        ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    data = b"".join(path.read_bytes() for path in (tmp_path / "var").glob("ledger*"))
    assert own_shop.key_of("psp-a").encode() in data
    for secret in (b"hunter2", b"4111111111111111", b"secret=1", answer.body):
        assert secret not in data


@pytest.mark.parametrize("status", ["429 Too Many Requests", "409 Conflict", "404 Not Found"])
async def test_a_put_that_is_refused_when_it_goes_out_once_more_may_have_been_executed_before(shop: Till, status: str) -> None:
    """Its connection had been kept and died with it: a PUT goes out again by that, and the refusal is of the second try alone."""
    provider = shop.providers["psp-a"]
    first, second = shop.key_of("psp-a"), shop.key_of("psp-a", 1)

    async def executes_and_dies(exchange: Exchange) -> None:
        count = len(provider.requests)
        if count == 1:
            await exchange.answer()
        elif count == 2:
            exchange.reset()
        else:
            await exchange.answer(b"", status)

    provider.handler = executes_and_dies
    assert (await shop.pay(first, method="PUT")).status == 200
    answer = await shop.pay(second, method="PUT")
    assert len(provider.requests) == 3
    assert (answer.status, error(answer)) == (502, "outcome-unknown")
    found = await shop.doubt()
    assert (found.key, found.reason, found.provider) == (second, f"status-{status[:3]}", "psp-a")
    assert error(await shop.pay(second, method="PUT")) == "in-doubt"
    assert shop.charged() == {"psp-a": 3, "psp-b": 0}


async def test_a_route_keeps_a_ledger_from_a_reload_on(tmp_path: Path) -> None:
    def without(toml: str) -> str:
        for line in ('sticky = "idempotency-key"\n', "require_key = true\n"):
            toml = toml.replace(line, "")
        return toml

    async def reload(edit: Callable[[str], str]) -> int:
        path = tmp_path / "banyan.toml"
        await asyncio.to_thread(path.write_text, edit(await asyncio.to_thread(path.read_text)))
        async with httpx.AsyncClient() as client:
            return (await client.post(f"http://127.0.0.1:{shop.gateway.admin}/reload", timeout=20)).status_code

    async with till(tmp_path, edit=without) as shop:
        assert (await shop.pay("k")).status == 201
        assert (await shop.pay("k")).header("Banyan-Replayed") is None
        assert not (tmp_path / "var" / "ledger.sqlite3").exists()
        assert await reload(lambda toml: toml.replace('name = "payments"\n', 'name = "payments"\nsticky = "idempotency-key"\n')) == 200
        async with asyncio.timeout(10):
            while (first := await shop.pay("k")).status != 201:
                assert error(first) == "ledger-unavailable"  # for as long as it takes to make it
        held = Held()
        for provider in shop.providers.values():
            provider.handler = held
        paying = asyncio.create_task(shop.pay("k-2"))
        before = sum(shop.charged().values())
        while sum(shop.charged().values()) == before:
            await asyncio.sleep(0.01)
        assert await reload(lambda toml: toml.replace('answer_bytes = "4KiB"', 'answer_bytes = "2KiB"')) == 200
        assert error(await shop.pay("k-2")) == "key-running"
        held.go.set()
        assert (await paying).status == 200
        assert [(await shop.pay(key)).header("Banyan-Replayed") for key in ("k", "k-2")] == ["true", "true"]
        assert await reload(lambda toml: toml.replace("var/ledger.sqlite3", "var/other.sqlite3")) == 422
        assert (await shop.pay("k")).header("Banyan-Replayed") == "true"


async def test_what_is_said_of_it_to_operators(own_shop: Till) -> None:
    own_shop.providers["psp-a"].handler = dies
    await own_shop.pay(own_shop.key_of("psp-a"))
    async with asyncio.timeout(15):
        while 'banyan_payments_in_doubt{route="payments"} 1.0' not in (text := await asyncio.to_thread(own_shop.gateway.metrics)):
            await asyncio.sleep(0.1)
    assert 'banyan_ledger_up{worker="0"} 1.0' in text
    assert 'banyan_payments_in_doubt{route="refunds"} 0.0' in text
    assert "carts" not in "".join(line for line in text.splitlines() if "in_doubt" in line)
    routes = {route["name"]: route["split"] for route in (await asyncio.to_thread(own_shop.gateway.get, "/routes"))["routes"]}
    shown = {key: routes["payments"][key] for key in ("sticky", "failover", "ledger", "require_key", "in_doubt")}
    assert shown == {"sticky": "idempotency-key", "failover": "safe", "ledger": True, "require_key": True, "in_doubt": 1}
    assert (routes["carts"]["sticky"], routes["carts"]["ledger"], routes["carts"]["in_doubt"]) == ("header:X-Cart", False, None)
