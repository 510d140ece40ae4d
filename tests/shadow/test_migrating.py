"""A process that is killed while it makes the tables leaves a database that the next one can use."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from demo.processes import ROOT

KILLED = 9
SCRIPT = """
import os, sys
from pathlib import Path
from django.db.migrations.recorder import MigrationRecorder
from shadow import store

folder, last = Path(sys.argv[1]), sys.argv[2]
recorded = MigrationRecorder.record_applied

def record(self, app, name):
    if name == last:
        os._exit(9)
    recorded(self, app, name)

MigrationRecorder.record_applied = record
store.open_database("sqlite:///banyan.sqlite3", folder)
"""


def migrated(folder: Path, last: str) -> int:
    """The exit status of a process that migrates, and dies as it is about to record `last`."""
    return subprocess.run([sys.executable, "-c", SCRIPT, str(folder), last], cwd=ROOT, timeout=120, check=False).returncode


@pytest.mark.parametrize("last", ["0001_initial", "0005_states_and_requests", "0009_tally_sums"])
def test_what_is_killed_in_the_middle_can_be_made_again(tmp_path: Path, last: str) -> None:
    assert migrated(tmp_path, last) == KILLED
    assert migrated(tmp_path, "none") == 0
    with closing(sqlite3.connect(tmp_path / "banyan.sqlite3")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM django_migrations WHERE app = 'shadow'")}
    assert last in names
