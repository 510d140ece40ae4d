"""The Chromium that some tests look with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def required() -> None:
    """Skips the test where there is none, unless everything is required."""
    if not CHROMIUM.exists():
        if os.environ.get("BANYAN_REQUIRE_ALL"):
            pytest.fail(f"{CHROMIUM} is not there")
        pytest.skip(f"{CHROMIUM} is not there")
