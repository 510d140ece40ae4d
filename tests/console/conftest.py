"""For all tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.utils import translation


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """What a request activates stays active in its thread until the next request, and a test's thread is that of the next test too."""
    translation.deactivate()
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests/support/hasty_console.py has them: each hash is 0.4 s of CPU otherwise."""
    monkeypatch.setattr(PBKDF2PasswordHasher, "iterations", 1000)
