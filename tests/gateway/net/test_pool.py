"""What a pool keeps: the connections that may still be used, each counted until it is gone."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.net.clock import Clock
from gateway.net.deadlines import Deadlines
from gateway.net.pool import AGE_SECONDS, IDLE_SECONDS, MAX_IDLE, Pool
from gateway.net.upstream import UpstreamConnection
from gateway.policy.breaker import Breaker


class Transport:
    """Only remembers that it was ended."""

    def __init__(self) -> None:
        self.ended = False

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return self.ended

    def abort(self) -> None:
        self.ended = True


class Kept:
    """A pool, and connections that were opened for it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.now = 1000.0
        deadlines = Deadlines(asyncio.get_running_loop(), self.clock)
        self.pool = Pool(asyncio.get_running_loop(), deadlines, "x", [("h", 1, "")], connect_timeout=1.0, response_timeout=1.0)
        (self.place,) = self.pool.places

    def opened(self) -> UpstreamConnection:
        connection = UpstreamConnection(self.pool)
        connection.connection_made(cast("Any", Transport()))
        self.place.total += 1
        self.pool.add(connection, self.place)
        return connection


@pytest.fixture
async def kept() -> Kept:
    return Kept()


async def test_the_last_one_back_is_the_first_taken(kept: Kept) -> None:
    first, second = kept.opened(), kept.opened()
    kept.pool.release(first)
    kept.pool.release(second)
    assert kept.pool.acquire(repeatable=True) is second
    assert kept.pool.acquire(repeatable=True) is first
    assert kept.pool.acquire(repeatable=True) is None
    assert kept.place.pending == 2


async def test_one_that_is_too_old_is_not_kept(kept: Kept) -> None:
    connection = kept.opened()
    kept.clock.now += AGE_SECONDS / 2
    kept.pool.release(connection)
    assert kept.pool.acquire(repeatable=True) is connection
    kept.clock.now += AGE_SECONDS
    kept.pool.release(connection)
    assert cast("Any", connection.transport).ended
    assert (kept.place.total, kept.place.pending) == (0, 0)


async def test_each_is_counted_until_it_is_gone_and_once(kept: Kept) -> None:
    connection, other = kept.opened(), kept.opened()
    kept.pool.release(connection)
    connection.abandon()
    connection.connection_lost(None)  # comes after every end
    assert (kept.place.total, kept.place.pending) == (1, 1)
    kept.pool.release(other)
    other.connection_lost(None)  # the server closed it
    assert (kept.place.total, len(kept.place.idle)) == (0, 0)


async def test_idle_ones_are_let_go_and_bounded(kept: Kept) -> None:
    connections = [kept.opened() for _ in range(MAX_IDLE + 1)]
    for connection in connections:
        kept.pool.release(connection)
    assert kept.place.total == len(kept.place.idle) == MAX_IDLE
    kept.pool.tick(kept.clock.now + IDLE_SECONDS + 0.1)
    assert kept.place.total == len(kept.place.idle) == 0


async def test_a_probe_for_somebody_who_left_while_it_connected_makes_room(kept: Kept) -> None:
    breaker = Breaker(errors=0.5, minimum=1, open_seconds=5.0, lease=1000.0)
    kept.place.breaker = breaker
    now = kept.clock.now
    breaker.failed(breaker.enter(now), now)
    assert kept.pool.acquire(repeatable=True) is None
    kept.clock.now = now = now + 5.0
    epoch = breaker.enter(now)
    connection = kept.opened()
    connection.epoch = epoch
    assert not breaker.admits(now)
    connection.abandon()
    assert breaker.admits(now)


async def test_what_lies_in_the_pool_makes_no_room_for_a_second_probe(kept: Kept) -> None:
    breaker = Breaker(errors=0.5, minimum=1, open_seconds=5.0, lease=1000.0)
    kept.place.breaker = breaker
    idle = kept.opened()
    kept.pool.release(idle)
    now = kept.clock.now
    breaker.failed(breaker.enter(now), now)
    breaker.enter(now + 5.0)
    idle.abandon()
    assert not breaker.admits(now + 5.0)
