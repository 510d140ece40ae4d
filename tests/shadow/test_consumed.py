"""A message is counted once, whoever has it in hand how often, at the same time or later; in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError, python
from tests.support.required import missing

SETUP = """
import json, random, sys, time
from pathlib import Path
from shadow import consumed, store
from shadow.batch import Batch
from shadow.consumed import Counted
store.setup(sys.argv[1], Path(sys.argv[2]))
store.migrate(Path(sys.argv[2]))
from shadow.models import Consumed, Tally
def message(number, name="matched", producer="p", sequence=None):
    made = Counted(producer, number, sequence or number + 1)
    made.batch.count("r", 5, name)
    made.spoilt.count("r", 5, "dropped.unreadable")
    return made
def told(**more):
    print(json.dumps({"counts": {row.name: row.count for row in Tally.objects.all()}, "names": Consumed.objects.count(), **more}))
"""

ONE_OF_SEVERAL = """
numbers = list(range(300))
random.Random(int(sys.argv[3])).shuffle(numbers)
new = sum(consumed.write([message(number) for number in numbers[at : at + 17]]) for at in range(0, 300, 17))
print(json.dumps(new))
"""

ALONE = """
twice = [message(1), message(2), message(1)]
first, again = consumed.write(twice), consumed.write(twice)
other = consumed.write([message(1, producer="q")])
lost = consumed.write([message(2, "dropped.shipper_stopped"), message(9, "dropped.shipper_stopped")])
told(new=[first, again, other, lost])
"""

SPOILT = """
bad = message(2)
bad.batch.count("r", 5, "matched")
bad.batch.tallies["r" * 40, 10**30, "matched"] = 1  # no database has a column for such a second
worse = message(4)
worse.batch.tallies["r", 10**30, "matched"] = worse.spoilt.tallies["r", 10**30, "dropped.unreadable"] = 1
new = consumed.write([message(1), bad, message(3), worse])
told(new=[new, consumed.write([bad, worse])], lost=Tally.objects.filter(name="dropped.unreadable").count())
"""

PURGED = """
consumed.write([message(number) for number in range(1000)])
old = time.time() + consumed.KEEP_SECONDS + 60
consumed.purge(time.time(), 10**9)
kept = Consumed.objects.count()
consumed.purge(old, 400)  # the stream may still deliver those behind its 400th
told(kept=kept)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield "sqlite:///banyan.sqlite3"
        return
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    yield server.url
    server.stop()


def run(script: str, database: str, folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        python("-c", SETUP + script, database, str(folder), *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_once_by_one_worker(database: str, tmp_path: Path) -> None:
    found = run(ALONE, database, tmp_path)
    assert found["new"] == [2, 0, 1, 1]
    assert found["counts"] == {"matched": 3, "dropped.shipper_stopped": 1}
    assert found["names"] == 4


def test_once_by_several_workers_that_have_the_same_messages_in_hand(database: str, tmp_path: Path) -> None:
    run("told()", database, tmp_path)  # the tables
    commands = [python("-c", SETUP + ONE_OF_SEVERAL, database, str(tmp_path), str(seed)) for seed in range(3)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    new = []
    for worker in workers:
        out, error = worker.communicate(timeout=100)
        assert worker.returncode == 0, error
        new.append(json.loads(out))
    assert sum(new) == 300
    found = run("told()", database, tmp_path)
    assert (found["counts"], found["names"]) == ({"matched": 300}, 300)


def test_what_no_database_can_store_counts_as_lost_and_spoils_no_other(database: str, tmp_path: Path) -> None:
    found = run(SPOILT, database, tmp_path)
    assert (found["new"], found["names"]) == ([4, 0], 4)
    assert found["counts"] == {"matched": 2, "dropped.unreadable": 1}
    assert found["lost"] == 2, "one of its route, one of none that can be stored"


def test_names_go_when_they_are_old_and_the_stream_has_done_with_them(database: str, tmp_path: Path) -> None:
    found = run(PURGED, database, tmp_path)
    assert (found["kept"], found["names"]) == (1000, 600)
    assert found["counts"] == {"matched": 1000}
