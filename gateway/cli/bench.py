"""`banyan bench`: speed beside peers."""

from __future__ import annotations

import subprocess
import sys


def bench(*arguments: str) -> int:
    """Runs the benchmarks of a source checkout, as `make bench` does.

    Example: banyan bench

    Parameters
    ----------
    arguments
        Passed on; see python -m bench --help.
    """
    return subprocess.run([sys.executable, "-m", "bench", *arguments], check=False).returncode  # noqa: S603 - our own module
