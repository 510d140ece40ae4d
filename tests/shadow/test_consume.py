"""A shadow worker and a real NATS: what takes long is kept from the others meanwhile, holds up nobody, and is given back at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from shadow import counters
from shadow.broker import Broker, Place, ensure_stream
from shadow.consume import MAX_HELD, ShadowWorker
from shadow.consumed import Counted
from shadow.judge import Judgement
from shadow.normalise import MAX_DECODED, Form
from shadow.pack import Draft, Pair, PairSide, encoded, headers, pack
from shadow.sealing import PairJudge
from tests.support.nats import Nats, start_nats

ACK_WAIT = 1.0


class Patient(PairJudge):
    """In the child, a pair that names a file waits until that is there. In the parent it is left to the child."""

    def judge(self, pair: Pair, limit: int = MAX_DECODED) -> Judgement | None:
        if pair.target != "/":
            if limit < MAX_DECODED:
                return None
            while not Path(pair.target).exists():
                time.sleep(0.02)
        return super().judge(pair, limit)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


class World:
    """A stream of its own, and what workers wrote."""

    streams = 0

    def __init__(self, nats: Nats) -> None:
        World.streams += 1
        self.place = Place((nats.url,), f"C{World.streams}", 64 * 1024**2, 1, ACK_WAIT)
        self.names: Counter[str] = Counter()
        self.messages: list[int] = []
        self.writable = True

    def write(self, messages: Sequence[Counted]) -> int:
        if not self.writable:
            raise OSError("the database is away")
        for message in messages:
            assert message.number not in self.messages
            self.messages.append(message.number)
            for (_, _, name), number in message.batch.tallies.items():
                self.names[name] += number
        return len(messages)

    def worker(self) -> ShadowWorker:
        return ShadowWorker(
            Patient({}), self.place, max_age=0, prepare=lambda: None, write=self.write, upkeep=lambda now, floor: None, processes=2
        )

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[JetStreamContext]:
        broker = Broker(self.place, "test")
        broker.start(lambda stream: ensure_stream(stream, self.place))
        try:
            async with asyncio.timeout(30):
                await broker.usable.wait()
            yield broker.stream
        finally:
            await broker.close()

    async def send(self, stream: JetStreamContext, number: int, target: str = "/") -> None:
        contents = Draft("p", number, [encoded(pair(target)), encoded(pair("/"))])
        await stream.publish(f"{self.place.stream}.packs", pack(contents), headers=headers(contents, [("r", False)] * 2))

    async def left(self, stream: JetStreamContext) -> int:
        return (await stream.stream_info(self.place.stream)).state.messages


def pair(target: str) -> Pair:
    one, other = (PairSide("u", 200, (), 0.1, "", "", Form.TEXT, text, None, b"", "", 1, text, "", 1, text) for text in "ab")
    return Pair("r", "q", time.time(), "GET", target, "", "legacy", "pair", one, other, "{}")


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 - of things in other threads and processes
            await asyncio.sleep(0.02)


async def test_what_takes_longer_than_ack_wait_is_neither_delivered_again_nor_waited_for(nats: Nats, tmp_path: Path) -> None:
    world, go = World(nats), tmp_path / "go"
    async with world.stream() as stream:
        await world.send(stream, 0, str(go))
        for number in range(1, MAX_HELD + 20):
            await world.send(stream, number)
        worker = world.worker()
        running = asyncio.create_task(worker.run())
        await until(lambda: len(world.messages) == MAX_HELD + 19)
        assert 0 not in world.messages, "the others were counted, and acknowledged, meanwhile"
        await asyncio.sleep(3 * ACK_WAIT)
        assert await world.left(stream) == 1
        go.touch()
        await until(lambda: 0 in world.messages)
        worker.stop()
        assert await running
        assert await world.left(stream) == 0
    assert worker.figures.redelivered == 0
    assert world.names == {counters.MISMATCHED: 2 * (MAX_HELD + 20)}


async def test_at_the_end_what_is_not_judged_goes_to_another(nats: Nats, tmp_path: Path) -> None:
    world, go = World(nats), tmp_path / "go"
    async with world.stream() as stream:
        for number in range(4):
            await world.send(stream, number, str(go) if number % 2 else "/")
        first = world.worker()
        running = asyncio.create_task(first.run())
        await until(lambda: len(world.messages) == 2)
        first.stop()
        assert await running, "everything is counted, or given back"
        assert sorted(world.messages) == [0, 2]
        assert await world.left(stream) == 2
        go.touch()
        second = world.worker()
        running = asyncio.create_task(second.run())
        await until(lambda: len(world.messages) == 4)
        second.stop()
        assert await running
        assert await world.left(stream) == 0
    assert second.figures.redelivered == 2
    assert world.names == {counters.MISMATCHED: 8}


async def test_no_more_is_taken_than_there_is_room_for(nats: Nats, tmp_path: Path) -> None:
    """While all that is in hand takes long, or the database is away."""
    world, go = World(nats), tmp_path / "go"
    world.writable = False
    async with world.stream() as stream:
        for number in range(MAX_HELD + 40):
            await world.send(stream, number, str(go) if number % 2 else "/")
        worker = world.worker()
        running = asyncio.create_task(worker.run())
        await until(lambda: worker.figures.held == MAX_HELD)
        await asyncio.sleep(2 * ACK_WAIT)
        assert worker.figures.held == MAX_HELD
        assert world.messages == []
        go.touch()
        world.writable = True
        await until(lambda: len(world.messages) == MAX_HELD + 40)
        worker.stop()
        assert await running
    assert worker.figures.redelivered == 0
    assert worker.figures.exchanges == {"compared": 2 * (MAX_HELD + 40)}
