"""Several processes write at once, to SQLite and to PostgreSQL: everything is counted, once, and nobody waits in a circle."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.processes import ROOT, StartError
from tests.support.required import missing
from tests.support.writers import EXCHANGES, PATHS, ROUTES, WRITES

WRITERS = 3

pytestmark = pytest.mark.timeout(300)  # a dozen processes have to start

type Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from demo.postgres import start_postgres

    try:
        started = start_postgres(tmp_path_factory.mktemp("postgres"))
    except StartError as error:
        missing(f"no PostgreSQL: {error}", cause=error)
    yield started.url
    started.stop()


def written(folder: Path, url: str) -> Path:
    """A configuration with this database."""
    config = folder / "banyan.toml"
    config.write_text(
        '[upstreams]\nlegacy = "http://127.0.0.1:1"\nnew = "http://127.0.0.1:2"\n'
        f'[[routes]]\nname = "r"\nmatch = "/r"\ncandidate = "new"\n[shadow]\ndatabase = "{url}"\n'
    )
    return config


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Ask]:
    """A configuration whose database is new, and a way to ask that."""
    if request.param == "sqlite":
        url = "sqlite:///var/banyan.sqlite3"
    else:
        server = request.getfixturevalue("postgres")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        url = server
    config = written(tmp_path, url)

    def ask(query: str) -> list[tuple[Any, ...]]:
        if request.param == "sqlite":
            with closing(sqlite3.connect(tmp_path / "var" / "banyan.sqlite3")) as database:
                return database.execute(query).fetchall()
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    return config, ask


def together(config: Path, *modes: str) -> list[str]:
    """Runs these at once, and returns what each said; those for upkeep go on until the others are done. All must end well."""
    running = [
        (
            mode,
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.writers", mode, str(config), str(number)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ),
        )
        for number, mode in enumerate(modes)
    ]  # fmt: skip
    try:
        for _, process in running:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline().startswith("ready"), process.communicate(timeout=10)
        for _, process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = []
        for _, process in sorted(running, key=lambda each: each[0] == "upkeep"):
            out, wrong = process.communicate("end\n", timeout=200)
            assert (process.returncode, wrong) == (0, ""), wrong
            said.append(out)
    finally:
        for _, process in running:
            process.kill()
            process.communicate()
    return said


def test_batches_from_several_processes_add_up_while_others_roll_up_and_purge(place: tuple[Path, Ask]) -> None:
    config, ask = place
    together(config, *["write"] * WRITERS, "upkeep")
    times = WRITERS * WRITES
    # Each writes three mismatches of each path, one of them older than is kept.
    tallies = dict(ask("SELECT route, SUM(count) FROM shadow_tally WHERE name = 'mismatched' GROUP BY route"))
    assert {route: int(count) for route, count in tallies.items()} == {f"r{number}": 2 * PATHS * times for number in range(ROUTES)}
    assert ask("SELECT COUNT(*) FROM shadow_tally WHERE width = 60")[0][0] > 0, "some were rolled up"
    assert ask("SELECT COUNT(*), SUM(count) FROM shadow_signature")[0] == (ROUTES * PATHS, 3 * ROUTES * PATHS * times)
    assert ask("SELECT SUM(count) FROM shadow_noise")[0][0] == ROUTES * PATHS * times
    assert ask("SELECT SUM(count) FROM shadow_tally WHERE name = 'noise.different'")[0][0] == ROUTES * PATHS * times
    assert ask("SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM shadow_sighting GROUP BY signature_id) AS s")[0][0] <= 20
    if "postgres" in config.read_text():
        assert ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_shippers_on_several_machines_share_one_database(place: tuple[Path, Ask]) -> None:
    config, ask = place
    together(config, *["work"] * WRITERS)
    counts = {name.partition(".")[0]: int(count) for name, count in ask("SELECT name, SUM(count) FROM shadow_tally GROUP BY name")}
    half = WRITERS * EXCHANGES // 2
    assert counts == {"matched": half, "mismatched": half, "combination": half, "eligible": 2 * half, "captured": 2 * half}
    assert ask("SELECT kind, path, count FROM shadow_signature") == [("value", "$.a", half)]


def test_what_lies_in_files_is_its_owners_alone(tmp_path: Path) -> None:
    config = written(tmp_path, "sqlite:///var/banyan.sqlite3")
    (said,) = together(config, "files")
    modes: dict[str, int] = json.loads(said)
    assert {"banyan.sqlite3", "banyan.sqlite3-wal", "banyan.sqlite3-shm", "redact.key"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes
