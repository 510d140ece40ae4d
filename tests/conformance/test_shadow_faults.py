"""Whatever becomes of the candidate in the shadow: the client's bytes are the same, every request is accounted for, memory is bounded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shadow.exchange import RouteCounts
from tests.support.gateway import Exchange as Request

if TYPE_CHECKING:
    from tests.conformance.conftest import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = bytes(range(256)) * 3
LARGE = bytes(range(256)) * 700
WARM = 250
"""Requests, before memory is looked at."""
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(path: str = "/reviews/3") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def legacy(request: Request) -> None:
    await request.answer(BODY, extra=b"Set-Cookie: s=1; Path=/\r\nX-Own: y\r\n")


async def large(request: Request) -> None:
    await request.answer(LARGE)


async def hung(request: Request) -> None:
    await asyncio.sleep(30)


async def resets(request: Request) -> None:
    request.reset()


async def resets_in_the_head(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 O")
    request.reset()


async def resets_in_the_body(request: Request) -> None:
    await request.send(HEAD + b"4\r\nhalf\r\n")
    request.reset()


async def closes(request: Request) -> None:
    request.writer.close()


async def huge(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        await request.send(bytes(65536))


async def endless(request: Request) -> None:
    await request.send(HEAD)
    while True:
        await request.send(b"10000\r\n" + bytes(65536) + b"\r\n")


async def endless_head(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await request.send(b"X-More: " + b"x" * 8000 + b"\r\n")


async def events(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await asyncio.sleep(30)


async def garbage(request: Request) -> None:
    await request.send(b"\x00\x01\x02 what is this\r\n\r\n")
    request.writer.close()


async def two_lengths(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy")


FAULTS: dict[str, Callable[[Request], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        hung, resets, resets_in_the_head, resets_in_the_body, closes, huge, endless, endless_head, events, garbage, two_lengths,
    )
}  # fmt: skip


async def bytes_of(worker: Worker, count: int = 3) -> list[bytes]:
    """What one client gets, to the byte, but for how long it took."""
    client = await worker.connect()
    answers = [await client.request(get()) for _ in range(count)]
    client.close()
    return [re.sub(rb"(?im)^server-timing:.*\r\n", b"", answer.head) + answer.body for answer in answers]


async def accounted(worker: Worker, eligible: int, route: str = "reviews") -> RouteCounts:
    """The route's counts, once all that was eligible is accounted for: captured, skipped or dropped."""
    async with asyncio.timeout(20):
        while True:
            shadow = (await worker.counted()).route(route).shadow
            if shadow.captured + sum(shadow.skipped.values()) + sum(shadow.dropped.values()) >= eligible:
                break
    assert shadow.eligible == eligible
    assert shadow.captured + sum(shadow.skipped.values()) + sum(shadow.dropped.values()) == eligible
    return shadow


@pytest.mark.parametrize("fault", [*FAULTS, "refused"])
async def test_the_clients_bytes_are_the_same(worker: Worker, fault: str) -> None:
    worker.legacy.handler = legacy
    await worker.flags(reviews=False, reviews__shadow=False)
    alone = await bytes_of(worker)
    assert all(answer.endswith(BODY) for answer in alone)
    if fault == "refused":
        await worker.new.stop()
    else:
        worker.new.handler = FAULTS[fault]
    await worker.flags(reviews=False, reviews__shadow=True)
    assert await bytes_of(worker) == alone
    shadow = await accounted(worker, 3)
    assert (shadow.captured, shadow.skipped, shadow.dropped) == (3, {}, {}), "not to answer is a difference, not a silence"
    for _ in range(3):
        exchange = await worker.exchange()
        assert exchange.served.body == BODY
        assert exchange.shadow.error or exchange.shadow.skipped, exchange.shadow


