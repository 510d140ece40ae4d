"""The processes are started once for all of these tests."""

import pytest

from tests.support.exposed import Exposed, everything


@pytest.fixture(scope="session")
def exposed() -> dict[str, Exposed]:
    """All metrics that real processes expose, by name."""
    found: dict[str, Exposed] = {}
    for metrics in everything().values():
        assert not found.keys() & metrics.keys(), "two processes call different things the same"
        found |= metrics
    return found
