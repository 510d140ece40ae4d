"""Real servers that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.unleash import RunningUnleash, running_unleash
from tests.support.unleash import required


@contextmanager
def fresh_unleash(folder: Path) -> Iterator[RunningUnleash]:
    """A real Unleash on a real PostgreSQL, with nothing in it."""
    required()
    with running_unleash(folder) as server:
        yield server


@pytest.fixture(scope="session")
def unleash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUnleash]:
    """One for one test process: both are up in some 4 s, so xdist's workers need not share them."""
    with fresh_unleash(tmp_path_factory.mktemp("unleash")) as server:
        yield server
