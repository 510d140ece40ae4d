"""The ledger's statements, on SQLite and on PostgreSQL: one key, one attempt, whoever else wants it at the same moment."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.postgres import start_postgres
from gateway.ledger import book, database, sealing
from gateway.ledger.database import AwayError, Connection, connect, transaction
from gateway.ledger.entries import Claim, Held, Outcome
from gateway.policy.payments import Verdict
from tests.support.payments import multiply

WANTED = Claim("payments", "", "k-1", True, b"d" * 32, "psp-a", "POST", "/payments", 4, "r-1", "token-1")
IDEMPOTENT = frozenset({"psp-a"})


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = start_postgres(tmp_path_factory.mktemp("pg"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite3"
    found: str = request.getfixturevalue("postgres")
    made = connect(found, tmp_path, timeout=2)
    for table in ("ledger_entry", "ledger_owner", "ledger_settled"):
        made.change(f"DELETE FROM {table}")  # noqa: S608 - names of this test's own
    made.close()
    return found


@pytest.fixture
def ledger(url: str, tmp_path: Path) -> Iterator[Connection]:
    made = connect(url, tmp_path, timeout=2)
    try:
        yield made
    finally:
        made.close()


def claim(ledger: Connection, wanted: Claim = WANTED, owner: str = "w-1") -> Outcome:
    with transaction(ledger):
        return book.claim(ledger, wanted, owner)


def held(outcome: Outcome, wanted: Claim = WANTED) -> Held:
    return Held(outcome.number, wanted.token)


def test_a_key_is_claimed_once(ledger: Connection) -> None:
    first = claim(ledger)
    assert (first.verdict, first.provider) == (Verdict.CLAIMED, "psp-a")
    assert claim(ledger, replace(WANTED, token="t2", provider="psp-b")).verdict is Verdict.RUNNING
    assert claim(ledger, replace(WANTED, token="t3", digest=b"e" * 32)).verdict is Verdict.OTHER
    assert claim(ledger, replace(WANTED, token="t4", scope="bob")).verdict is Verdict.CLAIMED
    assert claim(ledger, replace(WANTED, token="t5", route="refunds")).verdict is Verdict.CLAIMED


def test_what_was_answered_is_told_again_and_opens_for_the_same_request_only(ledger: Connection) -> None:
    known = sealing.secret("", "k-1", "POST", b"/payments", b"body")
    first = claim(ledger)
    assert book.finish(ledger, held(first), 201, sealing.seal(known, b"an answer"))
    again = claim(ledger, replace(WANTED, token="t2"))
    assert (again.verdict, again.status, again.provider) == (Verdict.REPLAY, 201, "psp-a")
    assert b"an answer" not in again.answer
    assert sealing.opened(known, again.answer) == b"an answer"
    assert sealing.opened(sealing.secret("", "k-1", "POST", b"/payments", b"bodY"), again.answer) is None
    assert sealing.opened(known, again.answer[:-1]) is None


def test_an_answer_that_is_not_kept_still_keeps_its_key(ledger: Connection) -> None:
    book.finish(ledger, held(claim(ledger)), 200, None)
    assert claim(ledger, replace(WANTED, token="t2")).verdict is Verdict.NOT_KEPT


def test_a_key_that_was_given_back_is_as_new(ledger: Connection) -> None:
    assert book.release(ledger, held(claim(ledger)))
    assert claim(ledger, replace(WANTED, token="t2", provider="psp-b")).provider == "psp-b"


def test_who_refused_and_who_has_it_now(ledger: Connection) -> None:
    first = claim(ledger)
    assert book.move(ledger, held(first), "psp-b", ["psp-a"])
    book.doubt(ledger, held(first), "timeout")
    (found,) = book.doubts(ledger)
    assert (found.provider, found.refused, found.reason, found.key, found.request_id) == ("psp-b", ("psp-a",), "timeout", "k-1", "r-1")
    again = claim(ledger, replace(WANTED, token="t2", idempotent=IDEMPOTENT))
    assert (again.verdict, again.provider) == (Verdict.IN_DOUBT, "psp-b")  # psp-a knows keys, and never had this one
    taken = claim(ledger, replace(WANTED, token="t3", idempotent=frozenset({"psp-b"})))
    assert (taken.verdict, taken.provider) == (Verdict.AGAIN, "psp-b")


def test_one_of_two_takes_a_doubt_up(ledger: Connection) -> None:
    book.doubt(ledger, held(claim(ledger)), "reset")
    assert claim(ledger, replace(WANTED, token="t2", idempotent=IDEMPOTENT)).verdict is Verdict.AGAIN
    assert claim(ledger, replace(WANTED, token="t3", idempotent=IDEMPOTENT)).verdict is Verdict.RUNNING
    assert not book.finish(ledger, held(Outcome(Verdict.CLAIMED, 1)), 200, None)  # the first attempt's word does not count any more
    assert book.doubts(ledger) == []


def test_of_what_nobody_can_ask_for_nothing_is_kept_but_a_doubt(ledger: Connection) -> None:
    nameless = replace(WANTED, keyed=False, key="made-up", scope="-")
    assert book.finish(ledger, held(claim(ledger, nameless)), 200, b"sealed")
    assert ledger.rows("SELECT count(*) FROM ledger_entry") == [(0,)]
    book.doubt(ledger, held(claim(ledger, nameless)), "reset")
    (found,) = book.doubts(ledger)
    assert (found.key, found.request_id) == ("", "r-1")


def test_what_a_dead_worker_had_under_way_is_in_doubt_and_a_living_ones_is_not(ledger: Connection) -> None:
    dead, living = replace(WANTED, token="t1"), replace(WANTED, key="k-2", token="t2")
    book.beat(ledger, "dead")
    book.beat(ledger, "living")
    claim(ledger, dead, "dead")
    claim(ledger, living, "living")
    ledger.change("UPDATE ledger_owner SET seen = seen - ? WHERE owner = 'dead'", (book.LOST_SECONDS + 1,))
    assert book.reap(ledger, ledger.now()) == 1
    assert book.reap(ledger, ledger.now()) == 0
    assert [(each.key, each.reason) for each in book.doubts(ledger)] == [("k-1", "worker-lost")]
    assert book.counts(ledger) == {"payments": 1}


def test_a_sign_of_life_of_before_the_clock_was_put_back_is_none(ledger: Connection) -> None:
    dead, living = replace(WANTED, token="t1"), replace(WANTED, key="k-2", token="t2")
    book.beat(ledger, "dead")
    book.beat(ledger, "living")
    claim(ledger, dead, "dead")
    claim(ledger, living, "living")
    ledger.change("UPDATE ledger_owner SET seen = seen + 3600 WHERE owner = 'dead'")
    ledger.change("UPDATE ledger_owner SET seen = seen + ? WHERE owner = 'living'", (book.LOST_SECONDS / 2,))
    assert book.reap(ledger, ledger.now()) == 1
    assert [(each.key, each.reason) for each in book.doubts(ledger)] == [("k-1", "worker-lost")]


def test_what_is_in_doubt_is_found_by_its_number_and_all_of_it_is_listed(ledger: Connection) -> None:
    first = claim(ledger)
    assert book.in_doubt(ledger, first.number) is None, "it is under way"
    book.doubt(ledger, held(first), "timeout")
    last = multiply(ledger, 20)
    found = book.doubts(ledger, limit=None)
    assert (len(found), len(book.doubts(ledger, "payments", limit=None)), book.doubts(ledger, "carts", limit=None)) == (21, 21, [])
    assert found[:2] == book.doubts(ledger, limit=2)
    assert book.in_doubt(ledger, last) == found[-1]
    assert book.in_doubt(ledger, last + 1) is book.in_doubt(ledger, 2**63) is None


def test_a_worker_that_was_taken_for_dead_and_lives_has_the_last_word(ledger: Connection) -> None:
    first = claim(ledger, owner="slow")
    assert book.reap(ledger, ledger.now()) == 1
    assert book.finish(ledger, held(first), 200, b"sealed")
    assert book.doubts(ledger) == []
    assert claim(ledger, replace(WANTED, token="t2")).verdict is Verdict.REPLAY


def test_a_worker_that_leaves_says_so(ledger: Connection) -> None:
    book.beat(ledger, "w-1")
    claim(ledger)
    book.leave(ledger, "w-1")
    assert [each.reason for each in book.doubts(ledger)] == ["worker-lost"]
    assert ledger.rows("SELECT count(*) FROM ledger_owner") == [(0,)]


def test_a_claim_that_nobody_heard_of_is_taken_back(ledger: Connection) -> None:
    claim(ledger)
    book.disown(ledger, replace(WANTED, token="another"))
    assert claim(ledger, replace(WANTED, token="t2")).verdict is Verdict.RUNNING
    book.disown(ledger, WANTED)
    first = claim(ledger, replace(WANTED, token="t3"))
    assert first.verdict is Verdict.CLAIMED
    book.doubt(ledger, Held(first.number, "t3"), "reset")
    later = replace(WANTED, token="t4", idempotent=IDEMPOTENT)
    assert claim(ledger, later).verdict is Verdict.AGAIN
    book.disown(ledger, later)
    assert [each.reason for each in book.doubts(ledger)] == ["not-repeated"]


def test_purging(ledger: Connection) -> None:
    for number in range(6):
        wanted = replace(WANTED, key=f"k-{number}", token=f"t{number}")
        found = Held(claim(ledger, wanted).number, wanted.token)
        if number < 4:
            book.finish(ledger, found, 200, bytes(1000))
        elif number == 4:
            book.doubt(ledger, found, "reset")
    ledger.change("UPDATE ledger_entry SET changed = changed - 100 WHERE key IN ('k-0', 'k-4', 'k-5')")
    book.purge(ledger, ledger.now(), keep=50, settled=50, most=10_000)
    kept = sorted(ledger.rows("SELECT key, answer_size FROM ledger_entry"))
    assert kept == [("k-1", 1000), ("k-2", 1000), ("k-3", 1000), ("k-4", 0), ("k-5", 0)]  # neither a doubt nor what is under way is too old
    ledger.change("UPDATE ledger_entry SET changed = changed - 1 WHERE key = 'k-2'")
    book.purge(ledger, ledger.now(), keep=50, settled=50, most=2_500)
    assert book.answer_bytes(ledger) == 2000
    assert claim(ledger, replace(WANTED, key="k-2", token="x")).verdict is Verdict.NOT_KEPT
    assert claim(ledger, replace(WANTED, key="k-3", token="x")).verdict is Verdict.REPLAY


@pytest.mark.parametrize(("outcome", "then"), [("executed", Verdict.SETTLED), ("not-executed", Verdict.CLAIMED)])
def test_settling(ledger: Connection, outcome: str, then: Verdict) -> None:
    first = claim(ledger)
    with pytest.raises(book.NotInDoubtError):
        book.settle(ledger, first.number, outcome, by="ana", why="it runs still")
    book.doubt(ledger, held(first), "timeout")
    with pytest.raises(ValueError, match="who says so"):
        book.settle(ledger, first.number, outcome, by="ana", why=" ")
    done = book.settle(ledger, first.number, outcome, by="ana", why="asked psp-a")
    assert (done.outcome, done.by, done.doubt.key, done.doubt.reason) == (outcome, "ana", "k-1", "timeout")
    with pytest.raises(book.NotInDoubtError):
        book.settle(ledger, first.number, outcome, by="bob", why="me too")
    assert book.doubts(ledger) == []
    assert book.settlements(ledger) == book.settlements(ledger, limit=book.MAX_NUMBER + 1) == [done]
    assert not book.finish(ledger, held(first), 200, b"late")  # what was settled stays so
    book.purge(ledger, ledger.now(), keep=-1, settled=1000, most=10_000)  # its answer would be too old; that it was settled is not
    assert claim(ledger, replace(WANTED, token="t2")).verdict is then
    book.purge(ledger, ledger.now(), keep=1000, settled=-1, most=10_000)
    assert book.settlements(ledger) == []


@pytest.mark.parametrize("number", [book.MAX_NUMBER, book.MAX_NUMBER + 1, -book.MAX_NUMBER - 2])
def test_what_no_database_can_be_asked_for_is_not_in_doubt(ledger: Connection, number: int) -> None:
    assert book.in_doubt(ledger, number) is None
    with pytest.raises(book.NotInDoubtError):
        book.settle(ledger, number, "executed", by="ana", why="asked psp-a")


CLAIMS = """
import sys, time, json
from pathlib import Path
from gateway.ledger import book
from gateway.ledger.database import connect, transaction
from gateway.ledger.entries import Claim
url, name, at, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
ledger = connect(url, Path("."), timeout=20)
time.sleep(max(0.0, at - time.time()))
said = []
for number in range(count):
    with transaction(ledger):
        wanted = Claim("payments", "", f"k-{number}", True, b"d" * 32, name, "POST", "/", 4, "r", f"{name}-{number}")
        said.append(book.claim(ledger, wanted, name).verdict.value)
