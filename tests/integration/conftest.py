"""Real servers that several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.postgres import start_postgres
from demo.unleash import RunningUnleash, start_unleash
from tests.support.unleash import required


@pytest.fixture(scope="session")
def unleash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUnleash]:
    """A real Unleash on a real PostgreSQL, for one test process: both are up in some 4 s, so xdist's workers need not share them."""
    required()
    folder = tmp_path_factory.mktemp("unleash")
    database = start_postgres(folder, "unleash")
    try:
        server = start_unleash(folder, database)
        try:
            yield server
        finally:
            server.stop()
    finally:
        database.stop()
