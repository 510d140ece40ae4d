"""The two threads: what is full is counted, what fails is told, and a database that was away gets everything when it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shadow import counters
from shadow.batch import Batch
from shadow.budget import BudgetedJudge
from shadow.compare import Rules
from shadow.exchange import Answer, Exchange, RouteCounts, Summary
from shadow.judge import Judge, Judgement
from shadow.redact import Redactor
from shadow.rules import Rule, checked
from shadow.worker import Intake, Worker


def exchange(body: bytes = b"x", number: int = 0) -> Exchange:
    return Exchange(
        "r", f"q{number}", float(number), "GET", "/", b"", b"",
        Answer("legacy", "legacy", 200, b"", b"x", 0.0), Answer("candidate", "new", 200, b"", body, 0.0),
    )  # fmt: skip


class Database:
    """Counts what is written; `away` makes every write fail."""

    def __init__(self) -> None:
        self.away = False
        self.prepared = 0
        self.written: dict[str, int] = {}
        self.attempts = 0

    def prepare(self) -> None:
        self.prepared += 1

    def write(self, batch: Batch) -> None:
        self.attempts += 1
        if self.away:
            raise ConnectionError("the server is away")
        for (_, _, name), number in batch.tallies.items():
            self.written[name] = self.written.get(name, 0) + number

    def upkeep(self, now: float) -> None:
        pass


class SlowJudge(Judge):
    """Judges when told to; fails on a body that says so."""

    def __init__(self) -> None:
        super().__init__(Redactor([], b"k" * 32), {"r": Rules()})
        self.go = threading.Event()

    def judge(self, exchange: Exchange, limit: int = 0) -> Judgement | None:
        assert self.go.wait(10)
        if exchange.shadow.body == b"fail":
            raise RuntimeError("a fault of our own")
        return super().judge(exchange)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def judge() -> Iterator[SlowJudge]:
    made = SlowJudge()
    yield made
    made.go.set()


def make(judge: Judge, database: Database, **limits: int) -> Worker:
    worker = Worker(judge, prepare=database.prepare, write=database.write, upkeep=database.upkeep, intake=Intake(**limits))
    worker.start()
    return worker


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_has_no_room_is_dropped_and_counted(judge: SlowJudge, database: Database) -> None:
    worker = make(judge, database, max_count=5)
    for number in range(20):
        worker.offer(exchange(number=number))
    worker.offer(Summary(0.0, "w", {"r": RouteCounts(eligible=20)}))
    judge.go.set()
    assert worker.stop(5)
    assert database.written[counters.QUEUE_FULL] + database.written[counters.MATCHED] == 20
    assert database.written[counters.MATCHED] in (5, 6)  # the thread may have taken one already
    assert database.written[counters.ELIGIBLE] == 20, "summaries are never dropped"


def test_bytes_bound_the_queue_too() -> None:
    intake = Intake(max_count=1000, max_bytes=10_000)
    assert sum(intake.put(exchange(b"y" * 4000)) for _ in range(10)) == 2
    assert intake.take() is not None
    assert intake.put(exchange(b"y" * 4000))
    intake.close()
    assert not intake.put(exchange())
    assert [intake.take() is None for _ in range(3)] == [False, False, True]


def test_a_comparison_that_breaks_is_told_and_the_next_is_made(
    judge: SlowJudge, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    judge.go.set()
    worker = make(judge, database)
    worker.offer(exchange(b"fail"))
    worker.offer(exchange())
    assert worker.stop(5)
    assert (database.written[counters.FAILED], database.written[counters.MATCHED]) == (1, 1)
    assert "comparing request q0 on route r failed" in caplog.text


def test_a_database_that_was_away_gets_everything_when_it_is_back(
    judge: SlowJudge, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    judge.go.set()
    database.away = True
    worker = make(judge, database)
    worker.offer(exchange())
    wait_for(lambda: database.attempts >= 2)
    worker.offer(exchange())
    database.away = False
    wait_for(lambda: database.written.get(counters.MATCHED) == 2)
    assert worker.stop(5)
    messages = [record.message for record in caplog.records]
    assert sum("can't be written" in message for message in messages) == 1, "told once, not at every try"
    assert sum("can be written again" in message for message in messages) == 1


def test_stopping_without_a_database_ends_in_time_and_says_so(judge: SlowJudge, database: Database) -> None:
    judge.go.set()
    database.away = True
    worker = make(judge, database)
    worker.offer(exchange())
    began = time.monotonic()
    assert not worker.stop(1)
    assert time.monotonic() - began < 3


def test_what_is_compared_when_time_is_up_is_counted_as_dropped(judge: SlowJudge, database: Database) -> None:
    worker = make(judge, database)
    worker.offer(exchange())
    worker.offer(exchange())
    assert worker.stop(1)
    assert database.written == {counters.SHUTDOWN: 2}


def json_exchange(left: bytes, right: bytes, number: int = 0) -> Exchange:
    made = exchange(right, number)
    made.served.body = left
    made.served.head = made.shadow.head = b"Content-Type: application/json\r\n"
    return made


def test_reviewed_rules_are_followed_as_they_change_and_bad_ones_break_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shadow.worker.RULES_SECONDS", 0.05)
    monkeypatch.setattr("shadow.worker.WRITE_SECONDS", 0.05)
    ignore = checked("ignore", "$.t")
    answers: list[object] = [{"r": [ignore]}, None, {"r": [None]}, ValueError("bad"), {}]
    given: list[object] = []
    go = threading.Event()

    def rules(_now: float) -> dict[str, list[Rule]] | None:
        if given and not go.is_set():
            return None
        found = answers[len(given)] if len(given) < len(answers) else None
        given.append(found)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]  # one of them is broken on purpose

    judge = Judge(Redactor([], b"k" * 32), {"r": Rules()})
    worker = Worker(judge, prepare=database.prepare, write=database.write, upkeep=database.upkeep, rules=rules)
    worker.offer(json_exchange(b'{"t":1}', b'{"t":2}'))  # before the first rules are known: it waits for them
    worker.start()
    wait_for(lambda: database.written.get(counters.EXCUSED) == 1)
    go.set()
    wait_for(lambda: len(given) > len(answers))
    assert "the reviewed rules can't be applied; those of before hold" in caplog.text
    worker.offer(json_exchange(b'{"t":1}', b'{"t":2}'))
    wait_for(lambda: database.written.get(counters.MISMATCHED) == 1)
    assert worker.stop(5)


def test_the_child_judges_by_the_rules_of_now() -> None:
    judge = Judge(Redactor([], b"k" * 32), {"r": Rules()})
    slow = BudgetedJudge(judge, seconds=20)
    try:
        outcomes = []
        for rules in ({}, {"r": [checked("ignore", "$.t")]}, {}):
            slow.use(judge.under(rules))
            outcomes += [slow.judge(json_exchange(b'{"t":1}', b'{"t":2}')).outcome for _ in range(2)]
        assert outcomes == ["mismatch"] * 2 + ["match"] * 2 + ["mismatch"] * 2
    finally:
        slow.close()
