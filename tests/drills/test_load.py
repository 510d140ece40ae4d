"""The open loop keeps to its plan whatever the answers do, and counts every request once."""

from __future__ import annotations

import asyncio

import pytest

from drills.load import UNANSWERED, UNSENT, Connections, OpenLoop, Phase, Seen
from drills.timeline import Gauges, percentile, rate, took
from tests.support.gateway import Held, Upstream, ok


async def test_every_request_of_every_phase_is_made_once() -> None:
    made: list[int] = []

    async def act(number: int) -> str:
        made.append(number)
        return "good"

    seen = await OpenLoop([Phase("calm", 0.05, 200), Phase("storm", 0.05, 1000)], act).run()
    assert sorted(made) == list(range(60))
    assert [one.phase for one in sorted(seen, key=lambda one: one.number)] == ["calm"] * 10 + ["storm"] * 50
    assert {one.outcome for one in seen} == {"good"}


async def test_a_stall_does_not_hold_the_plan_up_and_is_seen_by_all_that_it_held_up() -> None:
    stalled = asyncio.Event()
    begun: list[int] = []

    async def act(number: int) -> str:
        begun.append(number)
        if number == 49:
            stalled.set()
        await stalled.wait()
        return "good"

    seen = await OpenLoop([Phase("", 0.5, 100)], act).run()
    assert begun == list(range(50))  # the last was made while the first still waited
    first = min(seen, key=lambda one: one.number)
    assert first.took >= 0.49 - 0.01  # from when it was due, to the end of the stall


async def test_what_finds_no_room_is_not_sent_and_what_does_not_end_is_unanswered() -> None:
    made: list[int] = []

    async def act(number: int) -> str:
        made.append(number)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    load = OpenLoop([Phase("", 0.05, 200)], act, most=4, patience=0.1)
    seen = await load.run()
    assert made == [0, 1, 2, 3]
    assert sorted(one.outcome for one in seen) == sorted([UNANSWERED] * 4 + [UNSENT] * 6)
    assert load.under_way == 0


async def test_a_mistake_in_the_drill_is_no_outcome() -> None:
    async def act(number: int) -> str:
        raise KeyError(number)

    with pytest.raises(KeyError):
        await OpenLoop([Phase("", 0.01, 200)], act).run()


async def test_connections_are_used_again_and_made_anew() -> None:
    upstream = Upstream(ok)
    await upstream.start()
    connections = Connections(upstream.port)
    try:
        for _ in range(3):
            async with connections.one() as client:
                assert (await client.request("GET", "/")).status == 200
        assert upstream.connections == 1
        upstream.handler = held = Held()
        async with connections.one() as first, connections.one() as second:
            asked = [asyncio.create_task(client.request("GET", "/"), name="ask") for client in (first, second)]
            for _ in range(500):
                if upstream.connections == 2:
                    break
                await asyncio.sleep(0.01)
            assert upstream.connections == 2
            held.go.set()
            assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 200]
    finally:
        connections.close()
        await upstream.stop()


def seen(due: float, took: float, outcome: str = "good", phase: str = "") -> Seen:
    return Seen(0, phase, due, took, outcome)


def test_a_rate_goes_by_when_answers_came() -> None:
    answers = [seen(0.1, 0.1), seen(0.2, 0.1), seen(0.4, 0.2), seen(0.9, 0.05, "failed"), seen(0.9, 5.0)]
    assert rate(answers, {"good"}, 1.0, 0.5) == [4.0, 2.0]
    assert rate(answers, {"failed"}, 1.0, 0.5) == [0.0, 2.0]


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([], 0.99) == 0.0
    assert took([seen(0, 1.0, phase="a"), seen(0, 2.0, phase="b"), seen(0, 3.0, "failed")], {"good"}, "b") == [2.0]


async def test_a_gauge_has_a_value_for_every_step_also_for_those_that_were_slept_through() -> None:
    values = iter(range(1, 100))

    async def act(number: int) -> str:
        return "good"

    load = OpenLoop([Phase("", 0.2, 100)], act)
    gauges = Gauges(load, {"n": lambda: next(values)}, step=0.04)
    task = asyncio.create_task(gauges.run(), name="gauges")
    await load.run()
    task.cancel()
    found = gauges.series["n"]
    assert found == sorted(found)
    assert abs(len(found) - load.elapsed / 0.04) <= 2


async def test_it_ends_where_that_is_enough() -> None:
    async def act(number: int) -> str:
        return "good"

    assert len(await OpenLoop([Phase("", 1.0, 500)], act, enough=lambda number: number >= 7).run()) == 7
