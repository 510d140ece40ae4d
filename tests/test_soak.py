"""The load of the fault runs: an open loop asks at the times that were planned, whatever becomes of those before."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from tests.support import soak
from tests.support.gateway import Exchange, Upstream
from tests.support.ledgers import Asked, Outcome, Verdict
from tests.support.load import Plan, load


async def test_an_open_loop_waits_for_nobody() -> None:
    """Eight clients in a closed loop would ask eight times, and then wait."""
    go = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await go.wait()
        await exchange.answer()

    upstream = Upstream(held)
    await upstream.start()
    try:
        async with load(upstream.port, lambda _: Plan(), prefix="openx", rate=200) as running:
            async with asyncio.timeout(20):
                while len(upstream.requests) < 60:  # noqa: ASYNC110 - the upstream's count is what is waited for
                    await asyncio.sleep(0.01)
            assert running.asked == []
            go.set()
        assert len(running.asked) >= 60
        assert {asked.outcome for asked in running.asked} == {Outcome.ANSWERED}
        assert running.unsent == 0
        assert len({asked.id for asked in running.asked}) == len(running.asked)
        assert running.rate <= 200 * 1.1
    finally:
        await upstream.stop()


def test_the_line_of_a_run() -> None:
    numbers = itertools.count()
    asked = [
        Asked(f"r{next(numbers)}", method, outcome)
        for method, outcome, count in (
            ("GET", Outcome.ANSWERED, 1999),
            ("GET", Outcome.CUT, 1),
            ("POST", Outcome.REFUSED, 4),
            ("POST", Outcome.ANSWERED, 196),
        )
        for _ in range(count)
    ]
    row = soak.Row("one is killed", 7.3, asked, Verdict(doubled={"r1": "twice"}), 301.4)
    assert row.line() == "| one is killed | 7 | 2,200 | 301 | 99.950 % | 5 | 0 / 1 / 0 |"


def test_the_long_run_has_all_that_its_target_names() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    (line,) = [line for line in makefile.splitlines() if "BANYAN_SOAK=1" in line]
    for name in line.split():
        if name.startswith("tests/"):
            assert (Path(__file__).parents[1] / name).exists(), name
    assert "test_payments_faults.py" in line
