"""For all tests of the console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """What a request activates stays active in its thread until the next request, and a test's thread is that of the next test too."""
    translation.deactivate()
    yield
    translation.deactivate()
