"""What a worker hands on and counts, and how it ends: the same from both engines."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from shadow.compare import Kind, Rules
from shadow.exchange import encode
from shadow.judge import Judge
from shadow.redact import Redactor
from tests.support.gateway import Client
from tests.support.gateway import Exchange as Request

if TYPE_CHECKING:
    from tests.conformance.conftest import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = b"GET /reviews/3?page=2 HTTP/1.1\r\nHost: shop.test\r\nCookie: a=secret\r\nAuthorization: Bearer secret\r\nAccept: x\r\n\r\n"
PACKED = gzip.compress(b'{"n": 1}')


async def packed(request: Request) -> None:
    await request.answer(PACKED, extra=b"Content-Encoding: gzip\r\nSet-Cookie: s=secret; Path=/; HttpOnly\r\nX-Own: y\r\n")


@pytest.mark.parametrize("serve", [False, True])
async def test_a_pair_is_handed_over(worker: Worker, serve: bool) -> None:
    worker.legacy.handler = worker.new.handler = packed
    await worker.flags(reviews=serve, reviews__shadow=True)
    assert (await worker.request(GET)).body == PACKED
    exchange = await worker.exchange()
    served, beside = (worker.new, worker.legacy) if serve else (worker.legacy, worker.new)
    assert (exchange.route, exchange.method, exchange.target, exchange.kind) == ("reviews", "GET", "/reviews/3?page=2", "pair")
    assert exchange.head == b"Host: shop.test\r\nAccept: x\r\n"
    for answer, side in ((exchange.served, "legacy"), (exchange.shadow, "candidate")):
        assert answer.side == (side if not serve else {"legacy": "candidate", "candidate": "legacy"}[side])
        assert (answer.status, answer.body, answer.skipped, answer.error) == (200, PACKED, "", "")
        cookie = b"Set-Cookie: s=*; Path=/; HttpOnly\r\n"
        assert answer.head == b"Content-Length: %d\r\nContent-Encoding: gzip\r\n%bX-Own: y\r\n" % (len(PACKED), cookie)
        assert 0 < answer.elapsed < 5
    assert served.requests[0].header("Banyan-Shadow") == []
    assert beside.requests[0].header("Banyan-Shadow") == ["1"]
    assert served.requests[0].header("X-Request-ID") == beside.requests[0].header("X-Request-ID") == [exchange.request_id]
    assert beside.requests[0].header("Cookie") == ["a=secret"]
    shadow = (await worker.counted()).route("reviews").shadow
    assert (shadow.eligible, shadow.captured, shadow.skipped, shadow.dropped) == (1, 1, {}, {})


async def test_a_cookies_value_never_leaves_the_edge(worker: Worker) -> None:
    lines = (
        b"Set-Cookie: sid=s3cret; Path=/; Domain=shop.test; Secure; HttpOnly; SameSite=Lax; Max-Age=60",
        b"SET-COOKIE:  t=s3cret ;expires=Wed, 21 Oct 2026 07:28:00 GMT",
        b"set-cookie: t=s3cret ;expires=Wed, 21 Oct 2026 07:28:00 GMT",
        b'Set-Cookie: quoted="a;s3cret"; Path=/x',
        b"Set-Cookie: s3cret",
        b"Set-Cookie: gone=; Max-Age=0",
        b"Set-Cookie: long=" + b"s3cret" * 200,
    )

    async def answer(request: Request) -> None:
        await request.answer(extra=b"\r\n".join(lines) + b"\r\n")

    worker.legacy.handler = worker.new.handler = answer
    await worker.flags(reviews=False, reviews__shadow=True)
    client = await worker.connect()
    for _ in range(3):  # the second time a head is known by its shape
        assert (await client.request(GET)).head.count(b"s3cret") == 5 + 200
        exchange = await worker.exchange()
        assert b"s3cret" not in encode(exchange)
        for side in (exchange.served, exchange.shadow):
            fields = [line.partition(b":") for line in side.head.split(b"\r\n")[:-1]]
            assert [value.strip() for name, _, value in fields if name.lower() == b"set-cookie"] == [
                b"sid=*; Path=/; Domain=shop.test; Secure; HttpOnly; SameSite=Lax; Max-Age=60",
                b"t=*; expires=Wed, 21 Oct 2026 07:28:00 GMT",
                b"t=*; expires=Wed, 21 Oct 2026 07:28:00 GMT",
                b"quoted=*; Path=/x",
                b"=*",
                b"gone=; Max-Age=0",
                b"long=*",
            ]


async def test_what_is_not_compared_is_counted_with_its_reason(worker: Worker) -> None:
    async def die(request: Request) -> None:
        request.reset()

    async def huge(request: Request) -> None:
        await request.answer(b"x" * 5000)

    await worker.flags(reviews=False, reviews__shadow=True)
    await worker.request(b"POST /reviews/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    large = b"GET /reviews/ HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
    await worker.request(large)
    worker.legacy.handler = die
    assert (await worker.request(GET)).status == 502
    await worker.flags(reviews=True, reviews__shadow=True)
    worker.new.handler = die
    worker.legacy.handler = huge
    assert len((await worker.request(GET)).body) == 5000
    # A shadow that fails is compared all the same: not to answer is a difference.
    await worker.flags(reviews=False, reviews__shadow=True)
    await worker.request(GET)
    exchange = await worker.exchange()
    assert (exchange.served.skipped, exchange.served.body) == ("too_large", b"")
    assert (exchange.shadow.status, exchange.shadow.error) == (0, "reset")
    route = (await worker.counted()).route("reviews")
    assert route.shadow.skipped == {"method": 1, "body_too_large": 1, "unanswered": 1, "fallback": 1}
    assert (route.shadow.eligible, route.shadow.captured, route.shadow.dropped) == (5, 1, {})
    assert route.fallbacks == {"reset": 1}
    assert route.answered == {"legacy 200": 4, "gateway 502": 1}
    assert worker.stats.problems == {"upstream-reset": 1}


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", "200 OK"), (b"GET", "304 Not Modified"), (b"HEAD", "304 Not Modified")])
@pytest.mark.parametrize("media", [b"text/html", b"text/event-stream"])
async def test_what_has_no_body_is_compared_whatever_it_says_of_one(worker: Worker, method: bytes, status: str, media: bytes) -> None:
    """Content-Length is there what GET, or 200, would have (RFC 9110, 8.6), which is more than `capture` here."""

    def told(etag: bytes) -> bytes:
        fields = b"Content-Length: 5000\r\nContent-Encoding: gzip\r\nContent-Type: %b\r\nETag: %b\r\n\r\n" % (media, etag)
        return f"HTTP/1.1 {status}\r\n".encode() + fields

    async def legacy(request: Request) -> None:
        await request.send(told(b'"1"'))

    async def candidate(request: Request) -> None:
        await request.send(told(b'"2"'))

    worker.legacy.handler, worker.new.handler = legacy, candidate
    await worker.flags(reviews=False, reviews__shadow=True)
    client = await worker.connect()
    await client.send(method + GET.removeprefix(b"GET"))
    assert b"Content-Length: 5000" in (await client.response(head_only=True)).head
    exchange = await worker.exchange()
    for answer in (exchange.served, exchange.shadow):
        assert (answer.status, answer.body, answer.skipped, answer.error) == (int(status[:3]), b"", "", "")
    assert (await worker.counted()).route("reviews").shadow.captured == 1
    judge = Judge(Redactor([], b"k" * 32), {"reviews": Rules.make(headers=["etag"])})
    judgement = judge.judge(exchange)
    assert judgement is not None
    assert (judgement.outcome, judgement.signatures) == ("mismatch", ((Kind.HEADER, "etag"),))
    judgement = Judge(Redactor([], b"k" * 32), {"reviews": Rules.make(headers=["content-type"])}).judge(exchange)
    assert judgement is not None
    assert judgement.outcome == "match"


async def test_noise_is_legacy_against_itself(worker: Worker) -> None:
    await worker.flags(noisy=False, noisy__shadow=True)
    await worker.request(b"GET /noisy HTTP/1.1\r\nHost: a\r\n\r\n")
    kinds = {exchange.kind: exchange for exchange in (await worker.exchange(), await worker.exchange())}
    assert kinds["pair"].shadow.upstream == "new"
    assert kinds["noise"].shadow.upstream == "legacy"
    assert len(worker.legacy.requests) == 2
    assert (await worker.counted()).route("noisy").shadow.captured == 1


async def test_a_slow_shadow_costs_the_client_nothing(worker: Worker) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.5)
        await request.answer(b"late")

    worker.new.handler = slow
    await worker.flags(reviews=False, reviews__shadow=True)
    began = asyncio.get_running_loop().time()
    assert (await worker.request(GET)).body == b"ok"
    assert asyncio.get_running_loop().time() - began < 0.4
    assert (await worker.exchange()).shadow.body == b"late"


async def test_a_shadow_that_never_ends_is_given_up(worker: Worker) -> None:
    async def drip(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            await request.send(b"x")
            await asyncio.sleep(0.05)

    worker.new.handler = drip
    await worker.flags(reviews=False, reviews__shadow=True)
    assert (await worker.request(GET)).body == b"ok"
    shadow = (await worker.exchange()).shadow
    assert (shadow.status, shadow.error) == (0, "timeout")
    assert 0.9 < shadow.elapsed < 2
    counts = (await worker.counted()).route("reviews").shadow
    assert (counts.eligible, counts.captured, counts.skipped, counts.dropped) == (1, 1, {}, {})


async def test_drain_answers_what_is_in_flight(own_worker: Worker) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.4)
        await request.answer(b"done")

    own_worker.legacy.handler = slow
    idle = await own_worker.connect()
    busy = await own_worker.connect()
    await busy.send(GET)
    await asyncio.sleep(0.15)
    own_worker.drain(5)
    response = await busy.response()
    assert (response.body, response.header("Connection")) == (b"done", "close")
    assert await idle.rest() == await busy.rest() == b""
    await own_worker.ended()
    assert own_worker.stats.routes["reviews"].answered == {"legacy 200": 1}


async def test_a_unix_socket(worker: Worker) -> None:
    client = Client(*await asyncio.open_unix_connection(worker.unix))
    assert (await client.request(GET)).body == b"ok"
    client.close()
    assert worker.legacy.requests[0].header("X-Forwarded-For") == [], "there is no address to tell"


async def test_a_client_that_leaves_is_counted_as_such(worker: Worker) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.5)
        await request.answer()

    worker.legacy.handler = slow
    await worker.flags(reviews=False, reviews__shadow=True)
    client = await worker.connect()
    await client.send(GET)
    await asyncio.sleep(0.2)
    client.reset()
    await asyncio.sleep(0.5)
    async with asyncio.timeout(10):
        while not (route := (await worker.counted()).route("reviews")).answered:
            pass  # it comes with one of the next reports
    assert route.answered == {"legacy 0": 1}
    assert route.shadow.skipped == {"client_gone": 1}
