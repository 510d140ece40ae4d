"""What the tests of the Unleash source share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flags import unleash, usage
from tests.support.fake_unleash import FakeUnleash


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that a test can wait for."""
    monkeypatch.setattr(unleash, "REQUEST_TIMEOUT", 0.5)
    monkeypatch.setattr(unleash, "FIRST_ANSWER", 0.3)
    monkeypatch.setattr(unleash, "LOOK", 0.05)
    monkeypatch.setattr(usage, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(usage, "TIMEOUT", (0.5, 0.5))


@pytest.fixture
def server(impatient: None) -> Iterator[FakeUnleash]:
    fake = FakeUnleash()
    yield fake
    fake.stop()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "var" / "flags-backup.json"