@pytest.mark.parametrize("engine", ["edge"], scope="module")  # docs/reference/engines.md says what the other one does
@pytest.mark.parametrize(("fault", "count", "most"), [("hung", 300, 40), ("endless", 400, 80)])
async def test_memory_stays_bounded(own_worker: Worker, fault: str, count: int, most: int) -> None:
    """Each of these requests is mirrored twice, for noise too, and each answer is just short enough to be captured. `most`, in MiB: what 64
    of them hold, and, where they end at once, what may wait for the shipper; all of them would be a good deal more."""
    own_worker.legacy.handler = large
    own_worker.new.handler = FAULTS[fault]
    await own_worker.flags(writes=False, writes__shadow=True)
    client = await own_worker.connect()

    async def some(count: int) -> None:
        for _ in range(count):
            assert (await client.request(get("/writes/3"))).body == LARGE
            while not own_worker.exchanges.empty():
                own_worker.exchanges.get_nowait()

    await some(WARM)  # more than may be under way at once, and until the allocator has what it needs for that
    before = memory(own_worker)
    await some(count)
    assert memory(own_worker) - before < most * 1024 * 1024
    shadow = await accounted(own_worker, WARM + count, "writes")
    assert set(shadow.dropped) <= {"concurrency", "queue_full"}
    assert shadow.skipped == {}


def memory(worker: Worker) -> int:
    """Bytes."""
    status = Path(f"/proc/{worker._process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("fault", ["hung", "none"])
async def test_what_is_captured_goes_on_as_it_comes(worker: Worker, fault: str) -> None:
    """The client has the first part while the upstream still holds the second."""
    there = asyncio.Event()

    async def in_two(request: Request) -> None:
        await request.send(HEAD + b"5\r\nfirst\r\n")
        await there.wait()
        await request.send(b"6\r\nsecond\r\n0\r\n\r\n")

    async def whole(request: Request) -> None:
        await request.send(HEAD + b"b\r\nfirstsecond\r\n0\r\n\r\n")

    worker.legacy.handler = in_two
    worker.new.handler = hung if fault == "hung" else whole
    await worker.flags(reviews=False, reviews__shadow=True)
    client = await worker.connect()
    await client.send(get())
    async with asyncio.timeout(10):
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
    there.set()
    async with asyncio.timeout(10):
        assert await client.reader.readexactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"
    exchange = await worker.exchange()
    assert exchange.served.body == b"firstsecond"
    assert (exchange.shadow.error, exchange.shadow.body) == (("timeout", b"") if fault == "hung" else ("", b"firstsecond"))


async def test_what_comes_after_the_switch_is_accounted_for_too(worker: Worker) -> None:
    """The candidate serves; legacy in the shadow is hung, then well again."""
    worker.new.handler = legacy
    worker.legacy.handler = hung
    await worker.flags(reviews=True, reviews__shadow=True)
    assert (await worker.request(get())).body == BODY
    exchange = await worker.exchange()
    assert (exchange.served.side, exchange.served.upstream) == ("candidate", "new")
    assert (exchange.shadow.side, exchange.shadow.upstream, exchange.shadow.error) == ("legacy", "legacy", "timeout")
    worker.legacy.handler = legacy
    assert (await worker.request(get())).body == BODY
    exchange = await worker.exchange()
    assert (exchange.served.side, exchange.shadow.side, exchange.shadow.body) == ("candidate", "legacy", BODY)
    shadow = await accounted(worker, 2)
    assert shadow.captured == 2
    assert worker.stats.route("reviews").answered == {"candidate 200": 2}


async def test_what_a_worker_leaves_behind_when_it_ends_is_counted(own_worker: Worker) -> None:
    own_worker.legacy.handler = legacy
    own_worker.new.handler = hung
    await own_worker.flags(reviews=False, reviews__shadow=True)
    assert len(await bytes_of(own_worker)) == 3
    own_worker.drain(0.1)  # the candidate would be given a second
    await own_worker.ended()
    shadow = own_worker.stats.route("reviews").shadow
    assert (shadow.eligible, shadow.skipped, set(shadow.dropped) | {"worker_stopped"}) == (3, {}, {"worker_stopped"})
    assert shadow.captured + shadow.dropped.get("worker_stopped", 0) == 3
