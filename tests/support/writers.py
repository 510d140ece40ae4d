"""`python -m tests.support.writers MODE CONFIG NUMBER`: one of several processes that write to the same database at once.

MODE write: batches, one after the other, straight into the store. MODE work: exchanges through a worker as the shipper makes it. MODE
upkeep: rolls up and purges, again and again, until its input ends. MODE files: writes without a umask, and says which file has which mode.
Each says "ready", and begins when it is told to.
"""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from pathlib import Path

from gateway.config import load
from shadow import store
from shadow.batch import Batch
from shadow.compare import Kind
from shadow.exchange import Answer, Exchange, RouteCounts, Summary
from shadow.judge import Judgement, Sample
from shadow.sinks.local import local

NOW = 1_800_000_000.0
RETENTION = 86_400.0
WRITES = 10
ROUTES = 5
PATHS = 6
STRIDES = (1, 7, 11)
"""Each leads through all routes and paths, in another order."""
EXCHANGES = 300


def batch(number: int, turn: int) -> Batch:
    """The same routes and paths from everybody, in another order each time; old seconds, which are rolled up meanwhile, and new ones."""
    made = Batch()
    for step in range(ROUTES * PATHS):
        place = (step * STRIDES[number] + turn) % (ROUTES * PATHS)
        route, path = f"r{place % ROUTES}", f"$.p{place // ROUTES}"
        for at in (NOW - 7200 + place, NOW - place, NOW - 2 * RETENTION):
            sample = Sample(at, f"{number}.{turn}", "GET", "/", "legacy", {}, {}, [], False) if at == NOW - place else None
            made.judgement(Judgement(route, at, False, "mismatch", "", ((Kind.VALUE, path),), sample))
        made.judgement(Judgement(route, NOW - 7200, True, "mismatch", "", ((Kind.VALUE, path),)))
    return made


def write(number: int) -> None:
    """As the worker's writing thread does: what could not be written is written again."""
    for turn in range(WRITES):
        while True:
            try:
                store.write(batch(number, turn))
                break
            except store.FAILURES as error:
                if "locked" not in str(error):  # SQLite's, where others were quicker for ten seconds
                    raise


def work(config: Path, number: int) -> None:
    worker = local(load(config))
    worker.start()
    for turn in range(EXCHANGES):
        other = (b'{"a": 1}', b'{"a": 2}')[turn % 2]
        head = b"Content-Type: application/json\r\n"
        served, shadow = (
            Answer("legacy", "legacy", 200, head, b'{"a":1}', 0.1),
            Answer("candidate", "new", 200, head, other + b" " * (100_000 * (turn % 50 == 0)), 0.1),
        )
        worker.offer(Exchange("r", f"{number}.{turn}", NOW, "GET", "/", b"", b"", served, shadow))
        worker.offer(Summary(NOW, "w", {"r": RouteCounts(eligible=1, captured=1)}))
    if not worker.stop(60):
        sys.exit("not everything was written")


def upkeep() -> None:
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        store.roll_up(NOW)
        store.purge(NOW, RETENTION)


def files(config: Path) -> None:
    local(load(config))
    store.write(batch(0, 0))
    folder = config.parent / "var"  # while the database is open, and has its -wal and -shm
    print(json.dumps({path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}))


def main(mode: str, path: str, number: str) -> None:
    if mode == "files":
        os.umask(0)
    config = load(path)
    store.open_database(config.shadow.database, config.folder)
    print("ready", flush=True)
    sys.stdin.readline()
    match mode:
        case "write":
            write(int(number))
        case "work":
            work(Path(path), int(number))
        case "upkeep":
            upkeep()
        case "files":
            files(Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
