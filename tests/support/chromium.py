"""The Chromium that some tests look with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.required import missing

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
        missing(f"{CHROMIUM} is not there")
