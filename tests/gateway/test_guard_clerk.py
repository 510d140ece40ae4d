"""The supervisor's end of the clerk: whatever a clerk does, there is one again, and it is told what the one before had not done."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from gateway.guard.clerk import Clerk
from gateway.guard.trips import Trip

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

GOOD = """
import sys
for line in sys.stdin:
    if "trip" in line:
        print('{"kept": 1}')
    print('{"compared": {"reviews": [[17, 3, 1]]}}', flush=True)
"""


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 - what a process says is no event of ours
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "said",
    [
        '{"compared": {"reviews": [[17',  # killed in mid-line
        "hello\\n",
        "17\\n",
        '{"compared": {"reviews": 17}}\\n',
        "x' * (17 * 1024 * 1024) + '",  # a line without an end
    ],
)
async def test_after_a_line_that_cannot_be_read_there_is_another_clerk(said: str) -> None:
    commands = [[sys.executable, "-c", f"import sys; sys.stdout.write('{said}')"], [sys.executable, "-c", GOOD]]
    ended: list[tuple[str, int]] = []
    clerk = Clerk(lambda: commands[min(len(ended), 1)], lambda name, status: ended.append((name, status)))
    clerk.watch({"reviews": 60.0})
    clerk.keep(Trip(1, 17.0, "reviews", "reviews", "errors", "many", outcome="switched-off"))
    running = asyncio.create_task(clerk.run())
    try:
        await until(lambda: "reviews" in clerk.compared or running.done())
        assert not running.done()
        assert clerk.compared == {"reviews": {17: (3, 1)}}
        assert [name for name, _ in ended] == ["clerk"]
    finally:
        running.cancel()
        await asyncio.wait({running})
