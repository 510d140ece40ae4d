"""Real parts for events: a PostgreSQL whose log can be decoded, with the shop's tables; an SQLite shop; a nats-server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from demo.postgres import RunningPostgres, start_postgres
from demo.shop import manage_shop
from events.outbox.log import SLOT
from events.outbox.rows import SQLITE_TABLE
from tests.support.nats import Nats, start_nats


@pytest.fixture(scope="session")
def logical(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPostgres]:
    folder = tmp_path_factory.mktemp("logical")
    server = start_postgres(folder, "shop", settings=["wal_level=logical"])
    manage_shop(folder, "migrate", "-v0", database=server.url)
    yield server
    server.stop()


@pytest.fixture
def postgres(logical: RunningPostgres) -> Iterator[str]:
    """Its URL; the outbox is empty, and there is no slot."""
    yield logical.url
    with psycopg.connect(logical.url, autocommit=True) as connection:
        connection.execute("TRUNCATE outbox_event")
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (SLOT,))
        connection.execute("DROP PUBLICATION IF EXISTS banyan_outbox")


@pytest.fixture
def sqlite_outbox(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(SQLITE_TABLE)
        connection.commit()
    return path


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    server = start_nats(tmp_path / "nats")
    yield server
    server.stop()
