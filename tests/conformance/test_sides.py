"""Both sides' times and errors, as the console shows them over time, whichever engine counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shadow.exchange import RouteCounts
from shadow.latency import figures
from tests.support.gateway import Exchange as Request

if TYPE_CHECKING:
    from tests.conformance.conftest import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET = b"GET /reviews/3 HTTP/1.1\r\nHost: a\r\n\r\n"


async def broken(request: Request) -> None:
    await request.send(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")


async def late(request: Request) -> None:
    await asyncio.sleep(0.3)
    await request.answer(b"late")


async def resets(request: Request) -> None:
    request.reset()


async def breaks_off(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 200_000)
    await asyncio.sleep(0.2)
    request.reset()


async def until(worker: Worker, asked: int, side: str) -> RouteCounts:
    """The counts, once the side was asked so often."""
    async with asyncio.timeout(20):
        while True:
            counts = (await worker.counted()).route("reviews").shadow
            if sum(counts.latency.get(side, {}).values()) + counts.unanswered.get(side, 0) >= asked:
                return counts


async def test_one_that_is_asked_beside_has_times_and_errors_of_its_own(worker: Worker) -> None:
    await worker.flags(reviews=False, reviews__shadow=True)
    for asked, handler in enumerate((late, broken, resets), 1):
        worker.new.handler = handler
        await worker.request(GET)
        counts = await until(worker, asked, "shadow-candidate")  # before the next handler: it is asked after the client has its answer
    (slow,) = [bucket for bucket in counts.latency["shadow-candidate"] if bucket >= 8]
    assert counts.latency["shadow-candidate"][slow] == 1, "0.25 s and more"
    assert sum(counts.latency["shadow-candidate"].values()) == 2
    assert (counts.errors, counts.unanswered) == ({"shadow-candidate": 2}, {"shadow-candidate": 1})
    assert sum(counts.latency["legacy"].values()) == counts.legacy == 3
    assert "candidate" not in counts.latency


async def test_what_the_candidate_fails_is_its_error_whoever_answers_then(worker: Worker) -> None:
    await worker.flags(reviews=True, reviews__shadow=False)
    await worker.request(GET)
    for handler in (broken, resets):
        worker.new.handler = handler
        await worker.request(GET)
    counts = await until(worker, 3, "candidate")
    assert (counts.candidate, counts.legacy, counts.fallback) == (1, 2, 2)
    assert (counts.errors, counts.unanswered) == ({"candidate": 2}, {"candidate": 2})
    assert sum(counts.latency["legacy"].values()) == 2


async def test_what_legacy_fails_is_its_error(worker: Worker) -> None:
    await worker.flags(reviews=False, reviews__shadow=False)
    worker.legacy.handler = broken
    await worker.request(GET)
    worker.legacy.handler = resets
    assert (await worker.request(GET)).status == 502
    worker.legacy.handler = breaks_off
    client = await worker.connect()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.request(GET)
    counts = await until(worker, 3, "legacy")
    assert (counts.errors, counts.unanswered) == ({"legacy": 3}, {"legacy": 1})
    assert (counts.legacy, counts.gateway, counts.unfinished) == (1, 1, 1)
    sums = {f"latency.legacy.{bucket}": count for bucket, count in counts.latency["legacy"].items()}
    found = figures(sums | {"errors.legacy": 3, "unanswered.legacy": 1})["legacy"]
    assert (found.asked, found.error_rate) == (3, 1.0)
