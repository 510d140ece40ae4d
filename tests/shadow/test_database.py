"""What is said of a database's address that is none, and what is never said of it; and the file that it means."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command

from shadow.database import DatabaseURLError, prepare, settings


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgres://u:hunter2/x@h:1/name", "a bad port or host; write / @ : [ in a password as %2F"),
        ("postgres://u:hunter2@[h/name", "a bad port or host"),
        ("postgres://u:hunter2@h:99999/name", "a bad port or host"),
        ("postgres://u:hunter2@h:1", "the database's name is missing"),
        ("hunter2://h/name", 'write "sqlite:///path" or "postgres://user:password@host:port/name"'),
        ("sqlite://u:hunter2@h/name", 'write "sqlite:///relative/path" or "sqlite:////absolute/path"'),
    ],
)
def test_nothing_of_a_wrong_address_is_repeated(url: str, says: str) -> None:
    with pytest.raises(DatabaseURLError) as caught:
        settings(url, Path())
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.django_db
def test_the_migrations_make_what_the_models_say() -> None:
    call_command("makemigrations", "shadow", "--check", "--dry-run", verbosity=0)


def test_what_is_written_stays_when_the_file_is_prepared_again_meanwhile(tmp_path: Path) -> None:
    """Another process that closes must not take itself for the last, and remove the -wal that this one writes to."""
    url, path = "sqlite:///banyan.sqlite3", tmp_path / "banyan.sqlite3"
    prepare(url, tmp_path)
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT n FROM t').fetchall()); c.close()"

    def seen_elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60, capture_output=True, text=True).stdout

    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (n)")
        prepare(url, tmp_path)
        assert seen_elsewhere() == "[]\n"
        database.execute("INSERT INTO t VALUES (1)")
        assert seen_elsewhere() == "[(1,)]\n"


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        prepare("sqlite:///folder", tmp_path)
