"""A worker's way to the ledger: it never waits for it on its loop, and what was sent is written down in the end."""

# ruff: noqa: ASYNC110 - what a thread has written has no event to wait for
from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from demo.postgres import start_postgres
from gateway.ledger import book, database, desk, questions, sealing, upkeep
from gateway.ledger.database import AwayError, Connection, connect
from gateway.ledger.desk import Desk
from gateway.ledger.entries import Claim, Held, Outcome
from gateway.policy.payments import Verdict
from gateway.settings import Ledger

pytestmark = pytest.mark.asyncio
WANTED = Claim("payments", "", "k-1", True, b"d" * 32, "psp-a", "POST", "/payments", 4, "r-1", "token-1")
KNOWN = sealing.secret("", "k-1", "POST", b"/payments", b"body")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = start_postgres(tmp_path_factory.mktemp("pg"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "sqlite":
        return Ledger.model_validate({"database": f"sqlite:///{tmp_path}/ledger.sqlite3", "timeout": "500ms"})
    found: str = request.getfixturevalue("postgres")
    made = connect(found, tmp_path, timeout=2)
    for table in ("ledger_entry", "ledger_owner", "ledger_settled"):
        made.change(f"DELETE FROM {table}")  # noqa: S608 - names of this test's own
    made.close()
    return Ledger.model_validate({"database": found, "timeout": "500ms"})


@pytest.fixture
async def at(settings: Ledger, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(asyncio.get_running_loop(), settings, tmp_path)
    first = await ask(made, replace(WANTED, key="first", token="first"), 10)
    assert first is not None  # the tables are there
    made.release(Held(first.number, "first"))
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
def ledger(settings: Ledger, tmp_path: Path) -> Iterator[Connection]:
    made = connect(settings.database, tmp_path, timeout=5)
    try:
        yield made
    finally:
        made.close()


async def ask(at: Desk, wanted: Claim = WANTED, tries: int = 1) -> Outcome | None:
    """What a claim is told; tried again while the ledger is away."""
    outcome = None
    for _ in range(tries):
        told: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        at.claim(wanted, told.set_result)
        outcome = await told
        if outcome is not None:
            break
        await asyncio.sleep(0.3)
    return outcome


@contextmanager
def away(ledger: Connection) -> Iterator[None]:
    """Nobody else can write to it, or read, as long as this goes on."""
    sqlite = type(ledger).__name__ == "_Sqlite"
    ledger.change("BEGIN EXCLUSIVE" if sqlite else "BEGIN")
    if not sqlite:
        ledger.change("LOCK TABLE ledger_entry IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        ledger.rollback()


async def until(database: Connection, sql: str, expected: object) -> None:
    async with asyncio.timeout(15):
        while database.rows(sql) != expected:
            await asyncio.sleep(0.05)


async def test_many_at_once_are_claimed_each_once(at: Desk, ledger: Connection) -> None:
    wanted = [replace(WANTED, key=f"k-{number % 100}", token=f"t-{number}") for number in range(200)]
    outcomes = await asyncio.gather(*(ask(at, each, 5) for each in wanted))
    verdicts = [outcome.verdict for outcome in outcomes if outcome is not None]
    assert (verdicts.count(Verdict.CLAIMED), verdicts.count(Verdict.RUNNING)) == (100, 100)
    for outcome, each in zip(outcomes, wanted, strict=True):
        if outcome is not None and outcome.verdict is Verdict.CLAIMED:
            at.finish(Held(outcome.number, each.token), 200, b"answer", KNOWN, None)
    await until(ledger, "SELECT count(*) FROM ledger_entry WHERE state = 'answered'", [(100,)])


async def test_while_it_is_away_nobody_claims_and_nothing_is_left_of_the_try(at: Desk, ledger: Connection) -> None:
    with away(ledger):
        began = time.monotonic()
        assert await ask(at) is None
        assert time.monotonic() - began < 5
    outcome = await ask(at, replace(WANTED, token="t-2"), 20)
    assert outcome is not None
    if outcome.verdict is Verdict.RUNNING:  # the first came through after all, and is being given back
        async with asyncio.timeout(10):
            while outcome is None or outcome.verdict is Verdict.RUNNING:
                outcome = await ask(at, replace(WANTED, token="t-2"), 20)
    assert outcome.verdict is Verdict.CLAIMED
    await until(ledger, "SELECT token FROM ledger_entry WHERE key = 'k-1'", [("t-2",)])


async def test_what_was_sent_is_written_when_it_is_back(at: Desk, ledger: Connection) -> None:
    first, second, third = [await ask(at, replace(WANTED, key=f"k-{number}", token=f"t-{number}"), 5) for number in range(3)]
    assert first is not None
    assert second is not None
    assert third is not None
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    with away(ledger):
        at.finish(Held(first.number, "t-0"), 201, b"answer", KNOWN, told.set_result)
        at.doubt(Held(second.number, "t-1"), "timeout", 0, None)
        at.release(Held(third.number, "t-2"))
        await told  # the client does not wait for it
        await asyncio.sleep(1)
    await until(
        ledger, "SELECT key, state, reason FROM ledger_entry ORDER BY key", [("k-0", "answered", ""), ("k-1", "in-doubt", "timeout")]
    )


async def test_more_questions_than_may_wait_are_told_so_at_once(at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "WAITING", 5)
    with away(ledger):
        outcomes = await asyncio.gather(*(ask(at, replace(WANTED, key=f"k-{number}", token=f"t-{number}")) for number in range(50)))
    assert outcomes == [None] * 50
    await until(ledger, "SELECT count(*) FROM ledger_entry", [(0,)])


def at_once(at: Desk, times: int) -> list[Outcome | None]:
    """What so many with one key are told, each as soon as it is."""
    told: list[Outcome | None] = []
    with at._wake:  # no thread takes one before all of them have come
        for number in range(times):
            at.claim(replace(WANTED, token=f"t-{number}"), told.append)
    return told


async def told_all(told: list[Outcome | None], times: int) -> Counter[Verdict | None]:
    async with asyncio.timeout(15):
        while len(told) < times:
            await asyncio.sleep(0.02)
    return Counter(outcome and outcome.verdict for outcome in told)


async def test_of_many_twins_one_is_sent_and_the_others_are_told_that_it_runs(at: Desk) -> None:
    assert await told_all(at_once(at, 50), 50) == {Verdict.CLAIMED: 1, Verdict.RUNNING: 49}


async def test_while_it_is_away_it_is_so_for_many_twins(at: Desk) -> None:
    at.up, at._quiet_until = False, time.monotonic() + 60
    assert await told_all(at_once(at, 50), 50) == {None: 50}


async def test_a_worker_with_something_under_way_says_that_it_lives(at: Desk, ledger: Connection) -> None:
    assert await ask(at, tries=5) is not None
    (before,) = ledger.rows("SELECT seen FROM ledger_owner WHERE owner = ?", (at.owner,))
    async with asyncio.timeout(15):
        while ledger.rows("SELECT seen FROM ledger_owner WHERE owner = ?", (at.owner,)) == [before]:
            await asyncio.sleep(0.1)
    assert book.doubts(ledger) == []


async def test_one_that_is_dead_is_found_out_by_another(at: Desk, ledger: Connection) -> None:
    book.claim(ledger, WANTED, "dead")
    async with asyncio.timeout(15):
        while not (found := book.doubts(ledger)):
            await asyncio.sleep(0.1)
    assert found[0].reason == "worker-lost"
    async with asyncio.timeout(15):
        while at.in_doubt != {"payments": 1}:
            await asyncio.sleep(0.1)


async def test_one_that_ends_in_order_leaves_nothing_under_way(settings: Ledger, ledger: Connection, tmp_path: Path) -> None:
    ending = Desk(asyncio.get_running_loop(), settings, tmp_path)
    first, second = [await ask(ending, replace(WANTED, key=f"k-{number}", token=f"t-{number}"), 10) for number in range(2)]
    assert first is not None
    assert second is not None
    ending.finish(Held(first.number, "t-0"), 200, b"answer", KNOWN, None)
    await asyncio.to_thread(ending.close, 10.0)
    states = ledger.rows("SELECT key, state, reason FROM ledger_entry ORDER BY key")
    assert states == [("k-0", "answered", ""), ("k-1", "in-doubt", "worker-lost")]
    assert ledger.rows("SELECT count(*) FROM ledger_owner WHERE owner = ?", (ending.owner,)) == [(0,)]


async def test_a_database_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("in the way")
    waiting = Desk(asyncio.get_running_loop(), Ledger.model_validate({"timeout": "500ms"}), tmp_path)
    try:
        assert await ask(waiting) is None
        assert not waiting.up
        (tmp_path / "var").unlink()
        outcome = await ask(waiting, tries=20)
        assert outcome is not None
        assert outcome.verdict is Verdict.CLAIMED
        async with asyncio.timeout(10):
            while not waiting.up:
                await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(waiting.close)


async def test_one_that_cannot_be_done_does_not_keep_others(at: Desk, ledger: Connection, caplog: pytest.LogCaptureFixture) -> None:
    first = await ask(at, tries=5)
    assert first is not None
    refused = replace(WANTED, key="k-2", route=None)  # type: ignore[arg-type] # a mistake
    with away(ledger):  # so that they come together
        asking = [asyncio.create_task(ask(at, each)) for each in (refused, replace(WANTED, key="k-3", token="t-3"))]
        at.finish(Held(first.number, "token-1"), 200, None, KNOWN, None)
        await asyncio.sleep(0.1)
    refusal, other = await asyncio.gather(*asking)
    assert refusal is None
    assert other is None or other.verdict is Verdict.CLAIMED
    await until(ledger, "SELECT state FROM ledger_entry WHERE key = 'k-1'", [("answered",)])
    assert await ask(at, replace(WANTED, key="k-4", token="t-4"), 5) is not None
    assert "NOT NULL" in caplog.text or "not-null" in caplog.text


async def test_what_was_claimed_stays_so_whatever_the_upkeep_meets(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_database: Connection, _now: float) -> int:
        raise AwayError("in the middle of it")

    monkeypatch.setattr(book, "reap", broken)
    monkeypatch.setattr(upkeep, "REAP_SECONDS", 0.0)
    claimed = [await ask(at, replace(WANTED, key=f"k-{number}", token=f"t-{number}"), 20) for number in range(5)]
    assert all(outcome is not None and outcome.verdict is Verdict.CLAIMED for outcome in claimed)
    await asyncio.sleep(1.5)  # in which a claim that was taken for lost would be taken back
    assert ledger.rows("SELECT count(*) FROM ledger_entry WHERE state = 'started'") == [(5,)]
    assert at._under_way == 5
    assert "the ledger cannot be used (in the middle of it)" in caplog.text
    assert "could not be asked" not in caplog.text  # nothing else went wrong in its place


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The ledger's: this machine's, and that of PostgreSQL, which is its own."""
    real, theirs = time.time, database._Postgres.now
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    monkeypatch.setattr(database._Postgres, "now", lambda self: theirs(self) + seconds)


async def test_a_clock_that_is_set_kills_nobody(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ask(at, replace(WANTED, key="mine", token="mine"), 5) is not None
    set_clock(monkeypatch, 1000)
    async with asyncio.timeout(15):
        while "clock was set" not in caplog.text:
            await asyncio.sleep(0.05)
    book.claim(ledger, WANTED, "dead")
    async with asyncio.timeout(15):
        while not (found := book.doubts(ledger)):
            await asyncio.sleep(0.1)
    assert [each.key for each in found] == ["k-1"]  # who lives had said so by then


async def answered(at: Desk, ledger: Connection) -> None:
    """The key k-1 is."""
    first = await ask(at, tries=5)
    assert first is not None
    at.finish(Held(first.number, "token-1"), 201, b"answer", KNOWN, None)
    await until(ledger, "SELECT state FROM ledger_entry WHERE key = 'k-1'", [("answered",)])


async def looked(at: Desk, times: int = 3) -> None:
    """It has seen to its upkeep so often."""
    for _ in range(times):
        before = at._upkeep._looked
        async with asyncio.timeout(15):
            while at._upkeep._looked == before:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("hours", [25, 24 * 365])
async def test_what_was_answered_is_known_though_the_clock_was_set(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, hours: int, settings: Ledger, tmp_path: Path
) -> None:
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0.0)
    monkeypatch.setattr(upkeep, "REAP_SECONDS", 0.0)
    await answered(at, ledger)
    await looked(at)
    set_clock(monkeypatch, 3600 * hours)
    await looked(at)
    again = await ask(at, replace(WANTED, token="t-2"), 5)
    assert again is not None
    assert (again.verdict, again.status) == (Verdict.REPLAY, 201), "it would be charged a second time"
    other = Desk(asyncio.get_running_loop(), settings, tmp_path)  # one that never knew another time
    try:
        assert await ask(other, replace(WANTED, key="k-2", token="t-3"), 10) is not None
        await looked(other)
        again = await ask(other, replace(WANTED, token="t-4"), 5)
        assert again is not None
        assert again.verdict is Verdict.REPLAY
    finally:
        await asyncio.to_thread(other.close)


async def test_a_clock_that_is_set_during_a_look_makes_nothing_old(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, settings: Ledger
) -> None:
    await answered(at, ledger)
    real, asked = type(ledger).now, []

    def now(self: Connection) -> float:
        asked.append(None)
        return real(self) + (0 if len(asked) == 1 else 25 * 3600)

    monkeypatch.setattr(type(ledger), "now", now)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0.0)
    monkeypatch.setattr(at._upkeep, "due", lambda now: False)
    upkeep.Upkeep().look(ledger, settings, lambda: None)
    assert ledger.now() > time.time() + 24 * 3600
    assert ledger.rows("SELECT state FROM ledger_entry WHERE key = 'k-1'") == [("answered",)]


async def test_a_machine_that_was_suspended_kills_nobody_and_forgets_as_ever(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, settings: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """A laptop's lid, or a virtual machine's pause: every night, say."""
    monkeypatch.setattr(at._upkeep, "due", lambda now: False)
    await answered(at, ledger)
    book.claim(ledger, replace(WANTED, key="k-2", token="mine"), "me")
    book.beat(ledger, "me")
    keeper = upkeep.Upkeep()
    keeper.look(ledger, settings, lambda: None)
    set_clock(monkeypatch, 25 * 3600)
    monkeypatch.setattr(upkeep, "suspended", lambda: 25 * 3600.0)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0.0)
    keeper.look(ledger, settings, lambda: book.beat(ledger, "me"))
    assert ledger.rows("SELECT key, state FROM ledger_entry") == [("k-2", "started")]
    assert ledger.rows("SELECT * FROM ledger_owner WHERE owner = ?", (book.CLOCK,)) == []
    assert "clock was set" not in caplog.text
    keeper.look(ledger, settings, lambda: None)
    assert ledger.rows("SELECT key, state FROM ledger_entry") == [("k-2", "started")]


async def test_who_forgets_does_so_again_once_all_of_before_is_old_enough(ledger: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, settled = 86400.0, 30 * 86400.0
    first = book.claim(ledger, WANTED, "me")
    book.finish(ledger, Held(first.number, "token-1"), 201, None)
    set_clock(monkeypatch, 40 * 86400.0)
    book.clock_was_set(ledger)
    book.purge(ledger, ledger.now(), keep=keep, settled=settled, most=2**20)
    assert ledger.rows("SELECT state FROM ledger_entry") == [("answered",)]
    set_clock(monkeypatch, keep + 60)
    book.purge(ledger, ledger.now(), keep=keep, settled=settled, most=2**20)
    assert ledger.rows("SELECT state FROM ledger_entry") == []
    monkeypatch.undo()
    book.purge(ledger, ledger.now(), keep=keep, settled=settled, most=2**20)  # set back, and nobody looked
    assert ledger.rows("SELECT seen <= ? FROM ledger_owner WHERE owner = ?", (ledger.now(), book.CLOCK))[0][0]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> list[float]:
    """The statement fails so often, as no statement should. When it did."""
    real, failed = getattr(book, name), list[float]()

    def work(*given: object, **named: object) -> object:
        if len(failed) < times:
            failed.append(time.monotonic())
            raise ValueError("nobody foresaw it")
        return real(*given, **named)

    monkeypatch.setattr(book, name, work)
    return failed


async def test_what_fails_once_in_a_while_is_written_all_the_same(at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "AGAIN_SECONDS", 0.05)
    first = await ask(at, tries=5)
    assert first is not None
    failed = failing(monkeypatch, "finish", desk.TRIES - 1)
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    at.finish(Held(first.number, "token-1"), 201, b"answer", KNOWN, told.set_result)
    await told  # the client has its answer at the first failure
    await until(ledger, "SELECT state, reason FROM ledger_entry WHERE key = 'k-1'", [("answered", "")])
    assert len(failed) == desk.TRIES - 1
    gaps = [after - before for before, after in pairwise(failed)]
    assert all(gap >= 0.1 * 2**number for number, gap in enumerate(gaps)), gaps
    async with asyncio.timeout(5):
        while at._under_way or at.owing:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("name", ["finish", "release"])
async def test_what_cannot_be_written_is_in_doubt_though_its_worker_lives(
    at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(desk, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(upkeep, "REAP_SECONDS", 0.0)
    first = await ask(at, tries=5)
    assert first is not None
    failing(monkeypatch, name, 1000)
    held = Held(first.number, "token-1")
    if name == "finish":
        at.finish(held, 201, b"answer", KNOWN, None)
        expected = ("in-doubt", "not-written", 201)
    else:
        at.release(held)
        expected = ("in-doubt", "not-released", 0)
    await until(ledger, "SELECT state, reason, status FROM ledger_entry WHERE key = 'k-1'", [expected])
    async with asyncio.timeout(10):
        while at.in_doubt != {"payments": 1} or at._under_way or at.owing:
            await asyncio.sleep(0.02)


async def test_not_even_a_doubt_that_cannot_be_written_is_forgotten(at: Desk, ledger: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(desk, "SELDOM_SECONDS", 0.05)
    first = await ask(at, tries=5)
    assert first is not None
    failed = failing(monkeypatch, "doubt", 3 * desk.TRIES)
    at.doubt(Held(first.number, "token-1"), "timeout", 0, None)
    async with asyncio.timeout(10):
        while not failed or not at.owing:
            await asyncio.sleep(0.005)
    await until(ledger, "SELECT state, reason FROM ledger_entry WHERE key = 'k-1'", [("in-doubt", "timeout")])
    assert len(failed) == 3 * desk.TRIES


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)  # in SQLite a lock is on all of it
async def test_a_key_that_somebody_holds_is_nobody_elses_wait(at: Desk, ledger: Connection, settings: Ledger, tmp_path: Path) -> None:
    ledger.begin()
    book.claim(ledger, replace(WANTED, token="another gateway's"), "another gateway")
    try:
        held = [
            asyncio.create_task(ask(at, replace(WANTED, token=f"h-{number}"))) for number in range(20)
        ]  # it is asked for again and again
        outcomes = []
        for number in range(40):
            outcomes.append(await ask(at, replace(WANTED, key=f"o-{number}", token=f"o-{number}")))
            await asyncio.sleep(0.03)
        assert [outcome for outcome in outcomes if outcome is None or outcome.verdict is not Verdict.CLAIMED] == []
        assert await asyncio.gather(*held[: questions.ALIKE]) == [None] * questions.ALIKE
        others = await asyncio.gather(*held[questions.ALIKE :])  # one of the first may be out already, and have left its place
        assert all(outcome is None or outcome.verdict is Verdict.RUNNING for outcome in others)
        assert at.up
    finally:
        ledger.rollback()
    outcome = await ask(at, replace(WANTED, token="t-9"), 20)
    assert outcome is not None
    assert outcome.verdict is Verdict.CLAIMED


async def test_a_claim_is_on_the_servers_disk_whatever_its_default_is(postgres: str, tmp_path: Path) -> None:
    for default, expected in (("off", "on"), ("remote_write", "remote_write"), ("on", "on")):
        name = psycopg.conninfo.conninfo_to_dict(postgres)["dbname"]
        with psycopg.connect(postgres, autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = {default}'.encode())
        try:
            made = connect(postgres, tmp_path, timeout=2)
            assert made.rows("SHOW synchronous_commit") == [(expected,)]
            made.close()
        finally:
            with psycopg.connect(postgres, autocommit=True) as server:
                server.execute(f'ALTER DATABASE "{name}" RESET synchronous_commit'.encode())


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
async def test_an_outcome_waits_for_who_holds_its_line(at: Desk, ledger: Connection) -> None:
    first = await ask(at, tries=5)
    assert first is not None
    ledger.begin()
    ledger.rows("SELECT 1 FROM ledger_entry WHERE key = 'k-1' FOR UPDATE")
    try:
        at.finish(Held(first.number, "token-1"), 201, b"answer", KNOWN, None)
        await asyncio.sleep(1.2)
        other = await ask(at, replace(WANTED, key="k-2", token="t-2"))
        assert other is not None
    finally:
        ledger.rollback()
    await until(ledger, "SELECT state FROM ledger_entry WHERE key = 'k-1'", [("answered",)])
