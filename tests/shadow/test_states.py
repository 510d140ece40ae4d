"""What people say of signatures: kept with who and why, and taken back by what is seen after a fix, once, however many write."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError
from shadow import states, store
from shadow.batch import OTHER, Batch, Seen
from shadow.compare import Kind
from shadow.models import Signature, StateChange
from tests.support.required import missing

LONG_AGO = 1_700_000_000.0


def seen(path: str = "$.a", *, at: float, count: int = 1, first: float | None = None) -> Signature:
    batch = Batch()
    batch.signatures["reviews", Kind.VALUE, path] = Seen(count, at if first is None else first, at)
    store.write(batch)
    return Signature.objects.get(path=path)


def say(row: Signature, new: str, why: str = "looked at it") -> states.Change:
    made = states.change(row.pk, new, by="ada", why=why)
    assert made is not None
    return made


@pytest.mark.django_db
def test_every_change_is_kept_with_who_and_why() -> None:
    row = seen(at=LONG_AGO)
    assert (row.state, row.state_since, states.history(row.pk)) == ("new", 0, ())
    before = time.time()
    say(row, "bug", "the candidate rounds")
    say(row, "fixed", "reviews 1.4.2")
    row.refresh_from_db()
    first, second = states.history(row.pk)
    assert (first.old, first.new, first.by, first.why) == ("new", "bug", "ada", "the candidate rounds")
    assert (second.old, second.new, second.by, second.why) == ("bug", "fixed", "ada", "reviews 1.4.2")
    assert before <= first.at <= second.at <= time.time()
    assert (row.state, row.state_since) == ("fixed", second.at)


def test_the_models_have_the_same_states() -> None:
    assert tuple(Signature.State.values) == states.STATES


@pytest.mark.django_db
def test_what_it_is_already_changes_nothing() -> None:
    row = seen(at=LONG_AGO)
    say(row, "bug")
    assert states.change(row.pk, "bug", by="bob", why="again") is None
    assert [change.by for change in states.history(row.pk)] == ["ada"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("new", "by", "why", "says"),
    [
        ("closed", "ada", "x", "'closed' is no state"),
        ("bug", " ", "x", "somebody who made it"),
        ("bug", "ada", "\n", "a reason"),
        ("bug", "ada", "x" * 2001, "2000"),
        ("bug", "a" * 201, "x", "200"),
    ],
)
def test_what_is_no_change_is_refused(new: str, by: str, why: str, says: str) -> None:
    row = seen(at=LONG_AGO)
    with pytest.raises(states.StateError, match=says):
        states.change(row.pk, new, by=by, why=why)
    row.refresh_from_db()
    assert (row.state, states.history(row.pk)) == ("new", ())


@pytest.mark.django_db
def test_what_is_not_there_and_what_is_many() -> None:
    with pytest.raises(states.UnknownSignatureError):
        states.change(4711, "bug", by="ada", why="x")
    other = seen(OTHER, at=LONG_AGO)
    with pytest.raises(states.StateError, match="no rule expects them"):
        states.change(other.pk, "expected", by="ada", why="x")
    say(other, "bug")


@pytest.mark.django_db
def test_seen_after_the_fix_it_is_new_again_and_the_history_says_so() -> None:
    row = seen(at=LONG_AGO)
    fixed = say(row, "fixed")
    later = fixed.at + 5
    seen(at=later)
    seen(at=later + 1)
    row.refresh_from_db()
    assert (row.state, row.state_since, row.count) == ("new", later, 3)
    last = states.history(row.pk)[-1]
    assert (last.old, last.new, last.by, last.why, last.at) == ("fixed", "new", "banyan", "seen again after the fix", later)
    assert len(states.history(row.pk)) == 2


@pytest.mark.django_db
def test_an_exchange_from_before_the_fix_that_was_written_after_it_changes_nothing() -> None:
    row = seen(at=LONG_AGO)
    fixed = say(row, "fixed")
    seen(at=fixed.at - 0.001)
    seen(at=fixed.at)
    row.refresh_from_db()
    assert (row.state, row.count, len(states.history(row.pk))) == ("fixed", 3, 1)
    seen(at=fixed.at + 0.001, count=2, first=fixed.at - 9)  # a batch that holds both
    row.refresh_from_db()
    assert row.state == "new"


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["new", "bug", "expected"])
def test_only_a_fix_is_taken_back(state: str) -> None:
    row = seen(at=LONG_AGO)
    if state != "new":
        say(row, state)
    seen(at=time.time() + 60)
    row.refresh_from_db()
    assert row.state == state
    assert len(states.history(row.pk)) == (state != "new")


@pytest.mark.django_db
def test_a_judgement_outlives_the_retention_also_when_it_was_taken_back() -> None:
    row, other = seen(at=LONG_AGO), seen("$.b", at=LONG_AGO)
    fixed = say(row, "fixed")
    seen(at=fixed.at + 1)
    store.purge(fixed.at + 1000, 10)
    assert [left.pk for left in Signature.objects.all()] == [row.pk]
    assert not Signature.objects.filter(pk=other.pk).exists()
    assert StateChange.objects.count() == 2


WRITER = """
import sys, time
from pathlib import Path
from shadow import states, store
store.setup(sys.argv[1], Path(sys.argv[2]))
from shadow.batch import Batch, Seen
from shadow.compare import Kind
from shadow.models import Signature
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    batch = Batch()
    batch.count("reviews", time.time(), "matched", 2)
    for path in ("$.b", "$.a"):
        batch.signatures["reviews", Kind.VALUE, path] = Seen(1, time.time(), time.time())
    store.write(batch)
    if sys.argv[3] == "0" and number % 10 == 5:
        for row in Signature.objects.order_by("pk"):
            states.change(row.pk, "fixed", by="ada", why="mended")
