"""What may take long is judged by several processes: one slow exchange holds up nobody else, and what has no room is counted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shadow import counters
from shadow.batch import Batch
from shadow.compare import Kind, Rules
from shadow.exchange import Answer, Exchange, weight
from shadow.judge import OVER_BUDGET, Judge, Judgement
from shadow.pool import MOST, Pool, size
from shadow.redact import Redactor
from shadow.worker import Worker

JSON = b"Content-Type: application/json\r\n"


def exchange(right: bytes, number: int = 0) -> Exchange:
    return Exchange(
        "r", f"q{number}", 1.0, "GET", "/", b"", b"",
        Answer("legacy", "legacy", 200, JSON, b'{"a": 1}', 0.1), Answer("candidate", "new", 200, JSON, right, 0.1),
    )  # fmt: skip


class Told(Judge):
    """Does in the child what the body says. In the parent everything is left to the child."""

    def __init__(self) -> None:
        super().__init__(Redactor([], b"k" * 32), {"r": Rules()})

    def judge(self, exchange: Exchange, limit: int = 1 << 62) -> Judgement | None:
        if limit < 1 << 62:
            return None
        match exchange.shadow.body:
            case b"spin":
                while True:
                    pass
            case b"sleep":
                time.sleep(1)
            case b"die":
                os.kill(os.getpid(), signal.SIGKILL)
            case b"eat":
                bytearray(1 << 40)
            case b"break":
                raise RuntimeError("a fault of our own")
        return super().judge(exchange)


class Kept:
    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.paths: Counter[tuple[Kind, str]] = Counter()
        self.texts: list[str] = []

    def write(self, batch: Batch) -> None:
        for (_, _, name), number in batch.tallies.items():
            self.names[name] += number
        for (_, kind, path), seen in batch.signatures.items():
            self.paths[kind, path] += seen.count
        self.texts += [str(sample) for samples in batch.samples.values() for sample in samples]


@contextmanager
def working(processes: int = 2) -> Iterator[tuple[Worker, Kept]]:
    kept = Kept()
    worker = Worker(Told(), prepare=lambda: None, write=kept.write, upkeep=lambda now: None, processes=processes)
    worker.start()
    try:
        yield worker, kept
    finally:
        assert worker.stop(10)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_how_many_there_are() -> None:
    assert size(7) == 7
    assert 2 <= size(0) <= MOST


def test_a_slow_one_does_not_hold_up_the_next() -> None:
    with working() as (worker, kept):
        worker.offer(exchange(b"spin"))
        for number in range(20):
            worker.offer(exchange(b'{"a": 2}', number))
        until(lambda: kept.names[counters.MISMATCHED] >= 20)
        assert kept.paths[Kind.VALUE, "$.a"] == 20
        until(lambda: kept.names[counters.MISMATCHED] == 21)
        assert kept.paths[Kind.INCONCLUSIVE, OVER_BUDGET] == 1
        assert any("'digest': '" in text and "over_budget" in text for text in kept.texts), "the digests of its bodies are kept"


def test_who_ends_his_process_costs_himself_alone() -> None:
    with working(1) as (worker, kept):
        for body in (b"die", b'{"a": 2}', b"eat", b'{"a": 2}', b"spin", b'{"a": 2}'):
            worker.offer(exchange(body))
        until(lambda: kept.names[counters.MISMATCHED] == 6)
        assert kept.paths == {(Kind.INCONCLUSIVE, OVER_BUDGET): 3, (Kind.VALUE, "$.a"): 3}
        # Each of the three was followed by a process of its own.
        assert len(worker._slow.children) == 1


def test_waiting_on_a_busy_machine_is_no_difference() -> None:
    """Only what it works counts against a comparison: here it is not let work for a second, of a budget of much less."""
    judge = Told()
    results: list[Judgement | None] = []
    pool = Pool(judge, lambda exchange, judgement: results.append(judgement) if pool.settle(exchange) else None, weight, processes=1)
    pool.start()
    pool.children[0]._seconds = 0.3
    pool.offer(exchange(b"sleep"))
    until(lambda: len(results) == 1)
    pool.finish(1)
    pool.close()
    (judgement,) = results
    assert judgement is not None
    assert [kind for kind, _ in judgement.signatures] != [Kind.INCONCLUSIVE]


def test_what_has_no_room_is_told_so_at_once() -> None:
    results: list[Exchange] = []
    pool = Pool(
        Told(), lambda exchange, judgement: results.append(exchange) if pool.settle(exchange) else None, weight, processes=2, max_count=3
    )
    try:
        offered = [exchange(b"sleep", number) for number in range(10)]
        taken = [each for each in offered if pool.offer(each)]
        assert 3 <= len(taken) <= 5, "two may be in hand already"
        until(lambda: len(results) == len(taken))
        assert {id(each) for each in results} == {id(each) for each in taken}
        assert pool.offer(offered[0])
        pool.finish(30)
        assert not pool.offer(offered[0])
        assert len(results) == len(taken) + 1
    finally:
        pool.close()


def test_who_waits_for_room_gets_it_and_is_let_go_at_the_end() -> None:
    results: list[Exchange] = []

    def done(exchange: Exchange, judgement: Judgement | None) -> None:
        if pool.settle(exchange):
            results.append(exchange)

    pool = Pool(Told(), done, weight, processes=1, max_count=1, max_bytes=2000)
    offered = [exchange(b'{"a": 2}', number) for number in range(20)]
    offered.append(exchange(b" " * 5000))  # more than all the room there is: it has it for itself
    assert all(pool.put(each) for each in offered)
    until(lambda: len(results) == len(offered))
    assert pool.put(exchange(b"sleep"))
    until(lambda: not pool.waiting)
    assert pool.put(exchange(b"sleep"))
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(pool.put(exchange(b"sleep"))))
    waiting.start()
    pool.finish(0)
    waiting.join(10)
    assert told == [False]
    assert len(pool.clear()) == 2
    pool.close()


def test_bytes_bound_it_too() -> None:
    pool = Pool(Told(), lambda exchange, judgement: None, weight, processes=1, max_bytes=20_000)
    try:
        assert sum(pool.offer(exchange(b"x" * 6000, number)) for number in range(10)) <= 4
    finally:
        pool.close()


def test_every_exchange_is_counted_once_also_at_the_end() -> None:
    kept = Kept()
    worker = Worker(Told(), prepare=lambda: None, write=kept.write, upkeep=lambda now: None, processes=2)
    worker.start()
    for number in range(50):
        worker.offer(exchange((b"spin", b'{"a": 2}', b"break", b"die")[number % 4], number))
    worker.stop(3)
    assert kept.names[counters.SHUTDOWN] >= 1
    assert sum(kept.names.values()) == 50, kept.names
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("comparison ")])
