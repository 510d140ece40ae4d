"""The real shipper, a real NATS, real shadow workers, a real database: what was captured is what was counted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nats import Nats, start_nats
from tests.support.shipping import Shop, pair, wait_for


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path may have about 100 characters: pytest's own folders can be longer.
    path = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    server = start_nats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest.fixture
def shop(folder: Path, nats: Nats) -> Iterator[Shop]:
    made = Shop(folder, nats)
    yield made
    made.stop()


def test_the_whole_way(shop: Shop) -> None:
    shop.start_shipper()
    shop.start_worker()
    shop.send([pair({"a": 1}, {"a": 1}), pair({"a": 1}, {"a": 2}), pair({"a": 1}, {"a": 2}, kind="noise")], captured=2)
    wait_for(lambda: shop.counted().get("captured") == 2 and shop.accounted() == 2, shop)
    found = shop.counted()
    assert (found["matched"], found["mismatched"], found["noise.pairs"], found["noise.different"]) == (1, 1, 1, 1)
