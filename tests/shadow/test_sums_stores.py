"""Sums by wider spans, added to by several writers at once while somebody rolls up: on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError
from tests.support.required import missing

COMMON = """
import random, sys, time
from pathlib import Path
url, folder, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
from shadow import store
store.setup(url, folder)
store.migrate(folder)
from shadow import sums
from shadow.batch import Batch
from shadow.models import Tally
NOW = 1_800_000_000 + 1234
chance = random.Random(seed)
"""
WRITE = (
    COMMON
    + """
for turn in range(12):
    batch = Batch()
    for _ in range(60):
        name = chance.choice(["matched", "latency.legacy.3", "served.legacy", "servedness"])
        batch.count(chance.choice("ab"), NOW - chance.randrange(20_000), name, chance.randrange(1, 9))
    store.write(batch)
    if turn % 4 == 3:
        store.roll_up(NOW + 60 * turn)
"""
)
CHECK = (
    COMMON
    + """
from collections import Counter
for _ in range(20):
    since = NOW - chance.randrange(25_000)
    until = since + chance.randrange(1, 25_000)
    for end in (None, until):
        found = {(route, name): count for route, name, count in sums.totals(["a", "b"], since, end)}
        counted = Counter()
        for row in Tally.objects.filter(at__gte=since, at__lt=2**40 if end is None else end):
            counted[row.route, row.name] += row.count
        assert found == counted, (since, end)
    assert sum(count for _, _, _, count in sums.by_step(["a"], since, until, 300)) == sum(
        row.count for row in Tally.objects.filter(route="a", at__gte=since, at__lt=until)
    )
assert sum(count for _, _, count in sums.totals(["a", "b"], 0)) == sum(Tally.objects.values_list("count", flat=True)) > 0
assert {name for _, name, _ in sums.totals(["a", "b"], 0, like="served.")} == {"served.legacy"}
assert sums.routes() == ["a", "b"]
assert sums.ends("a", 0, NOW + 1)[1] <= NOW
print("well")
"""
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/banyan.sqlite3"
        return
    try:
        server = start_postgres(tmp_path)
    except StartError as error:
        missing(f"no PostgreSQL here: {error}", cause=error)
    yield server.url
    server.stop()


def run(script: str, url: str, folder: Path, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, url, str(folder), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_sums_are_the_tallies_whoever_writes(url: str, tmp_path: Path) -> None:
    writers = [run(WRITE, url, tmp_path, seed) for seed in (1, 2, 3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    check = run(CHECK, url, tmp_path, 4)
    told, errors = check.communicate(timeout=120)
    assert (check.returncode, told) == (0, "well\n"), errors