"""

LEDGER = """
import json, sys
from pathlib import Path
from shadow import states, store
store.setup(sys.argv[1], Path(sys.argv[2]))
import time
from gateway.settings.routes import Gate
from shadow.models import Signature
from shadow.reporting.document import collect, plain
from shadow.reporting.junit import junit
from shadow.reporting.page import page
document = collect("reviews", "/reviews/*", "new", Gate(), 0, time.time())
told = plain(document)
assert page(document).count("seen again after the fix") == junit(document).count("seen again after the fix") > 0
rows = [
    [row.state, row.count, row.last_seen, row.state_since, [[c.old, c.new, c.by, c.at] for c in states.history(row.pk)]]
    for row in Signature.objects.all()
]
print(json.dumps({
    "rows": rows, "matched": told["matched"], "series": sum(point["matched"] for point in told["series"]["points"]),
    "step": told["series"]["step"], "open": told["gate"]["open"], "signatures": len(told["signatures"]),
}))
"""


def python(code: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield "sqlite:///var/b.sqlite3"
        return
    try:
        server = start_postgres(folder)
    except StartError as error:
        missing(str(error), cause=error)
    try:
        yield server.url
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_several_writers_one_takes_a_fix_back_and_the_reports_agree(kind: str, tmp_path: Path) -> None:
    with database(kind, tmp_path) as url:
        first = f"from pathlib import Path\nfrom shadow import store\nstore.open_database({url!r}, Path({str(tmp_path)!r}))"
        _, errors = (made := python(first)).communicate(timeout=60)
        assert made.returncode == 0, errors
        writers = [python(WRITER, url, str(tmp_path), str(number), stdin=subprocess.PIPE) for number in range(3)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        for writer in writers:
            _, errors = writer.communicate(timeout=90)
            assert writer.returncode == 0, errors
        output, errors = (asked := python(LEDGER, url, str(tmp_path))).communicate(timeout=60)
        assert asked.returncode == 0, errors
    told = json.loads(output)
    rows = told["rows"]
    assert (told["matched"], told["series"], told["step"], told["signatures"], len(rows)) == (240, 240, 60, 2, 2)
    assert told["open"] == sum(row[0] == "new" for row in rows)
    for state, count, last_seen, since, history in rows:
        assert count == 120
        assert len([entry for entry in history if entry[2] == "ada"]) == 4
        # Each change begins where the one before it has ended: nothing was taken back twice, and nothing was lost.
        assert [entry[0] for entry in history] == ["new", *(entry[1] for entry in history[:-1])]
        assert history[-1][1] == state
        assert since == history[-1][3]
        assert state == ("new" if last_seen > max(entry[3] for entry in history if entry[2] == "ada") else "fixed")
        assert any(entry[2] == "banyan" for entry in history)
