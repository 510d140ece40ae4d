"""What holds for every test."""

import pytest

from gateway import compiled


def pytest_configure(config: pytest.Config) -> None:
    if compiled.state() == "stale":
        pytest.exit("the compiled edge engine is older than its sources: run `make setup`, or `python -m gateway.compiled --clean`", 2)
