"""The real Unleash server is what some tests are about: where it cannot be had, CI fails and a developer is told."""

from __future__ import annotations

from demo.processes import StartError
from demo.unleash import install
from tests.support.required import missing


def required() -> None:
    """Installs it, once for the machine; skips the test where that is impossible, unless everything is required."""
    try:
        install()
    except StartError as error:
        missing(f"the Unleash server can't be installed here: {error}", cause=error)
