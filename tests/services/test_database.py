"""The pool of reading connections."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.database import DatabaseError, Pool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a b?.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE things (id INTEGER); INSERT INTO things VALUES (1);")
    return path


@pytest.fixture
def pool(path: Path) -> Iterator[Pool]:
    pool = Pool(path, size=2, timeout=0.05)
    yield pool
    pool.close()


def test_it_is_bounded_and_gives_back(pool: Pool) -> None:
    with pool.reading() as one, pool.reading():
        with pytest.raises(DatabaseError, match="all 2 connections busy"), pool.reading():
            pass
        assert one.all("SELECT id FROM things")[0]["id"] == 1
    with pool.reading() as again:
        assert again.first("SELECT id FROM things WHERE id = ?", 2) is None


def test_a_reader_sees_one_moment(pool: Pool, path: Path) -> None:
    count = "SELECT COUNT(*) AS n FROM things"
    with pool.reading() as database:
        assert database.all(count)[0]["n"] == 1
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO things VALUES (2)")
        assert database.all(count)[0]["n"] == 1
    with pool.reading() as database:
        assert database.all(count)[0]["n"] == 2


def test_it_cannot_write_and_an_error_gives_the_connection_back(pool: Pool) -> None:
    for _ in range(5):
        with pytest.raises(DatabaseError, match="attempt to write a readonly database"), pool.reading() as database:
            database.all("DELETE FROM things")
    with pool.reading() as database:
        assert len(database.all("SELECT * FROM things")) == 1
