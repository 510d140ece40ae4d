"""A seeded shop, filled into both services, once for each test process: no test here writes to the shop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import Running
from demo.shop import Shop, start_recommendations, start_reviews, start_shop


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="session")
def shop(workdir: Path) -> Iterator[Shop]:
    running = start_shop(workdir)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def reviews(workdir: Path, shop: Shop) -> Iterator[Running]:
    running = start_reviews(workdir, shop)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def recommendations(workdir: Path, shop: Shop) -> Iterator[Running]:
    running = start_recommendations(workdir, shop)
    yield running
    running.stop()
