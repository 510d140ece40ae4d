"""Writes in the shadow: only to whom does nothing with them, marked, whole, once, and never legacy's a second time. On both engines."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import Exchange as Request

if TYPE_CHECKING:
    from tests.conformance.conftest import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")


def post(path: str = "/writes/", body: bytes = b'{"a": 1}', method: str = "POST", extra: str = "") -> bytes:
    fields = f"Host: shop.test\r\nIdempotency-Key: k\r\n{extra}Content-Length: {len(body)}"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


def chunked(*parts: bytes) -> bytes:
    head = b"POST /writes/ HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def settled(worker: Worker) -> None:
    """Whatever else was to be sent would have come by now."""
    await worker.counted()
    await asyncio.sleep(0.7)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_write_is_mirrored_marked_and_whole(worker: Worker, method: str) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    assert (await worker.request(post(method=method, extra="Content-Type: application/json\r\n"))).status == 200
    exchange = await worker.exchange()
    await settled(worker)
    assert (exchange.kind, exchange.method, exchange.body) == ("pair", method, b'{"a": 1}')
    (served,), (mirrored,) = worker.legacy.requests, worker.new.requests  # noise = 1.0, and yet legacy has it once
    assert (served.header("Banyan-Shadow"), mirrored.header("Banyan-Shadow")) == ([], ["1"])
    assert served.body == mirrored.body == b'{"a": 1}'
    for name in ("X-Request-ID", "traceparent", "Idempotency-Key", "Content-Type", "X-Forwarded-For"):
        assert len(served.header(name)) == 1, name
        assert served.header(name) == mirrored.header(name), name
    shadow = (await worker.counted()).route("writes").shadow
    assert (shadow.eligible, shadow.captured, shadow.skipped, shadow.dropped) == (1, 1, {}, {})
    assert worker.exchanges.empty()


async def test_a_client_cannot_say_that_it_is_a_shadow(worker: Worker) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    await worker.request(post(extra="Banyan-Shadow: 1\r\n"))
    await worker.exchange()
    assert worker.legacy.requests[0].header("Banyan-Shadow") == []
    assert worker.new.requests[0].header("Banyan-Shadow") == ["1"]


async def test_what_is_safe_is_asked_for_noise_as_ever(worker: Worker) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    await worker.request(b"GET /writes/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert {(await worker.exchange()).kind, (await worker.exchange()).kind} == {"pair", "noise"}


async def test_after_the_switch_legacy_gets_no_write(worker: Worker) -> None:
    await worker.flags(writes=True, writes__shadow=True)
    assert (await worker.request(post())).status == 200
    await worker.request(b"GET /writes/ HTTP/1.1\r\nHost: a\r\n\r\n")
    exchange = await worker.exchange()
    await settled(worker)
    assert (exchange.method, exchange.shadow.side) == ("GET", "legacy")
    assert [request.line.split(b" ")[0] for request in worker.new.requests] == [b"POST", b"GET"]
    assert [request.line.split(b" ")[0] for request in worker.legacy.requests] == [b"GET"]
    shadow = (await worker.counted()).route("writes").shadow
    assert (shadow.eligible, shadow.captured, shadow.skipped) == (2, 1, {"no_sandbox": 1})


async def test_unless_legacy_is_a_sandbox_too(worker: Worker) -> None:
    await worker.flags(both=True, both__shadow=True)
    assert (await worker.request(post("/both/"))).status == 200
    exchange = await worker.exchange()
    assert (exchange.served.side, exchange.shadow.side, exchange.shadow.status) == ("candidate", "legacy", 200)
    assert worker.new.requests[0].header("Banyan-Shadow") == []
    assert worker.legacy.requests[0].header("Banyan-Shadow") == ["1"]


async def test_a_method_that_is_not_listed_is_not_mirrored(worker: Worker) -> None:
    await worker.flags(writes=False, writes__shadow=True, reviews=False, reviews__shadow=True)
    await worker.request(post(method="DELETE"))
    await worker.request(post("/reviews/"))
    await settled(worker)
    assert worker.new.requests == []
    counted = await worker.counted()
    assert counted.route("writes").shadow.skipped == counted.route("reviews").shadow.skipped == {"method": 1}


async def test_a_body_in_chunks_is_mirrored_and_captured_without_them(worker: Worker) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    assert (await worker.request(chunked(b"hel", b"lo"))).status == 200
    exchange = await worker.exchange()
    assert exchange.body == b"hello"
    assert worker.legacy.requests[0].body == worker.new.requests[0].body == b"hello"


@pytest.mark.parametrize("raw", [chunked(b"x" * 40_000, b"y" * 40_000), post(body=b"z" * 70_000)], ids=["chunks", "length"])
async def test_a_body_over_the_replay_buffer_is_not_mirrored(worker: Worker, raw: bytes) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    assert (await worker.request(raw)).status == 200
    await settled(worker)
    assert worker.new.requests == []
    assert (await worker.counted()).route("writes").shadow.skipped == {"body_too_large": 1}


async def test_a_body_that_never_came_whole_is_not_mirrored(worker: Worker) -> None:
    await worker.flags(writes=False, writes__shadow=True)
    client = await worker.connect()
    await client.send(post(body=b"x" * 1000)[:-1])
    await asyncio.sleep(0.3)
    client.reset()
    await settled(worker)
    assert worker.new.requests == []
    shadow = (await worker.counted()).route("writes").shadow
    assert shadow.captured == 0
    assert sum(shadow.skipped.values()) == shadow.eligible == 1


async def test_who_waits_for_100_is_mirrored_without_waiting(worker: Worker) -> None:
    async def patient(request: Request) -> None:
        if request.header("Expect"):
            await request.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.body = await request.reader.readexactly(5)
        await request.answer()

    worker.legacy.handler = worker.new.handler = patient
    await worker.flags(writes=False, writes__shadow=True)
    client = await worker.connect()
    await client.send(post(body=b"hello", extra="Expect: 100-continue\r\n")[:-5])
    assert (await client.response()).status == 100
    await client.send(b"hello")
    assert (await client.response()).status == 200
    assert (await worker.exchange()).body == b"hello"
    assert (worker.new.requests[0].header("Expect"), worker.new.requests[0].body) == ([], b"hello")


async def test_a_write_is_sent_once_over_a_connection_that_turns_out_to_be_dead(worker: Worker) -> None:
    """What calls itself a sandbox may be none: a POST that may have arrived is not sent again, to nobody."""
    seen: list[bytes] = []

    async def answer_and_then_die(request: Request) -> None:
        seen.append(request.line)
        if len(seen) > 1:
            request.reset()
        else:
            await request.answer()

    worker.new.handler = answer_and_then_die
    await worker.flags(writes=False, writes__shadow=True)
    await worker.request(post())
    await worker.exchange()
    await worker.request(post())
    exchange = await worker.exchange()
    await settled(worker)
    assert (exchange.shadow.status, exchange.shadow.error) == (0, "reset")
    assert len(seen) == 2


async def test_what_the_client_got_is_legacys_whatever_becomes_of_the_shadow(worker: Worker) -> None:
    async def refuse(request: Request) -> None:
        await request.answer(b"already there", status="409 Conflict")

    worker.new.handler = refuse
    await worker.flags(writes=False, writes__shadow=True)
    answer = await worker.request(post())
    assert (answer.status, answer.body) == (200, b"ok")
    exchange = await worker.exchange()
    assert (exchange.served.status, exchange.shadow.status) == (200, 409)


async def test_a_write_that_legacy_never_answered_is_counted(worker: Worker) -> None:
    async def die(request: Request) -> None:
        request.reset()

    worker.legacy.handler = die
    await worker.flags(writes=False, writes__shadow=True)
    assert (await worker.request(post())).status == 502
    shadow = (await worker.counted()).route("writes").shadow
    assert (shadow.eligible, shadow.captured, shadow.skipped) == (1, 0, {"unanswered": 1})
    assert len(worker.legacy.requests) == 1
    assert all(re.match(rb"POST ", request.line) for request in worker.new.requests)
