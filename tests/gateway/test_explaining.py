"""Explanations are worked out one at a time, few wait, and nobody else waits with them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.explaining import WAITING, BusyError, Explainer

pytestmark = pytest.mark.asyncio


async def test_one_at_a_time_few_wait_and_who_leaves_makes_no_room_before_it_is_answered() -> None:
    explainer = Explainer()
    go = threading.Event()
    at_once: list[int] = []
    running = 0

    def slow(number: int) -> dict[str, int]:
        nonlocal running
        running += 1
        at_once.append(running)
        go.wait(10)
        running -= 1
        return {"number": number}

    asked = [asyncio.create_task(explainer.ask(slow, number), name=f"explain {number}") for number in range(1 + WAITING)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(BusyError):
            await explainer.ask(slow, 99)
        asked[0].cancel()
        await asyncio.wait({asked[0]})
        with pytest.raises(BusyError):
            await explainer.ask(slow, 99)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 5) == "read"  # the threads of everybody else are free
    finally:
        go.set()
    assert await asyncio.gather(*asked[1:]) == [{"number": number} for number in range(1, 1 + WAITING)]
    assert set(at_once) == {1}
    assert await explainer.ask(slow, 100) == {"number": 100}


async def test_what_fails_makes_room() -> None:
    explainer = Explainer()

    def broken() -> dict[str, int]:
        raise ValueError("broken")

    for _ in range(WAITING + 5):
        with pytest.raises(ValueError, match="broken"):
            await explainer.ask(broken)
