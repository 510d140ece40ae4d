"""Real servers that several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from demo.postgres import start_postgres
from demo.processes import StartError
from demo.unleash import RunningUnleash, install, start_unleash


@pytest.fixture(scope="session")
def unleash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUnleash]:
    """A real Unleash on a real PostgreSQL, for one test process: both are up in some 4 s, so xdist's workers need not share them."""
    try:
        install()
    except StartError as error:
        if os.environ.get("BANYAN_REQUIRE_ALL"):
            raise
        pytest.skip(f"the Unleash server can't be installed here: {error}")
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