print(json.dumps(said))
"""


def test_processes_that_claim_the_same_keys_at_once(url: str, tmp_path: Path) -> None:
    connect(url, tmp_path, timeout=2).close()
    at = str(time.time() + 2.0)
    racing = [
        subprocess.Popen([sys.executable, "-c", CLAIMS, url, f"p-{number}", at, "60"], stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in racing]
    assert all(process.returncode == 0 for process in racing)
    for key in zip(*said, strict=True):
        assert Counter(key) == {"claimed": 1, "running": 2}
    ledger = connect(url, tmp_path, timeout=2)
    winners = dict(ledger.rows("SELECT key, provider FROM ledger_entry"))
    ledger.close()
    assert winners == {f"k-{number}": f"p-{key.index('claimed')}" for number, key in enumerate(zip(*said, strict=True))}


def test_the_file_is_its_owners_alone_and_so_is_all_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ledger = connect("sqlite:///var/ledger.sqlite3", tmp_path, timeout=2)
        claim(ledger)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").iterdir()}
        ledger.close()
    finally:
        os.umask(before)
    assert len(modes) >= 2
    assert set(modes.values()) == {0o600}


def test_neither_body_nor_answer_is_in_the_file(tmp_path: Path) -> None:
    ledger = connect("sqlite:///ledger.sqlite3", tmp_path, timeout=2)
    known = sealing.secret("", "k-1", "POST", b"/payments", b"card=4111111111111111")
    first = claim(ledger, replace(WANTED, digest=sealing.digest(known)))
    book.finish(ledger, held(first), 200, sealing.seal(known, b"iban=DE02120300000000202051"))
    ledger.close()
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"k-1" in data
    assert b"4111111111111111" not in data
    assert b"DE02120300000000202051" not in data


def test_a_transaction_that_fails_claims_nothing(ledger: Connection) -> None:
    def stumble() -> None:
        with transaction(ledger):
            book.claim(ledger, WANTED, "w-1")
            ledger.rows("SELECT nonsense FROM nowhere")

    with pytest.raises(AwayError):
        stumble()
    assert claim(ledger).verdict is Verdict.CLAIMED


def test_what_is_away_says_so_without_its_password(tmp_path: Path) -> None:
    for password in ("hunter2", "50%hunter2", "a hunter2", "a%00hunter2", "a@hunter2"):
        with pytest.raises(AwayError) as caught:
            connect(f"postgres://banyan:{password}@127.0.0.1:1/ledger", tmp_path, timeout=0.5)
        assert "hunter2" not in str(caught.value)
    (tmp_path / "file").mkdir()
    with pytest.raises(AwayError):
        connect("sqlite:///file", tmp_path, timeout=0.5)
    assert database.CONNECT_SECONDS < 5


def test_a_full_disk_claims_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    ledger = connect("sqlite:///ledger.sqlite3", tmp_path, timeout=2)
    claim(ledger)
    ledger.rows("PRAGMA max_page_count = 1")  # as many as there are
    said = Counter[str]()
    for number in range(200):
        try:
            said[claim(ledger, replace(WANTED, key=f"k-{number + 2}", token=f"t-{number}", target="/" + "x" * 4000)).verdict.value] += 1
        except AwayError as error:
            said[str(error)] += 1
            break
    assert said["database or disk is full"] == 1
    assert claim(ledger, replace(WANTED, token="t2")).verdict is Verdict.RUNNING
    assert book.finish(ledger, Held(1, "token-1"), 200, None)
    ledger.close()


def test_an_attempt_whose_end_is_written_is_not_begun_again(ledger: Connection) -> None:
    first = claim(ledger)
    assert book.again(ledger, held(first))
    book.doubt(ledger, held(first), "given-up")
    assert not book.again(ledger, held(first))  # it was asked for before, and comes late
    assert not book.move(ledger, held(first), "psp-b", ["psp-a"])
    (found,) = book.doubts(ledger)
    assert (found.attempts, found.provider, found.refused) == (2, "psp-a", ())
    assert book.doubts(ledger) == [found]
